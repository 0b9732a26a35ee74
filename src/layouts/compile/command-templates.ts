import { randomBytes, randomInt } from 'node:crypto';
import type { Captures } from '../../mqtt/topic-router.js';
import type { OutgoingCommand, ReplyRoute } from '../../mqtt/command-routes.js';
import { ProtocolError } from '../../protocol/errors.js';
import { isObject } from '../../protocol/json.js';
import { SPARKPLUG_COMMAND_TOPICS, SparkplugTopics } from '../sparkplug/sparkplug-topics.js';
import type { DeviceIds } from './device-ids.js';
import type { CommandText } from './grammar.js';
import { allAt, isScalarText, pointerTokens, textOf, valueAt } from '../json-scan.js';
import type { Path } from './layout-file.js';
import { fits } from '../../mqtt/topic-tree.js';
import { filterOf, TemplateError, TopicTemplate } from './topic-template.js';

type Allowed = ReadonlySet<string> | 'any';

/** The commands of one layout. */
export interface CompiledCommand {
  readonly template: TopicTemplate;
  readonly payload: CommandText['payload'];
  /** With `payload: sparkplug`; the codec writes it. */
  readonly sparkplug: SparkplugTopics | undefined;
  /** Whether `only` lets commands go to these levels. */
  readonly admits: (captures: Captures) => boolean;
  /** @throws {ProtocolError} forbidden, where `allow` names a member and not what it is */
  readonly check: (json: Buffer) => void;
  /** Whether `allow` names a metric of the protocol. */
  readonly allowsControl: (name: string) => boolean;
  /** Topics that Sluice itself publishes to, and those of answers: they are no telemetry. */
  readonly ownTopics: readonly TopicTemplate[];
  /** Filter of the topics, for the ACL. */
  readonly publishes: string;
  readonly reply: ReplyRoute | null;
  /** @throws {ProtocolError} forbidden, invalid_message */
  write(captures: Captures, json: string): OutgoingCommand;
}

type Report = (sub: Path, message: string) => void;

/** What the process puts into templates as `{instance}`: unguessable, so that answers to one instance are nobody else's. */
export const INSTANCE = randomBytes(9).toString('base64url');

/** @returns undefined when something is wrong, which is reported */
export function compileCommand(
  text: CommandText,
  ids: DeviceIds,
  only: Readonly<Record<string, readonly string[]>>,
  report: Report,
): CompiledCommand | undefined {
  let sound = true;
  const fault: Report = (sub, message) => {
    sound = false;
    report(sub, message);
  };
  const template = withInstance(text.topic, 'topic', fault);
  const reply = text.reply === undefined ? undefined : withInstance(text.reply.topic, 'reply', fault);
  if (template === undefined) {
    return undefined;
  }
  const known = new Set(ids.names);
  const lacks = (names: readonly string[], what: string, sub: Path): void => {
    const missing = names.find((name) => !known.has(name));
    if (missing !== undefined) {
      fault(
        sub,
        `${what} needs {${missing}}; put it into device, or write the ${described(missing)} in its place`,
      );
    }
  };
  lacks(template.names, 'command.topic', ['topic']);
  if (template.levels.some(({ kind }) => kind === 'any')) {
    fault(['topic'], 'a command goes to one topic: + cannot stand in it');
  }
  const needAllow = new Set(template.members);
  let compiled: JsonPart | undefined;
  const usesSeq = { text: false, number: false };
  if (typeof text.payload === 'object' && 'json' in text.payload) {
    compiled = compileJson(text.payload.json, '', {
      names: (names) => lacks(names, 'command.payload', ['payload']),
      guard: (pointer) => needAllow.add(pointer),
      fault: (message) => fault(['payload'], message),
      seq: usesSeq,
    });
  }
  for (const pointer of needAllow) {
    if (!Object.hasOwn(text.allow, pointer)) {
      fault([], `say which {${pointer}} may be sent (allow), or allow: {${pointer}: any}`);
    }
  }
  if (!sound) {
    return undefined;
  }
  const allow = Object.entries(text.allow).map(([pointer, names]) => ({
    pointer,
    tokens: pointerTokens(pointer),
    names: names === 'any' ? ('any' as const) : new Set(names),
  }));
  const replyRoute = reply === undefined || text.reply === undefined ? null : replyOf(reply, text.reply, ids);
  const sparkplug = text.payload === 'sparkplug' ? SparkplugTopics.ofCommands(template) : undefined;
  if (text.payload === 'sparkplug' && sparkplug === undefined) {
    fault(['topic'], `payload: sparkplug is sent to ${SPARKPLUG_COMMAND_TOPICS}`);
    return undefined;
  }
  const admits = (captures: Captures): boolean =>
    Object.entries(only).every(
      ([name, values]) => !Object.hasOwn(captures, name) || values.includes(captures[name]!),
    );
  const check = (bytes: Buffer): void =>
    allow.forEach(({ pointer, tokens, names }) => checkAllowed(bytes, pointer, tokens, names));
  return {
    sparkplug,
    check,
    admits,
    allowsControl: (name) =>
      Object.hasOwn(text.allow, `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`),
    template,
    payload: text.payload,
    ownTopics: [template, ...(reply === undefined ? [] : [reply])],
    publishes: filterOf(template.patterns({}, 1)![0]!),
    reply: replyRoute,
    write(captures, json) {
      if (!admits(captures)) {
        throw forbidden();
      }
      const bytes = Buffer.from(json);
      const member = (pointer: string): string => memberText(bytes, pointer);
      check(bytes);
      const topic = template.write(captures, member);
      if (topic === undefined) {
        const wrong =
          template.members.length > 0 ? 'has a member that cannot be a level of a topic' : undefined;
        throw wrong === undefined
          ? forbidden()
          : new ProtocolError('invalid_message', `The command ${wrong}`);
      }
      const seq = usesSeq.number || usesSeq.text ? newSeq(usesSeq.number) : undefined;
      const payload = payloadOf(text.payload, compiled, { bytes, captures, seq });
      return {
        topic,
        payload,
        qos: text.qos,
        reply: replyRoute,
        ...(seq !== undefined && { seq: usesSeq.number ? seq : JSON.stringify(seq) }),
      };
    },
  };

  function withInstance(source: string, where: string, problem: Report): TopicTemplate | undefined {
    try {
      return new TopicTemplate(source.replaceAll('{instance}', INSTANCE), {
        members: where === 'topic',
        any: where !== 'topic',
      });
    } catch (error) {
      if (!(error instanceof TemplateError)) {
        throw error;
      }
      problem(where === 'topic' ? ['topic'] : ['reply', 'topic'], error.message);
      return undefined;
    }
  }
}

