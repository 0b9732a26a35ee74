import { StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { SluiceClient } from 'sluice-client';
import { SluiceProvider, useCommand, useFleet, useHistory, useSluiceState } from 'sluice-client/react';

const token = new URLSearchParams(location.hash.slice(1)).get('token');
const sluice = new SluiceClient({ url: '/ws', token });

function App() {
  const { name, reason } = useSluiceState();
  const fleet = useFleet('*', { maxRateHz: 4 });
  const [chosen, choose] = useState();
  return (
    <main>
      <p role="status">{reason ?? name}</p>
      <ul>
        {[...fleet].map(([id, { telemetry, status }]) => (
          <li key={id}>
            <button onClick={() => choose(id)}>{id}</button> {status?.isOnline === false && 'offline '}
            <code>{JSON.stringify(telemetry?.payload)}</code>
          </li>
        ))}
      </ul>
      {chosen && <Device key={chosen} id={chosen} />}
    </main>
  );
}

/** A line of the last minute, which is full when it opens, and a command. */
function Device({ id }) {
  const points = useHistory(id, 'flow');
  const { send, status, result, error } = useCommand(id);
  const stop = () => send({ id: crypto.randomUUID(), speed: 0 }, { waitMs: 5_000 });
  return (
    <section>
      <h1>{id}</h1>
      <Line points={points} />
      <button onClick={stop} disabled={status === 'sending'}>
        Stop
      </button>
      <output>{error ? error.message : JSON.stringify(result?.result)}</output>
    </section>
  );
}

/** Where publications are missing the value is null, and the line has a gap. */
function Line({ points }) {
  const values = points.map(({ value }) => value).filter((value) => typeof value === 'number');
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [points[0]?.t, points.at(-1)?.t];
  let pen = 'M';
  const path = points.map(({ t, value }) => {
    if (typeof value !== 'number') {
      pen = 'M';
      return '';
    }
    const step = `${pen}${(300 * (t - first)) / (last - first || 1)} ${90 - (80 * (value - low)) / (high - low || 1)}`;
    pen = 'L';
    return step;
  });
  return (
    <svg viewBox="0 0 300 100" width="300" height="100" role="img" aria-label={`${values.length} values`}>
      <path d={path.join('')} fill="none" stroke="currentColor" />
    </svg>
  );
}

createRoot(document.getElementById('root')).render(
  <StrictMode>
    <SluiceProvider client={sluice}>
      <App />
    </SluiceProvider>
  </StrictMode>,
);
