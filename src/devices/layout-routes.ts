import { isUtf8 } from 'node:buffer';
import { type Codec, CodecError } from '../layouts/codecs/codec.js';
import { contain } from '../logging/walls.js';
import type {
  CompiledLayout,
  CompiledLayouts,
  CompiledRoute,
  MetaRoute,
  Place,
  SparkplugRoute,
  StatusRoute,
  TelemetryRoute,
  TimeMember,
} from '../layouts/compiled-layouts.js';
import {
  eachElement,
  eachMember,
  isArrayText,
  isObjectText,
  isScalarText,
  nameText,
  textOf,
  valueAt,
} from '../layouts/json-scan.js';
import { filterOf } from '../layouts/compile/topic-template.js';
import type { MeantDevices } from '../layouts/layout.js';
import type { MessageOutcome } from '../mqtt/ingest-counters.js';
import type { Destination, InboundMessage, Route, RouteTemplate } from '../mqtt/topic-router.js';
import { isDeviceId } from '../protocol/device-id.js';
import { sliceOf } from '../protocol/view-of.js';
import { jsonValue } from './json-check.js';
import { MessageParts } from './message-parts.js';

/** Readings that one message may have; beyond them it is refused as a whole, since each costs more than its bytes. */
export const MAX_PARTS = 1_000;

/** What layouts do with what they read: the same as the built-in layout does. Each call ends its message. */
export interface Says {
  /** The whole message, as JSON of the device: the hot path, one method for all layouts. */
  telemetry(message: InboundMessage): void;
  publish(message: InboundMessage, json: Buffer): void;
  setStatus(message: InboundMessage, online: boolean, ts: number | undefined): void;
  /** Every known device that is meant goes offline. */
  setAllOffline(message: InboundMessage, meant: MeantDevices, ts: number | undefined): void;
  setMeta(message: InboundMessage, json: Buffer | null): void;
  /** One field of the metadata; null removes it. */
  setMetaField(message: InboundMessage, name: string, json: Buffer | null): void;
  /** One field of the telemetry; null removes it. @param name JSON text with its quotes */
  field(message: InboundMessage, name: Buffer, value: Buffer | null, windowMs: number): void;
  /** An object whose members are fields. */
  merge(message: InboundMessage, json: Buffer, windowMs: number): void;
  /** When a live message was made, by its device's clock; Unix ms. */
  saidTime(message: InboundMessage, ts: number): void;
  /** A message came from a device of a layout with a silence. */
  heard(message: InboundMessage): void;
  /** A message of an edge node: what it says depends on those before it. */
  sparkplug(message: InboundMessage, layout: CompiledLayout, of: SparkplugRoute): void;
  /** Whether a number that orders statuses is above the last one of this device. */
  isNewer(layout: string, deviceId: string, order: number): boolean;
}

/**
 * The compiled layouts for one session: what is read goes to `says`.
 * @param maxBytes of the JSON that a codec makes of a payload, or that a text becomes
 */
export function layoutRoutes(layouts: CompiledLayouts, says: Says, maxBytes = Infinity): Route[] {
  const handlers = new Handlers(says, maxBytes);
  const routes: Route[] = layouts.groups.map(({ patterns, routes: members }) => {
    const [first, ...others] = members.map((route) => handlers.bind(route, patterns));
    return others.length === 0 ? first! : handlers.bindTogether([first!, ...others], patterns);
  });
  const ignored = layouts.ignored.map(({ layout, name, patterns }): Route => ({
    filter: filterOf(patterns[0]!),
    qos: 1,
    kind: 'other',
    layout,
    name,
    template: { patterns, read: () => ({ deviceId: '', captures: null, field: null, parts: null }) },
    handle: (message) => message.finish('ignored'),
  }));
  // Of equally exact templates the tree finds the first.
  return [...ignored, ...routes];
}

class Handlers {
  constructor(
    private readonly says: Says,
    private readonly maxBytes: number,
  ) {}

  bind(route: CompiledRoute, patterns: RouteTemplate['patterns']): Route {
    return {
      filter: filterOf(patterns[0]!),
      qos: route.qos,
      kind: sparkplugOf(route)?.verb.endsWith('DEATH') === true ? 'status' : route.kind,
      layout: route.layout.name,
      name: route.name,
      template: { patterns, read: (topic) => route.read(topic) },
      handle: this.handlerOf(route),
    };
  }

