/**
 * What a deployment needs, from what one connection, one publication and one delivery cost: the model of docs/scaling.md, whose table of unit
 * costs these are. Nothing here measures; where figures are far from yours, measure yours.
 */

/** CPU in microseconds of one core, memory and wire in bytes, for payloads of 120 and ids of 20 bytes. Named as in docs/scaling.md. */
export const UNIT = Object.freeze({
  c_d: 13,
  c_d2: 6.5,
  c_d3: 2.0,
  c_d4: 0.5,
  c_i: 4.1,
  c_i0: 2.1,
  c_r: 2.1,
  c_c: 130,
  r_p: 4,
  r_f: 0.5,
  r_a: 8,
  r_h: 15,
  m_0: 120 * 2 ** 20,
  m_c: 6.4 * 2 ** 10,
  m_s: 300,
  m_r: 1_300,
  s_d: 1_300,
  s_c: 250,
  s_u: 80,
});

/** What the table of docs/scaling.md assumes. */
const ID_BYTES = 20;
const ROOMS_IN_M_C = 10;
/** Redis with one or two publications a call, and alone; with many it is `r_p`. From so many a second on, calls are full. */
const REDIS_ALONE_US = 75;
const REDIS_BUSY_PER_S = 20_000;
/** History is kept for so long by default. */
const HISTORY_S = 60;
const HISTORY_MAX = 1_000;
const SLOW_SHARE = 0.01;
const SLOW_BYTES = 2 * 2 ** 20;
const SUBSCRIBER_BUFFER_BYTES = 32 * 2 ** 20;

/** How full each part may be planned: an instance may be lost, and the rest must carry its clients. */
export const LIMITS = Object.freeze({
  /** Of one core, with one instance gone. */
  instanceCpu: 0.7,
  connections: 20_000,
  redisCpu: 0.6,
  /** Bytes a second: a gigabit. */
  network: 125_000_000,
  /** Messages a second that one Mosquitto on one core carries in and out together. */
  brokerMessages: 60_000,
});

/**
 * @typedef {object} Fleet
 * @property {number} devices
 * @property {number} rate publications of a device a second
 * @property {number} dashboards at once
 * @property {number} watched devices of a dashboard
 * @property {number} payload bytes
 * @property {number} metadata bytes of a device
 * @property {boolean} metaOnce dashboards ask for `delivery.meta: "once"`
 * @property {number} maxRate messages of a device a second at most, by `maxRateHz`; Infinity without
 * @property {number} batchMs 0 without
 * @property {number} [instances] instead of as many as are needed
 */

/** @param {Fleet} fleet @returns {Plan} */
export function plan(fleet) {
  if (fleet.instances !== undefined) {
    return needsOf(fleet, fleet.instances);
  }
  const MOST = 1_000;
  for (let instances = 1; instances < MOST; instances += 1) {
    const needs = needsOf(fleet, instances);
    if (needs.worst.cpu <= LIMITS.instanceCpu && needs.worst.connections <= LIMITS.connections) {
      return needs;
    }
  }
  throw new Error(`no number of instances below ${MOST} carries this: divide the fleet (docs/scaling.md)`);
}

/**
 * @typedef {ReturnType<typeof needsOf>} Plan
 */

