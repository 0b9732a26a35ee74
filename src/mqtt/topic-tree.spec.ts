import fc from 'fast-check';
import { ANY, fits, ONE, REST, TAIL, type TemplateLevel, TopicTree } from './topic-tree.js';

function found(templates: Record<string, TemplateLevel[]>, topic: string): string | undefined {
  const tree = new TopicTree<string>();
  Object.entries(templates).forEach(([name, levels]) => tree.add(levels, name));
  return tree.find(topic.split('/'));
}

describe(TopicTree.name, () => {
  it('takes a literal before a capture, and a capture before several levels, from the left', () => {
    const templates: Record<string, TemplateLevel[]> = {
      rest: ['z', REST],
      one: ['z', ONE],
      literal: ['z', 'bridge'],
      left: ['z', 'a', ONE],
      right: ['z', ONE, 'b'],
    };
    expect(found(templates, 'z/bridge')).toBe('literal');
    expect(found(templates, 'z/lamp')).toBe('one');
    expect(found(templates, 'z/a/b')).toBe('left');
    expect(found(templates, 'z/c/b')).toBe('right');
    expect(found(templates, 'z/c/d')).toBe('rest');
    expect(found(templates, 'z')).toBeUndefined();
  });

  it('goes back where a literal leads nowhere', () => {
    expect(found({ dead: ['a', 'b', 'c'], live: [ONE, ONE, 'd'] }, 'a/b/d')).toBe('live');
  });

  it('takes what stands after several levels before the several levels alone', () => {
    const templates: Record<string, TemplateLevel[]> = {
      all: ['z', REST],
      seen: ['z', REST, 'availability'],
      set: ['z', REST, 'set', ONE],
    };
    expect(found(templates, 'z/a/b/availability')).toBe('seen');
    expect(found(templates, 'z/a/set/x')).toBe('set');
    expect(found(templates, 'z/availability')).toBe('all');
  });

  it('takes an empty level for + alone, and no empty level into several', () => {
    const templates: Record<string, TemplateLevel[]> = {
      any: ['a', ANY, 'x'],
      one: ['b', ONE],
      rest: ['c', REST],
    };
    expect(found(templates, 'a//x')).toBe('any');
    expect(found(templates, 'b/')).toBeUndefined();
    expect(found(templates, 'c/d//e')).toBeUndefined();
  });

  it('takes a filter that ends with # for its own level too', () => {
    expect(found({ all: ['a', TAIL] }, 'a')).toBe('all');
    expect(found({ all: ['a', TAIL] }, 'a/b/c')).toBe('all');
  });

  it('takes no topic of the broker itself for a template that begins with a capture', () => {
    expect(found({ all: [REST] }, '$SYS/x')).toBeUndefined();
    expect(found({ own: ['$aws', ONE] }, '$aws/x')).toBe('own');
  });

  it('finds the first of two that are equally exact', () => {
    expect(found({ first: ['a', TAIL], second: ['a', REST] }, 'a/b')).toBe('first');
    expect(found({ first: ['a', ANY], second: ['a', ONE] }, 'a/b')).toBe('first');
  });

  it('finds a template wherever one fits, and only one that fits', () => {
    const word = fc.constantFrom('a', 'b', '');
    const levels: fc.Arbitrary<TemplateLevel[]> = fc.array(
      fc.oneof(word, fc.constantFrom<TemplateLevel[]>(ANY, ONE)),
      { minLength: 1, maxLength: 4 },
    );
    const template = fc.oneof<fc.Arbitrary<TemplateLevel[]>[]>(
      levels,
      fc
        .tuple(levels, fc.array(word, { maxLength: 2 }))
        .map(([before, after]) => [...before, REST, ...after]),
      levels.map((before) => [...before, TAIL]),
    );
    fc.assert(
      fc.property(
        fc.array(template, { maxLength: 8 }),
        fc.array(word, { minLength: 1, maxLength: 6 }),
        (templates, topic) => {
          const tree = new TopicTree<readonly TemplateLevel[]>();
          templates.forEach((one) => tree.add(one, one));
          const result = tree.find(topic);
          expect(result !== undefined).toBe(templates.some((one) => fits(one, topic)));
          expect(result === undefined || fits(result, topic)).toBe(true);
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
