import type { CompiledLayouts, CompiledRoute } from '../layouts/compiled-layouts.js';
import { compileLayouts } from '../layouts/compile/compile.js';
import { LayoutFileError, parseLayoutFile } from '../layouts/compile/layout-file.js';
import { presetNames, readPreset } from '../layouts/presets.js';
import type { WrittenLevel } from '../layouts/compile/topic-template.js';
import { ONE } from '../mqtt/topic-tree.js';
import { type Said, LayoutTrial } from './layout-trial.js';

/** One message of a recording. */
export interface Recorded {
  readonly topic: string;
  readonly payload: Buffer;
}

/** Most topics of a recording that are reported one by one. A recording may be of any length, so further topics are only counted. */
const MAX_TOPICS = 10_000;
const MAX_SHOWN = 20;
/** Messages that are looked at. */
const MAX_LINES = 1_000_000;
const TAKEN = new Set(['accepted', 'ignored']);

/** What `layout:try` says of one message, and whether a template took it. */
export function trySentence(
  layouts: CompiledLayouts,
  topic: string,
  payload: Buffer,
): { readonly taken: boolean; readonly text: string } {
  const trial = new LayoutTrial(layouts).message(topic, payload);
  const { layout, route, outcome, said } = trial;
  if (layout === undefined || route === undefined) {
    const why = outcome === 'bad_topic' ? nearestTemplate(layouts, topic) : outcome;
    return { taken: false, text: `no template: ${why}` };
  }
  const where = `layout ${layout}, ${route}`;
  if (!TAKEN.has(outcome)) {
    return { taken: false, text: [`${where}: ${outcome}`, ...said.map(saidText)].join('\n') };
  }
  const texts = said.map((one) => `layout ${one.layout}, ${one.route}, ${saidText(one)}`);
  return { taken: true, text: texts.length === 0 ? `${where}: ${outcome}` : texts.join('\n') };
}

function saidText({ deviceId, telemetry, status, ofAll, meta }: Said): string {
  const device = ofAll === true ? 'all that it speaks for' : `device ${JSON.stringify(deviceId)}`;
  return `${device}: ${status ?? (telemetry === undefined ? `metadata ${meta ?? 'forgotten'}` : telemetry)}`;
}

/** The template that most levels of a topic fit, and the first that does not. */
export function nearestTemplate({ layouts }: CompiledLayouts, topic: string): string {
  const levels = topic.split('/');
  let best: { fitting: number; text: string } | undefined;
  for (const { name, routes } of layouts) {
    for (const route of routes) {
      const wrong = route.topic.levels.map((level, i) => !levelFits(route, level, i, levels[i]));
      const at = wrong.indexOf(true);
      // If two templates fit equally well, one with a literal at the differing level wins, since it can say what was expected.
      const fitting =
        wrong.filter((one) => !one).length + (route.topic.levels[at]?.kind === 'literal' ? 0.5 : 0);
      if (best === undefined || fitting > best.fitting) {
        const differs =
          at >= 0 && at < levels.length
            ? `level ${at + 1} is ${JSON.stringify(levels[at])}`
            : `the topic has ${levels.length} levels`;
        best = { fitting, text: `nearest is ${name}.${route.name} ${route.topic.source}, ${differs}` };
      }
    }
  }
  return best?.text ?? 'the file has none';
}

function levelFits(route: CompiledRoute, level: WrittenLevel, at: number, text: string | undefined): boolean {
  if (text === undefined) {
    return false;
  }
  // `only` writes the texts that a capture may have into the patterns.
  const allowed = new Set(route.patterns.map((pattern) => pattern[at]));
  return (
    level.kind === 'any' || level.kind === 'rest' || allowed.has(text) || (allowed.has(ONE) && text !== '')
  );
}

