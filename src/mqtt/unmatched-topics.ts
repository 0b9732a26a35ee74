/** Topics that are kept, and how much of each. */
const MAX_TOPICS = 20;
const MAX_LENGTH = 256;

export interface UnmatchedTopic {
  readonly topic: string;
  /** Unix ms at which it was looked up last; one that is remembered is not looked up again. */
  readonly seenAt: number;
}

/** The last topics that no route takes, for whoever asks why nothing shows. */
export class UnmatchedTopics {
  private readonly topics = new Map<string, number>();

  note(topic: string): void {
    const text = topic.length > MAX_LENGTH ? `${topic.slice(0, MAX_LENGTH)}…` : topic;
    this.topics.delete(text);
    if (this.topics.size >= MAX_TOPICS) {
      for (const oldest of this.topics.keys()) {
        this.topics.delete(oldest);
        break;
      }
    }
    this.topics.set(text, Date.now());
  }

  /** The newest first. */
  get list(): UnmatchedTopic[] {
    return [...this.topics].map(([topic, seenAt]) => ({ topic, seenAt })).reverse();
  }
}
