import { createHash } from 'node:crypto';
import { jsonValue } from '../../devices/json-check.js';
import type { Metrics } from '../../metrics/metrics.js';
import type { ReplyRoute } from '../../mqtt/command-routes.js';
import type { ReplyListener } from '../../mqtt/reply-reader.js';
import { rawMember } from '../../protocol/raw-member.js';
import { filterTakes } from '../../protocol/topic-filter.js';

/** Whoever waits for the answer to one command. */
export interface Expectation {
  readonly deviceId: string;
  /** MQTT 5 Correlation Data of the command. */
  readonly correlation: string;
  /** Where the device may answer without it; null where it cannot. */
  readonly reply: ReplyRoute | null;
  /** Called for each answer that is JSON, with a copy of it, until the wait is ended. */
  answered(payload: Buffer): void;
}

/** Ids longer than this are kept as a digest, so that a waiting command has bounded memory. */
const MAX_VALUE_LENGTH = 64;
/** Digits up to which two numbers that are written differently are compared by value; more are compared as text. */
const EXACT_DIGITS = 15;
/** Ended waits that are remembered, to tell a late answer from one that nobody asked for. */
export const MAX_ENDED = 4_096;

/**
 * The commands of this instance that wait for an answer, and the answers. Two ways lead to a command: the MQTT 5 Correlation Data, which
 * nobody can guess who has not got the command; or a member of the answer on a topic of the same device. Every instance reads all answers:
 * most of what comes was asked by another one, and is dropped after one look at a map, without a look at the payload.
 */
export class PendingReplies implements ReplyListener {
  private readonly byCorrelation = new Map<string, Expectation>();
  /** By route and device, then by value. Of those that expect the same the oldest gets an answer. */
  private readonly byPlace = new Map<string, Map<string, Set<Expectation>>>();
  private readonly ended = new Set<string>();

  /**
   * @param responseTopic where devices answer that speak MQTT 5; asked at each answer
   * @param source of the routes. They may be others after LAYOUT_FILE was read again: commands that wait then are answered by MQTT 5 alone
   */
  constructor(
    private readonly responseTopic: () => string | undefined,
    private readonly source: { readonly replies: readonly ReplyRoute[] },
    private readonly metrics: Pick<Metrics, 'commandReplies'>,
  ) {}

  private get routes(): readonly ReplyRoute[] {
    return this.source.replies;
  }

  /** Waits that have not ended. */
  get size(): number {
    return this.byCorrelation.size;
  }

  /**
   * @param command as it was published: JSON text; it is not kept
   * @returns ends the wait; may be called more than once
   */
  expect(expectation: Expectation, command: string): () => void {
    const { correlation } = expectation;
    const value = this.valueOf(expectation, command);
    const places = value === null ? [] : this.placesOf(expectation);
    this.byCorrelation.set(correlation, expectation);
    for (const place of places) {
      this.enter(place, value as string, expectation);
    }
    return () => {
      if (this.byCorrelation.get(correlation) === expectation) {
        this.byCorrelation.delete(correlation);
        this.remember(correlation);
        places.forEach((place) => this.leave(place, value as string, expectation));
      }
    };
  }

  reply(topic: string, correlation: string, buffer: Buffer, start: number, end: number): void {
    if (topic === this.responseTopic()) {
      const expectation = this.byCorrelation.get(correlation);
      if (expectation === undefined) {
        this.count(this.ended.has(correlation) ? 'late' : 'unasked');
      } else {
        this.answer(expectation, this.checked(buffer, start, end));
      }
      return;
    }
    const route = this.routes.findIndex(({ filter }) => filterTakes(filter, topic));
    const place = route < 0 ? '' : placeOf(route, (this.routes[route] as ReplyRoute).deviceOf(topic));
    const values = this.byPlace.get(place);
    if (values === undefined) {
      this.count(this.ended.has(place) ? 'late' : 'unasked');
      return;
    }
    const json = this.checked(buffer, start, end);
    if (json === null) {
      return;
    }
    const value = memberAt(json.toString(), (this.routes[route] as ReplyRoute).match);
    const asked = value === undefined ? '' : canonical(value);
    const [oldest] = values.get(asked) ?? [];
    if (oldest === undefined) {
      this.count(this.ended.has(`${place} ${asked}`) ? 'late' : 'unasked');
    } else {
      this.answer(oldest, json);
    }
  }

