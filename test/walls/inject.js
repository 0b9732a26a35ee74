// Loaded into the built product (NODE_OPTIONS=--import): parts that throw when they meet the word of a fault, in a place that nobody foresaw.
const dist = process.env.SLUICE_DIST;
const part = async (path, name) => (await import(`${dist}/${path}`))[name];

/** @param {(self: any, args: any[]) => unknown} isMeant */
async function breaks(path, name, method, isMeant) {
  const { prototype } = await part(path, name);
  const original = prototype[method];
  prototype[method] = function (...args) {
    if (isMeant(this, args)) {
      throw new Error(`injected into ${name}.${method}`);
    }
    return original.apply(this, args);
  };
}

const names = (word) => (_self, args) => JSON.stringify(args[0] ?? null).includes(word);

await breaks('gateway/messages/inbound-dispatcher.js', 'InboundDispatcher', 'receive', (_self, [, data]) =>
  String(data).includes('fault-frame'),
);
await breaks('gateway/messages/inbound-dispatcher.js', 'InboundDispatcher', 'finish', (_self, [connection]) =>
  connection.userId.includes('fault-finish'),
);
await breaks('gateway/messages/inbound-dispatcher.js', 'InboundDispatcher', 'ping', (_self, [connection]) =>
  connection.userId.includes('fault-ping'),
);
await breaks('gateway/connection-lifecycle.js', 'ConnectionLifecycle', 'onHeartbeat', (_self, [connection]) =>
  connection.userId.includes('fault-heartbeat'),
);
await breaks(
  'delivery/outbound.js',
  'Outbound',
  'telemetry',
  (_self, [{ member }, { publication }]) =>
    member.userId.includes('fault-delivery') && publication.deviceId.length > 0,
);
await breaks(
  'delivery/outbound.js',
  'Outbound',
  'flush',
  (self) => self.owner.userId.includes('fault-flush') && self.pending !== null && self.pending.telemetry > 0,
);
await breaks('rooms/snapshot-source.js', 'SnapshotSource', 'entry', (_self, [{ room }]) =>
  room.deviceId.includes('fault-snapshot'),
);
await breaks('rooms/room.js', 'Room', 'deliver', names('fault-room'));
await breaks('delivery/aggregate.js', 'Aggregate', 'payload', (self) => self.to > 0);
await breaks('transform/transformer.js', 'Transformer', 'payload', (_self, [deviceId]) =>
  deviceId.includes('fault-device'),
);
