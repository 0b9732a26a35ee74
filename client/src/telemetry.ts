import { rawAt } from './json-text.js';
import type { Telemetry } from './messages.js';

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

/** A copy with other members, and the same payload. */
export function copyOf<Message extends Telemetry, More extends object>(
  message: Message,
  more: More,
): Message & More {
  const copy = { ...message, ...more };
  const raw = Object.getOwnPropertyDescriptor(message, 'raw');
  return !raw ? copy : Object.defineProperty(copy, 'raw', raw);
}
