import { useEffect, useRef, useState } from 'preact/hooks';
import { formatCount } from '../core/format.js';
import { route } from '../core/route.js';
import { t } from '../core/texts.js';
import type { Session } from '../session/session.js';
import type { Arranged, Look } from './arrange.js';
import type { Standing } from './freshness.js';

const STANDINGS: readonly (Standing | '')[] = ['', 'online', 'offline', 'stale', 'unknown'];

/** Search, filters, order, and how the devices are shown. All of it is in the address. */
export function Tools({ session, look, arranged }: { session: Session; look: Look; arranged: Arranged }) {
  const { counts, kinds } = arranged;
  return (
    <div class="tools" role="search" aria-label={t('tools.label')}>
      <div class="counts" role="group" aria-label={t('tools.states')}>
        {STANDINGS.filter((one) => one !== 'unknown' || counts.unknown > 0).map((standing) => (
          <button
            key={standing}
            type="button"
            class="count"
            data-state={standing}
            aria-pressed={look.show === standing}
            onClick={() => route.set({ show: look.show === standing ? undefined : standing })}
          >
            {standing !== '' && <span class="dot" aria-hidden="true" />}
            <span>{standing === '' ? t('tools.all') : t(`standing.${standing}`)}</span>
            <b>{formatCount(standing === '' ? counts.all : counts[standing])}</b>
          </button>
        ))}
      </div>
      <div class="finders">
        <label class="field find">
          <span class="hidden">{t('tools.find')}</span>
          <input
            type="search"
            value={look.q}
            placeholder={t('tools.find')}
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => route.set({ q: event.currentTarget.value })}
          />
        </label>
        {(kinds.length > 1 || look.kind !== '') && (
          <Choice
            label={t('tools.kind')}
            value={look.kind}
            options={[
              ['', t('tools.everyKind')],
              ...withChosen(kinds, look.kind).map((kind): Option => [kind, kind]),
            ]}
            name="kind"
          />
        )}
        <Choice
          label={t('tools.group')}
          value={look.group}
          options={[
            ['', t('tools.noGroup')],
            ['place', t('tools.byPlace')],
            ['kind', t('tools.byKind')],
            ['state', t('tools.byState')],
          ]}
          name="group"
        />
        <Choice
          label={t('tools.sort')}
          value={look.sort === 'name' ? '' : look.sort}
          options={[
            ['', t('tools.byName')],
            ['worst', t('tools.worstFirst')],
            ['newest', t('tools.newestFirst')],
          ]}
          name="sort"
        />
        <div class="segments" role="radiogroup" aria-label={t('tools.view')}>
          {(['tiles', 'table'] as const).map((view) => (
            <label key={view}>
              <input
                type="radio"
                name="view"
                checked={look.view === view}
                onChange={() => route.set({ view: view === 'tiles' ? undefined : view })}
              />
              <span>{t(`tools.${view}`)}</span>
            </label>
          ))}
        </div>
        <Watch session={session} />
      </div>
    </div>
  );
}

type Option = readonly [value: string, text: string];

/** A kind from the address that no device has (yet) is still what is asked for. */
function withChosen(kinds: readonly string[], chosen: string): readonly string[] {
  return chosen === '' || kinds.includes(chosen) ? kinds : [...kinds, chosen];
}

function Choice({
  label,
  value,
  options,
  name,
}: {
  label: string;
  value: string;
  options: Option[];
  name: string;
}) {
  return (
    <label class="choice">
      <span class="hidden">{label}</span>
      <select value={value} onChange={(event) => route.set({ [name]: event.currentTarget.value })}>
        {options.map(([one, text]) => (
          <option key={one} value={one}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Adds a device that the token's lists do not name. */
function Watch({ session }: { session: Session }) {
  const [isOpen, setOpen] = useState(false);
  const [problem, setProblem] = useState<string>();
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (isOpen) {
      input.current?.focus();
    }
  }, [isOpen]);
  const onSubmit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const id = input.current?.value ?? '';
    if (id === '' || input.current === null) {
      return;
    }
    input.current.value = '';
    setProblem(undefined);
    const why = await session.fleet.watch(id);
    if (why !== undefined) {
      setProblem(
        why === 'forbidden'
          ? t('watch.forbidden', { id: id.slice(0, 60) })
          : t('watch.refused', { id: id.slice(0, 60) }),
      );
    }
  };
  if (!isOpen) {
    return (
      <button class="button" type="button" onClick={() => setOpen(true)}>
        {t('watch.open')}
      </button>
    );
  }
  return (
    <form class="watch" onSubmit={(event) => void onSubmit(event)}>
      <label class="hidden" for="watch-id">
        {t('watch.label')}
      </label>
      <input
        id="watch-id"
        ref={input}
        type="text"
        placeholder={t('watch.label')}
        maxLength={128}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        onKeyDown={(event) => event.key === 'Escape' && setOpen(false)}
      />
      <button class="button primary" type="submit">
        {t('watch.add')}
      </button>
      <button class="button" type="button" onClick={() => setOpen(false)}>
        {t('watch.done')}
      </button>
      <p class="problem" role="status">
        {problem}
      </p>
    </form>
  );
}
