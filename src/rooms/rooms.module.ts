import { type DynamicModule, Module, type Provider } from '@nestjs/common';
import { DeliveryModule } from '../delivery/delivery.module.js';
import { BroadcastAdapter } from './broadcast-adapter.js';
import { RoomsService } from './rooms.service.js';

/** Rooms over the adapter that the composition root chose. */
@Module({})
export class RoomsModule {
  /** @param adapter provider of {@link BroadcastAdapter} */
  static withAdapter(adapter: Provider<BroadcastAdapter>): DynamicModule {
    return {
      module: RoomsModule,
      global: true,
      imports: [DeliveryModule],
      providers: [adapter, RoomsService],
      exports: [RoomsService, BroadcastAdapter],
    };
  }
}
