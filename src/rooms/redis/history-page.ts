import type { HistoryPage } from '../broadcast-adapter.js';
import type { HistoryLimits } from '../history-log.js';
import type { Publication } from '../publication.js';
import { Block, FRAME_LENGTH_BYTES } from './frames.js';
import { decodeState } from './stored-state.js';

const NOTHING = Buffer.alloc(0);

/**
 * Reads the answer of redis/lua/history.lua. The store trims in coarse steps; here the limits are applied exactly.
 * @returns null when history cannot be continued after that offset
 */
export function readHistoryPage(
  deviceId: string,
  answer: readonly (Buffer | number | null)[],
  afterOffset: number,
  maxPublications: number,
  limits: HistoryLimits,
): HistoryPage | null {
  const state = decodeState(deviceId, answer[0] as Buffer, NOTHING, NOTHING);
  const newest = state.offset;
  if (afterOffset === newest) {
    return { publications: [], newest };
  }
  const now = Number(answer[1]);
  const versions = answer[2] as number;
  const metas = new Map<number, Buffer | null>([[0, NOTHING]]);
  for (let index = 0; index < versions; index += 1) {
    metas.set(Number(answer[3 + 2 * index]), answer[4 + 2 * index] as Buffer | null);
  }
  const publications: Publication[] = [];
  let next = afterOffset + 1;
  for (const bytes of answer.slice(3 + 2 * versions)) {
    const block = new Block(bytes as Buffer, FRAME_LENGTH_BYTES);
    const meta = metas.get(block.metaVersion) ?? null;
    if (block.firstOffset > next || meta === null || block.epoch !== state.epoch) {
      break;
    }
    let held = true;
    block.each(next, (offset, serverTs, payload, bytesBefore) => {
      held &&=
        publications.length > 0 ||
        offset === newest ||
        (newest - offset < limits.maxPublications &&
          state.bytes - bytesBefore <= limits.maxBytes &&
          serverTs >= now - limits.maxAgeMs);
      if (held && publications.length < maxPublications) {
        publications.push({
          deviceId,
          epoch: state.epoch,
          offset,
          serverTs,
          payload,
          meta: meta.length === 0 ? null : meta,
        });
        next = offset + 1;
      }
    });
  }
  return publications.length === 0 ? null : { publications, newest };
}