/** What `instances` cost. One alone needs no Redis. */
export function needsOf(fleet, instances) {
  const { devices, dashboards, watched, payload } = fleet;
  const hasRedis = instances > 1;
  const published = devices * fleet.rate;
  const seen = Math.min(fleet.rate, fleet.maxRate);
  const delivered = dashboards * watched * seen;
  const watchers = devices === 0 ? 0 : (dashboards * watched) / devices;
  const audience = instances * (1 - (1 - 1 / instances) ** watchers);
  const perDelivery = deliveryCost(watched * seen, fleet.batchMs);
  const deliveryBytes = 122 + ID_BYTES + payload + (fleet.metaOnce ? 0 : Math.max(4, fleet.metadata));

  const rooms = (devices * audience) / instances;
  const deliveryCpu = cores(delivered * perDelivery);
  const readerCpu = cores(published * (hasRedis ? UNIT.c_i : UNIT.c_i0));
  const receiveCpu = hasRedis ? cores((published * audience * UNIT.c_r) / instances) : 0;
  const left = hasRedis ? instances - 1 : instances;
  const busiest = deliveryCpu / left + receiveCpu * (instances / left) + readerCpu;
  const connections = dashboards / left;
  const history = Math.min(1.25 * fleet.rate * HISTORY_S, 1.13 * HISTORY_MAX + 16);
  const memory =
    UNIT.m_0 +
    connections * (UNIT.m_c + Math.max(0, watched - ROOMS_IN_M_C) * UNIT.m_s) +
    rooms * (UNIT.m_r + payload + fleet.metadata) +
    connections * SLOW_SHARE * SLOW_BYTES;
  const historyBytes = devices * history * (payload + 92);

  const redis = hasRedis ? redisNeeds(fleet, { published, audience, instances, rooms, history }) : null;
  const broker = { messages: 2 * published, whileRedisIsAway: published * (1 + instances) };
  const parts = [
    {
      name: 'an instance: CPU',
      used: busiest / 1,
      limit: LIMITS.instanceCpu,
      turn: 'more instances, batchMs, maxRateHz',
    },
    {
      name: 'the reader: CPU for device messages',
      used: readerCpu,
      limit: LIMITS.instanceCpu,
      turn: 'MQTT_INGEST=shared, or fewer messages',
    },
    {
      name: 'an instance: connections',
      used: connections,
      limit: LIMITS.connections,
      turn: 'more instances',
    },
    {
      name: 'an instance: network',
      used: (delivered * deliveryBytes) / left,
      limit: LIMITS.network,
      turn: 'delivery.meta "once", fields, maxRateHz',
    },
    {
      name: 'the broker: messages',
      used: broker.messages,
      limit: LIMITS.brokerMessages,
      turn: 'a broker that uses more than one core',
    },
    ...(redis === null
      ? []
      : [
          {
            name: 'the broker while Redis is away',
            used: broker.whileRedisIsAway,
            limit: LIMITS.brokerMessages,
            turn: 'fewer, larger instances; a broker cluster',
          },
          {
            name: 'Redis: CPU',
            used: redis.cpu,
            limit: LIMITS.redisCpu,
            turn: 'Redis Cluster; routes that keep a site together',
          },
          {
            name: 'Redis: network out',
            used: redis.out,
            limit: LIMITS.network,
            turn: 'Redis Cluster; routes that keep a site together',
          },
        ]),
  ].sort((one, other) => other.used / other.limit - one.used / one.limit);
  return {
    instances,
    published,
    delivered,
    audience,
    perDelivery,
    deliveryBytes,
    cpu: {
      all: deliveryCpu + receiveCpu * instances + readerCpu,
      instance: deliveryCpu / instances + receiveCpu,
      reader: deliveryCpu / instances + receiveCpu + readerCpu,
    },
    worst: { cpu: busiest, connections },
    memory,
    /** In memory mode, and on every instance while Redis is away. */
    historyBytes,
    network: delivered * deliveryBytes,
    redis,
    broker,
    parts,
  };
}

/** @param {number} perS messages of a dashboard a second */
function deliveryCost(perS, batchMs) {
  if (batchMs > 0 && (perS * batchMs) / 1_000 >= 2) {
    return UNIT.c_d3;
  }
  if (perS <= 30) {
    return UNIT.c_d;
  }
  return perS >= 70 ? UNIT.c_d2 : UNIT.c_d + ((perS - 30) / 40) * (UNIT.c_d2 - UNIT.c_d);
}

function redisNeeds(
  { devices, dashboards, payload, metadata },
  { published, audience, instances, rooms, history },
) {
  const alone = REDIS_ALONE_US * (1 - Math.min(1, published / REDIS_BUSY_PER_S) ** 0.25);
  const perPublication = UNIT.r_p + alone;
  return {
    cpu: cores(published * (perPublication + audience * UNIT.r_f) + ((instances * rooms) / 150) * UNIT.r_a),
    in: published * (46 + ID_BYTES + payload + (published < REDIS_BUSY_PER_S ? 200 : 4)),
    out: published * audience * (130 + ID_BYTES + payload),
    memory:
      devices *
        (UNIT.s_d + Math.max(0, payload - 120) + Math.max(0, metadata - 200) + history * (payload + 92)) +
      devices * (UNIT.s_c + 150 * audience) +
      dashboards * UNIT.s_u +
      instances * SUBSCRIBER_BUFFER_BYTES,
  };
}

function cores(microsPerS) {
  return microsPerS / 1_000_000;
}
