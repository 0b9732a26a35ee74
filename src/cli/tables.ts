import type { Connection, Device, TopConnections, TopDevices, TopRefused } from '../api/openapi.types.js';

/** Ids and user names are chosen by others: no control character of theirs reaches the terminal. */
export const safe = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u{fffd}');

/** A value of the API in a table, or in a sentence. */
export function shown(value: unknown): string {
  if (value === undefined || value === null) {
    return '-';
  }
  return safe(typeof value === 'string' ? value : JSON.stringify(value));
}

export function table(head: readonly string[], rows: readonly (readonly unknown[])[]): string[] {
  const cells = [head, ...rows.map((row) => row.map(shown))];
  const widths = head.map((_, column) =>
    cells.reduce((width, row) => Math.max(width, row[column]!.length), 0),
  );
  return cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] as number))
      .join('  ')
      .trimEnd(),
  );
}

export function ago(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  const [unit, per] =
    seconds < 120
      ? ['s', 1]
      : seconds < 7_200
        ? ['min', 60]
        : seconds < 172_800
          ? ['h', 3_600]
          : ['d', 86_400];
  return `${Math.round(seconds / per)} ${unit}`;
}

export const silence = (silent: readonly string[]): string[] =>
  silent.length === 0 ? [] : [`No answer from: ${silent.map(safe).join(', ')}`];

export const waits = ({ pending }: { pending?: boolean }): string[] =>
  pending === true ? ['Redis is away: the other instances follow when it is back'] : [];

export function connectionTable(connections: readonly Connection[]): string[] {
  const rows = connections.map((c) => [
    c.connectionId,
    c.userId,
    c.address,
    ago(Date.now() - c.openedAt),
    c.rooms,
    c.queuedBytes,
    c.skipped,
    c.bytes,
    c.rttMs,
    c.instance,
  ]);
  const who = ['CONNECTION', 'USER', 'ADDRESS', 'OPEN FOR'];
  return table([...who, 'ROOMS', 'QUEUED', 'SKIPPED', 'BYTES', 'RTT MS', 'INSTANCE'], rows);
}

/** The top lists, and how each is shown. */
export const TOPS = {
  connections: ({ connections }: TopConnections) => connectionTable(connections),
  devices: ({ devices, by }: TopDevices) =>
    table(
      ['DEVICE', `${by.toUpperCase()} A SECOND`],
      devices.map(({ deviceId, perSecond }) => [deviceId, perSecond]),
    ),
  refused: ({ refused }: TopRefused) =>
    table(
      ['KIND', 'WHO', 'REFUSED', 'LAST REASON', 'LAST', 'HASH', 'INSTANCE'],
      refused.map((r) => [
        r.kind,
        r.id,
        r.refused,
        r.detail === undefined ? r.reason : `${r.reason}: ${r.detail}`,
        `${ago(Date.now() - r.at)} ago`,
        r.hash,
        r.instance,
      ]),
    ),
};

export const iso = (ms: number | undefined): string => (ms === undefined ? '-' : new Date(ms).toISOString());

export const online = ({ status }: Device): string =>
  status === undefined ? '-' : status.isOnline ? 'yes' : 'no';
