/** Whether a topic filter takes a topic. */
export function filterTakes(filter: string, topic: string): boolean {
  const levels = topic.split('/');
  const wanted = filter.split('/');
  for (const [at, level] of wanted.entries()) {
    if (level === '#') {
      return true;
    }
    if (at >= levels.length || (level !== '+' && level !== levels[at])) {
      return false;
    }
  }
  return levels.length === wanted.length;
}

/** Why a text is no topic filter; undefined where it is one. */
export function filterFault(filter: string): string | undefined {
  const levels = filter.split('/');
  const isFilter =
    filter !== '' &&
    levels.every((level, at) =>
      level === '#' ? at === levels.length - 1 : level === '+' || !/[+#]/.test(level),
    );
  return isFilter ? undefined : 'is no topic filter, such as tele/+/STATE or zigbee2mqtt/#';
}
