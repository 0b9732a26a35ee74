import type { INestApplication } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import type { MessageMappingProperties } from '@nestjs/websockets';
import type { IncomingMessage, Server } from 'node:http';
import type { WebSocketServer } from 'ws';
import { walled } from '../logging/walls.js';
import { Admission } from './door/admission.js';
import { Connection, type Handler } from './socket/connection.js';
import { Door } from './door/door.js';
import { FirstWrites } from './door/crowd.js';
import { InboundDispatcher } from './messages/inbound-dispatcher.js';
import { ConnectionCloser } from './drain.service.js';
import { UpgradeHandler } from './door/upgrade-handler.js';

/**
 * Nest's ws adapter with our own path for incoming messages. Nest creates the gateway's handlers with guards and filters; what its adapter
 * cannot do is done before and around them: admission and the token before the upgrade, an answer to every bad frame, bounds on the
 * messages in work, close codes at the end.
 *
 * Nest's handlers are bound when a connection sends something and dropped when all is answered: bound permanently they would cost each idle
 * connection a kilobyte. A gateway's handleConnection and handleDisconnect are therefore not called; ConnectionLifecycle is.
 */
export class SluiceWsAdapter extends WsAdapter {
  private readonly http: Server;
  private readonly door: Door;
  private readonly upgrades: UpgradeHandler;
  private readonly dispatcher: InboundDispatcher;
  private readonly closer: ConnectionCloser;
  private readonly admission: Admission;
  private readonly firstWrites = new FirstWrites();

  constructor(app: INestApplication) {
    super(app);
    this.http = app.getHttpServer() as Server;
    this.door = app.get(Door);
    this.upgrades = app.get(UpgradeHandler);
    this.dispatcher = app.get(InboundDispatcher);
    this.closer = app.get(ConnectionCloser);
    this.admission = app.get(Admission);
  }

  override create(): WebSocketServer {
    this.door.watch(this.http);
    this.http.on('upgrade', this.upgrades.handle);
    this.upgrades.server.on(
      'headers',
      walled('upgrade', (_headers: string[], { socket }: IncomingMessage) => this.firstWrites.hold(socket)),
    );
    return this.upgrades.server;
  }

  override bindClientConnect(_server: unknown, bind: (connection: Connection) => void): void {
    this.dispatcher.bindWith(bind);
  }

  override bindClientDisconnect(): void {
    // The connection tells ConnectionLifecycle itself.
  }

  override bindMessageHandlers(client: unknown, handlers: MessageMappingProperties[]): void {
    if (client instanceof Connection && client.inbound !== null) {
      client.inbound.handlers = new Map(
        handlers.map(({ message, callback }): [string, Handler] => [String(message), callback as Handler]),
      );
    }
  }

  override async close(server: WebSocketServer): Promise<void> {
    this.http.off('upgrade', this.upgrades.handle);
    this.admission.drain();
    await this.closer.closeAll();
    await new Promise((resolve) => server.close(resolve));
    this.door.close();
  }

  override async dispose(): Promise<void> {
    // Nothing of the parent is used.
  }
}
