const SHARED_PREFIX = '$share/';

/**
 * @param {string} filter as sent in SUBSCRIBE
 * @returns {{group: string | null, filter: string}} the shared subscription's group, if it is one
 */
export function parseFilter(filter) {
  if (!filter.startsWith(SHARED_PREFIX)) {
    return { group: null, filter };
  }
  const end = filter.indexOf('/', SHARED_PREFIX.length);
  return { group: filter.slice(SHARED_PREFIX.length, end), filter: filter.slice(end + 1) };
}

/**
 * @param {string} filter without a share prefix
 * @param {string} topic
 */
export function matchesFilter(filter, topic) {
  const wanted = filter.split('/');
  const levels = topic.split('/');
  for (let index = 0; index < wanted.length; index++) {
    if (wanted[index] === '#') {
      return true;
    }
    if (index >= levels.length || (wanted[index] !== '+' && wanted[index] !== levels[index])) {
      return false;
    }
  }
  return wanted.length === levels.length;
}
