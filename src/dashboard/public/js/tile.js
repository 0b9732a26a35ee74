import { CommandBox } from './command-box.js';
import { formatAge, formatValue, plottable, textOf, unitOf } from './fields.js';
import { drawSparkline } from './sparkline.js';

/** Fields listed in a tile besides the one that is shown big. */
const MAX_LISTED = 5;
const template = document.getElementById('tile');

const setText = (element, text) => {
  if (element.textContent !== text) {
    element.textContent = text;
  }
};

/** One device on the page. Everything a device says becomes text, never markup. */
export class Tile {
  /** @param {{ sendCommand(id: string, command: unknown): Promise<object>, remove(id: string): void }} actions */
  constructor(device, actions) {
    this.device = device;
    this.element = template.content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    this.parts = {
      name: find('.name'),
      id: find('.id bdi'),
      stateText: find('.state-text'),
      number: find('.number'),
      unit: find('.unit'),
      label: find('.label bdi'),
      line: find('.line'),
      area: find('.area'),
      fields: find('.fields'),
      age: find('.age'),
      remove: find('.remove'),
    };
    this.rows = [];
    this.chosen = undefined;
    this.visible = false;
    this.element.dataset.deviceId = device.id;
    this.parts.id.textContent = device.id;
    this.parts.remove.addEventListener('click', () => actions.remove(device.id));
    this.commands = new CommandBox({ form: find('.command'), toggle: find('.toggle') }, (command) =>
      actions.sendCommand(device.id, command),
    );
  }

  /** What a search looks through. */
  get searchText() {
    const { id, meta } = this.device;
    return [id, textOf(meta, 'name'), textOf(meta, 'location'), textOf(meta, 'model')]
      .join(' ')
      .toLowerCase();
  }

  render(now) {
    const { device, parts } = this;
    setText(parts.name, textOf(device.meta, 'name') ?? device.id);
    setText(parts.id, [device.id, textOf(device.meta, 'location')].filter(Boolean).join(' · '));
    this.element.title = device.id;
    const primary = this.primary();
    if (primary === undefined) {
      setText(parts.number, '–');
      setText(parts.unit, '');
      setText(parts.label, 'nothing received yet');
    } else {
      const [name, value] = primary;
      setText(parts.number, formatValue(value, device.decimals.get(name)));
      parts.number.classList.toggle('long', parts.number.textContent.length > 12);
      setText(parts.unit, unitOf(device.meta, name));
      setText(parts.label, name === '' ? 'value' : name);
    }
    drawSparkline(parts, primary && device.samples.get(primary[0]));
    this.renderFields(primary?.[0]);
    this.commands.offer(device.meta);
    this.renderAge(now);
  }

  /** Age and status: what changes without a message. */
  renderAge(now) {
    const { status, updatedAt } = this.device;
    const state = status === undefined ? 'unknown' : status.isOnline ? 'online' : 'offline';
    if (this.element.dataset.state !== state) {
      this.element.dataset.state = state;
    }
    setText(
      this.parts.stateText,
      state === 'offline'
        ? `Offline, ${formatAge(Math.max(0, now - Math.max(status.lastSeen, updatedAt ?? 0)))}`
        : state === 'online'
          ? 'Online'
          : 'No status',
    );
    setText(
      this.parts.age,
      updatedAt === undefined ? 'No value yet' : `Updated ${formatAge(Math.max(0, now - updatedAt))}`,
    );
  }

  setRemovable(removable) {
    this.parts.remove.hidden = !removable;
  }

  /** The field shown big: the one somebody chose, or the first that can be drawn. */
  primary() {
    const { fields } = this.device;
    return (
      fields.find(([name]) => name === this.chosen) ??
      fields.find(([, value]) => plottable(value) !== undefined) ??
      fields[0]
    );
  }

  renderFields(primaryName) {
    const others = this.device.fields.filter(([name]) => name !== primaryName);
    const listed = others.slice(0, MAX_LISTED);
    while (this.rows.length < listed.length) {
      this.rows.push(this.newRow());
    }
    this.rows.forEach((row, index) => {
      const field = listed[index];
      row.item.hidden = field === undefined;
      if (field !== undefined) {
        const [name, value] = field;
        const unit = unitOf(this.device.meta, name);
        const text = formatValue(value, this.device.decimals.get(name));
        row.name = name;
        setText(row.key, name);
        setText(row.value, unit === '' ? text : `${text} ${unit}`);
      }
    });
  }

  newRow() {
    const item = document.createElement('li');
    const button = document.createElement('button');
    const key = document.createElement('bdi');
    const value = document.createElement('bdi');
    const row = { item, key, value, name: '' };
    button.type = 'button';
    button.className = 'field-row';
    button.append(key, value);
    button.addEventListener('click', () => {
      this.chosen = row.name;
      this.render(this.clock());
    });
    item.append(button);
    this.parts.fields.append(item);
    return row;
  }

  clock() {
    return Date.now();
  }
}
