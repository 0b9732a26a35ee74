const KEY = 'sluice.watched';
const MAX_WATCHED = 500;

/** Devices that somebody added by id, kept for the next visit. */
export class Watched {
  constructor() {
    this.ids = new Set(read());
  }

  add(id) {
    if (this.ids.size < MAX_WATCHED) {
      this.ids.add(id);
      this.write();
    }
  }

  delete(id) {
    if (this.ids.delete(id)) {
      this.write();
    }
  }

  write() {
    try {
      localStorage.setItem(KEY, JSON.stringify([...this.ids]));
    } catch {
      // Storage is full or forbidden: the list lives as long as the page.
    }
  }
}

function read() {
  try {
    const ids = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(ids) ? ids.filter((id) => typeof id === 'string').slice(0, MAX_WATCHED) : [];
  } catch {
    return [];
  }
}
