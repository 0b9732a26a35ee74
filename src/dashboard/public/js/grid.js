import { Tile } from './tile.js';

const AGE_EVERY_MS = 1_000;
const order = new Intl.Collator(undefined, { numeric: true });

/** An error of one tile is told where errors are looked for, and ends there. */
function draw(tile) {
  try {
    tile();
  } catch (error) {
    reportError(error);
  }
}

/**
 * All tiles. Messages only mark tiles as changed; once per animation frame those that are on the screen are drawn,
 * so that a thousand messages a second cost as many drawings as the screen can show.
 */
export class Grid {
  /** @param {import('./devices.js').Devices} devices */
  constructor(container, devices, actions, clock) {
    this.container = container;
    this.devices = devices;
    this.actions = actions;
    this.clock = clock;
    this.tiles = new Map();
    this.changed = new Set();
    this.sorted = [];
    this.search = '';
    this.frame = undefined;
    this.observer = new IntersectionObserver((entries) => this.onVisible(entries), { rootMargin: '200px' });
    setInterval(() => this.renderAges(), AGE_EVERY_MS);
  }

  /** The device has changed, or is new. */
  mark(id) {
    if (!this.tiles.has(id)) {
      this.add(id);
    }
    this.changed.add(id);
    this.frame ??= requestAnimationFrame(() => this.render());
  }

  remove(id) {
    const tile = this.tiles.get(id);
    if (tile !== undefined) {
      this.observer.unobserve(tile.element);
      tile.element.remove();
      this.tiles.delete(id);
      this.changed.delete(id);
      this.sorted.splice(this.sorted.indexOf(tile), 1);
    }
  }

  clear() {
    for (const id of [...this.tiles.keys()]) {
      this.remove(id);
    }
  }

  filter(text) {
    this.search = text.trim().toLowerCase();
    for (const tile of this.tiles.values()) {
      this.applyFilter(tile);
    }
  }

  get shown() {
    return this.sorted.filter((tile) => !tile.element.hidden).length;
  }

  add(id) {
    const tile = new Tile(this.devices.byId.get(id), this.actions);
    tile.clock = this.clock;
    tile.setRemovable(this.actions.isRemovable(id));
    this.tiles.set(id, tile);
    const at = this.positionOf(id);
    this.container.insertBefore(tile.element, this.sorted[at]?.element ?? null);
    this.sorted.splice(at, 0, tile);
    this.observer.observe(tile.element);
  }

  positionOf(id) {
    let low = 0;
    let high = this.sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (order.compare(this.sorted[middle].device.id, id) < 0) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  render() {
    this.frame = undefined;
    const now = this.clock();
    for (const id of this.changed) {
      const tile = this.tiles.get(id);
      if (this.search !== '') {
        this.applyFilter(tile);
      }
      if (tile.visible) {
        // First: a tile that cannot be drawn is not tried again before it changes, and does not keep others from being drawn.
        this.changed.delete(id);
        draw(() => tile.render(now));
      }
    }
  }

  renderAges() {
    const now = this.clock();
    for (const tile of this.tiles.values()) {
      if (tile.visible) {
        draw(() => tile.renderAge(now));
      }
    }
  }

  onVisible(entries) {
    for (const { target, isIntersecting } of entries) {
      const tile = this.tiles.get(target.dataset.deviceId);
      // The element may be an earlier tile's of the same device.
      if (tile?.element === target) {
        tile.visible = isIntersecting;
      }
    }
    this.frame ??= requestAnimationFrame(() => this.render());
  }

  applyFilter(tile) {
    tile.element.hidden = this.search !== '' && !tile.searchText.includes(this.search);
  }
}
