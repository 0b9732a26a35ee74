import { INSTANCE } from './compile/command-templates.js';
import type { CompiledLayouts } from './compiled-layouts.js';
import { reduced } from './topic-filters.js';

/** What the broker has to allow. */
export interface BrokerRights {
  /** Filters that are subscribed. */
  readonly read: readonly string[];
  readonly write: readonly string[];
}

/** A line for each layout: what its ids are made of, and which filters it takes messages from. */
export function layoutLines({ layouts, subscriptions }: CompiledLayouts): string[] {
  const named = layouts.map(({ name, ids, routes, command }) => {
    const topics = [...new Set(routes.map(({ topic }) => topic.source))].join(', ');
    const commands = command === undefined ? 'no commands' : `commands to ${command.template.source}`;
    return `${name}: devices ${ids.source} from ${topics || 'no topics'}; ${commands}`;
  });
  return [
    ...named,
    `subscribed: ${subscriptions.map(({ filter, qos }) => `${filter} (QoS ${qos})`).join(', ')}`,
  ];
}

/** @param namespace of the topics by which instances tell each other who reads */
export function brokerRights({ layouts, subscriptions }: CompiledLayouts, namespace: string): BrokerRights {
  const commands = layouts.flatMap(({ command }) => (command === undefined ? [] : [command]));
  const sparkplug = layouts.flatMap((layout) =>
    layout.sparkplug?.rebirth === 'ask' ? ['spBv1.0/+/NCMD/+'] : [],
  );
  // Each process has an {instance} of its own.
  const replies = commands.flatMap(({ reply }) =>
    reply === null ? [] : [reply.filter.replaceAll(INSTANCE, '+')],
  );
  const joined = (filters: readonly string[]): string[] =>
    reduced(filters.map((filter) => ({ filter, qos: 0 }))).map(({ filter }) => filter);
  return {
    read: [
      ...joined([...subscriptions.map(({ filter }) => filter), ...replies, `${namespace}/replies`]),
      `${namespace}/ingest/#`,
    ],
    write: [
      ...joined([...commands.map(({ publishes }) => publishes), ...sparkplug]),
      `${namespace}/ingest/#`,
    ],
  };
}

/** Lines of a Mosquitto `acl_file`. */
export function mosquittoAcl({ read, write }: BrokerRights, user: string): string[] {
  return [
    `user ${user}`,
    ...read.map((filter) => `topic read ${filter}`),
    ...write.map((filter) => `topic write ${filter}`),
  ];
}

/** Lines of EMQX's `acl.conf`. */
export function emqxAcl({ read, write }: BrokerRights, user: string): string[] {
  const list = (filters: readonly string[]): string => filters.map((one) => erlangText(one)).join(', ');
  const rule = (action: string, filters: readonly string[]): string =>
    `{allow, {user, ${erlangText(user)}}, ${action}, [${list(filters)}]}.`;
  return [rule('subscribe', read), rule('publish', write)];
}

function erlangText(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}
