import type { ReplyRoute } from '../../mqtt/command-routes.js';
import { type Expectation, MAX_ENDED, PendingReplies } from './pending-replies.js';

/** Answers of all devices come on one topic, which does not say whose they are. */
const shared: ReplyRoute = {
  filter: 'gateway/+/rpc/#',
  deviceOf: () => null,
  match: '/head/0/a~1b',
  expected: (command) => (command === '' ? null : command),
};
/** The topic says which device answers. */
const own: ReplyRoute = {
  filter: 'plant/+/answer',
  deviceOf: (topic) => topic.split('/')[1] ?? '',
  match: '',
  expected: (command) => command,
};

describe(PendingReplies.name, () => {
  let counted: string[];
  let answers: string[];
  let pending: PendingReplies;
  beforeEach(() => {
    counted = [];
    answers = [];
    pending = new PendingReplies(
      () => 'sluice/replies',
      { replies: [shared, own] },
      {
        commandReplies: { inc: ({ outcome }: { outcome: string }) => void counted.push(outcome) } as never,
      },
    );
  });

  const expectation = (name: string, reply: ReplyRoute | null, deviceId = 'd'): Expectation => ({
    deviceId,
    correlation: name,
    reply,
    answered: (payload) => void answers.push(`${name} ${payload.toString()}`),
  });
  const reply = (topic: string, payload: string, correlation = ''): void => {
    const bytes = Buffer.from(payload);
    pending.reply(topic, correlation, bytes, 0, bytes.length);
  };

  it('finds a command by a pointer into the answer, on a topic that names no device', () => {
    pending.expect(expectation('one', shared), '5');
    reply('gateway/x/rpc/y/z', '{"head":[{"a/b":6}]}');
    reply('gateway/x/other', '{"head":[{"a/b":5}]}');
    reply('gateway/x', '{"head":[{"a/b":5}]}');
    reply('gateway/x/rpc', '{"head":[{"a/b":5}]}');
    expect(answers).toEqual(['one {"head":[{"a/b":5}]}']);
    expect(counted).toEqual(['unasked', 'unasked', 'unasked', 'replied']);
  });

  it('lets no topic that names a device answer for all, and the other way round', () => {
    pending.expect(expectation('one', own, 'a'), '5');
    for (const topic of ['plant//answer', 'plant/b/answer', 'plant/0/answer', 'plant/a/b/answer']) {
      reply(topic, '5');
    }
    expect(answers).toEqual([]);
    reply('plant/a/answer', '5');
    expect(answers).toEqual(['one 5']);
  });

  it('copies what it hands on: the bytes are a chunk of the network', () => {
    const payloads: Buffer[] = [];
    pending.expect({ ...expectation('one', null), answered: (payload) => void payloads.push(payload) }, '');
    const chunk = Buffer.from('xx "done" xx');
    pending.reply('sluice/replies', 'one', chunk, 2, 10);
    chunk.fill(0);
    expect(payloads.map(String)).toEqual(['"done"']);
  });

  it('keeps nothing of ended waits but a bounded number of names, by which it knows late answers', () => {
    for (let n = 0; n < 3 * MAX_ENDED; n += 1) {
      const end = pending.expect(expectation(`c${n}`, own), String(n));
      end();
      end();
    }
    expect(pending.size).toBe(0);
    expect((pending as unknown as { byPlace: Map<string, unknown> }).byPlace.size).toBe(0);
    expect((pending as unknown as { ended: Set<string> }).ended.size).toBe(MAX_ENDED);
    reply('sluice/replies', '1', `c${3 * MAX_ENDED - 1}`);
    reply('sluice/replies', '1', 'c0');
    expect(counted).toEqual(['late', 'unasked']);
  });
});
