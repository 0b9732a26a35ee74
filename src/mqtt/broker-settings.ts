import type { Config } from '../config/config.js';

/** What every connection to the broker needs to know. */
export interface BrokerSettings {
  readonly url: string;
  /** The address without credentials, for the log. */
  readonly name: string;
  readonly protocolVersion: 4 | 5;
  readonly username?: string;
  readonly password?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly keepaliveS: number;
  readonly connectTimeoutMs: number;
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
}

export function brokerSettings(config: Config['mqtt'], url: string): BrokerSettings {
  const { protocol, host } = new URL(url);
  return {
    url,
    name: `${protocol}//${host}`,
    protocolVersion: config.protocolVersion === '5' ? 5 : 4,
    username: config.username,
    password: config.password,
    ca: config.ca,
    cert: config.cert,
    key: config.key,
    keepaliveS: config.keepaliveS,
    connectTimeoutMs: config.connectTimeoutMs,
    reconnectMinMs: config.reconnectMinMs,
    reconnectMaxMs: config.reconnectMaxMs,
  };
}
