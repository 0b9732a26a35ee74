const BASE_MS = 1_000;
const MAX_MS = 16_000;

/**
 * Everybody loses the connection at once and comes back as a well-behaved client does: after a random
 * part of a time that doubles with every refusal.
 *
 * @param {import('./dashboard-group.js').DashboardGroup} group
 * @param {number} timeoutMs
 * @returns {Promise<{backMs: number, back: number, attempts: number}>}
 */
export async function reconnectStorm(group, timeoutMs) {
  const indexes = group.dropAll();
  const startedAt = performance.now();
  let attempts = 0;
  let back = 0;
  let backMs = 0;
  const comeBack = async (index) => {
    for (let attempt = 0; ; attempt++) {
      await pause(Math.random() * Math.min(MAX_MS, BASE_MS * 2 ** attempt));
      if (performance.now() - startedAt > timeoutMs) {
        return;
      }
      attempts++;
      if (await group.openOne(index)) {
        back++;
        backMs = performance.now() - startedAt;
        return;
      }
    }
  };
  await Promise.all(indexes.map(comeBack));
  return { backMs, back, attempts };
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
