import { t } from '../core/texts.js';
import type { Device } from './device.js';
import { type Standing, standingOf } from './freshness.js';

/** How the fleet is looked at; it is in the page's address. */
export interface Look {
  readonly q: string;
  readonly show: Standing | '';
  readonly kind: string;
  readonly group: '' | 'place' | 'kind' | 'state';
  readonly sort: 'name' | 'worst' | 'newest';
  readonly view: 'tiles' | 'table';
}

export function lookOf(params: URLSearchParams): Look {
  const oneOf = <Name extends string>(name: string, names: readonly Name[], otherwise: Name): Name =>
    names.find((one) => one === params.get(name)) ?? otherwise;
  return {
    q: params.get('q') ?? '',
    show: oneOf('show', ['online', 'offline', 'stale', 'unknown'], ''),
    kind: params.get('kind') ?? '',
    group: oneOf('group', ['place', 'kind', 'state'], ''),
    sort: oneOf('sort', ['worst', 'newest'], 'name'),
    view: oneOf('view', ['table'], 'tiles'),
  };
}

export interface Group {
  readonly name: string;
  readonly devices: readonly Device[];
}

export interface Arranged {
  readonly groups: readonly Group[];
  /** Devices in all groups, in order. */
  readonly shown: readonly Device[];
  /** Of all devices, whatever is filtered. */
  readonly counts: Readonly<Record<Standing, number>> & { readonly all: number };
  readonly kinds: readonly string[];
}

/** The worst first; what is unknown before what is well. */
const RANK: Record<Standing, number> = { offline: 0, stale: 1, unknown: 2, online: 3 };
const order = new Intl.Collator(undefined, { numeric: true });

/**
 * By their names, as people count: "pump-2" before "pump-10". Comparing so is dear; of devices that are in order already but for a few it
 * compares each only once.
 */
export function inOrder(devices: readonly Device[]): Device[] {
  return devices
    .map((device) => ({ device, name: device.name }))
    .sort((a, b) => order.compare(a.name, b.name) || order.compare(a.device.id, b.device.id))
    .map(({ device }) => device);
}

/** Filters, groups and orders the devices. @param devices {@link inOrder} */
export function arrange(devices: readonly Device[], look: Look, now: number): Arranged {
  const counts = { all: 0, online: 0, offline: 0, stale: 0, unknown: 0 };
  const kinds = new Set<string>();
  const words = look.q.toLowerCase().split(/\s+/).filter(Boolean);
  const rows: { device: Device; standing: Standing }[] = [];
  for (const device of devices) {
    const standing = standingOf(device, now);
    const { kind } = device;
    counts.all += 1;
    counts[standing] += 1;
    if (kind !== '') {
      kinds.add(kind);
    }
    if (
      (look.show === '' || look.show === standing) &&
      (look.kind === '' || look.kind === kind) &&
      (words.length === 0 || finds(device, standing, words))
    ) {
      rows.push({ device, standing });
    }
  }
  // What compares equal stays in the order of the names.
  if (look.sort === 'worst') {
    rows.sort((a, b) => RANK[a.standing] - RANK[b.standing]);
  } else if (look.sort === 'newest') {
    rows.sort((a, b) => (b.device.updatedAt ?? 0) - (a.device.updatedAt ?? 0));
  }
  const groups = new Map<string, Device[]>();
  for (const { device, standing } of rows) {
    const name = nameOfGroup(device, standing, look.group);
    const members = groups.get(name) ?? [];
    members.push(device);
    groups.set(name, members);
  }
  const sorted = [...groups].map(([name, members]) => ({ name, devices: members }));
  if (look.group === 'place' || look.group === 'kind') {
    if (look.sort === 'name') {
      sorted.sort((a, b) => order.compare(a.name, b.name));
    }
  }
  return {
    groups: sorted,
    shown: sorted.flatMap(({ devices: members }) => members),
    counts,
    kinds: [...kinds].sort(order.compare),
  };
}

function finds(device: Device, standing: Standing, words: readonly string[]): boolean {
  const state = t(`standing.${standing}`).toLowerCase();
  return words.every((word) => device.haystack.includes(word) || state.startsWith(word));
}

function nameOfGroup(device: Device, standing: Standing, group: Look['group']): string {
  switch (group) {
    case 'place':
      return device.place === '' ? t('group.noPlace') : device.place;
    case 'kind':
      return device.kind === '' ? t('group.noKind') : device.kind;
    case 'state':
      return t(`standing.${standing}`);
    default:
      return '';
  }
}
