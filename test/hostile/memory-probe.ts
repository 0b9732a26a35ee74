import { WebSocket } from 'ws';

/**
 * What an instance really holds: its memory after a full collection, asked through the inspector of Node. The RSS alone
 * says little, since V8 keeps what it once had until it needs it.
 */
export async function liveBytes(inspectorPort: number): Promise<number> {
  const list = await fetch(`http://127.0.0.1:${inspectorPort}/json/list`, {
    signal: AbortSignal.timeout(10_000),
  });
  const [target] = (await list.json()) as { webSocketDebuggerUrl: string }[];
  const socket = new WebSocket(target!.webSocketDebuggerUrl);
  await new Promise((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  let nextId = 0;
  const call = (method: string, params: object = {}): Promise<any> =>
    new Promise((resolve) => {
      nextId += 1;
      const id = nextId;
      socket.on('message', (data: Buffer) => {
        const answer = JSON.parse(data.toString()) as { id?: number; result?: unknown };
        if (answer.id === id) {
          resolve(answer.result);
        }
      });
      socket.send(JSON.stringify({ id, method, params }));
    });
  try {
    await call('HeapProfiler.collectGarbage');
    await call('HeapProfiler.collectGarbage');
    const expression = '(({ heapUsed, external }) => heapUsed + external)(process.memoryUsage())';
    const { result } = await call('Runtime.evaluate', { expression });
    return result.value as number;
  } finally {
    socket.terminate();
  }
}
