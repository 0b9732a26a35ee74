import { UnmatchedTopics } from './ingest-counters.js';

describe(UnmatchedTopics.name, () => {
  it('keeps the last twenty topics, the newest first, each once and cut', () => {
    const topics = new UnmatchedTopics();
    for (let i = 0; i < 30; i += 1) {
      topics.note(`a/${i}`);
    }
    topics.note('a/15');
    topics.note('x'.repeat(60_000));
    expect(topics.list).toHaveLength(20);
    expect(topics.list[0]!.topic).toBe(`${'x'.repeat(256)}…`);
    expect(topics.list.slice(1, 3).map(({ topic }) => topic)).toEqual(['a/15', 'a/29']);
  });
});
