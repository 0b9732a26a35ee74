import { formatAge, formatValue } from '../core/format.js';
import { addressOf } from '../core/route.js';
import { unitOf } from '../core/payload.js';
import { t } from '../core/texts.js';
import { preferences } from '../session/preferences.js';
import { freshnessOf, heardUntil, standingOf } from './freshness.js';
import { Spark } from './spark.js';
import { type ItemProps, State, useShown } from './tile.js';

/** Fields of a row besides the main one. */
const LISTED = 3;

/** One device in one line. */
export function Row(props: ItemProps) {
  useShown(props);
  const { session, device, index, total, isStop } = props;
  const now = session.meter.serverNow();
  const freshness = freshnessOf(device, session.way, now);
  const isOld = freshness.name !== 'fresh' && freshness.name !== 'never';
  const primary = device.primary(preferences.pinOf(device.kind));
  const others = device.fields.filter((field) => field !== primary).slice(0, LISTED);
  const textOfField = (name: string, value: unknown): string => {
    const unit = unitOf(device.meta, name);
    return `${formatValue(value, device.decimalsFor(name, value), name)}${unit === '' ? '' : ` ${unit}`}`;
  };
  return (
    <article
      class={`row${isOld ? ' old' : ''}`}
      data-device-id={device.id}
      data-state={standingOf(device, heardUntil(session.way, now))}
      aria-labelledby={`row-${index}`}
      aria-posinset={index + 1}
      aria-setsize={total}
    >
      <h3 id={`row-${index}`}>
        <a href={addressOf(device.id)} data-stop tabIndex={isStop ? 0 : -1} title={device.id}>
          <bdi class="name">{device.name}</bdi>
        </a>
        {device.name !== device.id && <bdi class="id">{device.id}</bdi>}
      </h3>
      <State device={device} session={session} now={now} />
      <p class="place">
        <bdi>{device.place}</bdi>
      </p>
      <p class="main">
        {primary !== undefined && (
          <>
            <bdi class="number" dir="auto">
              {textOfField(...primary)}
            </bdi>{' '}
            <bdi class="label">{primary[0]}</bdi>
          </>
        )}
      </p>
      <div class="line-of">
        {primary !== undefined && <Spark device={device} field={primary[0]} now={now} />}
      </div>
      <p class="others">
        {others.map(([name, value]) => (
          <span key={name}>
            <bdi class="label">{name}</bdi> <bdi dir="auto">{textOfField(name, value)}</bdi>
          </span>
        ))}
      </p>
      <p class="age">
        {device.updatedAt === undefined ? t('tile.noValue') : formatAge(Math.max(0, now - device.updatedAt))}
        {isOld && <span class="stale-mark">{t('tile.stale')}</span>}
      </p>
    </article>
  );
}
