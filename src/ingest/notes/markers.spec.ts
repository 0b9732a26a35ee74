import type { InboundMessage } from '../../mqtt/topic-router.js';
import { Markers } from './markers.js';
import type { HolderNote } from './notes.js';

const SOON_MS = 5;
const LATE_MS = 20_000;

describe(Markers.name, () => {
  let session: { up: boolean; unacknowledged: number; oldestSequence: number };
  let sent: string[];
  let told: HolderNote[];
  let warnings: number;
  let notes: ConstructorParameters<typeof Markers>[0] & { connectionNumber: number };
  let markers: Markers;

  /** The marker comes through the session, as its message of this number. */
  const comes = (marker: string | undefined, sequence: number): void =>
    markers.route.handle({
      deviceId: marker,
      sequence,
      finish: () => undefined,
    } as unknown as InboundMessage);
  /** The last marker to catch up: those of the backlog are sent every second. */
  const own = (): string | undefined => sent.filter((name) => !name.includes('-at-')).at(-1);

  beforeEach(() => {
    session = { up: true, unacknowledged: 1, oldestSequence: 10 };
    [sent, told, warnings] = [[], [], 0];
    notes = {
      connectionNumber: 1,
      markerFilter: 'n/ingest/+/marker',
      sendMarker: (marker) => sent.push(marker),
      tell: (note) => told.push(note),
      warnOfRights: () => (warnings += 1),
    };
    markers = new Markers(notes, () => session, 'r', 3);
  });
  afterEach(() => markers.stop());

  it('has passed when all that came before it is stored', async () => {
    const passed = markers.pass(LATE_MS);
    comes(own(), 12);
    session.oldestSequence = 11;
    expect(await Promise.race([passed, new Promise((resolve) => setTimeout(resolve, 3 * SOON_MS))])).toBe(
      undefined,
    );
    session.oldestSequence = 12;
    expect(await passed).toBe(true);
  });

  // Each marker that came looked at all that wait: a flood of them, while Redis is slow, held up everybody.
  it('is looked at with all others once in a while where there are many', async () => {
    let looks = 0;
    const counted = {
      ...session,
      get oldestSequence() {
        looks += 1;
        return 0;
      },
    };
    const many = new Markers(notes, () => counted, 'r');
    for (let n = 1; n <= 1_000; n += 1) {
      many.route.handle({
        deviceId: 'theirs',
        sequence: n,
        finish: () => undefined,
      } as unknown as InboundMessage);
    }
    many.stop();
    expect(looks).toBeLessThan(100);
  });

  it('gives up after the timeout', async () => {
    expect(await markers.pass(SOON_MS)).toBe(false);
  });

  it('tells the other instances of theirs, with its own number in the group', () => {
    comes('theirs', 1);
    expect(told).toEqual([{ event: 'passed', marker: 'theirs', member: 3 }]);
    comes('own-of-another', 1);
    expect(told).toHaveLength(1);
  });

  // A marker was sent anew every 2 s and only the last one counted: behind a queue of more than that nobody ever caught up.
  it('catches up with the marker it has sent, however long the queue before it takes', async () => {
    const caughtUp = markers.catchUp(SOON_MS);
    const marker = own();
    await new Promise((resolve) => setTimeout(resolve, 4 * SOON_MS));
    expect(own()).toBe(marker);
    comes(marker, 1);
    expect([await caughtUp, warnings]).toEqual([true, 0]);
  });

  it('takes a broker that has nothing more for this reader as one that keeps markers back', async () => {
    session.unacknowledged = 0;
    expect([await markers.catchUp(SOON_MS), warnings]).toEqual([true, 1]);
  });

  it('sends the marker again when the notes are on another connection', async () => {
    notes.connectionNumber = 0;
    const caughtUp = markers.catchUp(SOON_MS);
    expect(own()).toBeUndefined();
    notes.connectionNumber = 2;
    while (own() === undefined) {
      await new Promise((resolve) => setTimeout(resolve, SOON_MS));
    }
    comes(own(), 1);
    expect(await caughtUp).toBe(true);
  });

  it('has not caught up with what came in after the session was down', async () => {
    const before = markers.catchUp(LATE_MS);
    const marker = own();
    const after = markers.catchUp(LATE_MS);
    comes(marker, 1);
    expect(await before).toBe(false);
    comes(own(), 2);
    expect(await after).toBe(true);
  });
});
