import { CodecError } from '../layouts/codecs/codec.js';
import { metadataOf, MetricTable, readBirth, readValues } from '../layouts/sparkplug/sparkplug-metrics.js';
import type { Verb } from '../layouts/sparkplug/sparkplug-node.js';
import { objectJson, readPayload } from '../layouts/sparkplug/sparkplug-payload.js';
import type { CompiledLayout, CompiledLayouts } from '../layouts/compiled-layouts.js';
import type { ExampleText } from '../layouts/compile/grammar.js';
import { mergedFields } from '../layouts/fields/json-members.js';
import type { MessageKind, MessageOutcome } from '../mqtt/ingest-counters.js';
import { InboundMessage, type Route, TopicRouter } from '../mqtt/topic-router.js';
import { ProtocolError } from '../protocol/errors.js';
import { layoutRoutes, type Says } from './layout-routes.js';

/** One thing that a message says of a device. */
export interface Said {
  readonly deviceId: string;
  readonly layout: string;
  /** `telemetry[0]` */
  readonly route: string;
  /** JSON text: the whole message, or the fields that it sets (null removes one). */
  readonly telemetry?: string;
  readonly status?: 'online' | 'offline';
  /** The status is that of all devices that the layout's `of` means. */
  readonly ofAll?: boolean;
  readonly meta?: string | null;
}

/** What becomes of one message. */
export interface Trial {
  readonly kind: MessageKind;
  readonly outcome: MessageOutcome;
  /** Layout and route whose template fits; undefined where none does. */
  readonly layout?: string;
  readonly route?: string;
  readonly said: readonly Said[];
}

/** Reads single messages by compiled layouts, with the code that reads live ones; nothing is stored. */
export class LayoutTrial {
  private readonly router: TopicRouter;
  private said: Said[] = [];

  constructor(private readonly layouts: CompiledLayouts) {
    const says: Says = {
      telemetry: (message) => {
        const text = message.buffer.toString('utf8', message.start, message.end);
        if (isJson(text)) {
          this.note(message, { telemetry: text.trim() });
        } else {
          message.finish('not_json');
        }
      },
      publish: (message, json) => this.note(message, { telemetry: json.toString() }),
      field: (message, name, value) =>
        this.note(message, { telemetry: `{${name.toString()}:${value?.toString() ?? 'null'}}` }),
      merge: (message, json) => {
        const fields = mergedFields(json);
        if (fields === null) {
          message.finish('not_object');
        } else {
          this.note(message, { telemetry: json.toString() });
        }
      },
      sparkplug: (message, _layout, { verb }) => this.sparkplug(message, verb),
      saidTime: () => undefined,
      heard: () => undefined,
      setStatus: (message, online) => this.note(message, { status: online ? 'online' : 'offline' }),
      setAllOffline: (message) => this.note(message, { status: 'offline', ofAll: true }),
      setMeta: (message, json) => this.note(message, { meta: json?.toString() ?? null }),
      setMetaField: (message, name, json) =>
        this.note(message, { meta: `{${JSON.stringify(name)}:${json?.toString() ?? 'null'}}` }),
      isNewer: () => true,
    };
    this.router = new TopicRouter(layoutRoutes(layouts, says), 1_000);
  }

  message(topic: string, payload: Buffer): Trial {
    const bytes = Buffer.from(topic);
    const destination = this.router.resolve(bytes, 0, bytes.length);
    if (destination.route === null) {
      return { kind: destination.kind, outcome: destination.outcome, said: [] };
    }
    this.said = [];
    const { route } = destination;
    let outcome: MessageOutcome = 'failed';
    let decided: Route = route;
    const message = new InboundMessage(
      destination,
      payload,
      0,
      payload.length,
      Date.now(),
      performance.now(),
      1,
      false,
      false,
      -1,
      {
        settled: (settled, as) => {
          outcome = as;
          decided = settled.route;
        },
        partSettled: () => undefined,
      },
    );
    route.handle(message);
    const { layout, name, kind } = decided;
    return {
      kind,
      outcome,
      ...(layout !== undefined && { layout }),
      ...(name !== undefined && { route: name }),
      said: this.said,
    };
  }

