import { rawAt } from './json-text.js';
import type { Position, Telemetry } from './messages.js';

/** Gives a message `raw`, which is read from the text that came only when somebody asks for it. */
export function withRaw<Message extends Telemetry>(
  message: Message,
  text: string,
  path: readonly (string | number)[],
): Message {
  return Object.defineProperty(message, 'raw', {
    configurable: true,
    get: () => rawAt(text, [...path, 'payload']),
  });
}

/** Where a message stands, without the rest of it. */
export function positionOf({ epoch, offset }: Position): Position {
  return { epoch, offset };
}

/** Whether a position is beyond another one, or numbered otherwise. */
export function isAfter(a: Position | undefined, b: Position): boolean {
  return a?.epoch !== b.epoch || a.offset < b.offset;
}

/** A copy with other members, and the same payload. */
export function copyOf<Message extends Telemetry, More extends object>(
  message: Message,
  more: More,
): Message & More {
  const copy = { ...message, ...more };
  const raw = Object.getOwnPropertyDescriptor(message, 'raw');
  return !raw ? copy : Object.defineProperty(copy, 'raw', raw);
}
