/** Whether something that this instance needs is there, as its living connection says. */
export interface ConnectionState {
  readonly up: boolean;
  /** Unix ms of the last change, when known. */
  readonly changedAt?: number;
}

/** What health is told from. The composition root fills it; health opens no connection of its own. */
export interface HealthSources {
  /** Whether device messages can reach this instance. */
  mqtt(): ConnectionState;
  /** Whether the store answers; absent where rooms live in memory. */
  redis?(): ConnectionState;
  /** True from the moment a drain begins. */
  draining(): boolean;
}

/** DI token of {@link HealthSources}. */
export const HEALTH_SOURCES = 'SLUICE:HEALTH_SOURCES';
