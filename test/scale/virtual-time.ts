/** Events in order of their time, which passes only from one to the next. What the promises of an event do is done before the next one. */
export class VirtualTime {
  now = 0;
  private readonly heap: { readonly at: number; readonly order: number; readonly run: () => void }[] = [];
  private order = 0;

  /** @param at ms; what is past happens now */
  at(at: number, run: () => void): void {
    const { heap } = this;
    const event = { at: Math.max(at, this.now), order: this.order++, run };
    let index = heap.push(event) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (isBefore(heap[parent]!, event)) {
        break;
      }
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = event;
  }

  after(ms: number, run: () => void): void {
    this.at(this.now + ms, run);
  }

  /**
   * @param done looked at after each event
   * @param turns of promises that an event may need
   * @param immediates whether an event may have set one
   */
  async run(done: () => boolean, turns = 8, immediates = false): Promise<void> {
    for (let event = this.next(); event !== undefined && !done(); event = this.next()) {
      this.now = event.at;
      event.run();
      for (let turn = 0; turn < turns; turn += 1) {
        await Promise.resolve();
      }
      if (immediates) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  private next(): { readonly at: number; readonly run: () => void } | undefined {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || first === last) {
      return first;
    }
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      const right = left + 1;
      const child = right < heap.length && isBefore(heap[right]!, heap[left]!) ? right : left;
      if (child >= heap.length || isBefore(last, heap[child]!)) {
        break;
      }
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

const isBefore = (
  one: { readonly at: number; readonly order: number },
  other: { readonly at: number; readonly order: number },
): boolean => one.at < other.at || (one.at === other.at && one.order < other.order);
