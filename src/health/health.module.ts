import { type DynamicModule, Module, type ModuleMetadata } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { EventLoopDelay } from './event-loop-delay.js';
import { HealthController } from './health.controller.js';
import { HEALTH_SOURCES, type HealthSources, Readiness } from './readiness.js';

interface HealthModuleOptions {
  imports: NonNullable<ModuleMetadata['imports']>;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tokens of any kind, as Nest's own factory providers take them
  inject: any[];
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- typed by the caller
  useFactory: (...injected: any[]) => HealthSources;
}

/** Liveness and readiness by Terminus; a failing readiness is not logged on every poll. */
@Module({})
export class HealthModule {
  static forRoot({ imports, inject, useFactory }: HealthModuleOptions): DynamicModule {
    return {
      module: HealthModule,
      imports: [TerminusModule.forRoot({ logger: false }), ...imports],
      controllers: [HealthController],
      providers: [{ provide: HEALTH_SOURCES, inject, useFactory }, Readiness, EventLoopDelay],
      exports: [Readiness],
    };
  }
}
