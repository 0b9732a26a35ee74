import { useState } from 'preact/hooks';
import { formatSpan, formatMoment } from '../core/format.js';
import { useStore, useTick } from '../core/store.js';
import { t } from '../core/texts.js';
import { app } from './app-state.js';
import type { Session } from './session.js';
import { cleanToken, claimsOf } from './token.js';

/** Why what is shown may be old, and what can be done; nothing while all is well. */
export function Banner({ session }: { session: Session }) {
  useStore(session);
  useTick();
  const needed = session.needsToken;
  const text = staleText(session);
  return (
    <>
      <div role="alert" class={text === undefined ? undefined : 'banner'} hidden={text === undefined}>
        {text !== undefined && <p>{text}</p>}
        {session.link.name === 'waiting' && (
          <button class="button" type="button" onClick={() => session.client.connect()}>
            {t('connection.now')}
          </button>
        )}
        {session.link.name === 'closed' && needed === undefined && (
          <button class="button" type="button" onClick={() => session.client.connect()}>
            {t('connection.again')}
          </button>
        )}
      </div>
      {(needed !== undefined || session.endsInMs !== undefined) && <Renewal session={session} />}
    </>
  );
}

function staleText(session: Session): string | undefined {
  const { link, way, needsToken, behindMs } = session;
  const now = session.meter.serverNow();
  if (needsToken !== undefined) {
    return undefined;
  }
  if (link.name === 'closed') {
    return link.code === 1008 || link.code === 1009 ? t(`banner.${link.code}`) : t('banner.closed');
  }
  if (way.lostAt !== undefined && link.name !== 'connecting') {
    return t('banner.lost', { time: formatMoment(way.lostAt, now) });
  }
  if (way.lostAt !== undefined) {
    return session.fleet.devices.size > 0 || link.code !== undefined
      ? t('banner.lost', { time: formatMoment(way.lostAt, now) })
      : undefined;
  }
  if (way.upstreamDownAt !== undefined) {
    return t('banner.upstream', { time: formatMoment(way.upstreamDownAt, now) });
  }
  return behindMs === undefined ? undefined : t('banner.behind', { span: formatSpan(behindMs) });
}

/** Announces the end of the token, and takes another one without leaving the screen. */
function Renewal({ session }: { session: Session }) {
  const [problem, setProblem] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const { endsInMs, needsToken } = session;
  const text =
    needsToken === undefined
      ? t('renew.ending', { span: formatSpan(endsInMs ?? 0) })
      : t(needsToken === 'expired' ? 'renew.expired' : 'renew.refused');
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      await work();
    } catch (error) {
      setProblem(t('renew.failed', { why: error instanceof Error ? error.message : String(error) }));
    }
    setBusy(false);
  };
  const onSubmit = (event: SubmitEvent): void => {
    event.preventDefault();
    const input = (event.currentTarget as HTMLFormElement).elements.namedItem('token') as HTMLInputElement;
    const token = cleanToken(input.value);
    const { user } = claimsOf(token);
    input.value = '';
    if (user !== session.claims.user) {
      // Values of one user are not to stay on the screen of another.
      app.open(token);
      return;
    }
    void attempt(() => session.renew(token));
  };
  return (
    <section class="banner renewal" aria-label={t('renew.title')}>
      <p role="status">{text}</p>
      {session.canRenew ? (
        <button
          class="button primary"
          type="button"
          disabled={isBusy}
          onClick={() => void attempt(() => session.renewBySource())}
        >
          {t('renew.now')}
        </button>
      ) : (
        <form onSubmit={onSubmit}>
          <label class="hidden" for="renew-token">
            {t('renew.label')}
          </label>
          <input
            id="renew-token"
            name="token"
            type="password"
            placeholder={t('renew.label')}
            autocomplete="off"
            required
          />
          <button class="button primary" type="submit" disabled={isBusy}>
            {t('renew.use')}
          </button>
        </form>
      )}
      {problem !== undefined && <p class="problem">{problem}</p>}
    </section>
  );
}
