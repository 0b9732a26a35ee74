import { Injectable } from '@nestjs/common';
import { CommandsService } from '../gateway/commands/commands.service.js';
import { isDeviceId } from '../protocol/device-id.js';
import { type ErrorCode, ProtocolError } from '../protocol/errors.js';
import { rawMember } from '../protocol/raw-member.js';
import type { ApiAnswer, ApiCall, ApiOperations } from './api-server.js';
import { notFound, Problem, type ProblemCode } from './problem.js';

interface CommandBody {
  readonly key?: string;
  readonly waitMs?: number;
}

/** What the refusals of commands are called here, where they have another name or are no defects. */
const CODES: Partial<Record<ErrorCode, ProblemCode>> = {
  forbidden: 'forbidden',
  invalid_message: 'invalid_request',
  payload_too_large: 'payload_too_large',
  rate_limited: 'rate_limited',
  too_many_commands: 'too_many_commands',
  key_conflict: 'key_conflict',
  keys_unavailable: 'keys_unavailable',
  broker_unavailable: 'broker_unavailable',
};

/** Commands of backends: a token of the API may command every device. The audit lines are the service's. */
@Injectable()
export class CommandsApi {
  readonly operations: ApiOperations = { sendCommand: (call) => this.send(call) };

  constructor(private readonly commands: CommandsService) {}

  private async send({ path, body, text, by, traceparent }: ApiCall): Promise<ApiAnswer> {
    const { deviceId } = path as { deviceId: string };
    if (!isDeviceId(deviceId)) {
      throw notFound('device');
    }
    const { key, waitMs } = body as CommandBody;
    try {
      const { delivered, result } = await this.commands.send(
        { api: by, quota: null, refusal: () => null },
        {
          deviceId,
          json: rawMember(text, 'command') as string,
          ...(key !== undefined && { key }),
          ...(waitMs !== undefined && { waitMs }),
          ...(traceparent !== undefined && { traceparent }),
        },
      );
      const end = result === null ? ({ outcome: 'sent' } as const) : await result;
      const outcome = end.outcome === 'abandoned' ? 'timeout' : end.outcome;
      const head = JSON.stringify({ outcome, ...(delivered !== undefined && { delivered }) });
      const payload = end.outcome === 'replied' ? end.payload : null;
      return {
        status: 200,
        // The device's own text, number for number.
        body:
          payload === null
            ? Buffer.from(head)
            : Buffer.concat([Buffer.from(`${head.slice(0, -1)},"payload":`), payload, Buffer.from('}')]),
      };
    } catch (error) {
      throw asProblem(error);
    }
  }
}

function asProblem(error: unknown): unknown {
  const code = error instanceof ProtocolError ? CODES[error.code] : undefined;
  if (code === undefined) {
    return error;
  }
  const { message, details } = error as ProtocolError;
  const { retryAfterMs } = details;
  return new Problem(code, message, {
    ...(typeof retryAfterMs === 'number' && {
      headers: { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1_000))) },
    }),
  });
}
