import { useEffect } from 'preact/hooks';
import { formatAge, formatValue } from '../core/format.js';
import { addressOf } from '../core/route.js';
import { useRedraw } from '../core/store.js';
import { type Field, isCoordinate, isTime, unitOf } from '../core/payload.js';
import { t } from '../core/texts.js';
import { preferences } from '../session/preferences.js';
import type { Session } from '../session/session.js';
import type { Device } from './device.js';
import { freshnessOf, heardUntil, ownFreshness, standingOf } from './freshness.js';
import { Spark } from './spark.js';

/** Fields of a tile besides the one that is shown big. */
const LISTED = 3;

export interface ItemProps {
  session: Session;
  device: Device;
  /** Place in the list. */
  index: number;
  total: number;
  /** The Tab key stops here. */
  isStop: boolean;
}

/** Draws the component anew when the device has changed, at most once a frame. */
export function useShown({ session, device }: Pick<ItemProps, 'session' | 'device'>): void {
  const redraw = useRedraw();
  useEffect(() => {
    session.fleet.minuteOf(device.id);
    return session.fleet.whileShown(device.id, redraw);
  }, [session, device]);
}

/** One device in a few lines. Everything a device says is text, never markup. */
export function Tile(props: ItemProps) {
  useShown(props);
  const { session, device, index, total, isStop } = props;
  const now = session.meter.serverNow();
  const standing = standingOf(device, heardUntil(session.way, now));
  const freshness = freshnessOf(device, session.way, now);
  const isOld = freshness.name !== 'fresh' && freshness.name !== 'never';
  const primary = device.primary(preferences.pinOf(device.kind));
  const others = device.fields.filter((field) => field !== primary);
  const more = device.fieldCount - (primary === undefined ? 0 : 1) - LISTED;
  const titleId = `tile-${index}`;
  return (
    <article
      class={`card tile${isOld ? ' old' : ''}`}
      data-device-id={device.id}
      data-state={standing}
      aria-labelledby={titleId}
      aria-posinset={index + 1}
      aria-setsize={total}
    >
      <header>
        <h3 id={titleId}>
          <a href={addressOf(device.id)} data-stop tabIndex={isStop ? 0 : -1} title={device.id}>
            <bdi class="name">{device.name}</bdi>
          </a>
        </h3>
        <State device={device} session={session} now={now} />
      </header>
      <p class="id">
        <bdi>
          {[device.name === device.id ? '' : device.id, device.place].filter(Boolean).join(' · ') || '\u00a0'}
        </bdi>
      </p>
      <Reading device={device} primary={primary} now={now} />
      <ul class="fields">
        {others.slice(0, LISTED).map((field) => (
          <Row key={field[0]} device={device} field={field} />
        ))}
      </ul>
      <footer>
        <span class="age">{ageText(device, now)}</span>
        {more > 0 && <span class="more">{t('tile.more', { n: more })}</span>}
        {isOld && <span class="stale-mark">{t('tile.stale')}</span>}
      </footer>
    </article>
  );
}

export function State({ device, session, now }: { device: Device; session: Session; now: number }) {
  const standing = standingOf(device, heardUntil(session.way, now));
  const { name } = freshnessOf(device, session.way, now);
  const own = ownFreshness(device, now);
  const text =
    standing === 'offline'
      ? t('state.offlineFor', {
          span: formatAge(Math.max(0, now - ('since' in own ? own.since : (device.status?.lastSeen ?? now)))),
        })
      : t(`standing.${standing}`);
  return (
    <p class="state" data-sure={name !== 'connection' && name !== 'upstream'}>
      <span class="dot" aria-hidden="true" />
      <span class="state-text">{text}</span>
    </p>
  );
}

export function ageText(device: Device, now: number): string {
  return device.updatedAt === undefined
    ? t('tile.noValue')
    : t('tile.updated', { age: formatAge(Math.max(0, now - device.updatedAt)) });
}

function Reading({ device, primary, now }: { device: Device; primary: Field | undefined; now: number }) {
  if (primary === undefined) {
    return (
      <div class="reading nothing">
        <p class="value">
          <bdi class="number">–</bdi>
        </p>
        <p class="label">{device.telemetry === undefined ? t('tile.nothingYet') : t('tile.emptyObject')}</p>
      </div>
    );
  }
  const [name, value] = primary;
  const text = formatValue(value, device.decimalsFor(name, value), name);
  const isLong = text.length > 11 || isTime(value) || isCoordinate(name);
  const unit = unitOf(device.meta, name);
  return (
    <div class="reading">
      <p class={isLong ? 'value long' : 'value'} title={isLong ? text : undefined}>
        <bdi class="number" dir="auto">
          {text}
        </bdi>
        {unit !== '' && <span class="unit"> {unit}</span>}
      </p>
      <p class="label">
        <bdi>{name === '' ? t('field.value') : name}</bdi>
      </p>
      {!isLong && <Spark device={device} field={name} now={now} />}
    </div>
  );
}

function Row({ device, field: [name, value] }: { device: Device; field: Field }) {
  const unit = unitOf(device.meta, name);
  const text = formatValue(value, device.decimalsFor(name, value), name);
  return (
    <li>
      <bdi class="key">{name}</bdi>
      <span class="at">
        <bdi dir="auto">{text}</bdi>
        {unit !== '' && <span class="unit"> {unit}</span>}
      </span>
    </li>
  );
}
