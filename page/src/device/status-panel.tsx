import { formatMoment, formatSpan } from '../core/format.js';
import { t } from '../core/texts.js';
import type { Device } from '../fleet/device.js';
import type { Session } from '../session/session.js';

const SPAN_MS = 3_600_000;
const SHOWN = 20;

/** When the device came and went, as far as this page has seen it. */
export function StatusPanel({ device, session }: { device: Device; session: Session }) {
  const now = session.meter.serverNow();
  const { log } = device;
  const first = log[0];
  const begin = Math.max(now - SPAN_MS, Math.min(first?.at ?? now, now - 60_000));
  const spanMs = now - begin;
  return (
    <section class="card panel-card" aria-labelledby="status-title">
      <header class="panel-head">
        <h2 id="status-title">{t('status.title')}</h2>
      </header>
      {log.length === 0 ? (
        <p class="panel-empty">{t('status.none')}</p>
      ) : (
        <>
          <svg class="timeline" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
            {log.map(({ at, isOnline }, index) => {
              const from = Math.max(0, ((at - begin) / spanMs) * 100);
              const to = Math.min(100, (((log[index + 1]?.at ?? now) - begin) / spanMs) * 100);
              return to <= from ? null : (
                <rect
                  key={at}
                  class={isOnline ? 'on' : 'off'}
                  x={from}
                  y={0}
                  width={Math.max(0.6, to - from)}
                  height={8}
                />
              );
            })}
          </svg>
          <ol class="log">
            {[...log]
              .reverse()
              .slice(0, SHOWN)
              .map(({ at, isOnline, reason }, index, list) => {
                const until = index === 0 ? now : (list[index - 1]?.at ?? now);
                return (
                  <li key={`${at} ${String(isOnline)}`} data-state={isOnline ? 'online' : 'offline'}>
                    <span class="dot" aria-hidden="true" />
                    <span>
                      {isOnline
                        ? t('status.online')
                        : reason === 'silence'
                          ? t('status.silence')
                          : t('status.offline')}
                    </span>
                    <span class="when">
                      {formatMoment(at, now)} · {formatSpan(until - at)}
                    </span>
                  </li>
                );
              })}
          </ol>
          <p class="hint">{t('status.hint')}</p>
        </>
      )}
    </section>
  );
}
