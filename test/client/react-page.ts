import { createElement, Profiler, type ReactNode, StrictMode, useState, version } from 'react';
import { createRoot } from 'react-dom/client';
import { SluiceClient } from '../../client/src/index.js';
import {
  SluiceProvider,
  useCommand,
  useDevice,
  useFleet,
  useHistory,
  useSluiceState,
} from '../../client/src/react.js';

/** What the page under test shows, and how often each component was rendered. */
export interface ReactLab {
  version: string;
  commits: Record<string, number>;
  frames: number;
  denied: string[];
  histories: unknown[];
  texts(): Record<string, string>;
  /** Shows other components. */
  show(names: readonly string[]): void;
  watch(deviceId: string): void;
  command(): void;
}

interface Node {
  readonly textContent: string | null;
  readonly id: string;
}
declare const document: {
  querySelectorAll(selector: string): Iterable<Node>;
  getElementById(id: string): Parameters<typeof createRoot>[0];
};
declare const requestAnimationFrame: (run: () => void) => void;
declare const location: { hash: string };

const lab = {
  version,
  commits: {},
  frames: 0,
  denied: [],
  histories: [],
} as unknown as ReactLab;
Object.assign(globalThis, { lab });

const text = (id: string, value: unknown): ReactNode => createElement('p', { id }, JSON.stringify(value));

const components: Record<string, (props: { device: string }) => ReactNode> = {
  a: ({ device }) => text('a', useDevice(device).telemetry?.payload),
  again: ({ device }) => text('again', useDevice(device, { fields: ['n'] }).telemetry?.payload),
  other: () => text('other', useDevice('other').telemetry?.payload),
  mine: () =>
    text('mine', useDevice('not-mine', { onDenied: ({ deviceIds }) => lab.denied.push(...deviceIds) })),
  fleet: () => {
    const fleet = useFleet<{ n: number }>('p.*');
    return text(
      'fleet',
      [...fleet].map(([id, { telemetry }]) => [id, telemetry?.payload.n]),
    );
  },
  history: ({ device }) => {
    const history = useHistory<number>(device, 'n');
    lab.histories.push(history);
    return text(
      'history',
      history.map(({ value }) => value),
    );
  },
  state: () => text('state', useSluiceState().name),
  command: ({ device }) => {
    const { send, status, result, error } = useCommand(device);
    lab.command = () => void send({ go: true });
    return text('command', [status, result?.delivered ?? null, error?.code ?? null]);
  },
};

function App(): ReactNode {
  const [names, setNames] = useState<readonly string[]>(Object.keys(components));
  const [device, setDevice] = useState('a');
  lab.show = setNames;
  lab.watch = setDevice;
  return names.map((name) =>
    createElement(
      Profiler,
      { id: name, key: name, onRender: () => (lab.commits[name] = (lab.commits[name] ?? 0) + 1) },
      createElement(components[name]!, { device }),
    ),
  );
}

lab.texts = () =>
  Object.fromEntries(
    [...document.querySelectorAll('p')].map(({ id, textContent }) => [id, textContent ?? '']),
  );
const count = (): void => {
  lab.frames += 1;
  requestAnimationFrame(count);
};
count();

const [url = '', token = ''] = JSON.parse(decodeURIComponent(location.hash.slice(1))) as string[];
const client = new SluiceClient({ url, token });
createRoot(document.getElementById('root')).render(
  createElement(StrictMode, null, createElement(SluiceProvider, { client }, createElement(App))),
);
