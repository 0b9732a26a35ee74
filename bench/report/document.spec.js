import { describe, expect, it } from '@jest/globals';

import { BEGIN, END, renderDocument } from './document.js';

const machine = { 'Node.js': 'v20' };

describe(renderDocument.name, () => {
  it('begins with an introduction and a place for notes', () => {
    const text = renderDocument('', [], machine);
    expect(text).toMatch(/^# Benchmarks/);
    expect(text).toContain('- Node.js: v20');
    expect(text).toContain('## Notes');
  });

  it('replaces what is generated and keeps what a person wrote', () => {
    const existing = `# Mine\n\n${BEGIN}\nearlier figures\n${END}\n\n## Notes\n\nWhy this is slow.\n`;
    const text = renderDocument(existing, [], machine);
    expect(text).toMatch(/^# Mine/);
    expect(text).not.toContain('earlier figures');
    expect(text).toMatch(/## Notes\n\nWhy this is slow\.\n$/);
  });
});
