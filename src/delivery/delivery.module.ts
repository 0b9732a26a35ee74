import { Global, Logger, Module } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Metrics } from '../metrics/metrics.js';
import { DeliveryContext } from './delivery-context.js';
import { canWriteDirectly, warnOfStreams } from './direct-write.js';

/** What connections and rooms share to deliver: one {@link DeliveryContext} per application. */
@Global()
@Module({
  providers: [
    {
      provide: DeliveryContext,
      inject: [CONFIG, Metrics],
      useFactory: (config: Config, metrics: Metrics) => {
        warnOfStreams(config.ws.writes, canWriteDirectly, new Logger(DeliveryContext.name));
        return new DeliveryContext(config.ws, metrics);
      },
    },
  ],
  exports: [DeliveryContext],
})
export class DeliveryModule {}
