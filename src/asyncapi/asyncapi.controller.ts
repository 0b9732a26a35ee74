import { Controller, Get, Header } from '@nestjs/common';
import { readFileSync } from 'node:fs';

/** `/asyncapi.yaml`: the WebSocket protocol and the MQTT topics, machine-readable. */
@Controller()
export class AsyncApiController {
  private readonly document = readFileSync(new URL('./asyncapi.yaml', import.meta.url), 'utf8');

  @Get('asyncapi.yaml')
  @Header('Content-Type', 'application/yaml; charset=utf-8')
  @Header('Cache-Control', 'no-cache')
  @Header('X-Content-Type-Options', 'nosniff')
  read(): string {
    return this.document;
  }
}