  private handlerOf(route: CompiledRoute): Route['handle'] {
    const { says } = this;
    const sparkplug = sparkplugOf(route);
    if (sparkplug !== undefined) {
      return (message) => says.sparkplug(message, route.layout, sparkplug);
    }
    if (!isPlain(route)) {
      return (message) => this.read(message, route);
    }
    if (route.layout.silenceMs === undefined) {
      return (message) => says.telemetry(message);
    }
    return (message) => {
      says.heard(message);
      says.telemetry(message);
    };
  }

  /** Several routes of one topic: the message goes to each. */
  bindTogether(routes: readonly Route[], patterns: RouteTemplate['patterns']): Route {
    const [first] = routes;
    return {
      filter: filterOf(patterns[0]!),
      qos: routes.some(({ qos }) => qos === 1) ? 1 : 0,
      kind: first!.kind,
      layout: first!.layout,
      name: routes.map(({ name }) => name).join(' and '),
      template: {
        patterns,
        read: (topic) => {
          const parts = routes.map((route): Destination => ({
            found: null,
            route,
            ...route.template!.read(topic),
          }));
          const illegal = parts.find(({ deviceId }) => deviceId !== '' && !isDeviceId(deviceId));
          return { deviceId: illegal?.deviceId ?? '', captures: null, field: null, parts };
        },
      },
      handle: (message) => {
        const parts = new MessageParts(message);
        for (const destination of message.memo.parts!) {
          const part = parts.add(destination, message.buffer, message.start, message.end);
          try {
            destination.route.handle(part);
          } catch (error) {
            contain('device', error);
            part.finish('failed');
          }
        }
        parts.complete();
      },
    };
  }

  private read(message: InboundMessage, route: CompiledRoute): void {
    const json = decoded(message, route);
    if (typeof json === 'string') {
      message.finish(json);
      return;
    }
    if (json !== null && json.length > this.maxBytes) {
      message.finish('too_large'); // a byte of a payload may become six of JSON, or any number of them
      return;
    }
    const { each, id } = route.reading;
    if (each.length === 0 && id.length === 0) {
      if (!isMeant(json, [], route)) {
        message.finish('ignored');
        return;
      }
      this.act(message, json, route);
      return;
    }
    if (json === null) {
      message.finish('ignored');
      return;
    }
    this.readParts(message, json, route);
  }

  private readParts(message: InboundMessage, json: Buffer, route: CompiledRoute): void {
    const elements: { value: Buffer; keys: readonly string[] }[] = [];
    const fault = elementsOf(json, route.reading.each, 0, [], elements);
    if (fault !== undefined) {
      message.finish(fault);
      return;
    }
    const parts = new MessageParts(message);
    for (const { value, keys } of elements) {
      if (!isMeant(value, keys, route)) {
        parts.refuse('ignored', message.route);
        continue;
      }
      const destination = this.destinationOf(message, value, keys, route);
      if (typeof destination === 'string') {
        parts.refuse(destination, message.route);
        continue;
      }
      const part = parts.add(destination, value, 0, value.length);
      try {
        this.act(part, value, route);
      } catch (error) {
        contain('device', error);
        part.finish('failed');
      }
    }
    parts.complete();
  }

  private destinationOf(
    message: InboundMessage,
    value: Buffer,
    keys: readonly string[],
    route: CompiledRoute,
  ): Destination | MessageOutcome {
    const { id } = route.reading;
    if (id.length === 0) {
      return message.memo;
    }
    const captures: Record<string, string> = { ...message.memo.captures };
    for (const { name, place } of id) {
      const text = textAt(value, keys, place);
      if (text === undefined || text === '') {
        return 'no_id';
      }
      if (route.layout.only[name]?.includes(text) === false) {
        return 'ignored';
      }
      captures[name] = text;
    }
    const deviceId = route.layout.ids.make(captures);
    if (deviceId === undefined && !(route.kind === 'status' && route.of !== undefined)) {
      return 'no_id';
    }
    if (deviceId !== undefined && !isDeviceId(deviceId)) {
      return 'bad_device_id';
    }
    return {
      found: null,
      deviceId: deviceId ?? '',
      route: message.route,
      captures,
      field: null,
      parts: null,
    };
  }

