import { Injectable } from '@nestjs/common';
import { RevocationsFullError, type RevocationOutcome, RevocationsService } from '../auth/revocations.js';
import type { ApiAnswer, ApiCall, ApiOperations } from './api-server.js';
import { cursorOf, readCursor } from './cursor.js';
import { invalid, notFound, Problem } from './problem.js';

interface RevocationRequest {
  readonly jti?: string;
  readonly userId?: string;
  readonly issuedBefore?: number;
  readonly expiresAt?: number;
}

/** Tokens that are no good any more; the audit lines are the service's. */
@Injectable()
export class RevocationsApi {
  readonly operations: ApiOperations = {
    addRevocation: (call) => this.add(call),
    listRevocations: (call) => this.list(call),
    removeRevocation: (call) => this.remove(call),
  };

  constructor(private readonly revocations: RevocationsService) {}

  private async add({ body, by }: ApiCall): Promise<ApiAnswer> {
    const { jti, userId, issuedBefore, expiresAt } = body as RevocationRequest;
    if ((jti === undefined) === (userId === undefined)) {
      throw invalid('body', 'must have either jti or userId');
    }
    if (issuedBefore !== undefined && userId === undefined) {
      throw invalid('issuedBefore', 'belongs to userId');
    }
    const target = jti !== undefined ? { jti } : { userId: userId as string, issuedBefore };
    try {
      return answerOf(await this.revocations.add(target, expiresAt, by), 201);
    } catch (error) {
      throw error instanceof RevocationsFullError ? new Problem('revocations_full', error.message) : error;
    }
  }

  private async list({ query }: ApiCall): Promise<ApiAnswer> {
    const limit = query['limit'] as number;
    const cursor = query['cursor'] as string | undefined;
    const all = await this.revocations.list();
    const [time = '', last = ''] = cursor === undefined ? [] : readCursor(cursor, 2);
    if (cursor !== undefined && !/^\d{1,16}$/.test(time)) {
      throw invalid('cursor', 'is none of this API');
    }
    // The list is in the order of creation, then of ids: a cursor stays good when its entry goes.
    const after = all.filter(
      ({ createdAt, id }) =>
        cursor === undefined || createdAt > Number(time) || (createdAt === Number(time) && id > last),
    );
    const revocations = after.slice(0, limit);
    const end = revocations.at(-1);
    const more =
      end !== undefined && after.length > limit ? { cursor: cursorOf(String(end.createdAt), end.id) } : {};
    return { status: 200, body: { revocations, ...more } };
  }

  private async remove({ path, by }: ApiCall): Promise<ApiAnswer> {
    const outcome = await this.revocations.remove(path['id'] as string, by);
    if (outcome === null) {
      throw notFound('revocation');
    }
    return answerOf(outcome, 200);
  }
}

function answerOf({ id, durable, pending }: RevocationOutcome, status: number): ApiAnswer {
  return pending ? { status: 202, body: { id, durable, pending } } : { status, body: { id, durable } };
}
