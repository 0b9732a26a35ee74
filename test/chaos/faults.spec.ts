import { FULL, TEST_TIMEOUT_MS } from './form.js';
import { brokerKilled } from './faults/broker-killed.js';
import { halfOpenSubscriber } from './faults/half-open-subscriber.js';
import { haltingMachine } from './faults/halting-machine.js';
import { killedInstances } from './faults/killed-instances.js';
import { killedShards } from './faults/killed-shards.js';
import { noFault } from './faults/no-fault.js';
import { partitionedInstance } from './faults/partitioned-instance.js';
import { reconnectStorm } from './faults/reconnect-storm.js';
import { FROZEN, redisAway, STOPPED } from './faults/redis-away.js';
import { cluster, redisFailover, sentinel } from './faults/redis-failover.js';
import { rollingRestart } from './faults/rolling-restart.js';
import { Stage } from './support/stage.js';

/**
 * What a deployment of three instances, Redis and Mosquitto holds to when its parts fail. All in one file, one after the
 * other: each of them loads the machine by itself. Those that need the same parts follow each other, since the short form lets them share
 * these. Every test says in one line what it measured.
 */
function fault(name: string, run: (title: string) => Promise<void>): void {
  it(
    name,
    async () => {
      try {
        await run(name);
      } catch (error) {
        await Stage.endKept();
        throw error;
      }
    },
    TEST_TIMEOUT_MS,
  );
}

afterAll(() => Stage.endKept());

describe('three instances with MQTT_INGEST=leased', () => {
  fault('deliver everything once and in order, also in bursts', (title) => noFault(title, {}));
  fault('lose nothing when the ingest holder is killed, and then another', (title) =>
    killedInstances(title, {}),
  );
  fault('lose nothing in a rolling restart, and spread who comes back', rollingRestart);
  fault('carry a crowd that comes back at once', (title) => reconnectStorm(title));
  // Their short form is test/devices/redis-away.spec.ts.
  if (FULL) {
    fault('serve on when Redis stops and comes back empty', (title) => redisAway(title, STOPPED));
    fault('serve on when Redis freezes and thaws', (title) => redisAway(title, FROZEN));
  }
  // Proxies that pass everything on change nothing, and the rows after it need them.
  fault('stay consistent on a machine that halts one process after the other', (title) =>
    haltingMachine(title, FULL ? {} : { through: 'redis' }),
  );
  fault('serve on where one of them alone loses Redis', (title) => partitionedInstance(title, 'other'));
  fault('serve on where the ingest holder alone loses Redis', (title) =>
    partitionedInstance(title, 'holder'),
  );
  fault('notice a half-open subscriber connection, and fill the gap', halfOpenSubscriber);
  fault('lose nothing that the broker acknowledged before it was killed', (title) => brokerKilled(title, {}));
});

// Their short form is test/devices/shards.spec.ts.
if (FULL) {
  describe('instances with INGEST_SHARDS', () => {
    for (const [instances, shards] of [
      [2, 2],
      [2, 3],
      [3, 4],
    ] as const) {
      fault(
        `lose and double nothing when each of ${instances} that read ${shards} shards is killed in turn`,
        (title) => killedShards(title, instances, shards),
      );
    }
  });
}

// Their short form is test/devices/shared.spec.ts.
if (FULL) {
  describe('three instances with MQTT_INGEST=shared', () => {
    fault('deliver everything once', (title) => noFault(title, { ingest: 'shared' }, true));
    fault('lose nothing that the broker keeps when one is killed, and then another', (title) =>
      killedInstances(title, { ingest: 'shared' }),
    );
  });
}

describe('three instances on a Redis that fails over', () => {
  fault('lose nothing when a master of a Redis Cluster is killed', (title) => redisFailover(title, cluster));
  fault('lose nothing when the master behind Sentinel is killed', (title) => redisFailover(title, sentinel));
});

describe('one instance with rooms in memory', () => {
  const alone = { instances: 1, redis: 'none' } as const;
  fault('carries a crowd that comes back at once', (title) => reconnectStorm(title, alone));
  // Their short form is the witness of test/hostile, which has this instance under attack, and test/devices/broker-loss.spec.ts.
  if (FULL) {
    fault('delivers everything once and in order, also in bursts', (title) => noFault(title, alone));
    fault('loses nothing that the broker acknowledged before it was killed', (title) =>
      brokerKilled(title, alone),
    );
  }
});

/** In full length alone: what is of fields in `npm test` is test/devices/fields.spec.ts and sparkplug.spec.ts. */
if (FULL) {
  const layouts = { fleet: { speaksLayouts: true } } as const;
  describe.each([
    ['two', 2],
    ['three', 3],
  ])('%s instances whose devices have a topic for each value, or speak Sparkplug B', (_count, instances) => {
    const options = { ...layouts, instances };
    fault('keep every field when the reader is killed, and then another', (title) =>
      killedInstances(title, options),
    );
    fault('keep every field when Redis stops and comes back empty', (title) =>
      redisAway(title, STOPPED, options),
    );
    fault('keep every field when Redis freezes and thaws', (title) => redisAway(title, FROZEN, options));
    fault('keep every field that the broker acknowledged before it was killed', (title) =>
      brokerKilled(title, options),
    );
  });
}