  private act(message: InboundMessage, json: Buffer | null, route: CompiledRoute): void {
    if (route.kind === 'status') {
      this.status(message, json, route);
      return;
    }
    if (route.layout.silenceMs !== undefined) {
      this.says.heard(message);
    }
    const { pick } = route.reading;
    const value = json === null || pick === undefined ? json : valueAt(json, pick);
    if (value === undefined) {
      message.finish('no_member');
    } else if (route.kind === 'meta') {
      this.meta(message, value, route);
    } else {
      const time = json === null ? undefined : timeAt(json, route.ts);
      if (time !== undefined) {
        this.says.saidTime(message, time);
      }
      this.telemetry(message, value, route);
    }
  }

  private telemetry(message: InboundMessage, value: Buffer | null, route: TelemetryRoute): void {
    const { windowMs } = route.layout;
    if (route.as === 'field') {
      const name = message.memo.field ?? Buffer.from(JSON.stringify(fieldName(message, route)));
      this.says.field(message, name, value, windowMs);
    } else if (value === null) {
      message.finish(route.as === 'merge' ? 'not_object' : 'not_json');
    } else if (route.as === 'merge') {
      this.says.merge(message, value, windowMs);
    } else {
      this.says.publish(message, value);
    }
  }

  private meta(message: InboundMessage, value: Buffer | null, route: MetaRoute): void {
    if (route.as === 'field') {
      this.says.setMetaField(message, fieldName(message, route), value);
    } else if (value !== null && route.members !== undefined) {
      const members = route.members.flatMap(({ name, pointer }) => {
        const member = valueAt(value, pointer);
        return member === undefined ? [] : [`${JSON.stringify(name)}:${member.toString()}`];
      });
      this.says.setMeta(message, Buffer.from(`{${members.join(',')}}`));
    } else if (value !== null && !isObjectText(value)) {
      message.finish('not_object');
    } else {
      this.says.setMeta(message, value);
    }
  }

  private status(message: InboundMessage, json: Buffer | null, route: StatusRoute): void {
    const said = json === null ? undefined : statusText(json, route);
    const online = said !== undefined && says(route.online, said);
    if (said === undefined || (!online && !says(route.offline, said))) {
      message.finish(
        json === null || route.ignoresOthers
          ? 'ignored'
          : notObject(json, route)
            ? 'not_object'
            : 'bad_status',
      );
      return;
    }
    const time = timeAt(json!, route.ts);
    const order = numberAt(json!, route.order);
    if (route.of !== undefined) {
      if (online) {
        message.finish('ignored'); // they say so themselves
      } else {
        this.says.setAllOffline(message, route.of.meant(message.memo.captures ?? {}), time);
      }
      return;
    }
    if (order !== undefined && !this.says.isNewer(route.layout.name, message.deviceId, order)) {
      message.finish('ignored');
      return;
    }
    this.says.setStatus(message, online, time);
  }
}

function fieldName(message: InboundMessage, route: TelemetryRoute | MetaRoute): string {
  return route.fieldOf(message.memo.captures ?? {});
}

function sparkplugOf(route: CompiledRoute): SparkplugRoute | undefined {
  return route.kind === 'telemetry' ? route.sparkplug : undefined;
}

/** The hot path: nothing is asked of the payload but that it is JSON. */
function isPlain(route: CompiledRoute): boolean {
  const { payload, each, id, when, pick } = route.reading;
  return (
    route.kind === 'telemetry' &&
    route.as === 'whole' &&
    payload === 'json' &&
    route.ts === undefined &&
    pick === undefined &&
    each.length + id.length + when.length === 0
  );
}

/** The payload as JSON; null where it is empty and that means something; otherwise why it is refused. */
function decoded(message: InboundMessage, route: CompiledRoute): Buffer | null | MessageOutcome {
  const { buffer, start, end } = message;
  const isText = route.kind === 'status' ? isTextStatus(route) : route.reading.payload === 'text';
  if (start === end && (route.kind !== 'telemetry' || route.as !== 'whole')) {
    return null;
  }
  const { codec } = route.reading;
  if (codec !== undefined) {
    return throughCodec(codec, message);
  }
  if (!isText) {
    const json = jsonValue(buffer, start, end);
    if (typeof json !== 'string' || route.reading.payload !== 'scalar' || json === 'too_deep') {
      return json;
    }
  }
  const bytes = sliceOf(buffer, start, end);
  return isUtf8(bytes) ? Buffer.from(JSON.stringify(bytes.toString())) : 'not_text';
}

