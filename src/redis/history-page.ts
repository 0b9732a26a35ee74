import type { Position } from '../protocol/client-messages.js';
import type { HistoryPage } from '../rooms/broadcast-adapter.js';
import type { HistoryLimits } from '../rooms/memory/history-log.js';
import type { Publication } from '../rooms/publication.js';
import { Block, FRAME_LENGTH_BYTES } from './frames.js';
import { decodeState } from './wire.js';

const NOTHING = Buffer.alloc(0);

/**
 * Reads the answer of redis/lua/history.lua. The store trims in coarse steps; here the limits are applied exactly.
 * @returns null when history cannot be continued after that offset
 */
export function readHistoryPage(
  deviceId: string,
  answer: readonly (Buffer | number | null)[],
  after: Position,
  maxPublications: number,
  limits: HistoryLimits,
): HistoryPage | null {
  const state = decodeState(deviceId, answer[0] as Buffer, NOTHING, NOTHING);
  const newest = Number(answer[2]);
  if (after.offset === newest) {
    return { publications: [], newest };
  }
  const now = Number(answer[1]);
  const versions = answer[3] as number;
  const metas = new Map<number, Buffer | null>([[0, NOTHING]]);
  for (let index = 0; index < versions; index += 1) {
    metas.set(Number(answer[4 + 2 * index]), answer[5 + 2 * index] as Buffer | null);
  }
  const publications: Publication[] = [];
  let next = after.offset + 1;
  // The numbering before the current one ended where the server did: what is left of it is read whole.
  const isOld = after.epoch !== state.epoch;
  for (const bytes of answer.slice(4 + 2 * versions)) {
    const block = new Block(bytes as Buffer, FRAME_LENGTH_BYTES);
    const meta = metas.get(block.metaVersion) ?? null;
    if (block.firstOffset > next || meta === null || !block.isOf(after.epoch)) {
      break;
    }
    let held = true;
    block.each(next, (offset, serverTs, payload, bytesBefore) => {
      held &&=
        isOld ||
        publications.length > 0 ||
        offset === newest ||
        (newest - offset < limits.maxPublications &&
          state.bytes - bytesBefore <= limits.maxBytes &&
          serverTs >= now - limits.maxAgeMs);
      if (held && publications.length < maxPublications) {
        publications.push({
          deviceId,
          epoch: after.epoch,
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
