import { contain, walled } from '../logging/walls.js';
import type { InboundMessage } from '../mqtt/inbound-message.js';

const LOOK_MS = 5;

/** Markers that came through a session: each has passed when everything that came before it is stored. */
export class PassingMarkers {
  private waiting: InboundMessage[] = [];
  private timer: NodeJS.Timeout | undefined;

  /**
   * @param oldestSequence of the messages of the session that are not stored; see IngestSession
   * @param passed called with the marker's name
   */
  constructor(
    private readonly oldestSequence: () => number,
    private readonly passed: (marker: string) => void,
  ) {}

  arrived(message: InboundMessage): void {
    this.waiting.push(message);
    this.timer ??= setInterval(
      walled('ingest', () => this.look()),
      LOOK_MS,
    );
    this.look();
  }

  stop(): void {
    clearInterval(this.timer);
    this.waiting = [];
  }

  private look(): void {
    const stored = this.oldestSequence();
    const passed = this.waiting.filter(({ sequence }) => sequence <= stored);
    this.waiting = this.waiting.filter(({ sequence }) => sequence > stored);
    if (this.waiting.length === 0) {
      clearInterval(this.timer);
      this.timer = undefined;
    }
    for (const message of passed) {
      try {
        message.finish('accepted');
        this.passed(message.deviceId);
      } catch (error) {
        contain('ingest', error); // the other markers have passed all the same
      }
    }
  }
}
