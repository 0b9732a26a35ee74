/**
 * The people and machines of a chaos test, in a process of their own: devices that publish, dashboards that watch, and one
 * ledger that knows what should have come. Driven by messages of the parent: `{ call, id, ...arguments }`.
 */
import { Dashboard } from './dashboard.js';
import { DeviceFleet } from './device-fleet.js';
import { Feed } from './feed.js';
import { FieldFeed } from './field-feed.js';
import { Ledger } from './ledger.js';
import { EdgeNode, FieldDevice, NumberedDevice } from './speakers.js';
import { Latencies } from './statistics.js';
import { signToken } from './token.js';

const POLL_MS = 50;
/** Dashboards that connect per step of {@link POLL_MS} at the start. */
const CONNECT_STEP = 25;

let ledger;
let devices;
/** @type {Dashboard[]} */
let dashboards = [];
const latencies = new Latencies();

const calls = {
  /** Devices `d-0`…, of which each dashboard watches a stretch; `watchers` of a device are spread evenly. */
  create({
    urls,
    brokerPort,
    secret,
    deviceCount,
    dashboardCount,
    devicesPerDashboard,
    perSecond,
    name,
    speaksLayouts,
  }) {
    const ids = Array.from({ length: deviceCount }, (_, index) =>
      speaksLayouts ? `${name}-${index}${index % 2 === 0 ? '.f' : '.m.s'}` : `${name}-${index}`,
    );
    ledger = new Ledger(ids);
    devices =
      perSecond > 0
        ? new DeviceFleet(
            ids.map((id) => new (speakerOf(id))(brokerPort, id, ledger)),
            perSecond,
          )
        : undefined;
    dashboards = Array.from({ length: dashboardCount }, (_, index) => {
      const deviceIds = Array.from(
        { length: devicesPerDashboard },
        (__, step) => ids[(index * devicesPerDashboard + step) % ids.length],
      );
      const token = signToken(secret, `${name}-user-${index}`, deviceIds);
      return new Dashboard({
        ...{ urls, token, deviceIds, ledger },
        Feed: speaksLayouts ? FieldFeed : Feed,
        onLive: (ms) => latencies.add(ms),
      });
    });
  },
  async connect({ timeoutMs }) {
    for (let index = 0; index < dashboards.length; index += CONNECT_STEP) {
      dashboards.slice(index, index + CONNECT_STEP).forEach((dashboard) => dashboard.open());
      await pause(POLL_MS);
    }
    await until(
      () => dashboards.every(({ subscribed }) => subscribed) && connectedDevices() === ledger.devices.size,
      timeoutMs,
      () => `${subscribedCount()} of ${dashboards.length} dashboards, ${connectedDevices()} devices`,
    );
  },
  publish({ bursts }) {
    devices.start(bursts);
  },
  /** Ends the load; waits for what the broker has not acknowledged. */
  async halt({ timeoutMs }) {
    devices.stop();
    await devices.acknowledged(timeoutMs);
  },
  mark() {
    latencies.clear();
    dashboards.forEach((dashboard) => dashboard.mark());
  },
  doubt({ withinMs }) {
    ledger.doubt(withinMs);
  },
  cut() {
    dashboards.forEach((dashboard) => dashboard.cut());
  },
  /** Waits until every dashboard is subscribed and has all it should, or nothing came for `quietMs`. */
  async settle({ quietMs, timeoutMs }) {
    const deadline = performance.now() + timeoutMs;
    let last = -1;
    let quietSince = performance.now();
    while (performance.now() < deadline) {
      const delivered = sum((feed) => feed.delivered + feed.duplicated);
      if (delivered !== last || subscribedCount() < dashboards.length) {
        last = delivered;
        quietSince = performance.now();
      }
      const complete = subscribedCount() === dashboards.length && missing().lost === 0;
      if (performance.now() - quietSince > (complete ? Math.min(quietMs, 500) : quietMs)) {
        return;
      }
      await pause(200);
    }
  },
  /** Resolves with the time until all are subscribed again, in ms; `-1` when the time is over. */
  async allBack({ timeoutMs }) {
    const start = performance.now();
    while (subscribedCount() < dashboards.length) {
      if (performance.now() - start > timeoutMs) {
        return -1;
      }
      await pause(POLL_MS);
    }
    return performance.now() - start;
  },
  report: () => report(),
};

/** By the layout that makes such an id (layouts.yaml). */
function speakerOf(id) {
  if (id.endsWith('.f')) {
    return FieldDevice;
  }
  return id.endsWith('.s') ? EdgeNode : NumberedDevice;
}

function report() {
  const { lost, superseded } = missing();
  return {
    sent: ledger.sent,
    published: ledger.published,
    expected: sum((feed) => ledger.devices.get(feed.deviceId).acknowledged.size),
    delivered: sum((feed) => feed.delivered),
    duplicated: sum((feed) => feed.duplicated),
    lost,
    superseded,
    outOfOrder: sum((feed) => feed.outOfOrder),
    offsetGaps: sum((feed) => feed.offsetGaps),
    unannouncedEpochs: sum((feed) => feed.unannouncedEpochs),
    staleSnapshots: sum((feed) => feed.staleSnapshots),
    conflicts: ledger.conflicts,
    latency: latencies.summary(),
    subscribed: subscribedCount(),
    examples: [...ledger.conflictExamples, ...dashboards.flatMap(examplesOf)].slice(0, 20),
    resetTimes: [
      ...new Set(
        dashboards.flatMap(({ feeds }) =>
          [...feeds.values()].flatMap(({ resetLog }) => resetLog.map((at) => Math.floor(at / 250) * 250)),
        ),
      ),
    ].sort((a, b) => a - b),
    errors: dashboards.flatMap(({ errors }) => errors).slice(0, 20),
    dashboards: dashboards.map((dashboard) => ({
      port: dashboard.localPort,
      closes: dashboard.closes,
      refusals: dashboard.refusals,
      retryAfterMs: dashboard.retryAfterMs,
      upstream: dashboard.upstream,
      gapMs: Math.max(...[...dashboard.feeds.values()].map(({ gapMs }) => gapMs)),
      resets: [...dashboard.feeds.values()].reduce(
        (total, { resets, resetsBefore = 0 }) => total + resets - resetsBefore,
        0,
      ),
    })),
  };
}

function examplesOf({ feeds }) {
  return [...feeds.values()].flatMap(({ examples }) => examples).slice(0, 2);
}

function missing() {
  const total = { lost: 0, superseded: 0 };
  for (const { feeds } of dashboards) {
    for (const feed of feeds.values()) {
      const { lost, superseded } = feed.missing();
      total.lost += lost;
      total.superseded += superseded;
    }
  }
  return total;
}

function sum(of) {
  let total = 0;
  for (const { feeds } of dashboards) {
    for (const feed of feeds.values()) {
      total += of(feed);
    }
  }
  return total;
}

const subscribedCount = () => dashboards.filter(({ subscribed }) => subscribed).length;
const connectedDevices = () => devices?.connected ?? ledger.devices.size;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition, timeoutMs, describe) {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) {
      throw new Error(`not in time: ${describe()}`);
    }
    await pause(POLL_MS);
  }
}

process.on('message', ({ call, id, ...options }) => {
  Promise.resolve()
    .then(() => calls[call](options))
    .then(
      (result) => process.send({ id, result }),
      (error) => process.send({ id, error: error.stack }),
    );
});
process.on('disconnect', () => process.exit(0));