/** Nothing of the payload is asked for but its text. */
function isTextStatus({ at, ts, order, reading: { each, id, when } }: StatusRoute): boolean {
  return (
    at === undefined && ts === undefined && order === undefined && each.length + id.length + when.length === 0
  );
}

function throughCodec(codec: Codec, { buffer, start, end, memo }: InboundMessage): Buffer | MessageOutcome {
  let json: Buffer | null;
  try {
    json = codec.decode(sliceOf(buffer, start, end), memo.topic ?? '', memo.captures ?? {});
  } catch (error) {
    if (error instanceof CodecError) {
      return error.outcome;
    }
    throw error;
  }
  if (json === null) {
    return 'ignored';
  }
  const checked = jsonValue(json, 0, json.length);
  return checked === 'too_deep' || typeof checked !== 'string' ? checked : 'codec_error';
}

/** The elements that a list of pointers leads to, with the names that were on the way. */
function elementsOf(
  json: Buffer,
  each: readonly (readonly string[])[],
  depth: number,
  keys: readonly string[],
  found: { value: Buffer; keys: readonly string[] }[],
): MessageOutcome | undefined {
  const pointer = each[depth];
  if (pointer === undefined) {
    found.push({ value: json, keys });
    return found.length > MAX_PARTS ? 'too_large' : undefined;
  }
  const container = valueAt(json, pointer);
  if (container === undefined || isScalarText(container)) {
    return 'no_member';
  }
  let fault: MessageOutcome | undefined;
  const visit = (key: string, value: Buffer): boolean => {
    fault = elementsOf(value, each, depth + 1, [...keys, key], found);
    return fault === undefined;
  };
  if (isArrayText(container)) {
    eachElement(container, (value, index) => visit(String(index), value));
  } else {
    eachMember(container, (name, value) => visit(nameText(name), value));
  }
  return fault;
}

function textAt(value: Buffer, keys: readonly string[], place: Place): string | undefined {
  if ('key' in place) {
    return keys.at(place.key);
  }
  const at = valueAt(value, place.pointer);
  return at === undefined || !isScalarText(at) ? undefined : textOf(at);
}

function isMeant(json: Buffer | null, keys: readonly string[], route: CompiledRoute): boolean {
  return route.reading.when.every(({ place, texts }) => {
    const text = json === null ? undefined : textAt(json, keys, place);
    return text !== undefined && texts.has(text);
  });
}

function statusText(json: Buffer, route: StatusRoute): string | undefined {
  const value = route.at === undefined ? json : valueAt(json, route.at);
  return value === undefined || !isScalarText(value)
    ? route.online === '*' || route.offline === '*'
      ? ''
      : undefined
    : textOf(value);
}

function says(meaning: StatusRoute['online'], text: string): boolean {
  return meaning === '*' || meaning.has(text);
}

/** Whether the layout looks for a member in a payload that is no object. */
function notObject(json: Buffer, route: StatusRoute): boolean {
  return route.at !== undefined && route.at.length > 0 && isScalarText(json);
}

function numberAt(json: Buffer, pointer: readonly string[] | undefined): number | undefined {
  const value = pointer === undefined ? undefined : valueAt(json, pointer);
  if (value === undefined || !isScalarText(value)) {
    return undefined;
  }
  const number = Number(textOf(value));
  return textOf(value) === '' || !Number.isFinite(number) || isTextual(value) ? undefined : number;
}

/** Unix ms, as the device says it. */
function timeAt(json: Buffer, member: TimeMember | undefined): number | undefined {
  const number = member === undefined ? undefined : numberAt(json, member.at);
  return number === undefined ? undefined : number * member!.factor;
}

function isTextual(value: Buffer): boolean {
  return !/^-?\d/.test(value.toString('latin1', 0, 2));
}
