import { type Deadline, DeadlineQueue } from './deadlines.js';

class Entry implements Deadline<Entry> {
  dueAt = 0;
  nextDue: Entry | null = null;
  previousDue: Entry | null = null;
  constructor(readonly name: string) {}
}

describe(DeadlineQueue.name, () => {
  it('gives entries back in order, each when its time has come', () => {
    const queue = new DeadlineQueue<Entry>(100);
    queue.add(new Entry('a'), 0);
    queue.add(new Entry('b'), 10);
    expect(queue.takeDue(99)).toBeNull();
    expect(queue.takeDue(109)?.name).toBe('a');
    expect(queue.takeDue(109)).toBeNull();
    expect(queue.takeDue(110)?.name).toBe('b');
    expect(queue.size).toBe(0);
  });

  it('lets entries leave from every place and come back at the end', () => {
    const queue = new DeadlineQueue<Entry>(100);
    const entries = ['a', 'b', 'c', 'd'].map((name) => new Entry(name));
    entries.forEach((entry) => queue.add(entry, 0));
    const [a, b, , d] = entries as [Entry, Entry, Entry, Entry];
    queue.remove(b);
    queue.remove(a);
    queue.remove(d);
    queue.add(a, 5);
    expect(queue.size).toBe(2);
    expect([queue.takeDue(200)?.name, queue.takeDue(200)?.name, queue.takeDue(200)]).toEqual([
      'c',
      'a',
      null,
    ]);
  });
});
