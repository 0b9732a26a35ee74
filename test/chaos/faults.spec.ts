import { TEST_TIMEOUT_MS } from './form.js';
import { noFault } from './faults/no-fault.js';

describe('one instance', () => {
  it(
    'delivers every publication once and in order',
    () => noFault('one instance, no fault', { instances: 1, redis: 'none' }),
    TEST_TIMEOUT_MS,
  );
});
