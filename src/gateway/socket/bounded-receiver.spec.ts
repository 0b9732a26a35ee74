import * as ws from 'ws';
import { turn } from '../../../test/support/event-loop.js';
import { clientFrame } from '../../../test/gateway/raw-upgrade.js';
import {
  BYTES_PER_TURN,
  type FrameOwner,
  type WsReceiverClass,
  boundedReceiver,
} from './bounded-receiver.js';

const BoundedReceiver = boundedReceiver((ws as unknown as { Receiver: WsReceiverClass }).Receiver);
const PONG = clientFrame(10, '');
const FLOOD = Buffer.concat(Array.from({ length: 10_922 }, () => PONG));

function parser(owner: Partial<FrameOwner> = {}) {
  const receiver = new BoundedReceiver({ isServer: true, maxPayload: 65_536 });
  receiver.frameOwner = { takes: () => true, onFragment: () => undefined, ...owner };
  return receiver;
}

describe('ws parser with bounds', () => {
  // It parsed all of a chunk of 64 KiB, and up to 32 of them, in one turn: eight connections that sent pongs, without a token, kept all others
  // waiting for seconds. A turn has a bound of bytes now.
  it('parses some KiB of a flood in one turn of the event loop, and all of it in the turns that follow', async () => {
    const receiver = parser();
    let pongs = 0;
    receiver.on('pong', () => (pongs += 1));
    const isReady = receiver.write(FLOOD);
    expect(isReady).toBe(false); // ws stops reading from the socket
    const most = Math.ceil(BYTES_PER_TURN / PONG.length);
    expect(pongs).toBeLessThanOrEqual(most);
    while (pongs < 10_922) {
      const before = pongs;
      await turn();
      expect(pongs - before).toBeLessThanOrEqual(most);
    }
    await turn();
    expect(receiver.writableNeedDrain).toBe(false);
  });

  it('drops the rest of a flood when its connection has become deaf', async () => {
    let pongs = 0;
    const receiver = parser({ takes: () => pongs === 0 });
    receiver.on('pong', () => (pongs += 1));
    receiver.write(FLOOD);
    await turn();
    await turn();
    expect(pongs).toBeLessThanOrEqual(Math.ceil(BYTES_PER_TURN / PONG.length));
    expect(receiver.writableLength).toBe(0);
  });

  it('tells of every part of a message that is not its end', () => {
    let parts = 0;
    const receiver = parser({ onFragment: () => (parts += 1) });
    receiver.on('message', () => undefined);
    receiver.write(clientFrame(1, 'whole'));
    receiver.write(clientFrame(1, 'a', { fin: false }));
    receiver.write(clientFrame(0, '', { fin: false }));
    receiver.write(clientFrame(0, 'b'));
    expect(parts).toBe(2);
  });

  // Each byte that came alone was kept as a buffer of its own: a frame of 64 KiB held 20 MiB. Pieces are joined now.
  it('keeps a frame that comes byte by byte in a few pieces, and hands it on whole', () => {
    const receiver = parser();
    const messages: string[] = [];
    receiver.on('message', (data: Buffer) => messages.push(data.toString()));
    const frame = clientFrame(1, 'x'.repeat(5_000));
    for (const byte of frame) {
      receiver.write(Buffer.from([byte]));
      expect(receiver._buffers.length).toBeLessThanOrEqual(65);
    }
    expect(messages).toEqual(['x'.repeat(5_000)]);
  });
});
