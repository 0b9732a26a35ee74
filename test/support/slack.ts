const given = process.env['CHAOS_TIME_FACTOR'];

/** What limits in ms are multiplied by on a machine that is shared; 1 holds the product to them as they stand. */
export const SLACK = Number(given ?? 3);

/**
 * Holds a measured time against what the documents promise where CHAOS_TIME_FACTOR says how fast the machine is; elsewhere a time that
 * is over is reported, since `npm test` runs beside whatever else the machine does.
 */
export function promised(measuredMs: number, limitMs: number): void {
  if (given !== undefined) {
    expect(measuredMs).toBeLessThan(limitMs * SLACK);
  } else if (measuredMs > limitMs) {
    process.stderr.write(
      `${expect.getState().currentTestName}: ${Math.round(measuredMs)} ms, ${limitMs} ms promised\n`,
    );
  }
}
