/**
 * Which devices each dashboard watches. A plan is a plain object, since it crosses a process boundary.
 *
 * @typedef {object} RoomPlan
 * @property {'block' | 'mixed' | 'none'} kind `block`: dashboards share equal sets, as people do who look at the same
 *   page; `mixed`: every dashboard has a set of its own, every device the same number of receivers
 * @property {number} rooms rooms of one connection
 * @property {number} devices devices in the fleet
 * @property {number} [first] the first device
 */

/**
 * @param {RoomPlan} plan
 * @param {number} index of the dashboard
 * @returns {number[]} device indexes
 */
export function devicesOf(plan, index) {
  if (plan.kind === 'none') {
    return [];
  }
  const first = plan.first ?? 0;
  const stride = plan.kind === 'mixed' ? 1 + 2 * Math.floor(index / plan.devices) : 1;
  const start = plan.kind === 'mixed' ? index : index * plan.rooms;
  return Array.from({ length: plan.rooms }, (_, room) => first + ((start + room * stride) % plan.devices));
}