const NAMES: Readonly<Record<string, string>> = {
  app: "application's id",
  tenant: "tenant's id",
  group: 'group',
  node: 'node',
};

function described(name: string): string {
  return NAMES[name] ?? `text of ${name}`;
}

function forbidden(): ProtocolError {
  return new ProtocolError('forbidden', 'Forbidden');
}

/**
 * A name may occur twice, and the device may take the first or the last one: every value must be allowed. The templates decide whether the
 * name is required.
 */
function checkAllowed(json: Buffer, pointer: string, tokens: readonly string[], names: Allowed): void {
  const wrong =
    names === 'any'
      ? undefined
      : allAt(json, tokens).find((value) => !isScalarText(value) || !names.has(textOf(value)));
  if (wrong !== undefined) {
    throw new ProtocolError('forbidden', `The command's ${pointer} is not allowed`);
  }
}

function memberText(json: Buffer, pointer: string): string {
  const value = valueAt(json, pointerTokens(pointer));
  if (value === undefined || !isScalarText(value)) {
    throw new ProtocolError('invalid_message', `The command needs a text or number at ${pointer}`);
  }
  return textOf(value);
}

function replyOf(
  template: TopicTemplate,
  text: NonNullable<CommandText['reply']>,
  ids: DeviceIds,
): ReplyRoute {
  const [levels] = template.patterns({}, 1)!;
  const saysDevice = ids.names.length > 0 && ids.names.every((name) => template.names.includes(name));
  const tokens = pointerTokens(text.match);
  return {
    filter: filterOf(levels!),
    deviceOf(topic) {
      const parts = topic.split('/');
      return saysDevice && fits(levels!, parts) ? (ids.make(template.read(parts)) ?? null) : null;
    },
    match: text.match,
    expected(command) {
      return valueAt(Buffer.from(command.trim()), tokens)?.toString() ?? null;
    },
    ...(text.within !== undefined && { withinMs: text.within }),
  };
}

/** @param asNumber of 48 bits, which every JSON number keeps exactly */
function newSeq(asNumber: boolean): string {
  return asNumber ? String(randomInt(1, 2 ** 48 - 1)) : randomBytes(12).toString('base64url');
}

