import { type DynamicModule, type FactoryProvider, Module, type Provider } from '@nestjs/common';
import { DeliveryModule } from '../delivery/delivery.module.js';
import { BroadcastAdapter } from './broadcast-adapter.js';
import { RoomsService } from './rooms.service.js';

type ClassTokens = readonly (FactoryProvider & { provide: abstract new () => object })[];

/** Rooms over the adapter that the composition root chose. */
@Module({})
export class RoomsModule {
  /**
   * @param adapter provider of {@link BroadcastAdapter}
   * @param shared providers of SharedStore and IngestLease, if instances share a store
   */
  static withAdapter(adapter: Provider<BroadcastAdapter>, shared: ClassTokens = []): DynamicModule {
    return {
      module: RoomsModule,
      global: true,
      imports: [DeliveryModule],
      providers: [adapter, ...shared, RoomsService],
      exports: [RoomsService, BroadcastAdapter, ...shared.map(({ provide }) => provide)],
    };
  }
}
