#!/usr/bin/env node
/**
 * `npm run plan -- --devices 10000 --rate 0.2 --dashboards 50000`: instances, Redis, memory and bytes that this needs, and what is full first
 * when it grows. The model is told in docs/scaling.md.
 */
import { parseArgs } from 'node:util';
import { plan } from './plan/model.js';

const USAGE = `npm run plan -- --devices n --rate n --dashboards n [options]

  --devices n      devices of the fleet
  --rate n         publications of one device a second, 0.2 for one in five seconds
  --dashboards n   dashboards that are open at once
  --watched n      devices of a dashboard (10)
  --payload n      bytes of a publication (120)
  --metadata n     bytes of a device's metadata (200)
  --meta-once      dashboards ask for delivery.meta "once"
  --max-rate n     maxRateHz of the dashboards
  --batch-ms n     batchMs of the dashboards
  --instances n    instead of as many as are needed
  --json           the figures, in bytes, cores and seconds
`;

function main() {
  const { values } = parseArgs({
    options: {
      devices: { type: 'string' },
      rate: { type: 'string' },
      dashboards: { type: 'string' },
      watched: { type: 'string', default: '10' },
      payload: { type: 'string', default: '120' },
      metadata: { type: 'string', default: '200' },
      'meta-once': { type: 'boolean', default: false },
      'max-rate': { type: 'string' },
      'batch-ms': { type: 'string', default: '0' },
      instances: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    return USAGE;
  }
  const result = plan({
    devices: whole(values, 'devices', 0),
    rate: amount(values, 'rate'),
    dashboards: whole(values, 'dashboards', 0),
    watched: whole(values, 'watched', 0),
    payload: whole(values, 'payload', 1),
    metadata: whole(values, 'metadata', 0),
    metaOnce: values['meta-once'],
    maxRate: values['max-rate'] === undefined ? Infinity : amount(values, 'max-rate'),
    batchMs: whole(values, 'batch-ms', 0),
    ...(values.instances === undefined ? {} : { instances: whole(values, 'instances', 1) }),
  });
  return values.json ? `${JSON.stringify(result, null, 2)}\n` : asText(result);
}

function amount(values, name) {
  const value = Number(values[name]);
  if (values[name] === undefined || values[name].trim() === '' || !Number.isFinite(value) || value < 0) {
    throw new Error(
      `--${name} must be a number from 0 (is ${values[name] ?? 'missing'}); --help tells all options`,
    );
  }
  return value;
}

function whole(values, name, least) {
  const value = amount(values, name);
  if (!Number.isSafeInteger(value) || value < least) {
    throw new Error(
      `--${name} must be a whole number from ${least} (is ${values[name]}); --help tells all options`,
    );
  }
  return value;
}

function asText(result) {
  const { redis, cpu } = result;
  const rows = [
    ['device messages', `${number(result.published)} a second`],
    [
      'deliveries',
      `${number(result.delivered)} a second of ${result.deliveryBytes} bytes, ${bytes(result.network)}/s`,
    ],
    [
      'instances',
      `${result.instances}${redis === null ? ', rooms in memory: no Redis is needed' : ', one of which may be gone'}`,
    ],
    [
      'CPU',
      `${percent(cpu.instance)} of a core each, ${percent(cpu.reader)} for the one that reads, ${percent(result.worst.cpu)} with one gone`,
    ],
    ['memory', `${bytes(result.memory)} an instance`],
    [
      'history',
      `${bytes(result.historyBytes)} ${redis === null ? 'in the instance' : 'in Redis, and on each instance while Redis is away'} (HISTORY_TOTAL_MAX_BYTES bounds it there)`,
    ],
    ...(redis === null
      ? []
      : [
          [
            'Redis',
            `${percent(redis.cpu)} of a core, ${bytes(redis.in)}/s in, ${bytes(redis.out)}/s out, ${bytes(redis.memory)}: maxmemory ${bytes(redis.memory * 1.5)}`,
          ],
        ]),
    [
      'broker',
      `${number(result.broker.messages)} messages a second in and out${redis === null ? '' : `, ${number(result.broker.whileRedisIsAway)} while Redis is away`}`,
    ],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const [first, ...others] = result.parts.filter(({ used }) => used > 0);
  const told = ({ name, used, limit, turn }) =>
    `${name}, at ${percent(used / limit)} of what is planned for (${turn})`;
  return [
    ...rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`),
    '',
    `full first: ${first === undefined ? 'nothing' : told(first)}`,
    ...others.slice(0, 2).map((part) => `      then: ${told(part)}`),
    ...(result.parts.some(({ used, limit }) => used > limit)
      ? [
          '',
          'More than is planned for: divide the fleet, or see "What to turn when something is full" in docs/scaling.md.',
        ]
      : []),
    '',
  ].join('\n');
}

function number(value) {
  return Math.round(value).toLocaleString('en').replaceAll(',', ' ');
}

function percent(share) {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const step = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, value)) / 10)));
  const scaled = value / 2 ** (10 * step);
  return `${scaled.toFixed(scaled < 10 && step > 0 ? 1 : 0)} ${units[step]}`;
}

try {
  process.stdout.write(main());
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
