import { useEffect, useState } from 'preact/hooks';
import { Boundary } from '../core/boundary.js';
import { formatAge, formatMoment, formatSpan } from '../core/format.js';
import { route } from '../core/route.js';
import { useStore, useTick } from '../core/store.js';
import { t } from '../core/texts.js';
import { freshnessOf, heardUntil, standingOf } from '../fleet/freshness.js';
import { State } from '../fleet/tile.js';
import type { Session } from '../session/session.js';
import { ChartPanel } from './chart-panel.js';
import { CommandsPanel } from './commands-panel.js';
import { DeviceState } from './device-state.js';
import { FieldsPanel } from './fields-panel.js';
import { MessagesPanel } from './messages-panel.js';
import { StatusPanel } from './status-panel.js';

/** One device, whole. */
export function DeviceScreen({ session, id }: { session: Session; id: string }) {
  const [state] = useState(
    () => new DeviceState(session.client, id, session.meter, session.fleet.devices.get(id)),
  );
  useEffect(() => () => state.end(), [state]);
  useStore(state, session, session.fleet);
  useTick();
  const { device, history } = state;
  const now = session.meter.serverNow();
  const freshness = freshnessOf(device, session.way, now);
  const isOld = freshness.name !== 'fresh' && freshness.name !== 'never';
  return (
    <div
      class={isOld ? 'device old' : 'device'}
      data-device-id={id}
      data-state={standingOf(device, heardUntil(session.way, now))}
    >
      <nav aria-label={t('device.path')}>
        <a class="back" href={route.wayBack}>
          <span aria-hidden="true">←</span> {t('fleet.title')}
        </a>
      </nav>
      <header class="device-head">
        <div class="who">
          <h1>
            <bdi>{device.name}</bdi>
          </h1>
          <p class="id">
            <bdi>{[device.name === id ? '' : id, device.place, device.kind].filter(Boolean).join(' · ')}</bdi>
          </p>
        </div>
        <div class="device-state">
          {state.denied === undefined && (
            <>
              <State device={device} session={session} now={now} />
              <p class="age">
                {device.updatedAt === undefined
                  ? t('tile.noValue')
                  : t('tile.updated', { age: formatAge(Math.max(0, now - device.updatedAt)) })}
              </p>
            </>
          )}
          {session.fleet.watched.ids.has(id) && (
            <button
              class="button"
              type="button"
              onClick={() => {
                session.fleet.unwatch(id);
                route.go(route.wayBack);
              }}
            >
              {t('watch.stop')}
            </button>
          )}
        </div>
      </header>
      <Why state={state} session={session} />
      {state.denied === undefined && (
        <div class="device-body">
          <div class="wide">
            <Boundary of={history.version}>
              <ChartPanel state={state} session={session} />
            </Boundary>
            <Boundary of={history.version}>
              <FieldsPanel state={state} />
            </Boundary>
          </div>
          <div class="side">
            <Boundary of={device.meta}>
              <CommandsPanel device={device} session={session} />
            </Boundary>
            <StatusPanel device={device} session={session} />
            <MessagesPanel state={state} />
          </div>
        </div>
      )}
    </div>
  );
}

/** Why the values are old, or why there are none. */
function Why({ state, session }: { state: DeviceState; session: Session }) {
  const { device, denied, isReady } = state;
  const now = session.meter.serverNow();
  const freshness = freshnessOf(device, session.way, now);
  if (denied !== undefined) {
    return (
      <div class="notice bad" role="status">
        <p>{denied === 'forbidden' ? t('device.forbidden') : t('device.refused', { code: denied })}</p>
      </div>
    );
  }
  if (freshness.name === 'never') {
    return isReady ? (
      <div class="notice" role="status">
        <p>{t('device.never')}</p>
      </div>
    ) : null;
  }
  if (freshness.name === 'fresh') {
    return null;
  }
  const params = {
    time: formatMoment(freshness.since, now),
    span: formatSpan(now - freshness.since),
    usual: formatSpan(device.intervalMs),
  };
  return (
    <div class="notice warn" role="status">
      <p>{t(`why.${freshness.name}`, params)}</p>
    </div>
  );
}
