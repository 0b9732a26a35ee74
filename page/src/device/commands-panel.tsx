import { useMemo, useRef, useState } from 'preact/hooks';
import { formatTime, formatWhole } from '../core/format.js';
import { useStore } from '../core/store.js';
import { hasText, t } from '../core/texts.js';
import type { Device } from '../fleet/device.js';
import type { Session } from '../session/session.js';
import { grants } from '../session/token.js';
import { filled, type Input, type Offer, offersOf } from './command-form.js';
import type { Outcome, Sent } from './commands-sent.js';

const SHOWN = 10;

/** Commands: what the device offers as forms, anything else as JSON, and what became of each. */
export function CommandsPanel({ device, session }: { device: Device; session: Session }) {
  useStore(session, session.commands);
  const { claims, commands, client } = session;
  const offers = useMemo(() => offersOf(device.meta), [device.meta]);
  const [chosen, setChosen] = useState<number | 'json'>();
  const isPermitted = claims.permitsCommands && grants(claims, device.id);
  const at = chosen ?? (offers.length > 0 ? 0 : 'json');
  const offer = at === 'json' ? undefined : offers[at];
  const send = (text: string): void => void commands.send(client, device.id, text);
  const sent = commands.of(device.id);
  return (
    <section class="card panel-card commands-panel" aria-labelledby="commands-title">
      <header class="panel-head">
        <h2 id="commands-title">{t('commands.title')}</h2>
      </header>
      {!isPermitted ? (
        <p class="panel-empty">
          {claims.permitsCommands ? t('commands.notGranted') : t('commands.readOnly')}
        </p>
      ) : (
        <>
          <div class="chips" role="group" aria-label={t('commands.offered')}>
            {offers.map(({ label, text }, index) => (
              <button
                key={text}
                type="button"
                class="chip plain"
                title={text}
                aria-pressed={at === index}
                onClick={() => setChosen(index)}
              >
                <bdi>{label}</bdi>
              </button>
            ))}
            {offers.length > 0 && (
              <button
                type="button"
                class="chip plain"
                aria-pressed={at === 'json'}
                onClick={() => setChosen('json')}
              >
                {t('commands.asJson')}
              </button>
            )}
          </div>
          {offers.length === 0 && <p class="hint">{t('commands.none')}</p>}
          {offer === undefined ? (
            <JsonForm initial={offers[0]?.text ?? ''} onSend={send} />
          ) : (
            <OfferForm key={offer.text} offer={offer} onSend={send} />
          )}
        </>
      )}
      {sent.length > 0 && (
        <>
          <h3 class="hidden">{t('commands.history')}</h3>
          <ol class="sent" aria-live="polite">
            {sent.slice(0, SHOWN).map((one) => (
              <SentLine key={one.number} sent={one} />
            ))}
          </ol>
        </>
      )}
    </section>
  );
}

function OfferForm({ offer, onSend }: { offer: Offer; onSend: (text: string) => void }) {
  const [values, setValues] = useState<ReadonlyMap<string, string | boolean>>(
    new Map(
      offer.inputs.map(({ name, initial }) => [
        name,
        typeof initial === 'number' ? String(initial) : initial,
      ]),
    ),
  );
  const [isAsking, setAsking] = useState(false);
  const text = filled(offer, values);
  const onSubmit = (event: SubmitEvent): void => {
    event.preventDefault();
    if (offer.confirm && !isAsking) {
      setAsking(true);
      return;
    }
    setAsking(false);
    onSend(text);
  };
  return (
    <form class="command" onSubmit={onSubmit}>
      {offer.inputs.map((input) => (
        <InputField
          key={input.name}
          input={input}
          value={values.get(input.name) ?? ''}
          onChange={(value) => setValues(new Map(values).set(input.name, value))}
        />
      ))}
      <code class="preview" dir="ltr">
        {text}
      </code>
      {isAsking ? (
        <div class="actions" role="alertdialog" aria-label={t('commands.confirm', { name: offer.label })}>
          <p>{t('commands.confirm', { name: offer.label })}</p>
          <button class="button primary" type="submit" autofocus>
            {t('commands.yesSend')}
          </button>
          <button class="button" type="button" onClick={() => setAsking(false)}>
            {t('commands.cancel')}
          </button>
        </div>
      ) : (
        <button class="button primary" type="submit">
          {t('commands.send')}
        </button>
      )}
    </form>
  );
}

