import { stopAfterEach } from '../support/cleanup.js';
import { connect } from '../support/dashboard-client.js';
import { startApp } from './capture.js';

describe('the record of commands', () => {
  const own = stopAfterEach();

  it('has a line of each command, with user, device and outcome, whatever LOG_LEVEL says', async () => {
    const app = own(await startApp({ LOG_LEVEL: 'warn' }));
    await app.app.ready();
    const url = `ws://127.0.0.1:${app.ports.port}/ws`;
    const ann = own(await connect(url, { claims: { userId: 'ann', deviceIds: ['pump'] } }));
    ann.send({ type: 'command', deviceId: 'pump', command: { secret: 1 } });
    await ann.next('command_sent');
    ann.send({ type: 'command', deviceId: 'press', command: 1 });
    await ann.next('error');
    const lines = app.log.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.filter(({ context }) => context === 'CommandAudit')).toMatchObject([
      { msg: 'command', userId: 'ann', deviceId: 'pump', outcome: 'sent' },
      { msg: 'command', userId: 'ann', deviceId: 'press', outcome: 'forbidden' },
    ]);
    expect(app.log.text).not.toContain('secret');
  });
});
