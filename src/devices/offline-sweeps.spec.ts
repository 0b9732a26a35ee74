import { OfflineSweeps } from './offline-sweeps.js';

const DEVICES = Array.from({ length: 12_000 }, (_, n) => `d${n}`);

describe(OfflineSweeps.name, () => {
  let lists: number;
  let set: string[];
  let sweeps: OfflineSweeps;

  beforeEach(() => {
    [lists, set] = [0, []];
    const rooms = {
      watchDevices: () => {
        lists += 1;
        return Promise.resolve(DEVICES);
      },
    };
    sweeps = new OfflineSweeps(rooms, { maxDevices: 100 });
  });

  const sweep = (by: string) => ({
    meant: () => true,
    set: (deviceId: string) => {
      set.push(`${by} ${deviceId}`);
      return Promise.resolve();
    },
  });
  const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

  // One message of a gateway set the status of a whole fleet in one turn, and each further one read the list of all devices beside the others.
  it('go through a fleet in many turns of the event loop', async () => {
    let isDone = false;
    const done = sweeps.add('a', sweep('1')).then(() => (isDone = true));
    let most = 0;
    while (!isDone) {
      const before = set.length;
      await turn();
      most = Math.max(most, set.length - before);
    }
    await done;
    expect(set.length).toBe(DEVICES.length);
    expect(most).toBeLessThanOrEqual(1_024);
  });

  it('come one after the other; of those that wait for the same devices only the newest is done', async () => {
    const all = ['1', '2', '3', '4'].map((by) => sweeps.add('a', sweep(by)));
    const other = sweeps.add('b', sweep('5'));
    expect(sweeps.size).toBe(2);
    await Promise.all([...all, other]);
    expect([lists, set.length]).toEqual([2, 2 * DEVICES.length]);
    expect(new Set(set.map((one) => one[0]))).toEqual(new Set(['4', '5']));
  });

  it('leave a device as it has said since', async () => {
    const first = sweeps.add('a', sweep('1'));
    await turn();
    sweeps.saidItself('d11999');
    const second = sweeps.add('a', sweep('2'));
    await Promise.all([first, second]);
    expect([set.includes('1 d11999'), set.includes('2 d11999')]).toEqual([false, true]);
  });

  it('end with the error of one of them, and the next goes on', async () => {
    const failed = sweeps.add('a', { ...sweep('1'), set: () => Promise.reject(new Error('lost')) });
    const next = sweeps.add('b', sweep('2'));
    await expect(failed).rejects.toThrow('lost');
    await next;
    expect(set.length).toBe(DEVICES.length);
  });
});
