const time = (ms) => new Date(ms).toLocaleTimeString();

/** Connection, upstream and counts: whether what the page shows can be trusted. */
export class StatusBar {
  constructor() {
    this.link = document.getElementById('link');
    this.linkText = document.getElementById('link-text');
    this.banner = document.getElementById('banner');
    this.counts = document.getElementById('counts');
    this.state = 'closed';
    this.detail = {};
    this.upstream = { mqtt: 'up', changedAt: 0 };
    this.lostAt = undefined;
    this.rate = { count: 0, at: performance.now() };
    setInterval(() => this.state === 'waiting' && this.renderLink(), 1_000);
  }

  setState(state, detail = {}) {
    if (state === 'live') {
      this.lostAt = undefined;
      // What the server does not say again after connecting is up.
      this.upstream = { mqtt: 'up', changedAt: 0 };
    } else if (this.state === 'live') {
      this.lostAt = Date.now();
    }
    this.state = state;
    this.detail = detail;
    this.renderLink();
    this.renderStale();
  }

  setUpstream({ mqtt, changedAt }) {
    this.upstream = { mqtt, changedAt };
    this.renderLink();
    this.renderStale();
  }

  /** @param {Iterable<{ status?: { isOnline: boolean } }>} devices */
  renderCounts(devices, publications) {
    let total = 0;
    let online = 0;
    for (const { status } of devices) {
      total++;
      online += status?.isOnline ? 1 : 0;
    }
    const now = performance.now();
    const perSecond = ((publications - this.rate.count) * 1_000) / (now - this.rate.at);
    this.rate = { count: publications, at: now };
    const values = perSecond >= 10 ? Math.round(perSecond) : perSecond.toFixed(1);
    this.counts.textContent =
      total === 0
        ? ''
        : `${total} ${total === 1 ? 'device' : 'devices'} · ${online} online · ${values} updates/s`;
  }

  renderLink() {
    const { state, detail, upstream } = this;
    this.link.dataset.state = state === 'live' && upstream.mqtt === 'down' ? 'stale' : state;
    this.linkText.textContent = {
      connecting: 'Connecting…',
      live: upstream.mqtt === 'down' ? 'No device data' : 'Live',
      waiting: `Reconnecting in ${Math.max(0, Math.ceil(((detail.until ?? 0) - Date.now()) / 1_000))} s`,
      closed: 'Not connected',
      stopped: 'Disconnected',
    }[state];
  }

  renderStale() {
    const { state, detail, upstream } = this;
    let text = '';
    if (state === 'stopped') {
      text = `${detail.why} Reload the page to try again.`;
    } else if (state === 'live' && upstream.mqtt === 'down') {
      text = `No device messages reach the server since ${time(upstream.changedAt)}. The values below are the last known ones.`;
    } else if (this.lostAt !== undefined && state !== 'closed') {
      text = `The connection was lost at ${time(this.lostAt)}. The values below are the last known ones.`;
    }
    this.banner.hidden = text === '';
    if (this.banner.textContent !== text) {
      this.banner.textContent = text;
    }
    document.body.classList.toggle('stale', state !== 'live' || upstream.mqtt === 'down');
  }
}
