import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { formatNumber, formatTime } from '../core/format.js';
import { locale, t } from '../core/texts.js';
import { preferences } from '../session/preferences.js';
import type { Series } from './history.js';

const HEIGHT_PX = 200;
const STEP_HEIGHT_PX = 96;
/** Of a time of day. */
const LABEL_PX = 80;

export interface Line {
  readonly name: string;
  /** Which of the line colours. */
  readonly color: number;
  readonly series: Series;
}

interface Props {
  lines: readonly Line[];
  unit: string;
  /** Unix s. */
  from: number;
  to: number;
  /** Said to who cannot see it. */
  summary: string;
  /** Somebody chose a part of the time. */
  onZoom: (from: number, to: number) => void;
}

/** Lines of one unit over time. Charts of one page share their cursor. */
export function Chart({ lines, unit, from, to, summary, onZoom }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const zoom = useRef(onZoom);
  zoom.current = onZoom;
  const range = useRef({ from, to });
  range.current = { from, to };
  const isSteps = lines.every(({ series }) => series.isStep);
  const shape = JSON.stringify([
    lines.map(({ name, color }) => [name, color]),
    unit,
    isSteps,
    preferences.isDark,
    locale(),
  ]);

  useEffect(() => {
    const element = box.current;
    if (element === null) {
      return undefined;
    }
    const made = new uPlot(
      optionsOf(element, lines, unit, isSteps, range, (begin, end) => zoom.current(begin, end)),
      joined(lines),
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() =>
      made.setSize({ width: element.clientWidth, height: made.height }),
    );
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [shape]);

  useEffect(() => {
    plot.current?.setData(joined(lines), true);
  });

  return <div class="chart" ref={box} role="img" aria-label={summary} />;
}

function joined(lines: readonly Line[]): uPlot.AlignedData {
  const tables = lines.map(({ series }): uPlot.AlignedData => [series.times, series.values]);
  if (tables.length === 1) {
    return tables[0] as uPlot.AlignedData;
  }
  // Where one line has no point at the time of another, it goes on (undefined); a gap of its own stays one (null).
  return uPlot.join(
    tables,
    lines.map(() => [1, 2]),
  );
}

function optionsOf(
  element: HTMLElement,
  lines: readonly Line[],
  unit: string,
  isSteps: boolean,
  range: { current: { from: number; to: number } },
  onZoom: (from: number, to: number) => void,
): uPlot.Options {
  const font = `12px ${getComputedStyle(element).fontFamily}`;
  const color = (name: string, percent = 100): string => colorOf(element, name, percent);
  const axis: uPlot.Axis = {
    font,
    stroke: color('--soft'),
    grid: { stroke: color('--grid'), width: 1 },
    ticks: { show: false },
  };
  const time = new Intl.DateTimeFormat(locale(), { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  return {
    width: element.clientWidth,
    height: isSteps ? STEP_HEIGHT_PX : HEIGHT_PX,
    padding: [8, 4, 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: 'device' },
      drag: { x: true, y: false, setScale: false },
      points: { size: 7 },
    },
    select: { show: true, left: 0, top: 0, width: 0, height: 0 },
    hooks: {
      setSelect: [
        (made) => {
          const { left, width } = made.select;
          if (width > 4) {
            onZoom(made.posToVal(left, 'x'), made.posToVal(left + width, 'x'));
          }
          made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
      setCursor: [
        (made) => {
          const { idx } = made.cursor;
          const at = idx === null || idx === undefined ? undefined : made.data[0][idx];
          element.dataset['at'] =
            at === undefined
              ? ''
              : [
                  formatTime(at * 1_000),
                  ...lines.map(({ name }, index) => {
                    const value = made.data[index + 1]?.[idx as number];
                    const text =
                      value === null || value === undefined
                        ? '–'
                        : isSteps
                          ? t(value === 1 ? 'value.yes' : 'value.no')
                          : formatNumber(value);
                    return `${name === '' ? t('field.value') : name} ${text}${unit === '' ? '' : ` ${unit}`}`;
                  }),
                ].join(' · ');
        },
      ],
    },
    scales: {
      x: { time: true, range: () => [range.current.from, range.current.to] },
      y: isSteps
        ? { range: [-0.15, 1.15] }
        : { range: (_plot, min, max) => (min === null ? [0, 1] : spread(min, max)) },
    },
    axes: [
      {
        ...axis,
        size: 28,
        space: 72,
        // A label that would be cut at the right edge is left out.
        values: (plot, splits) =>
          splits.map((split) =>
            plot.valToPos(split, 'x') > plot.over.clientWidth - LABEL_PX / 2
              ? ''
              : time.format(split * 1_000),
          ),
      },
      {
        ...axis,
        size: 56,
        space: 32,
        ...(isSteps && { splits: () => [0, 1], filter: (_plot: uPlot, splits: number[]) => splits }),
        values: (_plot, splits) =>
          splits.map((split) => (isSteps ? t(split === 1 ? 'value.yes' : 'value.no') : tick(split, splits))),
      },
    ],
    series: [
      {},
      ...lines.map(({ name, color: index, series }): uPlot.Series => ({
        label: name,
        stroke: color(`--line-${index % 8}`),
        width: 1.75,
        // What no line goes through would not be seen.
        points: { show: (plot) => plot.data[0].length < 3, size: 6 },
        ...(series.isStep && { paths: uPlot.paths.stepped?.({ align: 1 }) }),
        ...(lines.length === 1 && { fill: color(`--line-${index % 8}`, 10) }),
      })),
    ],
  };
}

/** A colour of the style sheets as a canvas takes it: a variable may differ between light and dark. */
function colorOf(element: HTMLElement, name: string, percent: number): string {
  element.style.color =
    percent === 100 ? `var(${name})` : `color-mix(in srgb, var(${name}) ${percent}%, transparent)`;
  const { color } = getComputedStyle(element);
  element.style.color = '';
  return color;
}

/** As many digits as tell the ticks apart. */
function tick(value: number, splits: readonly number[]): string {
  const step = Math.abs((splits[1] ?? 1) - (splits[0] ?? 0));
  let decimals = 0;
  // A step of 2.5 needs one: 47.5 is not 48.
  while (decimals < 6 && Math.abs(step * 10 ** decimals - Math.round(step * 10 ** decimals)) > 1e-6) {
    decimals += 1;
  }
  return Math.abs(value) >= 1e6
    ? new Intl.NumberFormat(locale(), { notation: 'compact', maximumFractionDigits: 2 }).format(value)
    : new Intl.NumberFormat(locale(), {
        minimumFractionDigits: decimals,
        maximumFractionDigits: decimals,
      }).format(value);
}

/** Room above and below; a flat line lies in the middle. */
function spread(min: number, max: number): [number, number] {
  const room = max === min ? Math.abs(max) * 0.1 || 1 : (max - min) * 0.12;
  return [min - room, max + room];
}
