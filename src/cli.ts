#!/usr/bin/env node
import { Argument, Command, InvalidArgumentError } from 'commander';
import type {
  Closed,
  Connection,
  Device,
  History,
  InstanceList,
  RevocationChange,
  RevocationRequest,
  TopConnections,
  TopDevices,
  TopRefused,
  TraceRequest,
  Traces,
} from './api/openapi.types.js';
import { Api, CliError, DONE, type Options, PAGE, WRONG_USE } from './cli/api-client.js';
import { ago, connectionTable, iso, online, safe, silence, table, TOPS, waits } from './cli/tables.js';

/**
 * `sluice`: the server API from a terminal. It knows nothing that the API does not say. Exit status: 0 done; 1 refused, or not there; 2 wrong
 * use; 3 not reached; 4 done, but not on all instances (one is silent, or Redis is away).
 */

/** Devices that are listed at most: more do not fit on a screen, and `--json` of the API itself has cursors. */
const MAX_LISTED = 100_000;

/** What a subcommand prints: one object for `--json`, lines for people. */
interface Output {
  readonly json: unknown;
  readonly lines: readonly string[];
}

function whole(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`must be a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}

function time(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : Date.parse(text);
  if (!Number.isSafeInteger(value)) {
    throw new InvalidArgumentError('must be Unix ms, or a time like 2026-01-31T12:00:00Z.');
  }
  return value;
}

interface TopOptions {
  readonly by?: string;
  readonly kind?: string;
  readonly limit: number;
}

const segment = encodeURIComponent;

/** @param run asks the API, and says what to print */
function action<A extends unknown[]>(program: Command, run: (api: Api, ...args: A) => Promise<Output>) {
  return async (...args: unknown[]): Promise<void> => {
    const options = program.opts<Options>();
    try {
      const { json, lines } = await run(new Api(options), ...(args as A));
      process.stdout.write(options.json === true ? `${JSON.stringify(json)}\n` : `${lines.join('\n')}\n`);
      process.exitCode ??= DONE;
    } catch (error) {
      process.stderr.write(`sluice: ${(error as Error).message}\n`);
      process.exitCode = error instanceof CliError ? error.status : WRONG_USE;
    }
  };
}

export function program(env: Readonly<Record<string, string | undefined>>): Command {
  const sluice = new Command('sluice')
    .description('Asks and steers running instances of Sluice by their server API')
    .option(
      '--url <url>',
      'management port of any instance (SLUICE_URL)',
      env['SLUICE_URL'] || 'http://127.0.0.1:9090',
    )
    .option(
      '--token-file <path>',
      'file with the token (API_TOKEN_FILE, or API_TOKEN has it)',
      env['API_TOKEN_FILE'] || undefined,
    )
    .option('--json', 'the answer of the API as one line of JSON')
    .showHelpAfterError()
    .exitOverride((error) => {
      process.exit(error.exitCode === 0 ? DONE : WRONG_USE);
    });
  // Not a flag: arguments of a process are seen by others.
  sluice.setOptionValue('token', env['API_TOKEN'] || undefined);

  sluice
    .command('connections')
    .description('who is connected, on all instances; the slowest first')
    .option('--user <userId>', 'of this user')
    .option('--device <deviceId>', 'that watch this device')
    .option('--limit <n>', 'most that are listed', whole(1, MAX_LISTED), 1_000)
    .action(
      action(
        sluice,
        async (api, { user, device, limit }: { user?: string; device?: string; limit: number }) => {
          const { entries, silent, isCut } = await api.list(
            'connections',
            { userId: user, deviceId: device },
            limit,
          );
          const slowest = ({ queuedBytes, skipped }: Connection): number => queuedBytes * 1e6 + skipped;
          entries.sort((one, other) => slowest(other) - slowest(one));
          return {
            json: { connections: entries, silent },
            lines: [
              ...connectionTable(entries),
              ...(isCut ? [`There are more than ${limit}`] : []),
              ...silence(silent),
            ],
          };
        },
      ),
    );

  sluice
    .command('top')
    .description('who costs, sends or is refused most, on all instances')
    .addArgument(new Argument('<list>', 'which list').choices(Object.keys(TOPS)))
    .option('--by <measure>', 'connections: queuedBytes, bytes, skipped; devices: messages, bytes')
    .option('--kind <kind>', 'refused: devices, tokens, origins, addresses')
    .option('--limit <n>', 'most that are listed', whole(1, 100), 20)
    .action(
      action(sluice, async (api, list: keyof typeof TOPS, { by, kind, limit }: TopOptions) => {
        const parameters = new URLSearchParams({
          limit: String(limit),
          ...(by !== undefined && { by }),
          ...(kind !== undefined && { kind }),
        });
        const answer = await api.call<TopConnections & TopDevices & TopRefused>(
          'GET',
          `/top/${list}?${parameters.toString()}`,
        );
        return { json: answer, lines: [...TOPS[list](answer), ...silence(answer.silent)] };
      }),
    );

  sluice
    .command('kick')
    .description('closes a connection, or all of a user, with 1012: their clients may come back')
    .argument('[connectionId]')
    .option('--user <userId>', 'all connections of this user')
    .action(
      action(sluice, async (api, connectionId: string | undefined, { user }: { user?: string }) => {
        if ((connectionId === undefined) === (user === undefined)) {
          throw new CliError('give a connection, or --user', WRONG_USE);
        }
        const path =
          user === undefined
            ? `/connections/${segment(connectionId as string)}`
            : `/users/${segment(user)}/connections`;
        const answer = await api.call<Closed>('DELETE', path);
        return {
          json: answer,
          lines: [`${answer.closed} closed`, ...waits(answer), ...silence(answer.silent)],
        };
      }),
    );

  sluice
    .command('revoke')
    .description('ends tokens before they expire, or lists and lifts what was revoked')
    .option('--jti <jti>', 'this token')
    .option('--user <userId>', 'the tokens of this user')
    .option('--issued-before <time>', 'with --user: issued before this time; default now', time)
    .option('--expires-at <time>', 'when the last of them has expired: the revocation goes then', time)
    .option('--list', 'lists revocations')
    .option('--lift <id>', 'lifts a revocation')
    .action(
      action(
        sluice,
        async (
          api,
          {
            jti,
            user,
            issuedBefore,
            expiresAt,
            list,
            lift,
          }: {
            jti?: string;
            user?: string;
            issuedBefore?: number;
            expiresAt?: number;
            list?: boolean;
            lift?: string;
          },
        ) => {
          if ([jti, user, list, lift].filter((one) => one !== undefined).length !== 1) {
            throw new CliError('give one of --jti, --user, --list, --lift', WRONG_USE);
          }
          if (list === true) {
            const { entries } = await api.list('revocations', {}, MAX_LISTED);
            const rows = entries.map((r) => [
              r.id,
              r.jti,
              r.userId,
              ...[r.issuedBefore, r.createdAt, r.expiresAt].map(iso),
            ]);
            return {
              json: { revocations: entries },
              lines: table(['ID', 'JTI', 'USER', 'ISSUED BEFORE', 'SINCE', 'UNTIL'], rows),
            };
          }
          const request: RevocationRequest = { jti, userId: user, issuedBefore, expiresAt };
          const answer =
            lift === undefined
              ? await api.call<RevocationChange>('POST', '/revocations', request)
              : await api.call<RevocationChange>('DELETE', `/revocations/${segment(lift)}`);
          const kept = answer.durable ? 'kept in Redis' : 'kept in memory alone';
          return {
            json: answer,
            lines: [
              `${lift === undefined ? 'Revoked' : 'Lifted'}: ${safe(answer.id)}, ${kept}`,
              ...waits(answer),
            ],
          };
        },
      ),
    );

  sluice
    .command('device')
    .description('what is known of a device, or which devices match a pattern')
    .argument('<deviceId>', 'an id, or a pattern with *')
    .option('--history <n>', 'also its last publications', whole(1, PAGE))
    .action(
      action(sluice, async (api, deviceId: string, { history }: { history?: number }) => {
        if (deviceId.includes('*')) {
          const { entries } = await api.list('devices', { pattern: deviceId }, MAX_LISTED);
          const rows = entries.map((d) => [d.deviceId, online(d), d.offset, iso(d.telemetry?.serverTs)]);
          return {
            json: { devices: entries },
            lines: table(['DEVICE', 'ONLINE', 'OFFSET', 'LAST TELEMETRY'], rows),
          };
        }
        const device = await api.call<Device>('GET', `/devices/${segment(deviceId)}`);
        const { telemetry } = device;
        const lines = table(
          ['DEVICE', 'ONLINE', 'EPOCH', 'OFFSET', 'LAST TELEMETRY'],
          [[device.deviceId, online(device), device.epoch, device.offset, iso(telemetry?.serverTs)]],
        );
        lines.push(
          ...(telemetry === undefined ? [] : [`telemetry ${safe(JSON.stringify(telemetry.payload))}`]),
        );
        lines.push(...(device.meta === undefined ? [] : [`meta ${safe(JSON.stringify(device.meta))}`]));
        if (history === undefined) {
          return { json: device, lines };
        }
        const { publications } = await api.call<History>(
          'GET',
          `/devices/${segment(deviceId)}/history?limit=${history}`,
        );
        const rows = publications.map((p) => [p.offset, iso(p.serverTs), JSON.stringify(p.payload)]);
        return {
          json: { ...device, publications },
          lines: [...lines, ...table(['OFFSET', 'AT', 'PAYLOAD'], rows)],
        };
      }),
    );

  sluice
    .command('trace')
    .description(
      'logs what devices and users do, on all instances, for a while; replaces what was traced before',
    )
    .option('--device <deviceId...>', 'these devices')
    .option('--user <userId...>', 'these users')
    .option('--seconds <n>', 'for this long', whole(1, 3_600), 60)
    .option('--off', 'ends all traces')
    .action(
      action(
        sluice,
        async (
          api,
          {
            device = [],
            user = [],
            seconds,
            off,
          }: { device?: string[]; user?: string[]; seconds: number; off?: boolean },
        ) => {
          if ((device.length + user.length === 0) !== (off === true)) {
            throw new CliError('give --device, --user or both, or --off', WRONG_USE);
          }
          const request: TraceRequest = {
            deviceIds: device,
            userIds: user,
            seconds: off === true ? 1 : seconds,
          };
          const answer = await api.call<Traces>('PUT', '/traces', request);
          const said =
            off === true
              ? 'Nothing is traced any more'
              : `Traced until ${iso(answer.until)}; read the logs of the instances`;
          return { json: answer, lines: [said, ...waits(answer), ...silence(answer.silent)] };
        },
      ),
    );

  sluice
    .command('instances')
    .description('the live instances')
    .action(
      action(sluice, async (api) => {
        const answer = await api.call<InstanceList>('GET', '/instances');
        const rows = answer.instances.map((i) => [
          i.id,
          i.version,
          ago(i.uptimeMs),
          i.connections,
          i.rooms,
          i.holdsLease ? 'yes' : 'no',
          i.shards?.join(',') || '-',
          i.role ?? '-',
          i.store,
          i.draining ? 'yes' : 'no',
        ]);
        const head = [
          'INSTANCE',
          'VERSION',
          'UP',
          'CONNECTIONS',
          'ROOMS',
          'LEASE',
          'SHARDS',
          'ROLE',
          'STORE',
          'DRAINING',
        ];
        return { json: answer, lines: [...table(head, rows), ...silence(answer.silent)] };
      }),
    );
  return sluice;
}

await program(process.env).parseAsync();
