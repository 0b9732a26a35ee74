import { once } from 'node:events';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Signer } from './tokens.js';

export type Answer = (response: ServerResponse, request: IncomingMessage) => void;

/** One entry of a JWKS. */
export const jwk = (signer: Signer, members: object = {}): object => ({
  ...signer.publicKey?.export({ format: 'jwk' }),
  ...members,
});

export const keysAnswer =
  (...keys: object[]): Answer =>
  (response) => {
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys }));
  };

/** A real HTTP server on loopback that can answer badly, late or not at all, go away and come back on its port. */
export class JwksServer {
  private server: Server | undefined;
  private port = 0;
  requests = 0;

  constructor(public answer: Answer) {}

  get url(): string {
    return `http://127.0.0.1:${this.port}/jwks.json`;
  }

  async start(): Promise<void> {
    this.server = createServer((request, response) => {
      this.requests++;
      this.answer(response, request);
    }).listen(this.port, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = (this.server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const { server } = this;
    this.server = undefined;
    if (server !== undefined) {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    }
  }
}
