import { type Asking, entryOf } from './asking.js';
import { Device, Pattern } from './device.js';
import { matches } from './id-pattern.js';
import type { DeviceState, ServerMessage, Subscribed } from './messages.js';
import { SluiceError } from './sluice-error.js';
import type { Subscription, SubscriptionOwner } from './subscription.js';
import { withRaw } from './telemetry.js';

/** All subscriptions of a client: who wants what, and who is told what the server says. */
export class Subscriptions implements SubscriptionOwner {
  private readonly all = new Set<Subscription>();
  private readonly fleet: Map<string, Device>;
  private readonly patterns: Map<string, Pattern>;

  constructor(readonly asking: Asking) {
    ({ fleet: this.fleet, patterns: this.patterns } = asking);
  }

  enter(subscription: Subscription): void {
    this.all.add(subscription);
    if (!subscription.isPattern) {
      const devices = subscription.targets.map((id) => entryOf(this.fleet, id, Device));
      for (const device of devices) {
        device.byId.add(subscription);
        device.hear(subscription);
      }
      this.asking.schedule(devices);
      return;
    }
    const { fleet, subscriptions } = entryOf(this.patterns, subscription.targets[0]!, Pattern);
    subscriptions.add(subscription);
    const known = [...fleet];
    known.forEach((device) => device.hear(subscription));
    // Who has made it can listen by then.
    queueMicrotask(() => {
      known.forEach(({ id }) => subscription.closed || subscription.emit('device', { deviceId: id }));
    });
    this.asking.schedule(this.fleet.values());
  }

  leave(subscription: Subscription): void {
    this.all.delete(subscription);
    const pattern = this.patterns.get(subscription.isPattern ? subscription.targets[0]! : '');
    pattern?.subscriptions.delete(subscription);
    const devices = pattern?.fleet ?? subscription.targets.flatMap((id) => this.fleet.get(id) ?? []);
    for (const device of devices) {
      device.byId.delete(subscription);
      device.leave(subscription);
    }
    this.asking.schedule(subscription.isPattern ? this.fleet.values() : devices);
  }

  stateOf(subscription: Subscription, deviceId: string): DeviceState | undefined {
    const device = this.fleet.get(deviceId);
    return device?.hearings.has(subscription) ? device.latest : undefined;
  }

  /** The client is closed. */
  end(error: SluiceError): void {
    this.all.forEach((subscription) => subscription.end(error));
    this.fleet.clear();
    this.patterns.clear();
  }

  /** @param path of the message within the text that came */
  hear(message: ServerMessage, text: string, path: readonly (string | number)[]): void {
    switch (message.type) {
      case 'telemetry': {
        const device = this.known(message.deviceId);
        if (device?.take(withRaw(message, text, path)) === false) {
          void this.asking.resume(device);
        }
        break;
      }
      case 'device_status':
      case 'device_meta':
        this.known(message.deviceId)?.news(message);
        break;
      case 'snapshot':
        message.devices.forEach((state, at) => {
          if (state.telemetry) {
            withRaw(state.telemetry, text, [...path, 'devices', at, 'telemetry']);
          }
          this.fleet.get(state.deviceId)?.show(state, this.asking.serverNow);
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
    const pattern = this.patterns.get(text ?? '');
    if (text && !pattern) {
      return;
    }
    for (const room of rooms) {
      const device = !pattern ? this.fleet.get(room.deviceId) : this.bring(pattern, room.deviceId);
      device?.begin(room, pattern, this.asking.serverNow);
      if (!pattern) {
        device?.byId.forEach((subscription) => subscription.answered(device.id));
      }
    }
    this.refused(denied);
    if (pattern && !more) {
      if (!pattern.answered) {
        pattern.answered = true;
        this.fleet.forEach((device) => this.offer(device, pattern));
      }
      pattern.subscriptions.forEach((one) => one.asked && one.answered(pattern.text));
    }
  }

  /** The server does not announce a new device to a pattern where it is watched already, by its id or by another pattern. */
  private known(id: string): Device | undefined {
    const device = this.fleet.get(id);
    if (device && !device.found) {
      device.found = true;
      this.patterns.forEach((pattern) => this.offer(device, pattern));
    }
    return device;
  }

  private offer({ found, id }: Device, pattern: Pattern): void {
    if (found && pattern.answered && matches(pattern.text, id)) {
      this.bring(pattern, id).introduceAll();
    }
  }

  private bring(pattern: Pattern, id: string): Device {
    const device = entryOf(this.fleet, id, Device);
    if (!device.patterns.has(pattern)) {
      device.patterns.add(pattern);
      pattern.fleet.add(device);
      for (const subscription of pattern.subscriptions) {
        device.hear(subscription);
        subscription.emit('device', { deviceId: id });
      }
      this.known(id);
    }
    return device;
  }

  /** The token does not grant these, or not any more. */
  private refused(deviceIds: readonly string[], pattern?: string): void {
    const error = new SluiceError('forbidden', 'Forbidden');
    deviceIds.forEach((id) => this.asking.refuse(this.fleet.get(id), error));
    this.asking.refusePattern(this.patterns.get(pattern ?? ''), error);
  }
}
