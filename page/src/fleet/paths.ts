import { fieldOf, plottable } from '../core/payload.js';
import { type Device, SPARK_MS } from './device.js';

export const WIDTH = 120;
export const HEIGHT = 40;
const MARGIN = 3;

/** The last minute of a field as paths of an SVG: by time, booleans as steps, a pause as a gap. */
export function pathsOf(
  { samples, intervalMs }: Device,
  field: string,
  now: number,
): { line: string; area: string } {
  const begin = now - SPARK_MS;
  const gapMs = Math.max(5_000, intervalMs * 4);
  const points: { x: number; v: number; isAfterGap: boolean; isStep: boolean }[] = [];
  let min = Infinity;
  let max = -Infinity;
  let before = -Infinity;
  for (const { t, payload } of samples ?? []) {
    const value = fieldOf(payload, field);
    const v = plottable(value);
    if (v !== undefined && t >= begin - gapMs) {
      const x = Math.min(1, Math.max(0, (t - begin) / SPARK_MS)) * WIDTH;
      points.push({ x, v, isAfterGap: t - before > gapMs, isStep: typeof value === 'boolean' });
      min = Math.min(min, v);
      max = Math.max(max, v);
      before = t;
    }
  }
  if (points.length < 2) {
    return { line: '', area: '' };
  }
  const range = max - min;
  // A flat line lies in the middle.
  const yOf = (v: number): string =>
    (HEIGHT - MARGIN - (range === 0 ? 0.5 : (v - min) / range) * (HEIGHT - 2 * MARGIN)).toFixed(1);
  let line = '';
  let area = '';
  let last: (typeof points)[0] | undefined;
  for (const point of points) {
    const x = point.x.toFixed(1);
    const y = yOf(point.v);
    if (last === undefined || point.isAfterGap) {
      line += `M${x} ${y}`;
      area +=
        last === undefined
          ? `M${x} ${HEIGHT}L${x} ${y}`
          : `L${last.x.toFixed(1)} ${HEIGHT}ZM${x} ${HEIGHT}L${x} ${y}`;
    } else {
      const step = point.isStep ? `L${x} ${yOf(last.v)}` : '';
      line += `${step}L${x} ${y}`;
      area += `${step}L${x} ${y}`;
    }
    last = point;
  }
  return { line, area: `${area}L${(last?.x ?? 0).toFixed(1)} ${HEIGHT}Z` };
}
