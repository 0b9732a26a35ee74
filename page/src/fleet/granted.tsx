import { formatCount } from '../core/format.js';
import { route } from '../core/route.js';
import { t } from '../core/texts.js';
import type { Session } from '../session/session.js';
import type { Arranged, Look } from './arrange.js';

/** What the token stands for, and what of it the server does not show: nothing is missing without a word. */
export function Granted({ session, arranged }: { session: Session; arranged: Arranged }) {
  const { fleet, claims } = session;
  const refused = [...fleet.denied].filter(([name]) => !fleet.watched.ids.has(name));
  const tooMany = refused.filter(([, code]) => code === 'too_many_rooms');
  const others = refused.length - tooMany.length;
  const lines: string[] = [];
  if (tooMany.length > 0) {
    lines.push(
      t('granted.tooMany', { shown: formatCount(arranged.counts.all), n: formatCount(tooMany.length) }),
    );
  }
  if (others > 0 && claims.canRead) {
    lines.push(t('granted.refused', { n: formatCount(others) }));
  }
  if (!claims.canRead && arranged.counts.all > 0) {
    lines.push(t('granted.noRead'));
  }
  return lines.length === 0 ? null : (
    <div class="notice" role="status">
      {lines.map((line) => (
        <p key={line}>{line}</p>
      ))}
    </div>
  );
}

/** Nothing to show: why, and what one can do. */
export function EmptyFleet({
  session,
  look,
  arranged,
}: {
  session: Session;
  look: Look;
  arranged: Arranged;
}) {
  const { claims, link } = session;
  const isFiltered = look.q !== '' || look.show !== '' || look.kind !== '';
  if (arranged.counts.all > 0 && isFiltered) {
    return (
      <div class="empty">
        <p class="empty-title">{t('empty.noMatch')}</p>
        <p>{t('empty.noMatchHint', { n: formatCount(arranged.counts.all) })}</p>
        <button
          class="button"
          type="button"
          onClick={() => route.set({ q: undefined, show: undefined, kind: undefined })}
        >
          {t('empty.showAll')}
        </button>
      </div>
    );
  }
  if (link.name !== 'live' && link.name !== 'resuming') {
    return (
      <div class="empty">
        <p class="empty-title">{t('empty.connecting')}</p>
      </div>
    );
  }
  if (!claims.canRead) {
    return (
      <div class="empty">
        <p class="empty-title">{t('granted.noRead')}</p>
      </div>
    );
  }
  return (
    <div class="empty">
      <p class="empty-title">{t('empty.title')}</p>
      {claims.patterns.length > 0 ? (
        <p>
          {t('empty.patterns')} <bdi class="code">{claims.patterns.slice(0, 5).join(', ').slice(0, 200)}</bdi>
        </p>
      ) : (
        <p>{t('empty.noGrants')}</p>
      )}
      {claims.patterns.length > 0 && <p>{t('empty.hint')}</p>}
    </div>
  );
}
