import { formatSpan } from '../core/format.js';
import { t } from '../core/texts.js';
import type { Session } from './session.js';

export type LinkState = 'live' | 'busy' | 'stale' | 'down';

/** The connection in one or two words. */
export function linkText({ link, upstream, behindMs, isStale, needsToken }: Session): {
  state: LinkState;
  text: string;
} {
  switch (link.name) {
    case 'live':
      if (behindMs !== undefined) {
        return { state: 'stale', text: t('link.late', { span: formatSpan(behindMs) }) };
      }
      return upstream?.mqtt === 'down'
        ? { state: 'stale', text: t('link.noData') }
        : { state: isStale ? 'busy' : 'live', text: t('link.live') };
    case 'resuming':
      return { state: 'busy', text: t('link.resuming') };
    case 'connecting':
      return { state: 'busy', text: t('link.connecting') };
    case 'waiting': {
      const seconds = Math.max(0, Math.ceil(((link.retryAt ?? 0) - Date.now()) / 1_000));
      return { state: 'stale', text: t('link.waiting', { n: seconds }) };
    }
    default:
      return { state: 'down', text: t(needsToken === undefined ? 'link.closed' : 'link.ended') };
  }
}
