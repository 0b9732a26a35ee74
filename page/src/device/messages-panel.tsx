import { useRef, useState } from 'preact/hooks';
import { formatTime } from '../core/format.js';
import { t } from '../core/texts.js';
import type { DeviceState } from './device-state.js';
import type { Message } from './history.js';

const SHOWN = 8;
const MAX_LINE = 2_000;

/** The last messages as the device wrote them. */
export function MessagesPanel({ state }: { state: DeviceState }) {
  const [paused, setPaused] = useState<readonly Message[]>();
  const [isOpen, setOpen] = useState(false);
  const [told, setTold] = useState('');
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const { messages } = state.history;
  const shown = (paused ?? messages).slice(isOpen ? -100 : -SHOWN).reverse();
  const copy = async (text: string): Promise<void> => {
    setTold(t((await copied(text)) ? 'messages.copied' : 'messages.notCopied'));
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setTold(''), 3_000);
  };
  return (
    <section class="card panel-card" aria-labelledby="messages-title">
      <header class="panel-head">
        <h2 id="messages-title">{t('messages.title')}</h2>
        <span class="told" role="status">
          {told}
        </span>
        <button
          class="button small"
          type="button"
          aria-pressed={paused !== undefined}
          aria-label={paused === undefined ? t('messages.pause') : t('messages.goOn')}
          onClick={() => setPaused(paused === undefined ? [...messages] : undefined)}
        >
          {paused === undefined ? t('chart.pause') : t('chart.live')}
        </button>
        {shown.length > 0 && (
          <button
            class="button small"
            type="button"
            aria-label={t('messages.copyAll')}
            onClick={() => void copy((paused ?? messages).map(({ text }) => text).join('\n'))}
          >
            {t('messages.copyAllShort')}
          </button>
        )}
      </header>
      {shown.length === 0 ? (
        <p class="panel-empty">{t('tile.nothingYet')}</p>
      ) : (
        <ol class="messages">
          {shown.map((message) => (
            <li key={`${message.epoch} ${message.offset}`}>
              <div class="message-head">
                <time dateTime={new Date(message.t).toISOString()}>{formatTime(message.t)}</time>
                <span>#{message.offset}</span>
                {message.skipped > 0 && <span>{t('messages.skipped', { n: message.skipped })}</span>}
                <button
                  class="button small"
                  type="button"
                  aria-label={t('messages.copy', { n: message.offset })}
                  onClick={() => void copy(message.text)}
                >
                  {t('messages.copyShort')}
                </button>
              </div>
              <pre dir="auto">
                {message.text.length > MAX_LINE ? `${message.text.slice(0, MAX_LINE)} …` : message.text}
              </pre>
            </li>
          ))}
        </ol>
      )}
      {(paused ?? messages).length > SHOWN && (
        <button class="button small" type="button" onClick={() => setOpen(!isOpen)}>
          {isOpen ? t('messages.fewer') : t('messages.more', { n: (paused ?? messages).length })}
        </button>
      )}
    </section>
  );
}

/** @returns false where the browser does not allow it, as over plain HTTP */
async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    // Deprecated, and the only way without a secure context.
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}
