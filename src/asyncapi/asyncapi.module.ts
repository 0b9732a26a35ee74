import { Module } from '@nestjs/common';
import { AsyncApiController } from './asyncapi.controller.js';

/** The protocol as a document. */
@Module({ controllers: [AsyncApiController] })
export class AsyncApiModule {}
