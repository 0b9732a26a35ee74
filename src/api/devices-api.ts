import { setImmediate as turn } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { TelemetryTemplate } from '../delivery/telemetry-frame.js';
import { isDeviceId } from '../protocol/device-id.js';
import { IdPattern, normalPattern } from '../protocol/id-pattern.js';
import { BroadcastAdapter, type Publication, type RoomState } from '../rooms/broadcast-adapter.js';
import { statusJson } from '../rooms/snapshot-source.js';
import type { ApiAnswer, ApiCall, ApiOperations } from './api-server.js';
import { cursorOf, readCursor } from './cursor.js';
import { DeviceDirectory } from './device-directory.js';
import { invalid, notFound, Problem } from './problem.js';

/** An answer ends with the entry that reaches it. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** Devices, and publications, that are read in one step. */
const PER_READ = 64;
const CLOSE = Buffer.from('}');
const COMMA = Buffer.from(',');

/** What is known of devices: where they are, whichever instance reads them. */
@Injectable()
export class DevicesApi {
  readonly operations: ApiOperations = {
    listDevices: (call) => this.list(call),
    getDevice: (call) => this.get(call),
    getHistory: (call) => this.history(call),
  };
  private readonly directory: DeviceDirectory;

  constructor(private readonly adapter: BroadcastAdapter) {
    this.directory = new DeviceDirectory(adapter);
  }

  private async list({ query }: ApiCall): Promise<ApiAnswer> {
    const limit = query['limit'] as number;
    const after = query['cursor'] === undefined ? '' : idOf(readCursor(query['cursor'] as string, 1));
    const ids = await this.directory.page(
      matcherOf(query['pattern'] as string | undefined),
      after,
      limit + 1,
    );
    const page = ids.slice(0, limit);
    const entries: Buffer[] = [];
    let bytes = 0;
    let last = after;
    let isFull = false;
    for (let at = 0; at < page.length && !isFull; at += PER_READ) {
      if (at > 0) {
        await turn(); // bytes of a thousand devices are copied: others go first
      }
      const batch = page.slice(at, at + PER_READ);
      const states = await this.adapter.read(batch);
      for (let n = 0; n < batch.length && !isFull; n += 1) {
        const state = states[n];
        const entry = state === null || state === undefined ? null : deviceJson(state);
        isFull = entry !== null && !fits(bytes, entry);
        if (!isFull) {
          last = batch[n] as string;
          bytes += entry?.length ?? 0;
          entries.push(...(entry === null ? [] : [entry]));
        }
      }
    }
    const isMore = ids.length > limit || last !== (page.at(-1) ?? after);
    const cursor = isMore ? `,"cursor":${JSON.stringify(cursorOf(last))}` : '';
    return { status: 200, body: listJson('{"devices":[', entries, `]${cursor}}`) };
  }

  private async get({ path }: ApiCall): Promise<ApiAnswer> {
    return { status: 200, body: deviceJson(await this.known(path['deviceId'] as string)) };
  }

  private async history({ path, query }: ApiCall): Promise<ApiAnswer> {
    const deviceId = path['deviceId'] as string;
    const limit = query['limit'] as number;
    const state = await this.known(deviceId);
    const position = positionOf(query);
    const start = position ?? (await this.newest(state, limit));
    const page = start === null ? null : await this.adapter.history(deviceId, start, limit);
    if (page === null) {
      if (position !== null) {
        throw this.gone();
      }
      // History is not kept, or is empty: the position is the answer all the same.
      return { status: 200, body: historyJson(state, state.offset, [], state.offset) };
    }
    const entries: Buffer[] = [];
    let bytes = 0;
    let offset = (start as { offset: number }).offset;
    const template = new TelemetryTemplate(deviceId);
    for (const publication of page.publications) {
      const entry = template.body(publication);
      if (!fits(bytes, entry)) {
        break;
      }
      entries.push(entry);
      bytes += entry.length;
      ({ offset } = publication);
    }
    return { status: 200, body: historyJson(state, page.newest, entries, offset) };
  }

  /** @throws {Problem} not_found */
  private async known(deviceId: string): Promise<RoomState> {
    const [state] = isDeviceId(deviceId) ? await this.adapter.read([deviceId]) : [null];
    if (state === null || state === undefined) {
      throw notFound('device');
    }
    return state;
  }

