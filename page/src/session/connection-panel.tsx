import { formatCount, formatDateTime, formatRate, formatSpan } from '../core/format.js';
import { useStore, useTick } from '../core/store.js';
import { t } from '../core/texts.js';
import { app } from './app-state.js';
import { linkText } from './link-text.js';
import type { Session } from './session.js';

/** What the connection does, in numbers. */
export function ConnectionPanel({ session }: { session: Session }) {
  useStore(session, session.meter);
  useTick();
  const { link, meter, claims } = session;
  const trip = meter.roundTripMs;
  const facts: [string, string, string?][] = [
    [
      t('connection.state'),
      linkText(session).text,
      t('connection.for', { span: formatSpan(Date.now() - link.since) }),
    ],
    [
      t('connection.roundTrip'),
      trip === undefined ? '–' : `${formatCount(Math.max(1, trip))} ms`,
      t('connection.roundTripNote'),
    ],
    [t('connection.rate'), t('connection.perSecond', { rate: formatRate(meter.perSecond) }), undefined],
    [t('connection.received'), formatCount(meter.publications), undefined],
    [t('connection.skipped'), formatCount(meter.skipped), t('connection.skippedNote')],
    [t('connection.resumes'), formatCount(meter.resumes), t('connection.resumesNote')],
    [t('connection.gaps'), formatCount(meter.gaps), t('connection.gapsNote')],
  ];
  if (claims.expiresAt !== undefined) {
    const leftMs = claims.expiresAt - meter.serverNow();
    facts.push([
      t('connection.tokenEnds'),
      leftMs > 0 ? t('connection.in', { span: formatSpan(leftMs) }) : t('connection.ended'),
      session.canRenew ? t('connection.renewedByItself') : formatDateTime(claims.expiresAt),
    ]);
  }
  const isAway = link.name === 'waiting' || (link.name === 'closed' && session.needsToken === undefined);
  return (
    <div class="panel connection" role="group" aria-label={t('connection.title')}>
      <h2>{t('connection.title')}</h2>
      <Bars values={meter.rates} label={t('connection.rateChart')} />
      <dl class="facts">
        {facts.map(([name, value, note]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <span>{value}</span>
              {note !== undefined && <small>{note}</small>}
            </dd>
          </div>
        ))}
      </dl>
      {session.complaint !== undefined && (
        <p class="complaint">
          {t('connection.lastError')} <bdi>{withoutJson(session.complaint.message).slice(0, 200)}</bdi>
        </p>
      )}
      <div class="actions">
        {isAway && (
          <button class="button primary" type="button" onClick={() => session.client.connect()}>
            {t('connection.now')}
          </button>
        )}
        <button class="button" type="button" onClick={() => app.signOut()}>
          {t('signOut')}
        </button>
      </div>
    </div>
  );
}

/** The reason of a closed connection may be for programs, which know from it when to come back. */
function withoutJson(message: string): string {
  return message.replace(/ \(\{.*\}\)$/s, '');
}

/** A column for each of the last seconds. */
function Bars({ values, label }: { values: readonly number[]; label: string }) {
  const max = Math.max(1, ...values);
  return (
    <svg class="bars" viewBox="0 0 240 40" preserveAspectRatio="none" role="img" aria-label={label}>
      {values.map((value, index) => {
        const height = (value / max) * 38;
        const x = 240 - (values.length - index) * 10;
        return <rect key={index} x={x + 1} y={40 - height} width={8} height={height} rx={1} />;
      })}
    </svg>
  );
}
