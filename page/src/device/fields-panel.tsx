import { useState } from 'preact/hooks';
import { formatWhole } from '../core/format.js';
import { countFields, fieldsOf, MAX_FIELDS, plottable, unitOf } from '../core/payload.js';
import { route } from '../core/route.js';
import { useStore } from '../core/store.js';
import { t } from '../core/texts.js';
import { preferences } from '../session/preferences.js';
import { chosenFields, toggleField } from './chart-panel.js';
import type { DeviceState } from './device-state.js';

/** With fewer a search is not worth its place. */
const SEARCH_FROM = 10;

/** Of a longer one the beginning is shown first. */
const LONG_TEXT = 280;

/** A value whole; a long one when somebody asks for it. */
function Value({ text }: { text: string }) {
  const [isOpen, setOpen] = useState(false);
  const isLong = text.length > LONG_TEXT;
  return (
    <>
      <bdi class={isLong && !isOpen ? 'clamped' : undefined} dir="auto">
        {text}
      </bdi>
      {isLong && (
        <button class="quiet more" type="button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {t(isOpen ? 'value.fewer' : 'value.more')}
        </button>
      )}
    </>
  );
}

/** All fields of the newest payload, with all their digits and the whole of a text. */
export function FieldsPanel({ state }: { state: DeviceState }) {
  useStore(preferences, route);
  const [search, setSearch] = useState('');
  const { device } = state;
  const payload = device.telemetry?.payload;
  const all = device.telemetry === undefined ? [] : fieldsOf(payload);
  const missing = all.length >= MAX_FIELDS ? countFields(payload) - all.length : 0;
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const fields = all.filter(([name]) => words.every((word) => name.toLowerCase().includes(word)));
  const chosen = chosenFields(state);
  const primary = device.primary(preferences.pinOf(device.kind))?.[0];
  return (
    <section class="card panel-card fields-panel" aria-labelledby="fields-title">
      <header class="panel-head">
        <h2 id="fields-title">
          {t('fields.title')} <small>{all.length}</small>
        </h2>
        {all.length >= SEARCH_FROM && (
          <label class="field">
            <span class="hidden">{t('fields.find')}</span>
            <input
              type="search"
              value={search}
              placeholder={t('fields.find')}
              onInput={(event) => setSearch(event.currentTarget.value)}
            />
          </label>
        )}
      </header>
      {all.length === 0 ? (
        <p class="panel-empty">
          {device.telemetry === undefined ? t('tile.nothingYet') : t('tile.emptyObject')}
        </p>
      ) : fields.length === 0 ? (
        <p class="panel-empty">{t('fields.noMatch')}</p>
      ) : (
        <table>
          <colgroup>
            <col class="col-name" />
            <col />
            <col class="col-actions" />
          </colgroup>
          <thead class="hidden">
            <tr>
              <th scope="col">{t('fields.name')}</th>
              <th scope="col">{t('fields.value')}</th>
              <th scope="col">{t('fields.actions')}</th>
            </tr>
          </thead>
          <tbody>
            {fields.map(([name, value]) => {
              const unit = unitOf(device.meta, name);
              const title = name === '' ? t('field.value') : name;
              const isDrawable = plottable(value) !== undefined;
              return (
                <tr key={name}>
                  <th scope="row">
                    <bdi>{title}</bdi>
                  </th>
                  <td class={typeof value === 'number' ? 'number' : undefined}>
                    <Value text={formatWhole(value, name)} />
                    {unit !== '' && <span class="unit"> {unit}</span>}
                  </td>
                  <td class="row-actions">
                    {isDrawable && (
                      <button
                        type="button"
                        class="button small"
                        aria-pressed={chosen.includes(name)}
                        aria-label={t('fields.draw', { name: title })}
                        title={t('fields.draw', { name: title })}
                        onClick={() => toggleField(state, name)}
                      >
                        <svg viewBox="0 0 16 16" aria-hidden="true">
                          <path d="M2 12l4-5 3 3 5-7" />
                        </svg>
                      </button>
                    )}
                    <button
                      type="button"
                      class="button small"
                      aria-pressed={primary === name}
                      aria-label={t('fields.pin', { name: title })}
                      title={t('fields.pin', { name: title })}
                      onClick={() =>
                        preferences.pin(
                          device.kind,
                          preferences.pinOf(device.kind) === name ? undefined : name,
                        )
                      }
                    >
                      <svg viewBox="0 0 16 16" aria-hidden="true">
                        <path d="M8 2l1.8 3.8 4.2.5-3.1 2.9.8 4.1L8 11.3l-3.7 2 .8-4.1L2 6.3l4.2-.5z" />
                      </svg>
                    </button>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
      {missing > 0 && <p class="panel-empty">{t('fields.missing', { n: missing })}</p>}
    </section>
  );
}
