import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Boundary } from '../core/boundary.js';
import { formatCount } from '../core/format.js';
import { route } from '../core/route.js';
import { useStore, useTick } from '../core/store.js';
import { t } from '../core/texts.js';
import type { Session } from '../session/session.js';
import { type Arranged, arrange, type Look, lookOf } from './arrange.js';
import type { Device } from './device.js';
import { EmptyFleet, Granted } from './granted.js';
import { heardUntil } from './freshness.js';
import { Lines } from './lines.js';
import { Row } from './row.js';
import { Tile } from './tile.js';
import { Tools } from './tools.js';

const TILE_MIN_PX = 264;
const GAP_PX = 16;
const TILE_HEIGHT_PX = 236;
const ROW_HEIGHT_PX = 48;
const NARROW_ROW_HEIGHT_PX = 72;
const GROUP_HEIGHT_PX = 48;
/** The order follows what devices do, but not so often that one cannot read. */
const ARRANGE_EVERY_MS = 500;
/** What depends on the time: who has become quiet. */
const LOOK_AGAIN_MS = 2_000;

let scrolledTo = 0;

export function FleetScreen({ session }: { session: Session }) {
  useStore(route);
  const look = lookOf(route.place.params);
  const arranged = useArranged(session, look);
  useScrollPlace();
  const isTable = look.view === 'table';
  const isNarrow = useIsNarrow();
  const total = arranged.shown.length;
  const item = (device: Device, { index, isStop }: { index: number; isStop: boolean }) => (
    <Boundary key={device.id} of={device.telemetry}>
      {isTable ? (
        <Row session={session} device={device} index={index} total={total} isStop={isStop} />
      ) : (
        <Tile session={session} device={device} index={index} total={total} isStop={isStop} />
      )}
    </Boundary>
  );
  return (
    <div class="fleet">
      <h1 class="hidden">{t('fleet.title')}</h1>
      <Tools session={session} look={look} arranged={arranged} />
      <Granted session={session} arranged={arranged} />
      <p class="hidden" role="status">
        {t('fleet.shown', { n: total })}
      </p>
      {total === 0 ? (
        <EmptyFleet session={session} look={look} arranged={arranged} />
      ) : (
        <Lines
          groups={arranged.groups}
          class={isTable ? 'lines table' : 'lines tiles'}
          label={t('fleet.list', { n: formatCount(total) })}
          columnsFor={(width) => (isTable ? 1 : Math.floor((width + GAP_PX) / (TILE_MIN_PX + GAP_PX)))}
          lineHeightPx={isTable ? (isNarrow ? NARROW_ROW_HEIGHT_PX : ROW_HEIGHT_PX) : TILE_HEIGHT_PX + GAP_PX}
          groupHeightPx={GROUP_HEIGHT_PX}
          item={item}
        />
      )}
    </div>
  );
}

/** The devices in order: at once for what the person asks for, now and then for what the devices do. */
function useArranged(session: Session, look: Look): Arranged {
  const { fleet, meter } = session;
  const [version, setVersion] = useState(fleet.version);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useStore(session);
  useTick();
  useEffect(() => {
    let arrangedAt = 0;
    const follow = (): void => {
      if (timer.current === undefined) {
        const waitMs = Math.max(0, arrangedAt + ARRANGE_EVERY_MS - performance.now());
        timer.current = setTimeout(() => {
          timer.current = undefined;
          arrangedAt = performance.now();
          setVersion(fleet.version);
        }, waitMs);
      }
    };
    setVersion(fleet.version);
    const stop = fleet.onChange(follow);
    return () => {
      stop();
      clearTimeout(timer.current);
      timer.current = undefined;
    };
  }, [fleet]);
  const now = heardUntil(session.way, meter.serverNow());
  const moment = Math.floor(now / LOOK_AGAIN_MS);
  const key = JSON.stringify(look);
  return useMemo(() => arrange(fleet.byName, look, now), [fleet, version, key, moment]);
}

/** The way back from a device leads to where one was. */
function useScrollPlace(): void {
  useLayoutEffect(() => {
    history.scrollRestoration = 'manual';
    const before = scrolledTo;
    scrollTo(0, before);
    // Once more when the list has its height.
    const frame = requestAnimationFrame(() => scrollTo(0, before));
    const remember = (): void => {
      scrolledTo = scrollY;
    };
    addEventListener('scroll', remember, { passive: true });
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener('scroll', remember);
    };
  }, []);
}

function useIsNarrow(): boolean {
  const query = matchMedia('(max-width: 760px)');
  const [isNarrow, setNarrow] = useState(query.matches);
  useEffect(() => {
    const listen = (): void => setNarrow(query.matches);
    query.addEventListener('change', listen);
    return () => query.removeEventListener('change', listen);
  }, []);
  return isNarrow;
}
