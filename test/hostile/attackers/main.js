/** The attackers, in a process of their own: they do not slow down who measures them, and are gone when it ends. */
import { ClientSession } from './client-session.js';
import { DeviceSession } from './device-session.js';

/** Attackers come from these addresses; the witness has 127.0.0.1 for itself. */
const ADDRESSES = ['127.0.0.2', '127.0.0.3', '127.0.0.4'];

async function runRound({ round, ports, brokerPort, secret }) {
  const deadline = Date.now() + round.durationMs;
  const sessions = [];
  const devices = round.devices.map((spec) => new DeviceSession(spec, { brokerPort, deadline }));
  for (const spec of round.clients) {
    for (let copy = 0; copy < (spec.copies ?? 1); copy += 1) {
      const port = ports[(spec.instance + copy) % ports.length];
      const address = ADDRESSES[(spec.address ?? 0) % ADDRESSES.length];
      sessions.push(new ClientSession(spec, { port, secret, deadline, address }));
    }
  }
  const all = [...devices, ...sessions];
  await Promise.all(all.map((session) => session.run()));
  all.forEach((session) => session.end());
  const answers = {};
  for (const session of sessions) {
    for (const [name, count] of session.answers) {
      answers[name] = (answers[name] ?? 0) + count;
    }
  }
  return {
    sessions: sessions.length,
    frames: sum(sessions, 'frames'),
    messages: sum(sessions, 'messages'),
    received: sum(sessions, 'received'),
    publications: sum(devices, 'publications'),
    leaks: sessions.flatMap(({ leaks }) => leaks).slice(0, 5),
    answers,
  };
}

const sum = (all, name) => all.reduce((total, each) => total + each[name], 0);

process.on('message', (order) => {
  runRound(order).then(
    (result) => process.send({ result }),
    (error) => process.send({ error: error.stack }),
  );
});
process.on('disconnect', () => process.exit(0));
