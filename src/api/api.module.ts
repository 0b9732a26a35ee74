import { type DynamicModule, Module, type ModuleMetadata } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { ApiDocument } from './api-document.js';
import { API_OPERATIONS, ApiServer, type ApiOperations } from './api-server.js';
import { ApiTokens } from './api-tokens.js';
import { CommandsApi } from './commands-api.js';
import { ConnectionsApi } from './connections-api.js';
import { DevicesApi } from './devices-api.js';
import { InstancesApi } from './instances-api.js';
import { RevocationsApi } from './revocations-api.js';
import { TopApi } from './top-api.js';

const AREAS = [DevicesApi, CommandsApi, ConnectionsApi, RevocationsApi, InstancesApi, TopApi];

/** The server API. Each instance answers the others' questions, whether it has a token of its own or not. */
@Module({})
export class ApiModule {
  /** @param gateway the module of the connections */
  static beside(gateway: NonNullable<ModuleMetadata['imports']>[number]): DynamicModule {
    return {
      module: ApiModule,
      imports: [AuthModule, gateway],
      providers: [
        ApiDocument,
        ApiTokens,
        ...AREAS,
        {
          provide: API_OPERATIONS,
          inject: AREAS,
          useFactory: (...areas: { operations: ApiOperations }[]) =>
            areas.map(({ operations }) => operations),
        },
        ApiServer,
      ],
      exports: [ApiServer],
    };
  }
}
