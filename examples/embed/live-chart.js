/**
 * One live chart for any page, as a custom element:
 *
 *     <script type="module" src="https://iot.example.com/…/live-chart.js"></script>
 *     <live-chart sluice="https://iot.example.com" token="eyJ…" device="pump-1" field="flow" seconds="60"></live-chart>
 *
 * It brings no library along, no style sheet and no inline code: what the page's Content-Security-Policy must allow is in the README.
 */
const SVG = 'http://www.w3.org/2000/svg';
/** One client for all charts of a page that have the same server and token. */
const clients = new Map();

async function clientOf(sluice, token) {
  const key = `${sluice} ${token}`;
  if (!clients.has(key)) {
    const library = import(new URL('/client.mjs', sluice).href);
    clients.set(
      key,
      library.then(({ SluiceClient }) => new SluiceClient({ url: new URL('/ws', sluice).href, token })),
    );
  }
  return clients.get(key);
}

class LiveChart extends HTMLElement {
  #subscription;
  #leave;
  #points = [];
  #path = document.createElementNS(SVG, 'path');
  #label = document.createElement('figcaption');
  #isDue = false;

  constructor() {
    super();
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', '0 0 300 100');
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('width', '100%');
    svg.setAttribute('height', '100');
    for (const [name, value] of [
      ['fill', 'none'],
      ['stroke', 'currentColor'],
      ['vector-effect', 'non-scaling-stroke'],
    ]) {
      this.#path.setAttribute(name, value);
    }
    svg.append(this.#path);
    this.attachShadow({ mode: 'open' }).append(svg, this.#label);
  }

  async connectedCallback() {
    const { device, field } = this;
    const ms = 1_000 * Number(this.getAttribute('seconds') ?? 60);
    try {
      const client = await clientOf(this.getAttribute('sluice'), this.getAttribute('token'));
      if (!this.isConnected) {
        return;
      }
      // Ten points a second are as many as are seen, and bound what is kept.
      const options = { fields: [field], maxRateHz: 10, rewind: { ms } };
      this.#subscription = client.subscribe([device], options);
      this.#subscription.on('telemetry', ({ serverTs, payload }) => {
        const value = field.split('.').reduce((from, name) => from?.[name], payload);
        this.#add(serverTs, typeof value === 'number' ? value : null, serverTs - ms);
      });
      this.#subscription.on('gap', () => this.#points.push([Date.now(), null]));
      this.#subscription.on('denied', () => this.#say('no access'));
      this.#leave = client.on('state', ({ name }) => name === 'closed' && this.#say('not available'));
    } catch {
      this.#say('not available');
    }
  }

  disconnectedCallback() {
    this.#leave?.();
    this.#subscription?.close();
    this.#points = [];
  }

  get device() {
    return this.getAttribute('device') ?? '';
  }

  get field() {
    return this.getAttribute('field') ?? '';
  }

  #add(at, value, since) {
    this.#points.push([at, value]);
    while (this.#points[0][0] < since) {
      this.#points.shift();
    }
    if (!this.#isDue) {
      this.#isDue = true;
      requestAnimationFrame(() => this.#draw());
    }
  }

  #draw() {
    this.#isDue = false;
    const values = this.#points.map(([, value]) => value).filter((value) => value !== null);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const [first, last] = [this.#points[0]?.[0], this.#points.at(-1)?.[0]];
    let path = '';
    let pen = 'M';
    for (const [at, value] of this.#points) {
      if (value !== null) {
        path += `${pen}${(300 * (at - first)) / (last - first || 1)} ${95 - (90 * (value - low)) / (high - low || 1)}`;
      }
      pen = value === null ? 'M' : 'L';
    }
    this.#path.setAttribute('d', path);
    this.#say(String(values.at(-1) ?? '–'));
  }

  #say(text) {
    this.#label.textContent = `${this.device} ${this.field}: ${text}`;
  }
}

customElements.define('live-chart', LiveChart);