  /** What the examples of the file say that is not so; a sentence each. */
  faults(): string[] {
    return this.layouts.layouts.flatMap((layout) =>
      layout.examples.flatMap((example, i) => {
        const fault =
          example.command === undefined ? this.messageFault(example) : commandFault(layout, example);
        return fault === undefined ? [] : [`layouts.${layout.name}.examples.${i}: ${fault}`];
      }),
    );
  }

  /** One message alone: a birth says everything, of data what has a name. */
  private sparkplug(message: InboundMessage, verb: Verb): void {
    if (verb.endsWith('DEATH')) {
      this.note(message, { status: 'offline' });
      return;
    }
    const isBirth = verb.endsWith('BIRTH');
    try {
      const payload = readPayload(message.buffer.subarray(message.start, message.end), isBirth);
      const { table, values } = isBirth
        ? readBirth(payload)
        : { table: null, values: readValues(payload, new MetricTable()) };
      const telemetry = objectJson(values.values);
      if (table !== null) {
        this.note(message, { telemetry, status: 'online', meta: metadataOf(payload, table).toString() });
      } else if (values.values.size > 0) {
        this.note(message, { telemetry });
      } else {
        message.finish(values.unknown > 0 ? 'unknown_alias' : 'historical');
      }
    } catch (error) {
      message.finish(error instanceof CodecError ? error.outcome : 'failed');
    }
  }

  private note(message: InboundMessage, what: Partial<Said>): void {
    const { layout = '', name = '' } = message.route;
    this.said.push({ deviceId: message.deviceId, layout, route: name, ...what });
    message.finish('accepted');
  }

  private messageFault(example: ExampleText): string | undefined {
    if (example.topic === undefined) {
      return 'needs a topic';
    }
    const { outcome, said } = this.message(example.topic, bytesOf(example));
    const wanted = example.outcome ?? 'accepted';
    if (outcome !== wanted) {
      return `${example.topic}: the outcome is ${outcome}, not ${wanted}`;
    }
    const device = example.device;
    const found = said.filter(({ deviceId }) => device === undefined || deviceId === device);
    if (device !== undefined && found.length === 0) {
      const others = [...new Set(said.map(({ deviceId }) => deviceId))];
      return `${example.topic}: the device is ${others.join(', ') || 'none'}, not ${device}`;
    }
    for (const key of ['telemetry', 'status', 'meta'] as const) {
      const value = example[key];
      if (value === undefined) {
        continue;
      }
      const wantedText = key === 'status' ? (value as string) : textOf(value);
      const texts = found.flatMap((one) => (one[key] === undefined ? [] : [String(one[key])]));
      if (!texts.some((text) => text === wantedText || sameJson(text, wantedText))) {
        return `${example.topic}: ${key} is ${texts.join(' and ') || 'not said'}, not ${wantedText}`;
      }
    }
    return undefined;
  }
}

function commandFault(layout: CompiledLayout, example: ExampleText): string | undefined {
  if (layout.command === undefined) {
    return 'the layout has no command';
  }
  const captures = layout.ids.read(example.device ?? '');
  if (captures === undefined) {
    return `${example.device ?? 'no device'} is no id of this layout`;
  }
  let sent;
  try {
    sent = layout.command.write(captures, textOf(example.command));
  } catch (error) {
    if (!(error instanceof ProtocolError)) {
      throw error;
    }
    return example.outcome === error.code ? undefined : `the command is refused: ${error.message}`;
  }
  if (example.outcome !== undefined) {
    return `the command is sent, not refused as ${example.outcome}`;
  }
  if (example.topic !== undefined && sent.topic !== example.topic) {
    return `the command goes to ${sent.topic}, not ${example.topic}`;
  }
  // An id that is new each time stands in the example as {seq}.
  const text =
    sent.seq === undefined ? sent.payload.toString() : sent.payload.toString().replace(sent.seq, '"{seq}"');
  const wanted = example.payload === undefined ? text : textOf(example.payload);
  return text === wanted || sameJson(text, wanted) ? undefined : `the command is ${text}, not ${wanted}`;
}

function bytesOf({ payload, base64 }: ExampleText): Buffer {
  return base64 === undefined ? Buffer.from(textOf(payload ?? '')) : Buffer.from(base64, 'base64');
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function sameJson(one: string, two: string): boolean {
  try {
    return JSON.stringify(JSON.parse(one)) === JSON.stringify(JSON.parse(two));
  } catch {
    return false;
  }
}
