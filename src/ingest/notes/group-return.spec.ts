import { jest } from '@jest/globals';
import { GroupReturn } from './group-return.js';

/** Notes at which markers pass when the test says so. */
class Notes {
  readonly asked: number[] = [];
  private answer: (passed: boolean) => void = () => undefined;

  passMarker(readers = 1): Promise<boolean> {
    this.asked.push(readers);
    return new Promise((resolve) => (this.answer = resolve));
  }

  async say(passed: boolean): Promise<void> {
    this.answer(passed);
    await jest.advanceTimersByTimeAsync(0);
  }
}

describe(GroupReturn.name, () => {
  let notes: Notes;
  let told: number;
  let group: GroupReturn;

  beforeEach(() => {
    jest.useFakeTimers();
    notes = new Notes();
    told = 0;
    group = new GroupReturn(notes, () => told++);
  });
  afterEach(() => jest.useRealTimers());

  it('waits for as many members as there were before', async () => {
    group.noteOthers(2);
    void group.ask(0, false);
    void group.ask(0, false);
    expect(notes.asked).toEqual([3]);
    await notes.say(false);
    expect(group.ready).toBe(false);
    void group.ask(0, false);
    await notes.say(true);
    expect(group.ready).toBe(true);
    expect(told).toBe(1);
    void group.barrier();
    expect(notes.asked).toEqual([3, 3, 3]);
  });

  it('lets others be read for who does not come back, and then waits for those that the store knows', async () => {
    group.noteOthers(2);
    void group.ask(0, false);
    await notes.say(false);
    expect(group.canAdopt).toBe(false);
    jest.advanceTimersByTime(3_000);
    expect(group.canAdopt).toBe(true);
    void group.ask(1, true);
    expect(notes.asked).toEqual([3]);
    jest.advanceTimersByTime(3_000);
    void group.ask(1, false);
    expect(notes.asked).toEqual([3, 2]);
    await notes.say(true);
    expect(group.ready).toBe(true);
  });

  it('waits for nobody for ever', async () => {
    group.noteOthers(2);
    void group.ask(2, false);
    await notes.say(false);
    jest.advanceTimersByTime(15_000);
    void group.ask(2, true);
    await notes.say(false);
    expect(group.ready).toBe(true);
    void group.barrier();
    expect(notes.asked.at(-1)).toBe(1);
  });

  // An instance that joined after the others' last look at the store was unknown to them. When Redis came back empty, they returned before what
  // the broker had queued for it was stored, and showed it again. Each asks the others by name now.
  it('waits for members that say so, though the store did not know them and has come back empty', async () => {
    group.noteOthers(1);
    group.away();
    ['b', 'c', 'b'].forEach((instance) => group.heard(instance));
    void group.ask(0, false);
    expect(notes.asked).toEqual([3]);
    await notes.say(true);
    expect(group.ready).toBe(true);
    group.away();
    group.reset();
    void group.ask(0, false);
    expect(notes.asked).toEqual([3, 2]);
  });

  it('tells 1 000 members apart', () => {
    Array.from({ length: 1_500 }, (_, number) => group.heard(String(number)));
    void group.ask(0, false);
    expect(notes.asked).toEqual([1_001]);
  });

  it('takes no answer from before a loss', async () => {
    void group.ask(0, false);
    group.reset();
    await notes.say(true);
    expect(group.ready).toBe(false);
    expect(told).toBe(0);
  });
});
