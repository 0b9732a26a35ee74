import { useEffect, useRef, useState } from 'preact/hooks';
import { useStore, useTick } from '../core/store.js';
import { t } from '../core/texts.js';
import { app } from './app-state.js';
import { ConnectionPanel } from './connection-panel.js';
import { linkText } from './link-text.js';
import { preferences, type Theme } from './preferences.js';
import type { Session } from './session.js';
import { type Language, language, LANGUAGES } from '../core/texts.js';

/** The top of every screen: where one is, the connection, and how the page looks. */
export function Bar({ session }: { session: Session | undefined }) {
  return (
    <header class="bar">
      <a class="brand" href="#/" aria-label={t('bar.home')}>
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <path d="M6 12c3.3-3.4 6.7-3.4 10 0s6.7 3.4 10 0M6 20c3.3-3.4 6.7-3.4 10 0s6.7 3.4 10 0" />
        </svg>
        <span>Sluice</span>
      </a>
      {session !== undefined && <Link session={session} />}
      <Settings session={session} />
    </header>
  );
}

function Link({ session }: { session: Session }) {
  useStore(session);
  useTick();
  const [isOpen, setOpen] = useState(false);
  const box = useClosing(isOpen, () => setOpen(false));
  const { state, text } = linkText(session);
  return (
    <div class="menu" ref={box}>
      <button
        id="link"
        class="link"
        type="button"
        data-state={state}
        aria-expanded={isOpen}
        aria-label={t('bar.connection', { state: text })}
        onClick={() => setOpen(!isOpen)}
      >
        <span class="dot" aria-hidden="true" />
        <span class="link-text">{text}</span>
      </button>
      {isOpen && <ConnectionPanel session={session} />}
    </div>
  );
}

function Settings({ session }: { session: Session | undefined }) {
  useStore(preferences);
  const [isOpen, setOpen] = useState(false);
  const box = useClosing(isOpen, () => setOpen(false));
  const themes: Theme[] = ['system', 'light', 'dark'];
  return (
    <div class="menu" ref={box}>
      <button
        class="quiet icon"
        type="button"
        aria-expanded={isOpen}
        aria-label={t('bar.settings')}
        onClick={() => setOpen(!isOpen)}
      >
        <svg viewBox="0 0 20 20" aria-hidden="true">
          <path d="M3 6h8M15 6h2M3 14h2M9 14h8" />
          <circle cx="13" cy="6" r="2" />
          <circle cx="7" cy="14" r="2" />
        </svg>
      </button>
      {isOpen && (
        <div class="panel settings" role="group" aria-label={t('bar.settings')}>
          <fieldset>
            <legend>{t('settings.theme')}</legend>
            <div class="segments">
              {themes.map((theme) => (
                <label key={theme}>
                  <input
                    type="radio"
                    name="theme"
                    checked={preferences.theme === theme}
                    onChange={() => preferences.setTheme(theme)}
                  />
                  <span>{t(`theme.${theme}`)}</span>
                </label>
              ))}
            </div>
          </fieldset>
          <fieldset>
            <legend>{t('settings.language')}</legend>
            <div class="segments">
              {LANGUAGES.map((tag: Language) => (
                <label key={tag} lang={tag}>
                  <input
                    type="radio"
                    name="language"
                    checked={language() === tag}
                    onChange={() => preferences.setLanguage(tag)}
                  />
                  <span>{tag === 'de' ? 'Deutsch' : 'English'}</span>
                </label>
              ))}
            </div>
          </fieldset>
          {session !== undefined && (
            <div class="account">
              <p>
                {t('settings.user')} <bdi>{session.claims.user ?? t('session.nobody')}</bdi>
              </p>
              <button class="button" type="button" onClick={() => app.signOut()}>
                {t('signOut')}
              </button>
            </div>
          )}
        </div>
      )}
    </div>
  );
}

/** Closes by Escape, which gives the focus back to the button, and by what happens elsewhere. */
function useClosing(isOpen: boolean, close: () => void) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!isOpen) {
      return undefined;
    }
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === 'Escape') {
        close();
        box.current?.querySelector('button')?.focus();
      }
    };
    const onOutside = (event: Event): void => {
      if (event.target instanceof Node && box.current?.contains(event.target) === false) {
        close();
      }
    };
    document.addEventListener('keydown', onKey);
    document.addEventListener('pointerdown', onOutside);
    document.addEventListener('focusin', onOutside);
    return () => {
      document.removeEventListener('keydown', onKey);
      document.removeEventListener('pointerdown', onOutside);
      document.removeEventListener('focusin', onOutside);
    };
  }, [isOpen]);
  return box;
}
