/**
 * Servers that run side by side and take turns of a second or two: what the machine does meanwhile meets all of them alike. Whole runs
 * one after the other leave that to chance, and where a target is near, chance decides. Every second round goes the other way, so that
 * nobody always comes after the same one.
 *
 * @param {import('../cases/index.js').Turns} turns
 * @param {import('./contender.js').Contender[]} contenders
 */
export async function takeTurns({ count, begin, take }, contenders) {
  for (const contender of contenders) {
    await contender.step(begin);
  }
  for (let turn = 0; turn < count; turn++) {
    for (const contender of turn % 2 === 0 ? contenders : contenders.toReversed()) {
      await contender.measure(take);
    }
  }
}
