import { Store } from './store.js';

/** What the page shows, as its address says: `#/?q=pump&show=offline`, `#/devices/pump-1?fields=flow`. */
export interface Place {
  /** A device's page; else the fleet. */
  readonly deviceId?: string;
  readonly params: URLSearchParams;
}

export function placeOf(hash: string): Place {
  const [path = '', query = ''] = hash.replace(/^#/, '').split('?', 2);
  const params = new URLSearchParams(query);
  const [, kind, id] = path.split('/', 3);
  if (kind === 'devices' && id !== undefined && id !== '') {
    try {
      return { deviceId: decodeURIComponent(id), params };
    } catch {
      return { params };
    }
  }
  return { params };
}

export function addressOf(deviceId: string | undefined, params?: URLSearchParams): string {
  const query = String(params ?? '');
  const path = deviceId === undefined ? '#/' : `#/devices/${encodeURIComponent(deviceId)}`;
  return query === '' ? path : `${path}?${query}`;
}

/** The address of the page, and the way to others. */
class Route extends Store {
  place: Place = placeOf((globalThis as { location?: Location }).location?.hash ?? '');
  /** The fleet as it was looked at last, so that the way back from a device leads there. */
  fleetParams = new URLSearchParams(this.place.deviceId === undefined ? this.place.params : undefined);

  start(): void {
    addEventListener('hashchange', () => this.read());
    addEventListener('popstate', () => this.read());
  }

  private read(): void {
    this.place = placeOf(location.hash);
    if (this.place.deviceId === undefined) {
      this.fleetParams = this.place.params;
    }
    this.changed();
  }

  /** Other parameters of the same place: no entry in the browser's history. */
  set(changes: Record<string, string | undefined>): void {
    const params = new URLSearchParams(this.place.params);
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined || value === '') {
        params.delete(name);
      } else {
        params.set(name, value);
      }
    }
    this.replace(params);
  }

  replace(params: URLSearchParams): void {
    const address = addressOf(this.place.deviceId, params);
    history.replaceState(null, '', address === '#/' ? location.pathname + location.search : address);
    this.read();
  }

  /** An entry of its own in the browser's history. */
  go(address: string): void {
    location.hash = address;
  }

  get wayBack(): string {
    return addressOf(undefined, this.fleetParams);
  }
}

export const route = new Route();
