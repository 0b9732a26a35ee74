import { useEffect, useRef, useState } from 'preact/hooks';
import { formatNumber, formatTime } from '../core/format.js';
import { route } from '../core/route.js';
import { isCoordinate, isTime, unitOf } from '../core/payload.js';
import { useRedraw, useStore } from '../core/store.js';
import { t } from '../core/texts.js';
import { preferences } from '../session/preferences.js';
import type { Session } from '../session/session.js';
import { Chart, type Line } from './chart.js';
import type { DeviceState } from './device-state.js';

const RANGES = { '1m': 60, '5m': 300, '30m': 1_800, all: Infinity } as const;
type RangeName = keyof typeof RANGES;
/** Time moves on by itself, four times a second: enough for the eye, and cheap. */
const MOVE_EVERY_MS = 250;
const MAX_LINES = 8;
/** Fields offered as buttons; others are chosen in the list of fields. */
const MAX_OFFERED = 12;

/** Which fields are drawn, from the address; else the first that make sense. */
export function chosenFields({ history, device }: DeviceState): string[] {
  const asked = route.place.params.getAll('field').concat(route.place.params.get('fields')?.split(',') ?? []);
  if (asked.length > 0) {
    return asked.filter((name) => history.drawable.has(name)).slice(0, MAX_LINES);
  }
  const pinned = preferences.pinOf(device.kind);
  const sensible = [...history.drawable].filter(([name]) => {
    const value = device.fields.find(([one]) => one === name)?.[1];
    return !isTime(value) && !isCoordinate(name);
  });
  const first = sensible.slice(0, 4).map(([name]) => name);
  return pinned === undefined || first.includes(pinned) || !history.drawable.has(pinned)
    ? first
    : [pinned, ...first.slice(0, 3)];
}

export function toggleField(state: DeviceState, name: string): void {
  const chosen = chosenFields(state);
  const next = chosen.includes(name)
    ? chosen.filter((one) => one !== name)
    : [...chosen, name].slice(-MAX_LINES);
  const params = new URLSearchParams(route.place.params);
  params.delete('fields');
  params.delete('field');
  // Names may have commas: one parameter each. None at all is a choice as well.
  (next.length === 0 ? [''] : next).forEach((one) => params.append('field', one));
  route.replace(params);
}

