import { useEffect, useRef, useState } from 'preact/hooks';
import { t } from '../core/texts.js';
import { app, type SignInReason } from './app-state.js';
import { cleanToken } from './token.js';

/** Nobody is signed in: why, and how to go on. */
export function SignIn({ reason, loginUrl }: { reason: SignInReason; loginUrl: string | undefined }) {
  const input = useRef<HTMLInputElement>(null);
  const [isMalformed, setMalformed] = useState(false);
  useEffect(() => input.current?.focus(), []);
  const onSubmit = (event: SubmitEvent): void => {
    event.preventDefault();
    const token = cleanToken(input.current?.value ?? '');
    if (token.split('.').length !== 3) {
      setMalformed(true);
      input.current?.focus();
      return;
    }
    app.open(token);
  };
  return (
    <section class="card sign-in" aria-labelledby="sign-in-title">
      <h1 id="sign-in-title">{t('signIn.title')}</h1>
      <p id="sign-in-why" role={reason === 'first' ? undefined : 'alert'}>
        {t(`signIn.${reason}`)}
      </p>
      {app.hasLogin && (
        <div class="actions">
          {loginUrl !== undefined && (
            <a class="button primary" href={withReturn(loginUrl)}>
              {t('signIn.goToLogin')}
            </a>
          )}
          <button class="button" type="button" onClick={() => void app.openBySource()}>
            {t('signIn.again')}
          </button>
        </div>
      )}
      <form onSubmit={onSubmit}>
        <label for="token">{t('signIn.token')}</label>
        <input
          id="token"
          name="token"
          type="password"
          ref={input}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          aria-describedby="sign-in-hint"
          aria-invalid={isMalformed}
          required
        />
        {isMalformed && (
          <p class="problem" role="alert">
            {t('signIn.malformed')}
          </p>
        )}
        <p class="hint" id="sign-in-hint">
          {t('signIn.hint')}
        </p>
        <button class="button primary" type="submit">
          {t('signIn.connect')}
        </button>
      </form>
    </section>
  );
}

/** The login may send the person back to where they were. */
function withReturn(loginUrl: string): string {
  const url = new URL(loginUrl);
  url.searchParams.set('return_to', location.href);
  return url.href;
}
