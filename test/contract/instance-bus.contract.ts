import { type InstanceBus, MAX_ASKS, MAX_MESSAGE_BYTES } from '../../src/instances/instance-bus.js';

/** How the suite gets instances that know each other. */
export interface BusFixture {
  /** At least one; where there are several, all know each other already. */
  buses: readonly InstanceBus[];
  stop(): Promise<void>;
}

/** A time that no answer of this machine needs. */
const LONG_MS = 20_000;

/** What every {@link InstanceBus} must hold; run for memory and for Redis. */
export function describeInstanceBus(name: string, create: () => Promise<BusFixture>): void {
  describe(`${name} as an InstanceBus`, () => {
    let fixture: BusFixture;
    let first: InstanceBus;
    let last: InstanceBus;
    let ids: string[];

    beforeAll(async () => {
      fixture = await create();
      first = fixture.buses[0]!;
      last = fixture.buses.at(-1)!;
      ids = fixture.buses.map(({ instanceId }) => instanceId);
    });

    afterAll(() => fixture.stop());

    /** Records what every instance is told, and gives a way to wait for it. */
    function record(kind: string) {
      const told = fixture.buses.map((): unknown[] => []);
      let check = (): void => undefined;
      fixture.buses.forEach((bus, at) =>
        bus.on(kind, (body, from) => {
          told[at]!.push([body, from]);
          check();
        }),
      );
      const until = (holds: () => boolean): Promise<void> =>
        new Promise((resolve) => {
          check = () => holds() && resolve();
          check();
        });
      return { told, until };
    }

    it('names instances apart', () => {
      expect(new Set(ids).size).toBe(ids.length);
      const { connected, instances } = first;
      expect({ connected, instances }).toEqual({ connected: true, instances: ids.length });
    });

    it('tells every instance once and in order, this one in the step of the call', async () => {
      const { told, until } = record('news');
      const said = Array.from({ length: 50 }, (_, n) => ({ n, text: 'ä\n"' }));
      const sent = said.map((body) => first.publish('news', body));
      expect(told[0]).toHaveLength(50);
      expect(await Promise.all(sent)).toEqual(said.map(() => true));
      await until(() => told.every((heard) => heard.length >= 50));
      told.forEach((heard) => expect(heard).toEqual(said.map((body) => [body, first.instanceId])));
    });

    it('tells one instance alone, and says when nobody has its name', async () => {
      const { told, until } = record('private');
      expect(await first.send(last.instanceId, 'private', 1)).toBe(true);
      expect(await first.send('nobody', 'private', 2)).toBe(false);
      await until(() => told.at(-1)!.length === 1);
      expect(told.flat()).toEqual([[1, first.instanceId]]);
    });

    it('gathers the answers of all instances, its own first', async () => {
      fixture.buses.forEach((bus, at) => bus.on('sum', (body) => Promise.resolve({ at, got: body })));
      const { answers, silent, reached } = await first.ask('sum', [1, null], LONG_MS);
      expect({ silent, reached }).toEqual({ silent: [], reached: true });
      expect(answers[0]).toEqual({ instance: ids[0], answer: { at: 0, got: [1, null] } });
      expect(answers.map(({ instance }) => instance).sort()).toEqual([...ids].sort());
    });

    it('names the instance that fails, has no handler, answers too much, or is slower than the question waits', async () => {
      const faults = [
        () => Promise.reject(new Error('a handler that fails, as this test wants it')),
        undefined,
        () => 'x'.repeat(MAX_MESSAGE_BYTES),
      ];
      for (const [at, fault] of faults.entries()) {
        const kind = `fault-${at}`;
        fixture.buses.slice(0, -1).forEach((bus) => bus.on(kind, () => 'well'));
        if (fault !== undefined) {
          last.on(kind, fault);
        }
        const { answers, silent } = await first.ask(kind, null, LONG_MS);
        expect(silent).toEqual([last.instanceId]);
        expect(answers).toHaveLength(ids.length - 1);
      }
      fixture.buses.slice(0, -1).forEach((bus) => bus.on('slow', () => 'well'));
      last.on('slow', () => new Promise(() => undefined));
      const { silent } = await first.ask('slow', null, 500);
      expect(silent).toContain(last.instanceId);
    });

    it('refuses what is too large, and more questions than may wait', async () => {
      const large = 'x'.repeat(MAX_MESSAGE_BYTES);
      for (const sent of [
        first.publish('news', large),
        first.send('a', 'news', large),
        first.ask('a', large, 1),
      ]) {
        await expect(sent).rejects.toThrow('bytes at most');
      }
      let answer = (_: unknown): void => undefined;
      const gate = new Promise((resolve) => (answer = resolve));
      fixture.buses.forEach((bus) => bus.on('gate', () => gate));
      const waiting = Array.from({ length: MAX_ASKS }, () => first.ask('gate', null, LONG_MS));
      await expect(first.ask('gate', null, LONG_MS)).rejects.toThrow('too many questions');
      answer('open');
      const all = await Promise.all(waiting);
      expect(all.every(({ silent }) => silent.length === 0)).toBe(true);
      // A machine that halts for a moment lets instances count as gone until they are heard of again.
      let answers = 0;
      while (answers < ids.length) {
        answers = (await first.ask('gate', null, LONG_MS)).answers.length;
      }
      expect(answers).toBe(ids.length);
    });

    it('has one handler per kind, until it is removed', async () => {
      const remove = first.on('once', () => 1);
      expect(() => first.on('once', () => 2)).toThrow('have a handler already');
      remove();
      first.on('once', () => 3);
      const { answers } = await first.ask('once', null, LONG_MS);
      expect(answers).toEqual([{ instance: first.instanceId, answer: 3 }]);
    });

    it('tells a listener at once that the others can be reached', async () => {
      await new Promise<void>((resolve) => void first.onConnected(resolve));
    });
  });
}
