/**
 * Settings of the product for a benchmark: what a client's address or a user may open at most is raised, since here all
 * of them come from one machine. Everything that costs something on the hot path stays as it is.
 */
export const sluiceSettings = {
  NODE_ENV: 'production',
  WS_ALLOWED_ORIGINS: '*',
  LOG_LEVEL: 'error',
  MQTT_PROTOCOL_VERSION: '5',
  WS_MAX_CONNECTIONS_PER_SECOND: '100000',
  WS_MAX_CONNECTIONS_PER_ADDRESS: '100000',
};
