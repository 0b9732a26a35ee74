import { useLayoutEffect, useRef } from 'preact/hooks';
import { t } from '../core/texts.js';
import { app } from './app-state.js';

/**
 * Asks before a token from a link takes the place of the open session: anybody can send a link, and values of other devices, or commands
 * under another name, are not to come under the eyes of who did not ask for them.
 */
export function OtherSession({ user, current }: { user: string | undefined; current: string | undefined }) {
  const dialog = useRef<HTMLDialogElement>(null);
  // In the step of the drawing: what is painted before would be scrolled to, where it lies in the page.
  useLayoutEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      class="card other-session"
      id="other-session"
      ref={dialog}
      aria-labelledby="other-session-title"
      // By Escape. The browser would close it at once and tell later: a link that comes between would be answered with it.
      onCancel={(event) => {
        event.preventDefault();
        app.answerOffer(false);
      }}
      onClose={() => app.answerOffer(false)}
    >
      <h2 id="other-session-title">{t('other.title')}</h2>
      <p>
        {t('other.brings')} <strong>{name(user)}</strong>.
      </p>
      <p>
        {t('other.current')} <strong>{name(current)}</strong>. {t('other.ends')}
      </p>
      <div class="actions">
        <button class="button primary" type="button" autofocus onClick={() => app.answerOffer(false)}>
          {t('other.keep')}
        </button>
        <button class="button" type="button" onClick={() => app.answerOffer(true)}>
          {t('other.switch')}
        </button>
      </div>
    </dialog>
  );
}

function name(user: string | undefined) {
  return <bdi>{user === undefined ? t('session.nobody') : user.slice(0, 80)}</bdi>;
}
