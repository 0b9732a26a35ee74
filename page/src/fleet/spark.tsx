import type { Device } from './device.js';
import { HEIGHT, pathsOf, WIDTH } from './paths.js';

/** The last minute of a field: by time, booleans as steps, a pause as a gap. */
export function Spark({ device, field, now }: { device: Device; field: string; now: number }) {
  const { line, area } = pathsOf(device, field, now);
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path class="area" d={area} />
      <path class="line" d={line} />
    </svg>
  );
}
