import { setImmediate as nextTurn } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { FakeSocket } from '../../test/support/fake-socket.js';
import { testRooms } from '../../test/support/test-rooms.js';
import { Outbound } from './outbound.js';
import { textFrame } from './text-frame.js';

/** Status, metadata and replies are never dropped: a connection that does not take them is closed, in every mode. */
describe('what waits of status and replies for a connection that does not read', () => {
  function stalled(env: Record<string, string>) {
    const { context } = testRooms(env);
    const socket = new FakeSocket();
    socket.room = 0;
    const onSlow = jest.fn();
    const outbound = new Outbound(socket.asSocket(), context, { onSlow, onFailed: () => undefined });
    outbound.control(textFrame('the socket takes this one and no more'));
    outbound.flush();
    return { outbound, onSlow };
  }

  it('is bounded in number', async () => {
    const { outbound, onSlow } = stalled({ 'ws.controlQueueMaxMessages': '16' });
    for (let sent = 0; sent < 16; sent += 1) {
      outbound.control(textFrame('x'));
    }
    await nextTurn();
    expect(onSlow).not.toHaveBeenCalled();
    outbound.control(textFrame('x'));
    await nextTurn();
    expect(onSlow).toHaveBeenCalledTimes(1);
  });

  it('is bounded in bytes', async () => {
    const { outbound, onSlow } = stalled({ 'ws.controlQueueMaxBytes': '65536' });
    for (let sent = 0; sent < 6; sent += 1) {
      outbound.control(textFrame('x'.repeat(10_000)));
    }
    await nextTurn();
    expect(onSlow).not.toHaveBeenCalled();
    outbound.control(textFrame('x'.repeat(10_000)));
    await nextTurn();
    expect(onSlow).toHaveBeenCalledTimes(1);
  });
});