export function ChartPanel({ state, session }: { state: DeviceState; session: Session }) {
  useStore(route);
  const { history, device } = state;
  const [pausedAt, setPaused] = useState<number>();
  const [zoom, setZoom] = useState<{ from: number; to: number }>();
  const rangeName =
    (Object.keys(RANGES) as RangeName[]).find((name) => name === route.place.params.get('range')) ?? '1m';
  useMoving(pausedAt === undefined && zoom === undefined);

  const now = (pausedAt ?? session.meter.serverNow()) / 1_000;
  const span = RANGES[rangeName];
  const begin = Math.min(now - 10, (history.firstAt ?? 0) / 1_000);
  const { from, to } = zoom ?? { from: Number.isFinite(span) ? now - span : begin, to: now };
  const chosen = chosenFields(state);
  const colors = new Map([...history.drawable.keys()].map((name, index) => [name, index % 8]));
  // One more point on each side, so that lines reach the edge.
  const lines = chosen.map((name): Line => ({
    name,
    color: colors.get(name) ?? 0,
    series: history.series(name, (from - (to - from)) * 1_000),
  }));
  const charts = byUnit(lines, (name) => unitOf(device.meta, name));
  const zoomBy = (factor: number): void => {
    const middle = (from + to) / 2;
    const half = Math.max(1, ((to - from) * factor) / 2);
    setZoom({ from: middle - half, to: Math.min(now, middle + half) });
  };
  const move = (share: number): void => {
    const by = (to - from) * share;
    setZoom({ from: from + by, to: to + by });
  };
  const isLive = pausedAt === undefined && zoom === undefined;

  return (
    <section class="card panel-card chart-panel" aria-labelledby="chart-title">
      <header class="panel-head">
        <h2 id="chart-title">{t('chart.title')}</h2>
        <div class="segments" role="radiogroup" aria-label={t('chart.range')}>
          {(Object.keys(RANGES) as RangeName[]).map((name) => (
            <label key={name}>
              <input
                type="radio"
                name="range"
                checked={rangeName === name && zoom === undefined}
                onChange={() => {
                  setZoom(undefined);
                  route.set({ range: name === '1m' ? undefined : name });
                }}
              />
              <span>{t(`range.${name}`)}</span>
            </label>
          ))}
        </div>
        <div class="tools-of-chart">
          <button class="button small" type="button" aria-label={t('chart.back')} onClick={() => move(-0.5)}>
            ‹
          </button>
          <button
            class="button small"
            type="button"
            aria-label={t('chart.forward')}
            onClick={() => move(0.5)}
          >
            ›
          </button>
          <button
            class="button small"
            type="button"
            aria-label={t('chart.zoomIn')}
            onClick={() => zoomBy(0.5)}
          >
            +
          </button>
          <button
            class="button small"
            type="button"
            aria-label={t('chart.zoomOut')}
            onClick={() => zoomBy(2)}
          >
            −
          </button>
          <button
            class={isLive ? 'button small live-toggle' : 'button small live-toggle primary'}
            type="button"
            onClick={() => {
              if (isLive) {
                setPaused(session.meter.serverNow());
              } else {
                setPaused(undefined);
                setZoom(undefined);
              }
            }}
          >
            {isLive ? t('chart.pause') : t('chart.live')}
          </button>
        </div>
      </header>
      {history.drawable.size > 0 && (
        <div class="chips" role="group" aria-label={t('chart.fields')}>
          {offered([...history.drawable.keys()], chosen).map((name) => (
            <button
              key={name}
              type="button"
              class="chip"
              data-color={colors.get(name)}
              aria-pressed={chosen.includes(name)}
              onClick={() => toggleField(state, name)}
            >
              <i aria-hidden="true" />
              <bdi>{name === '' ? t('field.value') : name}</bdi>
            </button>
          ))}
        </div>
      )}
      {charts.map(({ unit, members }) => (
        <figure key={`${unit} ${String(members[0]?.series.isStep)}`}>
          <figcaption>
            {members.map(({ name, color }) => (
              <span key={name} data-color={color}>
                <i aria-hidden="true" />
                <bdi>{name === '' ? t('field.value') : name}</bdi>
              </span>
            ))}
            {unit !== '' && <span class="unit">{unit}</span>}
          </figcaption>
          <Chart
            lines={members}
            unit={unit}
            from={from}
            to={to}
            summary={summaryOf(members, unit, from, to)}
            onZoom={(begins, ends) => setZoom({ from: begins, to: ends })}
          />
          {members.every(({ series }) => isEmpty(series, from, to)) && (
            <p class="chart-none">{t('chart.noneInTime')}</p>
          )}
        </figure>
      ))}
      {charts.length === 0 && (
        <p class="chart-empty">
          {!state.isReady
            ? t('chart.loading')
            : history.drawable.size === 0
              ? t('chart.nothing')
              : t('chart.noneChosen')}
        </p>
      )}
    </section>
  );
}

function isEmpty({ times, values }: Line['series'], from: number, to: number): boolean {
  return !times.some((time, index) => time >= from && time <= to && values[index] !== null);
}

function offered(names: readonly string[], chosen: readonly string[]): string[] {
  const first = names.slice(0, MAX_OFFERED);
  return [...first, ...chosen.filter((name) => !first.includes(name))];
}

/** What has one unit shares a chart; booleans have one of their own. */
function byUnit(lines: readonly Line[], unitFor: (name: string) => string) {
  const charts = new Map<string, { unit: string; members: Line[] }>();
  for (const line of lines) {
    const unit = unitFor(line.name);
    // Without a unit nobody knows that two numbers can be compared.
    const key = line.series.isStep ? 'steps' : unit === '' ? `field ${line.name}` : `unit ${unit}`;
    const chart = charts.get(key) ?? { unit, members: [] };
    chart.members.push(line);
    charts.set(key, chart);
  }
  return [...charts.values()];
}

function summaryOf(lines: readonly Line[], unit: string, from: number, to: number): string {
  const parts = lines.map(({ name, series }) => {
    const values = series.values.filter(
      (value, index): value is number =>
        value !== null && (series.times[index] ?? 0) >= from && (series.times[index] ?? 0) <= to,
    );
    const title = name === '' ? t('field.value') : name;
    return values.length === 0
      ? t('chart.summaryEmpty', { name: title })
      : t('chart.summary', {
          name: title,
          min: formatNumber(Math.min(...values)),
          max: formatNumber(Math.max(...values)),
          last: formatNumber(values.at(-1) ?? 0),
          unit,
        });
  });
  return `${t('chart.span', { from: formatTime(from * 1_000), to: formatTime(to * 1_000) })} ${parts.join(' ')}`;
}

function useMoving(isMoving: boolean): void {
  const redraw = useRedraw();
  const timer = useRef<ReturnType<typeof setInterval> | undefined>(undefined);
  useEffect(() => {
    if (isMoving) {
      timer.current = setInterval(redraw, MOVE_EVERY_MS);
    }
    return () => clearInterval(timer.current);
  }, [isMoving]);
}