  /** The position before the newest publications. */
  private async newest(
    { deviceId, epoch }: RoomState,
    count: number,
  ): Promise<{ epoch: string; offset: number } | null> {
    const [offset] = await this.adapter.rewind([{ deviceId, epoch }], { count });
    return offset === undefined || offset === null ? null : { epoch, offset };
  }

  private gone(): Problem {
    return this.adapter.healthy
      ? new Problem(
          'history_gone',
          'History does not have this position; read the device, and go on from there',
        )
      : new Problem(
          'store_unavailable',
          'Redis does not answer, and this instance does not have this position',
        );
  }
}

/** A device as the document describes it; what is unknown is left out. */
function deviceJson({ deviceId, epoch, offset, telemetry, status, meta }: RoomState): Buffer {
  const parts: Buffer[] = [
    Buffer.from(
      `{"deviceId":${JSON.stringify(deviceId)},"epoch":${JSON.stringify(epoch)},"offset":${offset}`,
    ),
  ];
  if (telemetry !== null) {
    parts.push(Buffer.from(',"telemetry":'), telemetryJson(telemetry));
  }
  if (status !== null) {
    parts.push(Buffer.from(`,"status":${statusJson(deviceId, status)}`));
  }
  if (meta !== null) {
    parts.push(Buffer.from(',"meta":'), meta);
  }
  parts.push(CLOSE);
  return Buffer.concat(parts);
}

const telemetryJson = (publication: Publication): Buffer =>
  new TelemetryTemplate(publication.deviceId).body(publication);

/** @param last offset of the last one in it: the next page begins there */
function historyJson(
  { deviceId, epoch }: RoomState,
  newest: number,
  publications: readonly Buffer[],
  last: number,
): Buffer {
  const head = { deviceId, epoch, offset: newest };
  const cursor = last < newest ? `,"cursor":${JSON.stringify(cursorOf(epoch, String(last)))}` : '';
  return listJson(`${JSON.stringify(head).slice(0, -1)},"publications":[`, publications, `]${cursor}}`);
}

function listJson(head: string, entries: readonly Buffer[], tail: string): Buffer {
  const parts: Buffer[] = [Buffer.from(head)];
  entries.forEach((entry, at) => parts.push(...(at === 0 ? [entry] : [COMMA, entry])));
  parts.push(Buffer.from(tail));
  return Buffer.concat(parts);
}

/** @throws {Problem} invalid_request */
function matcherOf(pattern: string | undefined): (deviceId: string) => boolean {
  if (pattern === undefined) {
    return () => true;
  }
  if (isDeviceId(pattern) && !pattern.includes('*')) {
    return (deviceId) => deviceId === pattern;
  }
  const normal = normalPattern(pattern);
  if (normal === undefined) {
    throw invalid('pattern', 'matches no legal device id');
  }
  const compiled = new IdPattern(normal);
  return (deviceId) => compiled.matches(deviceId);
}

/** @throws {Problem} invalid_request */
function positionOf(query: ApiCall['query']): { epoch: string; offset: number } | null {
  const { epoch, offset, cursor } = query;
  if (cursor !== undefined) {
    if (epoch !== undefined || offset !== undefined) {
      throw invalid('cursor', 'stands for epoch and offset: send one or the other');
    }
    const [name = '', number = ''] = readCursor(cursor as string, 2);
    if (!/^\d{1,15}$/.test(number)) {
      throw invalid('cursor', 'is none of this API');
    }
    return { epoch: name, offset: Number(number) };
  }
  if ((epoch === undefined) !== (offset === undefined)) {
    throw invalid(epoch === undefined ? 'epoch' : 'offset', 'epoch and offset belong together');
  }
  return epoch === undefined ? null : { epoch: epoch as string, offset: offset as number };
}

/** @throws {Problem} invalid_request */
function idOf([deviceId]: readonly string[]): string {
  if (!isDeviceId(deviceId)) {
    throw invalid('cursor', 'is none of this API');
  }
  return deviceId;
}

/** Whether one more entry belongs to an answer with so many bytes of others; the first one always does. */
function fits(bytes: number, entry: Buffer): boolean {
  return bytes === 0 || bytes + entry.length <= MAX_ANSWER_BYTES;
}
