import { DeviceMessages } from './device-messages.js';
import { Interests } from './interests.js';
import type { ServerMessage, Telemetry } from './messages.js';
import { Positions } from './positions.js';

describe(DeviceMessages.name, () => {
  let heard: string[];
  let interests: Interests;
  let positions: Positions;
  let messages: DeviceMessages;

  beforeEach(() => {
    heard = [];
    interests = new Interests();
    positions = new Positions();
    messages = new DeviceMessages(interests, positions, {
      telemetry: ({ deviceId, offset }) => heard.push(`${deviceId} ${offset}`),
      status: ({ deviceId, isOnline }) => heard.push(`${deviceId} online ${isOnline}`),
      meta: ({ deviceId }) => heard.push(`${deviceId} meta`),
      snapshot: ({ deviceId, telemetry }) => heard.push(`${deviceId} snapshot ${telemetry?.offset}`),
      reset: (deviceId) => heard.push(`${deviceId} reset`),
      withdrawn: (deviceIds, pattern) => heard.push(`withdrawn ${deviceIds.join()} ${pattern}`),
      resume: (deviceId) => heard.push(`${deviceId} resume`),
    });
  });

  const publication = (deviceId: string, epoch: string, offset: number, skipped?: number): Telemetry => ({
    type: 'telemetry',
    ...{ deviceId, epoch, offset, payload: 1, meta: null, serverTs: 1 },
    ...(skipped !== undefined && { skipped }),
  });
  const subscribed = (
    deviceId: string,
    epoch: string,
    offset: number,
    { pattern, ...more }: { recovered?: boolean; pattern?: string } = {},
  ): ServerMessage => ({
    type: 'subscribed',
    rooms: [{ deviceId, epoch, offset, ...more }],
    denied: [],
    ...(pattern !== undefined && { pattern }),
  });
  const snapshot = (deviceId: string, epoch: string, offset: number): ServerMessage => ({
    type: 'snapshot',
    devices: [{ deviceId, telemetry: publication(deviceId, epoch, offset) }],
  });
  const take = (...all: ServerMessage[]): void => all.forEach((message) => messages.take(message));

  it('hands on each publication once, and counts what was skipped', () => {
    interests.add(['a'], undefined);
    take(
      subscribed('a', 'e', 4),
      snapshot('a', 'e', 4),
      publication('a', 'e', 5),
      publication('a', 'e', 5),
      publication('a', 'e', 4),
      publication('a', 'e', 9, 3),
    );
    expect(heard).toEqual(['a snapshot 4', 'a 5', 'a 9']);
  });

  it('asks for what is missing, once, and hands nothing on until it is there', () => {
    interests.add(['a'], undefined);
    take(subscribed('a', 'e', 4), snapshot('a', 'e', 4), publication('a', 'e', 6), publication('a', 'e', 7));
    expect([heard, positions.get('a')]).toEqual([['a snapshot 4', 'a resume'], { epoch: 'e', offset: 4 }]);
    take(
      subscribed('a', 'e', 7, { recovered: true }),
      ...[5, 6, 7, 8].map((offset) => publication('a', 'e', offset)),
    );
    expect(heard).toEqual(['a snapshot 4', 'a resume', 'a 5', 'a 6', 'a 7', 'a 8']);
  });

  it('goes on where it is when what is missing cannot be had', () => {
    interests.add(['a'], undefined);
    take(subscribed('a', 'e', 4), snapshot('a', 'e', 4), publication('a', 'e', 6));
    messages.resumeFailed('a');
    take(publication('a', 'e', 8));
    expect(heard).toEqual(['a snapshot 4', 'a resume', 'a reset', 'a 8']);
  });

  it('resumes from what was shown, and not from where a device was only said to stand', () => {
    interests.add(['a'], undefined);
    take(subscribed('a', 'e', 4));
    expect(positions.get('a')).toBeUndefined();
    take(snapshot('a', 'e', 6));
    expect([positions.get('a'), heard]).toEqual([{ epoch: 'e', offset: 6 }, ['a snapshot 6']]);
    take(snapshot('a', 'e', 9));
    expect(heard).toEqual(['a snapshot 6', 'a reset', 'a snapshot 9']);
  });

  it('goes on where a recovered device stood, and says where something may be missing', () => {
    interests.add(['a', 'b', 'c'], undefined);
    take(...['a', 'b', 'c'].flatMap((id) => [subscribed(id, 'e', 1), snapshot(id, 'e', 1)]));
    heard = [];
    take(
      subscribed('a', 'e', 3, { recovered: true }),
      subscribed('b', 'f', 7, { recovered: false }),
      snapshot('b', 'f', 7),
      snapshot('c', 'g', 0),
      publication('a', 'e', 2),
      publication('b', 'f', 8),
      publication('c', 'g', 1),
    );
    expect(heard).toEqual(['b reset', 'b snapshot 7', 'c reset', 'c snapshot 0', 'a 2', 'b 8', 'c 1']);
  });

  it('lets devices that are watched already go on when a pattern names them', () => {
    interests.add(['p.a'], undefined);
    interests.addPattern('p.*', undefined);
    take(
      subscribed('p.a', 'e', 4),
      subscribed('p.a', 'e', 6, { pattern: 'p.*' }),
      publication('p.a', 'e', 5),
      subscribed('p.b', 'e', 2, { pattern: 'p.*' }),
      publication('p.b', 'e', 3),
    );
    expect(heard).toEqual(['p.a 5', 'p.b 3']);
  });

  it('forgets what is not wanted any more', () => {
    interests.add(['a', 'b'], undefined);
    interests.addPattern('p.*', undefined);
    take(subscribed('a', 'e', 1), subscribed('b', 'e', 1), subscribed('p.a', 'e', 1, { pattern: 'p.*' }));
    interests.remove(['a']);
    take(
      publication('a', 'e', 2),
      { type: 'unsubscribed', id: 1, deviceIds: ['a'] },
      { type: 'unsubscribed', deviceIds: ['b'] },
      { type: 'unsubscribed', pattern: 'p.*', deviceIds: [] },
    );
    expect(heard).toEqual(['withdrawn b undefined', 'withdrawn  p.*']);
    expect(['a', 'b', 'p.a'].map((id) => positions.get(id))).toEqual([undefined, undefined, undefined]);
    expect(interests.restore(positions)).toEqual([[], [], []]);
  });

  it('hands on status and metadata', () => {
    take(
      { type: 'device_status', deviceId: 'a', isOnline: true, lastSeen: 1, serverTs: 1 },
      { type: 'device_meta', deviceId: 'a', meta: null, serverTs: 1 },
    );
    expect(heard).toEqual(['a online true', 'a meta']);
  });
});
