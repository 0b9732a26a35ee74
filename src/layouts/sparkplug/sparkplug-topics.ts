import type { Captures } from '../../mqtt/topic-router.js';
import { isLevelText, type TopicTemplate, type WrittenLevel } from '../compile/topic-template.js';
import { SPARKPLUG_NAMESPACE } from './rebirth-requests.js';
import type { Verb } from './sparkplug-node.js';

/** Of one node, or of one device of it. */
export interface SparkplugAddress {
  readonly group: string;
  readonly node: string;
  /** '' for the node itself. */
  readonly device: string;
}

/** The verbs that come with a topic of data. */
const OF_NODE: readonly Verb[] = ['NBIRTH', 'NDATA', 'NDEATH'];
const OF_DEVICE: readonly Verb[] = ['DBIRTH', 'DDATA', 'DDEATH'];
const GROUP = 1;
const VERB = 2;
const NODE = 3;
const DEVICE = 4;

export const SPARKPLUG_TOPICS = `${SPARKPLUG_NAMESPACE}/{group}/NDATA/{node} or ${SPARKPLUG_NAMESPACE}/{group}/DDATA/{node}/{dev}`;
export const SPARKPLUG_COMMAND_TOPICS = `${SPARKPLUG_NAMESPACE}/{group}/DCMD/{node}/{dev} or ${SPARKPLUG_NAMESPACE}/{group}/NCMD/{node}`;

/** `spBv1.0/{group}/NDATA/{node}` or `spBv1.0/{group}/DDATA/{node}/{dev}`, with which births and deaths are read, too. */
export class SparkplugTopics {
  readonly isOfDevice: boolean;
  private readonly levels: readonly WrittenLevel[];

  private constructor({ levels }: TopicTemplate) {
    this.levels = levels;
    this.isOfDevice = levels.length > DEVICE;
  }

  /** @returns undefined when it is no topic of data */
  static ofData(template: TopicTemplate): SparkplugTopics | undefined {
    return hasForm(template, 'NDATA', 'DDATA') ? new SparkplugTopics(template) : undefined;
  }

  /** @returns undefined when it is no topic of commands */
  static ofCommands(template: TopicTemplate): SparkplugTopics | undefined {
    return hasForm(template, 'NCMD', 'DCMD') ? new SparkplugTopics(template) : undefined;
  }

  /** Each verb with the template of its topic. */
  get verbs(): readonly (readonly [verb: Verb, topic: string])[] {
    return (this.isOfDevice ? OF_DEVICE : OF_NODE).map((verb) => [verb, this.source(verb)]);
  }

  /** What the levels of a topic say. */
  address(captures: Captures): SparkplugAddress {
    return {
      group: textOf(this.levels[GROUP], captures),
      node: textOf(this.levels[NODE], captures),
      device: this.isOfDevice ? textOf(this.levels[DEVICE], captures) : '',
    };
  }

  /** The captures of a topic of this node or device. */
  captures({ group, node, device }: SparkplugAddress): Captures {
    const captures: Record<string, string> = {};
    for (const [at, text] of [
      [GROUP, group],
      [NODE, node],
      [DEVICE, device],
    ] as const) {
      const level = this.levels[at];
      if (level?.kind === 'one' && text !== '') {
        captures[level.name] = text;
      }
    }
    return captures;
  }

  private source(verb: Verb): string {
    return this.levels
      .map((level, at) =>
        at === VERB ? verb : level.kind === 'literal' ? level.text : `{${(level as { name: string }).name}}`,
      )
      .join('/');
  }
}

/** Where a command to a node or device goes; undefined when one of the three cannot be a level of a topic. */
export function commandTopicOf({ group, node, device }: SparkplugAddress): string | undefined {
  if (![group, node, ...(device === '' ? [] : [device])].every(isLevelText)) {
    return undefined;
  }
  return device === ''
    ? `${SPARKPLUG_NAMESPACE}/${group}/NCMD/${node}`
    : `${SPARKPLUG_NAMESPACE}/${group}/DCMD/${node}/${device}`;
}

function hasForm({ levels }: TopicTemplate, ofNode: string, ofDevice: string): boolean {
  const [namespace, group, verb, node, device] = levels;
  const named = [group, node, ...(device === undefined ? [] : [device])];
  return (
    levels.length >= NODE + 1 &&
    levels.length <= DEVICE + 1 &&
    isText(namespace, SPARKPLUG_NAMESPACE) &&
    isText(verb, device === undefined ? ofNode : ofDevice) &&
    named.every((level) => level?.kind === 'literal' || level?.kind === 'one')
  );
}

function isText(level: WrittenLevel | undefined, text: string): boolean {
  return level?.kind === 'literal' && level.text === text;
}

function textOf(level: WrittenLevel | undefined, captures: Captures): string {
  return level?.kind === 'literal' ? level.text : (captures[(level as { name: string }).name] ?? '');
}
