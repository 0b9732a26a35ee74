/** What limits in ms are multiplied by on a machine that is shared; 1 holds the product to them as they stand. */
export const SLACK = Number(process.env['CHAOS_TIME_FACTOR'] ?? 3);
