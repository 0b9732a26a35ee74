import { isCoordinate, isTime } from './payload.js';
import { locale, t } from './texts.js';

const MAX_TEXT = 120;
/** Digits after the point that people care about, at most. */
const MAX_DECIMALS = 2;

const made = new Map<string, Intl.NumberFormat | Intl.DateTimeFormat>();

/** Formatters are dear to make: one for each language and kind. */
function once<Format extends Intl.NumberFormat | Intl.DateTimeFormat>(
  kind: string,
  make: () => Format,
): Format {
  const key = `${locale()} ${kind}`;
  const found = (made.get(key) as Format | undefined) ?? make();
  made.set(key, found);
  return found;
}

const number = (kind: string, options: Intl.NumberFormatOptions): Intl.NumberFormat =>
  once(kind, () => new Intl.NumberFormat(locale(), options));
const date = (kind: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat =>
  once(kind, () => new Intl.DateTimeFormat(locale(), options));

/** How many digits after the point a number has, as far as people care. */
export function decimalsOf(value: unknown): number {
  const [, fraction = ''] = String(value).split('.');
  return /^\d*$/.test(fraction) ? Math.min(MAX_DECIMALS, fraction.length) : 0;
}

/** A value in few characters. @param decimals shown at least, so that a value does not jump when it happens to be round */
export function formatValue(value: unknown, decimals = 0, name = ''): string {
  switch (typeof value) {
    case 'number':
      if (isTime(value)) {
        return formatDateTime(value);
      }
      return isCoordinate(name)
        ? number('coordinate', { minimumFractionDigits: 5, maximumFractionDigits: 5 }).format(value)
        : formatNumber(value, decimals);
    case 'boolean':
      return value ? t('value.yes') : t('value.no');
    case 'string':
      return value.trim() === '' ? t('value.emptyText') : value.slice(0, MAX_TEXT);
    default:
      return value === undefined || value === null ? '–' : jsonText(value).slice(0, MAX_TEXT);
  }
}

/** A value as it is, with all its digits and the whole of a text. */
export function formatWhole(value: unknown, name = ''): string {
  if (typeof value === 'number' && !isTime(value)) {
    return Math.abs(value) >= 1e15 || (value !== 0 && Math.abs(value) < 1e-6)
      ? String(value)
      : number('whole', { maximumFractionDigits: 12 }).format(value);
  }
  if (typeof value === 'string') {
    return value.trim() === '' ? t('value.emptyText') : value;
  }
  return typeof value === 'object' && value !== null ? jsonText(value) : formatValue(value, 0, name);
}

export function formatNumber(value: number, decimals = 0): string {
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-4)) {
    return number('scientific', { notation: 'scientific', maximumSignificantDigits: 4 }).format(value);
  }
  if (size > 0 && size < 0.1) {
    return number('small', { maximumSignificantDigits: 3 }).format(value);
  }
  if (size >= 10_000) {
    return number('integer', { maximumFractionDigits: 0 }).format(value);
  }
  const options = { minimumFractionDigits: decimals, maximumFractionDigits: Math.max(decimals, 2) };
  return number(`fixed ${decimals}`, options).format(value);
}

export function formatCount(value: number): string {
  return number('integer', { maximumFractionDigits: 0 }).format(value);
}

export function formatRate(perSecond: number): string {
  return perSecond >= 10 || perSecond === 0
    ? formatCount(perSecond)
    : number('rate', { minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(perSecond);
}

/** "now", "12 s ago", "3 min ago" … */
export function formatAge(ms: number): string {
  return ms < 2_000 ? t('age.now') : t('age.ago', { span: formatSpan(ms) });
}

export function formatSpan(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) {
    return t('span.s', { n: seconds });
  }
  if (seconds < 3_600) {
    return t('span.min', { n: Math.floor(seconds / 60) });
  }
  return seconds < 86_400
    ? t('span.h', { n: Math.floor(seconds / 3_600) })
    : t('span.d', { n: Math.floor(seconds / 86_400) });
}

export function formatTime(ms: number): string {
  return date('time', { hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(ms);
}

export function formatDateTime(ms: number): string {
  return date('dateTime', { dateStyle: 'medium', timeStyle: 'medium' }).format(ms);
}

/** The time, and the day where it is not today's. */
export function formatMoment(ms: number, now: number): string {
  return new Date(ms).toDateString() === new Date(now).toDateString() ? formatTime(ms) : formatDateTime(ms);
}

export function jsonText(value: unknown, indent?: number): string {
  try {
    return JSON.stringify(value, null, indent) ?? '–';
  } catch {
    return '…';
  }
}
