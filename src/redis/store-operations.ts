import type { DeviceMessage } from '../rooms/device-message.js';
import type { DeviceStatus, MetaBytes } from '../rooms/publication.js';
import type { StoreLostError } from '../ingest/ports.js';

/** A change of what is known of a device, on its way into the store. */
export interface StateChange {
  readonly deviceId: string;
  readonly change:
    | { readonly kind: 'status'; readonly status: DeviceStatus; readonly onlyIfUnknown: boolean }
    | { readonly kind: 'meta'; readonly meta: MetaBytes }
    | { readonly kind: 'fill'; readonly payload: Buffer; readonly receivedAt: number };
  stored(): void;
  lost(error: StoreLostError): void;
}

export type Operation = DeviceMessage | StateChange;

/** Operations of one device that go to the store as one: publications in a row, or one change. */
export interface OperationGroup {
  readonly operations: Operation[];
  readonly bytes: number;
}

export function isStateChange(operation: Operation): operation is StateChange {
  return 'change' in operation;
}

/** Bytes that an operation brings with it. */
export function payloadBytes(operation: Operation): number {
  if (!isStateChange(operation)) {
    return operation.payload.length;
  }
  const { change } = operation;
  switch (change.kind) {
    case 'status':
      return 0;
    case 'meta':
      return change.meta?.length ?? 0;
    case 'fill':
      return change.payload.length;
  }
}
