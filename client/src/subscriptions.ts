import type { Asking } from './asking.js';
import type { Device, Pattern } from './device.js';
import type { DeviceState, ServerMessage, Subscribed } from './messages.js';
import { SluiceError } from './sluice-error.js';
import type { Subscription, SubscriptionOwner } from './subscription.js';
import { withRaw } from './telemetry.js';

/** All subscriptions of a client: who wants what, and who is told what the server says. */
export class Subscriptions implements SubscriptionOwner {
  private readonly all = new Set<Subscription>();
  private readonly devices: Map<string, Device>;
  private readonly patterns: Map<string, Pattern>;

  constructor(readonly asking: Asking) {
    ({ devices: this.devices, patterns: this.patterns } = asking);
  }

  add(subscription: Subscription): void {
    this.all.add(subscription);
    if (!subscription.isPattern) {
      const devices = subscription.targets.map((id) => this.asking.deviceOf(id));
      for (const device of devices) {
        device.byId.add(subscription);
        device.hear(subscription);
      }
      this.asking.schedule(devices);
      return;
    }
    const { devices, subscriptions } = this.asking.patternOf(subscription.targets[0]!);
    subscriptions.add(subscription);
    const known = [...devices];
    known.forEach((device) => device.hear(subscription));
    // Who has made it can listen by then.
    queueMicrotask(() => {
      known.forEach(({ id }) => subscription.closed || subscription.emit('device', { deviceId: id }));
    });
    this.asking.schedule(this.devices.values());
  }

  leave(subscription: Subscription): void {
    this.all.delete(subscription);
    const pattern = subscription.isPattern ? this.patterns.get(subscription.targets[0]!) : undefined;
    pattern?.subscriptions.delete(subscription);
    const devices = pattern?.devices ?? subscription.targets.flatMap((id) => this.devices.get(id) ?? []);
    for (const device of devices) {
      device.byId.delete(subscription);
      device.unhear(subscription);
    }
    this.asking.schedule(subscription.isPattern ? this.devices.values() : devices);
  }

  stateOf(subscription: Subscription, deviceId: string): DeviceState | undefined {
    const device = this.devices.get(deviceId);
    return device?.hearings.has(subscription) === true ? device.state : undefined;
  }

  /** The client is closed. */
  end(error: SluiceError): void {
    this.all.forEach((subscription) => subscription.end(error));
    this.devices.clear();
    this.patterns.clear();
  }

  /** @param path of the message within the text that came */
  hear(message: ServerMessage, text: string, path: readonly (string | number)[]): void {
    const device = 'deviceId' in message ? this.devices.get(message.deviceId ?? '') : undefined;
    switch (message.type) {
      case 'telemetry':
        if (device?.publication(withRaw(message, text, path)) === false) {
          void this.asking.resume(device);
        }
        break;
      case 'device_status':
        device?.news('status', message, { status: message });
        break;
      case 'device_meta':
        device?.news('meta', message, { meta: message.meta ?? undefined });
        break;
      case 'snapshot':
        message.devices.forEach((state, at) => {
          if (state.telemetry) {
            withRaw(state.telemetry, text, [...path, 'devices', at, 'telemetry']);
          }
          this.devices.get(state.deviceId)?.snapshot(state, this.asking.asker.serverNow());
        });
        break;
      case 'subscribed':
        this.subscribed(message);
        break;
      case 'unsubscribed':
        if (message.id === undefined) {
          this.refused(message.deviceIds, message.pattern);
        }
        break;
      default:
        break; // not about devices
    }
  }

  private subscribed({ pattern: text, rooms, denied, more }: Subscribed): void {
    const pattern = text === undefined ? undefined : this.patterns.get(text);
    if (text !== undefined && !pattern) {
      return;
    }
    for (const room of rooms) {
      const device = !pattern ? this.devices.get(room.deviceId) : this.join(pattern, room.deviceId);
      device?.begin(room, pattern, this.asking.asker.serverNow());
      if (!pattern) {
        device?.byId.forEach((subscription) => subscription.answered(device.id));
      }
    }
    this.refused(denied);
    if (pattern && more !== true) {
      pattern.answered = true;
      pattern.subscriptions.forEach((one) => one.asked && one.answered(pattern.text));
    }
  }

  private join(pattern: Pattern, id: string): Device {
    const device = this.asking.deviceOf(id);
    if (!device.patterns.has(pattern)) {
      device.patterns.add(pattern);
      pattern.devices.add(device);
      for (const subscription of pattern.subscriptions) {
        device.hear(subscription);
        subscription.emit('device', { deviceId: id });
      }
    }
    return device;
  }

  /** The token does not grant these, or not any more. */
  private refused(deviceIds: readonly string[], pattern?: string): void {
    const error = new SluiceError('forbidden', 'Forbidden');
    deviceIds.forEach((id) => this.asking.refuse(this.devices.get(id), error));
    this.asking.refusePattern(this.patterns.get(pattern ?? ''), error);
  }
}
