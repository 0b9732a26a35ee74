import { randomBytes } from 'node:crypto';

const BYTES = 9;
const LETTERS = 12;
/** Names drawn ahead: the system's random numbers cost as much as the rest of a small call. */
const NAMES = 512;

/** Names that no generation of a partition had before. */
export class GenerationNames {
  private letters = '';
  private at = 0;

  next(): string {
    if (this.at >= this.letters.length) {
      this.letters = randomBytes(BYTES * NAMES).toString('base64url');
      this.at = 0;
    }
    const { at } = this;
    this.at += LETTERS;
    return this.letters.slice(at, this.at);
  }
}
