import { decimalsOf, fieldsOf, plottable } from './fields.js';

const MAX_SAMPLES = 60;

/** What the page knows of one device. */
class Device {
  constructor(id) {
    this.id = id;
    this.payload = undefined;
    this.meta = null;
    this.status = undefined;
    /** Where the room stood when the last publication came: what a resume starts from. */
    this.position = undefined;
    /** Server's clock at the last publication. */
    this.updatedAt = undefined;
    this.fields = [];
    /** Newest numbers per field, for the sparkline. */
    this.samples = new Map();
    /** Most digits after the point seen per field. */
    this.decimals = new Map();
  }

  setTelemetry({ payload, epoch, offset, serverTs, meta }) {
    this.payload = payload;
    this.updatedAt = serverTs;
    this.position = { epoch, offset };
    if (meta !== undefined && meta !== null) {
      this.meta = meta;
    }
    this.fields = fieldsOf(payload);
    const now = new Map(this.fields);
    for (const name of this.samples.keys()) {
      if (!now.has(name)) {
        this.samples.delete(name);
        this.decimals.delete(name);
      }
    }
    for (const [name, value] of this.fields) {
      const number = plottable(value);
      if (number !== undefined) {
        const samples = this.samples.get(name) ?? [];
        samples.push(number);
        if (samples.length > MAX_SAMPLES) {
          samples.shift();
        }
        this.samples.set(name, samples);
        this.decimals.set(name, Math.max(this.decimals.get(name) ?? 0, decimalsOf(value)));
      }
    }
  }
}

/** All devices of the page, kept up to date from the server's messages. No DOM in here. */
export class Devices {
  constructor() {
    /** A Map, since `__proto__` is a legal id. */
    this.byId = new Map();
    /** Publications taken in since the page opened. */
    this.publications = 0;
  }

  ensure(id) {
    let device = this.byId.get(id);
    if (device === undefined) {
      device = new Device(id);
      this.byId.set(id, device);
    }
    return device;
  }

  remove(id) {
    this.byId.delete(id);
  }

  clear() {
    this.byId.clear();
  }

  /** Takes one message in. @returns the ids it changed */
  apply(message) {
    switch (message.type) {
      case 'subscribed':
        return this.onSubscribed(message.rooms ?? []);
      case 'telemetry':
        return this.onTelemetry(message);
      case 'device_status':
        return this.onStatus(message);
      case 'device_meta':
        return this.onMeta(message);
      case 'snapshot':
        return (message.devices ?? []).flatMap((device) => this.onSnapshot(device));
      default:
        return [];
    }
  }

  /** `since` of a subscribe: where each of these devices stands; without a prototype, for the id `__proto__`. */
  since(ids) {
    const since = Object.create(null);
    for (const id of ids) {
      const position = this.byId.get(id)?.position;
      if (position !== undefined) {
        since[id] = position;
      }
    }
    return since;
  }

  onSubscribed(rooms) {
    return rooms.map(({ deviceId, epoch, offset, recovered }) => {
      const device = this.ensure(deviceId);
      if (recovered !== true) {
        device.position = { epoch, offset };
      }
      return deviceId;
    });
  }

  onTelemetry(message) {
    const device = this.byId.get(message.deviceId);
    const at = device?.position;
    // A publication that we have already (resumes may overlap), or a device that we just left.
    if (device === undefined || (at?.epoch === message.epoch && message.offset <= at.offset)) {
      return [];
    }
    device.setTelemetry(message);
    this.publications++;
    return [message.deviceId];
  }

  onStatus({ deviceId, isOnline, lastSeen }) {
    const device = this.byId.get(deviceId);
    if (device === undefined) {
      return [];
    }
    device.status = { isOnline, lastSeen };
    return [deviceId];
  }

  onMeta({ deviceId, meta }) {
    const device = this.byId.get(deviceId);
    if (device === undefined) {
      return [];
    }
    device.meta = meta;
    return [deviceId];
  }

  onSnapshot({ deviceId, telemetry, status, meta }) {
    const device = this.byId.get(deviceId);
    if (device === undefined) {
      return [];
    }
    if (status) {
      device.status = { isOnline: status.isOnline, lastSeen: status.lastSeen };
    }
    const known = device.position;
    // A snapshot is the whole last state; only what live messages have overtaken since is older.
    const isOld =
      device.payload !== undefined &&
      telemetry &&
      known?.epoch === telemetry.epoch &&
      telemetry.offset < known.offset;
    if (telemetry && !isOld) {
      device.setTelemetry(telemetry);
    }
    if (meta !== undefined) {
      device.meta = meta;
    }
    return [deviceId];
  }
}
