import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Device } from './device.js';
import type { Group } from './arrange.js';

/** Lines kept ready above and below the screen. */
const SPARE_PX = 400;

type Line =
  | { readonly kind: 'group'; readonly top: number; readonly group: Group }
  | {
      readonly kind: 'devices';
      readonly top: number;
      readonly first: number;
      readonly devices: readonly Device[];
    };

interface Props {
  groups: readonly Group[];
  /** Columns for a width; 1 for a table. */
  columnsFor: (widthPx: number) => number;
  lineHeightPx: number;
  groupHeightPx: number;
  item: (device: Device, at: { index: number; isStop: boolean }) => ComponentChildren;
  label: string;
  class: string;
}

/**
 * Only the lines that are on the screen are in the document, whatever the number of devices. The list is one stop of the Tab key; the
 * arrow keys, Home, End and the page keys move in it.
 */
export function Lines({ groups, columnsFor, lineHeightPx, groupHeightPx, item, label, class: name }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, bottom: innerHeight, width: 0 });
  const [stopId, setStop] = useState<string>();
  const wantsFocus = useRef(false);
  const columns = Math.max(1, columnsFor(view.width || document.documentElement.clientWidth));
  const { lines, height, order } = useMemo(
    () => layOut(groups, columns, lineHeightPx, groupHeightPx),
    [groups, columns, lineHeightPx, groupHeightPx],
  );

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) {
      return undefined;
    }
    let frame: number | undefined;
    const look = (): void => {
      frame = undefined;
      const { top, width } = element.getBoundingClientRect();
      setView((before) => {
        const next = {
          top: Math.floor(-top / 40) * 40,
          bottom: Math.ceil((innerHeight - top) / 40) * 40,
          width,
        };
        const isSame = next.top === before.top && next.bottom === before.bottom && width === before.width;
        return isSame ? before : next;
      });
    };
    const soon = (): void => {
      frame ??= requestAnimationFrame(look);
    };
    look();
    const observer = new ResizeObserver(soon);
    observer.observe(element);
    addEventListener('scroll', soon, { passive: true });
    addEventListener('resize', soon);
    return () => {
      observer.disconnect();
      removeEventListener('scroll', soon);
      removeEventListener('resize', soon);
      if (frame !== undefined) {
        cancelAnimationFrame(frame);
      }
    };
  }, []);

  const from = firstAt(lines, view.top - SPARE_PX);
  const to = firstAt(lines, view.bottom + SPARE_PX) + 1;
  const shown = lines.slice(from, to);
  const isStopShown = shown.some(
    (line) => line.kind === 'devices' && line.devices.some(({ id }) => id === stopId),
  );
  const firstShown = shown.find((line) => line.kind === 'devices' && line.top + lineHeightPx > view.top);
  const tabStop = isStopShown
    ? stopId
    : firstShown?.kind === 'devices'
      ? firstShown.devices[0]?.id
      : undefined;

  useEffect(() => {
    if (wantsFocus.current && stopId !== undefined) {
      const target = box.current?.querySelector<HTMLElement>(
        `[data-device-id="${CSS.escape(stopId)}"] [data-stop]`,
      );
      if (target !== null && target !== undefined) {
        wantsFocus.current = false;
        target.focus({ preventScroll: true });
      }
    }
  });

  const onKeyDown = (event: KeyboardEvent): void => {
    const id = (event.target as HTMLElement).closest<HTMLElement>('[data-device-id]')?.dataset['deviceId'];
    const at = order.findIndex((device) => device.id === id);
    const page = Math.max(1, Math.floor(innerHeight / lineHeightPx) - 1) * columns;
    const steps: Record<string, number> = {
      ArrowRight: columns > 1 ? 1 : NaN,
      ArrowLeft: columns > 1 ? -1 : NaN,
      ArrowDown: columns,
      ArrowUp: -columns,
      PageDown: page,
      PageUp: -page,
      Home: -order.length,
      End: order.length,
    };
    const step = steps[event.key];
    if (
      at === -1 ||
      step === undefined ||
      Number.isNaN(step) ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey
    ) {
      return;
    }
    event.preventDefault();
    const next = order[Math.min(order.length - 1, Math.max(0, at + step))];
    if (next !== undefined) {
      setStop(next.id);
      wantsFocus.current = true;
      reveal(box.current, lines, next, lineHeightPx);
    }
  };

  return (
    <div
      class={name}
      ref={box}
      style={{ height: `${height}px` }}
      role="group"
      aria-label={label}
      onKeyDown={onKeyDown}
    >
      {shown.map((line) =>
        line.kind === 'group' ? (
          <h2
            class="group"
            key={`group ${line.group.name}`}
            style={{ transform: `translateY(${line.top}px)` }}
          >
            <bdi>{line.group.name}</bdi> <small>{line.group.devices.length}</small>
          </h2>
        ) : (
          <div
            class="line"
            key={line.devices[0]?.id}
            style={{
              transform: `translateY(${line.top}px)`,
              gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
            }}
          >
            {line.devices.map((device, index) =>
              item(device, { index: line.first + index, isStop: device.id === tabStop }),
            )}
          </div>
        ),
      )}
    </div>
  );
}

function layOut(groups: readonly Group[], columns: number, lineHeightPx: number, groupHeightPx: number) {
  const lines: Line[] = [];
  const order: Device[] = [];
  let top = 0;
  for (const group of groups) {
    if (group.name !== '') {
      lines.push({ kind: 'group', top, group });
      top += groupHeightPx;
    }
    for (let start = 0; start < group.devices.length; start += columns) {
      const devices = group.devices.slice(start, start + columns);
      lines.push({ kind: 'devices', top, first: order.length, devices });
      order.push(...devices);
      top += lineHeightPx;
    }
  }
  return { lines, order, height: top };
}

/** The last line that begins at or above a place. */
function firstAt(lines: readonly Line[], top: number): number {
  let low = 0;
  let high = lines.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((lines[middle]?.top ?? 0) <= top) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return Math.max(0, low - 1);
}

/** Scrolls as far as is needed to have the device's line whole on the screen, below the bar. */
function reveal(box: HTMLElement | null, lines: readonly Line[], device: Device, lineHeightPx: number): void {
  const line = lines.find((one) => one.kind === 'devices' && one.devices.includes(device));
  if (box === null || line === undefined) {
    return;
  }
  const bar = document.querySelector('.bar')?.getBoundingClientRect().height ?? 0;
  const top = box.getBoundingClientRect().top + line.top;
  if (top < bar + 8) {
    scrollBy(0, top - bar - 8);
  } else if (top + lineHeightPx > innerHeight) {
    scrollBy(0, top + lineHeightPx - innerHeight + 8);
  }
}
