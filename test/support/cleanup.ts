interface Stoppable {
  stop(): unknown;
}

/**
 * Call it at the top of a `describe`: what is handed to the returned function is stopped after each test, the newest
 * first, also when the test fails.
 * @example const own = stopAfterEach(); const broker = own(await startMosquitto());
 */
export function stopAfterEach(): <T extends Stoppable>(resource: T) => T {
  return collect(afterEach);
}

/** The same for what all tests of a `describe` share. */
export function stopAfterAll(): <T extends Stoppable>(resource: T) => T {
  return collect(afterAll);
}

function collect(hook: (fn: () => Promise<void>, timeoutMs: number) => void) {
  const resources: Stoppable[] = [];
  hook(async () => {
    for (let resource = resources.pop(); resource; resource = resources.pop()) {
      await resource.stop();
    }
  }, 60_000);
  return <T extends Stoppable>(resource: T): T => {
    resources.push(resource);
    return resource;
  };
}
