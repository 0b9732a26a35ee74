import { Global, Module } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Metrics } from '../metrics/metrics.js';
import { DeliveryContext } from './delivery-context.js';

/** What connections and rooms share to deliver: one {@link DeliveryContext} per application. */
@Global()
@Module({
  providers: [
    {
      provide: DeliveryContext,
      inject: [CONFIG, Metrics],
      useFactory: (config: Config, metrics: Metrics) => new DeliveryContext(config.ws, metrics),
    },
  ],
  exports: [DeliveryContext],
})
export class DeliveryModule {}