function InputField({
  input,
  value,
  onChange,
}: {
  input: Input;
  value: string | boolean;
  onChange: (value: string | boolean) => void;
}) {
  const { label, unit, kind, min, max, step, options } = input;
  if (kind === 'boolean') {
    return (
      <label class="check">
        <input
          type="checkbox"
          checked={value === true}
          onChange={(event) => onChange(event.currentTarget.checked)}
        />
        <bdi>{label}</bdi>
      </label>
    );
  }
  const range = [min, max].some((one) => one !== undefined) ? `${min ?? '…'} – ${max ?? '…'}` : '';
  return (
    <label class="input">
      <span>
        <bdi>{label}</bdi> {unit !== '' && <span class="unit">{unit}</span>}{' '}
        {range !== '' && <small class="unit">({range})</small>}
      </span>
      {kind === 'number' ? (
        <input
          type="number"
          value={String(value)}
          required
          min={min}
          max={max}
          step={step ?? 'any'}
          onInput={(event) => onChange(event.currentTarget.value)}
        />
      ) : kind === 'choice' ? (
        <select value={String(value)} onChange={(event) => onChange(event.currentTarget.value)}>
          {options.map((option) => (
            <option key={option} value={option}>
              {option}
            </option>
          ))}
        </select>
      ) : (
        <input type="text" value={String(value)} onInput={(event) => onChange(event.currentTarget.value)} />
      )}
    </label>
  );
}

function JsonForm({ initial, onSend }: { initial: string; onSend: (text: string) => void }) {
  const input = useRef<HTMLTextAreaElement>(null);
  const [problem, setProblem] = useState<string>();
  const submit = (): void => {
    const text = input.current?.value ?? '';
    try {
      JSON.parse(text);
    } catch {
      setProblem(t('commands.notJson'));
      input.current?.focus();
      return;
    }
    setProblem(undefined);
    onSend(text);
  };
  return (
    <form
      class="command"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <label class="hidden" for="command-json">
        {t('commands.json')}
      </label>
      <textarea
        id="command-json"
        ref={input}
        rows={2}
        dir="ltr"
        placeholder={initial === '' ? '{"action":"start"}' : initial}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        aria-invalid={problem !== undefined}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
            submit();
          }
        }}
      />
      {problem !== undefined && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <button class="button primary" type="submit">
        {t('commands.send')}
      </button>
    </form>
  );
}

function SentLine({ sent }: { sent: Sent }) {
  const { text, kind, detail } = outcomeText(sent.outcome);
  return (
    <li data-kind={kind}>
      <div class="sent-head">
        <time dateTime={new Date(sent.at).toISOString()}>{formatTime(sent.at)}</time>
        <code dir="ltr">{sent.text.slice(0, 200)}</code>
      </div>
      <p class="outcome">{text}</p>
      {detail !== undefined && <pre dir="auto">{detail.slice(0, 2_000)}</pre>}
    </li>
  );
}

function outcomeText(outcome: Outcome): { text: string; kind: string; detail?: string } {
  switch (outcome.name) {
    case 'sending':
      return { text: t('outcome.sending'), kind: 'pending' };
    case 'sent':
      if (outcome.delivered === false) {
        return { text: t('outcome.nobody'), kind: 'warn' };
      }
      return {
        text: `${t(outcome.delivered === true ? 'outcome.delivered' : 'outcome.accepted')}${outcome.isWaiting ? ` ${t('outcome.waiting')}` : ''}`,
        kind: outcome.delivered === true ? 'good' : 'plain',
      };
    case 'replied':
      return { text: t('outcome.replied'), kind: 'good', detail: formatWhole(outcome.payload) };
    case 'silent':
      return {
        text: `${t(outcome.delivered === true ? 'outcome.delivered' : 'outcome.accepted')} ${t('outcome.silent')}`,
        kind: outcome.delivered === true ? 'good' : 'plain',
      };
    default: {
      const key = `error.${outcome.code}`;
      return { text: hasText(key) ? t(key) : t('error.other', { code: outcome.code }), kind: 'bad' };
    }
  }
}
