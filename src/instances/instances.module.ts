import { type DynamicModule, Module, type Provider } from '@nestjs/common';
import { InstanceBus } from './instance-bus.js';
import { Traces } from './traces.js';

/** The bus that the composition root chose. */
@Module({})
export class InstancesModule {
  static withBus(bus: Provider<InstanceBus>): DynamicModule {
    return {
      module: InstancesModule,
      global: true,
      providers: [bus, Traces],
      exports: [InstanceBus, Traces],
    };
  }
}