interface Values {
  readonly bytes: Buffer;
  readonly captures: Captures;
  readonly seq: string | undefined;
}

/** One value of a template; undefined leaves its member out. */
type JsonPart = (values: Values) => string | undefined;

function payloadOf(payload: CommandText['payload'], compiled: JsonPart | undefined, values: Values): Buffer {
  if (compiled !== undefined) {
    return Buffer.from(compiled(values) ?? '');
  }
  if (typeof payload === 'object' && 'text' in payload) {
    const value = valueAt(values.bytes, pointerTokens(payload.text));
    if (value === undefined) {
      return Buffer.alloc(0); // a command without a value asks (Tasmota)
    }
    return Buffer.from(textOf(value));
  }
  return values.bytes;
}

interface TemplateUse {
  names(names: readonly string[]): void;
  guard(pointer: string): void;
  fault(message: string): void;
  readonly seq: { text: boolean; number: boolean };
}

/** Members whose value is the name of what is done. */
const GUARDED = new Set(['method', 'cmd']);
const PLACEHOLDER = /\{([^{}]*)\}/;
const POINTER = /^(\/(?:[^~/]|~[01])*)+$/;

function compileJson(value: unknown, key: string, use: TemplateUse): JsonPart {
  if (typeof value === 'string') {
    return compileText(value, key, use);
  }
  if (Array.isArray(value)) {
    const items = value.map((item) => compileJson(item, key, use));
    return (values) =>
      `[${items
        .map((item) => item(values))
        .filter((item) => item !== undefined)
        .join(',')}]`;
  }
  if (isObject(value)) {
    const members = Object.entries(value).map(
      ([name, item]) => [JSON.stringify(name), compileJson(item, name, use)] as const,
    );
    return (values) => {
      const parts: string[] = [];
      for (const [name, item] of members) {
        const text = item(values);
        if (text !== undefined) {
          parts.push(`${name}:${text}`);
        }
      }
      return `{${parts.join(',')}}`;
    };
  }
  const fixed = JSON.stringify(value ?? null);
  return () => fixed;
}

function compileText(text: string, key: string, use: TemplateUse): JsonPart {
  const whole = /^\{([^{}]*)\}$/.exec(text)?.[1];
  if (whole !== undefined) {
    return wholeValue(whole, key, use);
  }
  const parts: ((values: Values) => string)[] = [];
  text.split(PLACEHOLDER).forEach((part, i) => {
    if (i % 2 === 0) {
      parts.push(() => part);
    } else if (part.startsWith('/')) {
      if (!POINTER.test(part)) {
        use.fault(`{${part}} is no JSON pointer`);
      }
      if (GUARDED.has(key)) {
        use.guard(part);
      }
      parts.push(({ bytes }) => memberText(bytes, part));
    } else {
      parts.push(named(part, use));
    }
  });
  return (values) => JSON.stringify(parts.map((part) => part(values)).join(''));
}

/** A string that is only a placeholder is replaced by the value itself, not by text. */
function wholeValue(name: string, key: string, use: TemplateUse): JsonPart {
  const optional = name.endsWith('?');
  const pointer = optional ? name.slice(0, -1) : name;
  if (name === 'command' || pointer.startsWith('/')) {
    if (name !== 'command' && !POINTER.test(pointer)) {
      use.fault(`{${name}} is no JSON pointer`);
    }
    const tokens = name === 'command' ? [] : pointerTokens(pointer);
    if (GUARDED.has(key)) {
      use.guard(name === 'command' ? '' : pointer);
    }
    return ({ bytes }) => {
      const value = valueAt(bytes, tokens)?.toString();
      if (value === undefined && !optional) {
        throw new ProtocolError('invalid_message', `The command needs ${pointer}`);
      }
      return value;
    };
  }
  if (name === 'seq:number') {
    use.seq.number = true;
    return ({ seq }) => seq;
  }
  const text = named(name, use);
  return (values) => JSON.stringify(text(values));
}

function named(name: string, use: TemplateUse): (values: Values) => string {
  if (name === 'seq') {
    use.seq.text = true;
    return ({ seq }) => seq ?? '';
  }
  if (name === 'instance') {
    return () => INSTANCE;
  }
  if (!/^[A-Za-z][A-Za-z0-9_]*$/.test(name)) {
    use.fault(
      `{${name}} is no placeholder: {/member}, {/member?}, {command}, {seq}, {seq:number}, {instance} or a capture`,
    );
    return () => '';
  }
  use.names([name]);
  return ({ captures }) => captures[name] ?? '';
}