  oversized(): void {
    this.count('too_large');
  }

  private answer(expectation: Expectation, json: Buffer | null): void {
    if (json !== null) {
      this.count('replied');
      expectation.answered(Buffer.from(json));
    }
  }

  /** @returns null for what is no JSON value, which is counted: the wait goes on */
  private checked(buffer: Buffer, start: number, end: number): Buffer | null {
    const json = jsonValue(buffer, start, end);
    if (typeof json === 'string') {
      this.count(json);
      return null;
    }
    return json;
  }

  private valueOf({ reply }: Expectation, command: string): string | null {
    const expected = reply === null || !this.routes.includes(reply) ? null : reply.expected(command);
    return expected === null ? null : canonical(expected);
  }

  /** A command is entered under its device and under no device, because the topic of an answer may not say which device sent it. */
  private placesOf({ reply, deviceId }: Expectation): string[] {
    const route = this.routes.indexOf(reply as ReplyRoute);
    return [placeOf(route, deviceId), placeOf(route, null)];
  }

  private enter(place: string, value: string, expectation: Expectation): void {
    const values = this.byPlace.get(place) ?? new Map<string, Set<Expectation>>();
    this.byPlace.set(place, values);
    const expectations = values.get(value) ?? new Set();
    values.set(value, expectations.add(expectation));
  }

  private leave(place: string, value: string, expectation: Expectation): void {
    const values = this.byPlace.get(place);
    const expectations = values?.get(value);
    expectations?.delete(expectation);
    this.remember(`${place} ${value}`);
    if (expectations?.size === 0) {
      values?.delete(value);
    }
    if (values?.size === 0) {
      this.byPlace.delete(place);
      this.remember(place);
    }
  }

  private remember(ended: string): void {
    this.ended.delete(ended);
    this.ended.add(ended);
    if (this.ended.size > MAX_ENDED) {
      const [oldest] = this.ended;
      this.ended.delete(oldest as string);
    }
  }

  private count(outcome: string): void {
    this.metrics.commandReplies.inc({ outcome });
  }
}

function placeOf(route: number, deviceId: string | null): string {
  return deviceId === null ? String(route) : `${route} ${deviceId}`;
}

/** The text of the value at a JSON pointer, as it was written in objects; undefined where there is none. */
function memberAt(json: string, pointer: string): string | undefined {
  let text: string | undefined = json;
  for (const token of pointer.split('/').slice(1)) {
    if (text?.startsWith('{') === true) {
      text = rawMember(text, token.replaceAll('~1', '/').replaceAll('~0', '~'));
    } else if (text?.startsWith('[') === true && /^(0|[1-9]\d*)$/.test(token)) {
      const item = (JSON.parse(text) as unknown[])[Number(token)];
      text = item === undefined ? undefined : JSON.stringify(item);
    } else {
      return undefined;
    }
  }
  return text;
}

/**
 * One text for all ways to write the same JSON value. Its type is kept: `1` is not `"1"`. Numbers of more digits than JavaScript keeps are
 * compared as they are written, since two of them would be one.
 */
function canonical(json: string): string {
  const value: unknown = JSON.parse(json);
  let text = JSON.stringify(value);
  if (typeof value === 'number') {
    const digits = json.replace(/e.*$/i, '').replace(/\D/g, '').replace(/^0+/, '');
    text = digits.length > EXACT_DIGITS || !Number.isFinite(value) ? json : text;
  }
  // Copied, because a substring would keep the whole string in memory.
  return text.length > MAX_VALUE_LENGTH
    ? createHash('sha256').update(text).digest('base64')
    : Buffer.from(text).toString();
}
