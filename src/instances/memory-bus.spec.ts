import { describeInstanceBus } from '../../test/contract/instance-bus.contract.js';
import { MemoryInstanceBus } from './memory-bus.js';

describeInstanceBus(MemoryInstanceBus.name, () =>
  Promise.resolve({ buses: [new MemoryInstanceBus()], stop: () => Promise.resolve() }),
);
