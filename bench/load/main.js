/**
 * The load generator: a process that plays the broker and the dashboards, driven by messages of its parent.
 */
import { Commands } from './commands.js';

const commands = new Commands();

process.on('message', async ({ id, name, options }) => {
  try {
    process.send({ id, result: (await commands[name](options)) ?? null });
  } catch (error) {
    process.send({ id, error: error.message });
  }
});
process.on('disconnect', () => process.exit(0));