/** One line of `mosquitto_sub -v`: the topic, a space, the payload. Topics may have spaces: then the payload is where an object or a list begins. */
export function readLine(line: string): Recorded | undefined {
  const spaces = [...line.matchAll(/ /g)].map(({ index }) => index).slice(0, 16);
  const at =
    spaces.find((index) => /^[{[]/.test(line.slice(index + 1)) && isJson(line.slice(index + 1))) ?? spaces[0];
  const text = at === undefined ? '' : line.slice(at + 1);
  return recorded(at === undefined ? line : line.slice(0, at), Buffer.from(text === '(null)' ? '' : text));
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Messages of a recording, in one of three forms: `mosquitto_sub -v` (text alone), `-F '%t %x'` (payloads in hexadecimal, so that none
 * loses a byte), or a JSON object a line with `topic` and `payload` (`-F %j`), `hex` or `base64`.
 */
export function readRecording(lines: Iterable<string>): Recorded[] {
  const texts: string[] = [];
  for (const line of lines) {
    if (line !== '' && texts.length < MAX_LINES) {
      texts.push(line);
    }
  }
  // Numbers are hexadecimal, too: of a real recording some payload has a letter.
  const isHex =
    texts.every((line) => HEX.test(payloadText(line))) &&
    texts.some((line) => /[a-f]/.test(payloadText(line)));
  return texts.flatMap((line) => (isHex ? hexLine(line) : (jsonLine(line) ?? readLine(line))) ?? []);
}

const HEX = /^([0-9a-f]{2})*$/;

function payloadText(line: string): string {
  const at = line.lastIndexOf(' ');
  return at < 0 ? 'no payload' : line.slice(at + 1);
}

function hexLine(line: string): Recorded | undefined {
  const text = payloadText(line);
  return recorded(line.slice(0, line.length - text.length).trimEnd(), Buffer.from(text, 'hex'));
}

function jsonLine(line: string): Recorded | undefined {
  if (!line.startsWith('{')) {
    return undefined;
  }
  let said: Record<string, unknown>;
  try {
    said = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  const { topic, payload = '', hex, base64 } = said;
  if (typeof topic !== 'string') {
    return undefined;
  }
  if (typeof hex === 'string' || typeof base64 === 'string') {
    return recorded(
      topic,
      typeof hex === 'string' ? Buffer.from(hex, 'hex') : Buffer.from(base64 as string, 'base64'),
    );
  }
  return recorded(topic, Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload)));
}

function recorded(topic: string, payload: Buffer): Recorded | undefined {
  return topic === '' || /[+#]/.test(topic) ? undefined : { topic, payload };
}

/** The table of a recording: templates with messages and devices, what they refuse, and the topics that none takes. */
export function tryTable(layouts: CompiledLayouts, lines: Iterable<string>): string {
  const trial = new LayoutTrial(layouts);
  const rows = new Map<string, { messages: number; devices: Set<string> }>();
  const unmatched = new Map<string, number>();
  let total = 0;
  for (const message of readRecording(lines)) {
    total += 1;
    const result = trial.message(message.topic, message.payload);
    if (result.layout === undefined) {
      count(unmatched, message.topic);
      continue;
    }
    const key = `${result.layout}.${result.route} ${result.outcome}`;
    const row = rows.get(key) ?? { messages: 0, devices: new Set<string>() };
    rows.set(key, row);
    row.messages += 1;
    result.said.forEach(({ deviceId }) => row.devices.size < MAX_TOPICS && row.devices.add(deviceId));
  }
  const table = [...rows].map(
    ([key, { messages, devices }]) =>
      `  ${key.padEnd(44)} ${String(messages).padStart(7)} messages ${String(devices.size).padStart(6)} devices`,
  );
  const without = [...unmatched].sort(([, a], [, b]) => b - a);
  return [
    `${total} messages`,
    ...table,
    ...(without.length === 0 ? [] : [`no template for ${without.length} topics:`]),
    ...without.slice(0, MAX_SHOWN).map(([topic, times]) => `  ${topic} (${times})`),
  ].join('\n');
}

function count(counts: Map<string, number>, key: string): void {
  if (counts.has(key) || counts.size < MAX_TOPICS) {
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
}

interface Candidate {
  readonly name: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** The template of its ids. */
  readonly device: string;
  readonly trial: LayoutTrial;
}

/** Discovery messages for Home Assistant describe topics of other devices and have no values, so no layout is drafted from them. */
const DISCOVERY = /^homeassistant\/.+\/config$/;
/** What instances of Sluice tell each other and themselves through the broker, by any NAMESPACE. */
const NOTES = /^[^/]+\/ingest\/(holder|claim|shards|own\/[^/]+\/[^/]+|[^/]+\/marker)$/;

/** A layout file for a recording: the presets that fit, and a first draft by the shape of topics that none knows. */
export function guessFile(lines: Iterable<string>): {
  readonly text: string;
  readonly notes: readonly string[];
} {
  const all = readRecording(lines)
    .slice(0, MAX_TOPICS)
    .filter(({ topic }) => !NOTES.test(topic));
  const rows = all.filter(({ topic }) => !DISCOVERY.test(topic));
  const candidates = presetNames().flatMap((name) => candidatesOf(name, rows));
  let left = rows;
  const entries: string[] = [];
  const notes: string[] = [];
  for (;;) {
    const scored = candidates
      .map((candidate) => ({ candidate, ...score(candidate.trial, left) }))
      .filter(({ hits, refused }) => hits > 0 && hits > refused)
      .sort((a, b) => b.hits - b.refused - (a.hits - a.refused));
    const fitting = scored.flatMap(({ candidate, hits }) =>
      [entryOf(candidate), entryOf(candidate, true)]
        .filter((entry) => compiles([...entries, entry]))
        .slice(0, 1)
        .map((entry) => ({ candidate, hits, entry })),
    );
    const [best] = fitting;
    if (best === undefined) {
      break;
    }
    const { candidate, hits, entry } = best;
    entries.push(entry);
    notes.push(`${candidate.name}: takes ${hits} messages`);
    candidates.splice(0, candidates.length, ...candidates.filter(({ name }) => name !== candidate.name));
    left = left.filter((message) => !isTaken(candidate.trial, message));
  }
  for (const draft of drafts(left)) {
    if (compiles([...entries, draft.entry])) {
      entries.push(draft.entry);
      notes.push(`${draft.name}: a first draft by the shape of ${draft.topics} topics that no preset knows`);
    }
  }
  if (rows.length < all.length) {
    notes.push(
      `homeassistant/…/config: ${all.length - rows.length} messages that describe devices to Home Assistant are left out`,
    );
  }
  if (rows.some(({ payload }) => payload.includes('\ufffd'))) {
    notes.push("some payloads are no text and have lost bytes: mosquitto_sub -F '%t %x' records them whole");
  }
  return { text: `version: 1\nlayouts:\n${entries.join('')}`, notes };
}

/** @param apart its ids begin with its name, since another layout could make the same */
function entryOf({ name, parameters, device }: Candidate, apart = false): string {
  const given = Object.entries(parameters).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
  const parts = [
    `preset: ${name}`,
    ...(given.length === 0 ? [] : [`with: { ${given.join(', ')} }`]),
    ...(apart ? [`device: ${JSON.stringify(`${name}.${device}`)}`] : []),
  ];
  return `  ${name}: { ${parts.join(', ')} }\n`;
}

function compiles(entries: readonly string[]): CompiledLayouts | undefined {
  try {
    return compileLayouts(parseLayoutFile(`version: 1\nlayouts:\n${entries.join('')}`), { ingest: 'leased' });
  } catch (error) {
    if (error instanceof LayoutFileError) {
      return undefined;
    }
    throw error;
  }
}

/** A preset once for each choice it has, its other parameters read out of the recording where they are needed. */
function candidatesOf(name: string, messages: readonly Recorded[]): Candidate[] {
  const { parameters, choose, layouts } = readPreset(name);
  const needed = Object.entries(parameters).filter(([, parameter]) => parameter.default === undefined);
  const choices = choose === undefined ? [''] : Object.keys(layouts);
  return choices.flatMap((choice) => {
    const found = neededOf(
      needed.map(([key]) => key),
      layouts[choice]?.['telemetry'],
      messages,
    );
    if (found === undefined) {
      return [];
    }
    const isDefault = choose === undefined || String(parameters[choose]?.default) === choice;
    const given = isDefault ? found : { ...found, [choose]: choice };
    const compiled = compiles([entryOf({ name, parameters: given } as Candidate)]);
    return compiled === undefined
      ? []
      : [
          {
            name,
            parameters: given,
            device: compiled.layouts[0]!.ids.source,
            trial: new LayoutTrial(compiled),
          },
        ];
  });
}

function neededOf(
  keys: readonly string[],
  telemetry: unknown,
  messages: readonly Recorded[],
): Record<string, string> | undefined {
  if (keys.length === 0) {
    return {};
  }
  for (const { topic = '' } of (telemetry ?? []) as { topic?: string }[]) {
    const levels = topic.split('/');
    for (const message of messages) {
      const said = message.topic.split('/');
      const fits =
        said.length === levels.length && levels.every((level, i) => /[<{+]/.test(level) || level === said[i]);
      if (fits) {
        const values = levels.flatMap((level, i) => {
          const key = /^<([a-z]+)>$/.exec(level)?.[1];
          return key === undefined ? [] : [[key, said[i]!] as const];
        });
        const found = Object.fromEntries(values.filter(([key]) => keys.includes(key)));
        return keys.every((key) => Object.hasOwn(found, key)) ? found : undefined;
      }
    }
  }
  return undefined;
}

function isTaken(trial: LayoutTrial, { topic, payload }: Recorded): boolean {
  return trial.message(topic, payload).layout !== undefined;
}

function score(trial: LayoutTrial, messages: readonly Recorded[]): { hits: number; refused: number } {
  let hits = 0;
  let refused = 0;
  for (const { topic, payload } of messages) {
    const { layout, outcome } = trial.message(topic, payload);
    if (layout !== undefined) {
      // The topics alone show that this is Sparkplug: data messages have only aliases, which births explain, and a recording as text has
      // lost bytes.
      const fits = outcome === 'accepted' || topic.startsWith('spBv1.0/');
      hits += fits ? 1 : 0;
      refused += fits || TAKEN.has(outcome) ? 0 : 1;
    }
  }
  return { hits, refused };
}

/** Topics of one beginning and one length: the first level that varies is the device, those after it name a field. */
function drafts(messages: readonly Recorded[]): { name: string; entry: string; topics: number }[] {
  const groups = new Map<string, string[][]>();
  for (const { topic } of messages) {
    const levels = topic.split('/');
    const key = `${levels[0]} ${levels.length}`;
    groups.set(key, [...(groups.get(key) ?? []), levels]);
  }
  return [...groups.values()].flatMap((topics, index) => {
    const [first] = topics;
    const text = first![0]!;
    if (first!.length < 2 || !/^[^$+#{}\p{Cc}]+$/u.test(text)) {
      return [];
    }
    const varies = first!.map((_level, i) => new Set(topics.map((levels) => levels[i])).size > 1);
    const device = Math.max(1, varies.indexOf(true));
    let hasField = false;
    const template = first!.map((level, i) => {
      if (i === device) {
        return '{device}';
      }
      hasField ||= i > device && varies[i]!;
      return varies[i] === true ? `{part${i}}` : level;
    });
    const name = `draft-${text
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .slice(0, 20)}-${index + 1}`;
    const how = hasField ? ', as: field, payload: scalar' : ', payload: scalar';
    const entry = `  ${name}:\n    device: ${JSON.stringify(`${name}.{device}`)}\n    telemetry: [ { topic: ${JSON.stringify(template.join('/'))}${how} } ]\n`;
    return [{ name, entry, topics: new Set(topics.map((levels) => levels.join('/'))).size }];
  });
}
