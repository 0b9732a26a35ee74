import { Logger } from '@nestjs/common';
import { TopList } from './top-list.js';

/** Keys of a list, twice: of this window and the one before. */
export const MAX_KEYS = 500;
/** Who sends most: a window long enough for a device that says something each second. */
const DEVICES_WINDOW_MS = 10_000;
/** Who is refused. */
const REFUSED_WINDOW_MS = 600_000;
/** A line for each kind and reason. */
const LOG_EVERY_MS = 60_000;
/** Longest id that is kept: clients and devices choose ids, and may choose long ones. */
export const MAX_ID_CHARACTERS = 256;

/** What was refused: messages of a device, a token of a user, an upgrade from an origin or an address. */
export const REFUSED_KINDS = ['devices', 'tokens', 'origins', 'addresses'] as const;
export type RefusedKind = (typeof REFUSED_KINDS)[number];

const NOUNS: Readonly<Record<RefusedKind, string>> = {
  devices: 'message of a device',
  tokens: 'token',
  origins: 'connection from an origin',
  addresses: 'connection from an address',
};

/** What is known of the last refusal of an id. */
export interface Refusal {
  readonly reason: string;
  /** Unix ms. */
  readonly at: number;
  /** More of it in words. */
  readonly detail?: string;
  /** Of a token: the first digits of its SHA-256. */
  readonly hash?: string;
}

/** When the last line of a reason was written, and how many were refused for it since. */
interface Said {
  atMs: number;
  silent: number;
}

/** Who is refused of one kind, and for what; one line of the log a reason and minute names somebody. */
class RefusedList extends TopList<Refusal> {
  private readonly logger = new Logger('Refused');
  /** Reasons are words of this program: few. */
  private readonly said = new Map<string, Said>();

  constructor(private readonly kind: RefusedKind) {
    super(MAX_KEYS, REFUSED_WINDOW_MS);
  }

  /** Counts a refusal that {@link due} has selected. */
  refused(id: string, reason: string, more: Pick<Refusal, 'detail' | 'hash'> = {}): void {
    const nowMs = performance.now();
    const short = id.length > MAX_ID_CHARACTERS ? `${id.slice(0, MAX_ID_CHARACTERS)}…` : id;
    this.take(short, 1, { reason, at: Date.now(), ...more }, nowMs);
    const said = this.said.get(reason) ?? { atMs: -LOG_EVERY_MS, silent: 0 };
    this.said.set(reason, said);
    if (nowMs - said.atMs < LOG_EVERY_MS) {
      said.silent += 1;
      return;
    }
    const { kind } = this;
    const { silent } = said;
    const facts = { kind, id: short, reason, silent, ...more };
    said.atMs = nowMs;
    said.silent = 0;
    this.logger.warn(`A ${NOUNS[kind]} was refused: ${reason}, ${JSON.stringify(short)}`, facts);
  }
}

/** Who, not only how much: ids that no label of a metric may have, in memory and bounded. */
export class TopLists {
  /** Devices by messages. */
  readonly messages = new TopList(MAX_KEYS, DEVICES_WINDOW_MS);
  /** Devices by bytes. */
  readonly bytes = new TopList(MAX_KEYS, DEVICES_WINDOW_MS);
  readonly refused: Readonly<Record<RefusedKind, RefusedList>> = {
    devices: new RefusedList('devices'),
    tokens: new RefusedList('tokens'),
    origins: new RefusedList('origins'),
    addresses: new RefusedList('addresses'),
  };

  /** Keys of all lists. */
  get size(): number {
    const { devices, tokens, origins, addresses } = this.refused;
    return [this.messages, this.bytes, devices, tokens, origins, addresses].reduce(
      (sum, list) => sum + list.size,
      0,
    );
  }

  /** A message of a device that is due in {@link messages}. @param nowMs monotonic */
  heard(deviceId: string, bytes: number, nowMs: number): void {
    const each = this.messages.take(deviceId, 1, undefined, nowMs);
    this.bytes.add(deviceId, bytes * each, undefined, nowMs);
  }
}
