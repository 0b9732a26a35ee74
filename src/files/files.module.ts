import { Global, Module } from '@nestjs/common';
import { CertificateExpiry } from './certificates.js';
import { Reloads } from './reloads.js';

/** Files that change while the service runs. Needs ConfigModule and MetricsModule. */
@Global()
@Module({ providers: [Reloads, CertificateExpiry], exports: [Reloads] })
export class FilesModule {}
