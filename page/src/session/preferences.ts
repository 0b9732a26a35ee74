import { kept, Store } from '../core/store.js';
import { type Language, language, LANGUAGES, speak } from '../core/texts.js';

const THEME = 'sluice.theme';
const LANGUAGE = 'sluice.language';
const PINS = 'sluice.pins';
const MAX_PINS = 500;

export type Theme = 'system' | 'light' | 'dark';

/** How this browser shows the page. Nothing in it tells who used it. */
class Preferences extends Store {
  theme: Theme = 'system';
  /** The field that tiles of a kind show big. */
  private pins = new Map<string, string>();

  start(): void {
    const theme = kept.read(THEME);
    this.theme = theme === 'light' || theme === 'dark' ? theme : 'system';
    const wished = [kept.read(LANGUAGE), ...navigator.languages].map((tag) => tag?.slice(0, 2));
    speak(
      LANGUAGES.find((known) => known === wished.find((tag) => LANGUAGES.some((one) => one === tag))) ?? 'en',
    );
    this.pins = readPins();
    // An earlier page kept ids here for whoever came next.
    kept.write('sluice.watched', undefined);
    this.apply();
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    kept.write(THEME, theme === 'system' ? undefined : theme);
    this.apply();
    this.changed();
  }

  setLanguage(tag: Language): void {
    speak(tag);
    kept.write(LANGUAGE, tag);
    this.apply();
    this.changed();
  }

  pinOf(kind: string): string | undefined {
    return this.pins.get(kind);
  }

  pin(kind: string, field: string | undefined): void {
    if (field === undefined) {
      this.pins.delete(kind);
    } else if (this.pins.size < MAX_PINS) {
      this.pins.set(kind, field);
    }
    kept.write(PINS, this.pins.size === 0 ? undefined : JSON.stringify([...this.pins]));
    this.changed();
  }

  get isDark(): boolean {
    return (
      this.theme === 'dark' || (this.theme === 'system' && matchMedia('(prefers-color-scheme: dark)').matches)
    );
  }

  private apply(): void {
    const { documentElement: root } = document;
    root.lang = language();
    if (this.theme === 'system') {
      delete root.dataset['theme'];
    } else {
      root.dataset['theme'] = this.theme;
    }
  }
}

export const preferences = new Preferences();

function readPins(): Map<string, string> {
  try {
    const pins: unknown = JSON.parse(kept.read(PINS) ?? '[]');
    const pairs = Array.isArray(pins) ? pins : [];
    const isPair = (pair: unknown): pair is [string, string] =>
      Array.isArray(pair) && pair.length === 2 && pair.every((text) => typeof text === 'string');
    return new Map(pairs.filter(isPair).slice(0, MAX_PINS));
  } catch {
    return new Map();
  }
}
