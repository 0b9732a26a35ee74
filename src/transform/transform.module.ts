import { Module } from '@nestjs/common';
import { Transformer } from './transformer.js';

/** The operator's transformation of payloads and units. */
@Module({ providers: [Transformer], exports: [Transformer] })
export class TransformModule {}
