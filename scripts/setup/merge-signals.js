/** The copy follows within a millisecond or two; no person presses twice this fast. */
const SAME_WITHIN_MS = 100;

/**
 * Makes two equal signals that arrive together one. Ctrl-C reaches everything in the terminal's foreground, and systemd
 * stops everything in a unit; npm is told as well and passes on what it is told. The server would take the copy for the
 * second signal that means "at once", and drop its clients. Only `npm start` has npm in between, so this is not
 * the server's business. To be called before any listener is there: Node binds `process.emit` when one is added.
 */
export function mergeSignals() {
  const emit = process.emit;
  const last = new Map();
  process.emit = function (event, ...rest) {
    if (event === 'SIGINT' || event === 'SIGTERM') {
      const now = performance.now();
      const repeated = now - (last.get(event) ?? -Infinity) < SAME_WITHIN_MS;
      last.set(event, now);
      if (repeated) {
        return true;
      }
    }
    return emit.call(this, event, ...rest);
  };
}
