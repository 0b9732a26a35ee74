import { Logger } from '@nestjs/common';
import { jest } from '@jest/globals';
import { MAX_REFUSED_USERS, RefusalLog } from './command-audit.js';

describe(RefusalLog.name, () => {
  const lines: object[] = [];
  const due: (() => void)[] = [];
  const command = (userId: string, id: number, outcome = 'forbidden') => ({
    userId,
    connectionId: 'c',
    deviceId: 'd',
    id,
    outcome,
  });
  const second = (): void => due.splice(0).forEach((run) => run());
  let log: RefusalLog;

  beforeEach(() => {
    lines.length = 0;
    due.length = 0;
    log = new RefusalLog((_ms, run) => void due.push(run));
    jest
      .spyOn(Logger.prototype, 'log')
      .mockImplementation((line: unknown) => void lines.push(line as object));
  });
  afterEach(() => jest.restoreAllMocks());

  // Each refused command was a line of up to 470 bytes, a hundred a second and connection.
  it('writes one line a second for each user and outcome, with how many were left out, and forgets who is quiet', () => {
    for (let id = 1; id <= 100; id += 1) {
      log.record(command('eve', id));
    }
    log.record(command('eve', 1, 'too_large'));
    log.record(command('bob', 1));
    expect(lines).toMatchObject([{ userId: 'eve', id: 1 }, { outcome: 'too_large' }, { userId: 'bob' }]);
    second();
    expect(lines.slice(3)).toEqual([{ msg: 'command', ...command('eve', 100), leftOut: 98 }]);
    second();
    expect(lines).toHaveLength(4);
    expect(log.size).toBe(0);
  });

  it('remembers a bounded number of users; those beyond share a line', () => {
    for (let user = 1; user <= 2 * MAX_REFUSED_USERS; user += 1) {
      log.record(command(`user ${user}`, 1));
    }
    log.record(command('user 1', 2));
    expect(log.size).toBe(MAX_REFUSED_USERS + 1);
    expect(lines).toHaveLength(MAX_REFUSED_USERS + 1);
    lines.length = 0;
    second();
    expect(lines).toEqual([
      { msg: 'command', ...command('user 1', 2) },
      { msg: 'command', ...command(`user ${2 * MAX_REFUSED_USERS}`, 1), leftOut: MAX_REFUSED_USERS - 2 },
    ]);
    second();
    expect(log.size).toBe(0);
  });
});
