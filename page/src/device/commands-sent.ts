import { type SluiceClient, SluiceError, type SluiceErrorCode } from '../../../client/src/index.js';
import { Store } from '../core/store.js';

/** Commands remembered while the page is open. */
const MAX_SENT = 100;
/** How long a device may take to answer. */
const REPLY_MS = 10_000;

/** What became of a command, as far as is known. */
export type Outcome =
  | { readonly name: 'sending' }
  | { readonly name: 'sent'; readonly delivered: boolean | undefined; readonly isWaiting: boolean }
  | { readonly name: 'replied'; readonly payload: unknown }
  | { readonly name: 'silent'; readonly delivered: boolean | undefined }
  | { readonly name: 'failed'; readonly code: SluiceErrorCode };

export interface Sent {
  readonly number: number;
  readonly deviceId: string;
  readonly text: string;
  /** Unix ms of ours. */
  readonly at: number;
  readonly outcome: Outcome;
}

/** Commands of this page, each sent once, and what became of them. */
export class CommandsSent extends Store {
  private list: Sent[] = [];
  private count = 0;

  of(deviceId: string): readonly Sent[] {
    return this.list.filter((sent) => sent.deviceId === deviceId);
  }

  /**
   * Sends a command, then waits for the device's answer. The key makes the second request the same command: it is not sent again.
   * @param text JSON, which reaches the device as it is
   */
  async send(client: SluiceClient, deviceId: string, text: string): Promise<void> {
    this.count += 1;
    const number = this.count;
    this.list = [
      { number, deviceId, text, at: Date.now(), outcome: { name: 'sending' } as const },
      ...this.list,
    ].slice(0, MAX_SENT);
    this.changed();
    const key = crypto.getRandomValues(new Uint32Array(4)).join('-');
    const command = { raw: text };
    let delivered: boolean | undefined;
    try {
      let isKeyed = true;
      try {
        ({ delivered } = await client.command(deviceId, command, { key }));
      } catch (error) {
        // Whether a key was used cannot be known now: nothing was sent, and without a key it can be.
        if (!(error instanceof SluiceError) || error.code !== 'keys_unavailable') {
          throw error;
        }
        isKeyed = false;
        ({ delivered } = await client.command(deviceId, command));
      }
      const isWaiting = isKeyed && delivered !== false;
      this.became(number, { name: 'sent', delivered, isWaiting });
      if (isWaiting) {
        await this.awaitReply(client, number, deviceId, command, key, delivered);
      }
    } catch (error) {
      this.became(number, { name: 'failed', code: error instanceof SluiceError ? error.code : 'internal' });
    }
  }

  private async awaitReply(
    client: SluiceClient,
    number: number,
    deviceId: string,
    command: object,
    key: string,
    delivered: boolean | undefined,
  ): Promise<void> {
    try {
      const { result } = await client.command(deviceId, command, { key, waitMs: REPLY_MS });
      this.became(
        number,
        result?.outcome === 'replied'
          ? { name: 'replied', payload: result.payload }
          : { name: 'silent', delivered },
      );
    } catch {
      // It was sent; only the answer is not known.
      this.became(number, { name: 'silent', delivered });
    }
  }

  private became(number: number, outcome: Outcome): void {
    this.list = this.list.map((sent) => (sent.number === number ? { ...sent, outcome } : sent));
    this.changed();
  }
}
