import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from './load-config.js';
import { checkMetadataFile, readMetadataFile } from './metadata-file.js';

describe(readMetadataFile.name, () => {
  const directory = mkdtempSync(join(tmpdir(), 'metadata-'));
  const file = join(directory, 'metadata.json');
  const write = (content: string): string => {
    writeFileSync(file, content);
    return file;
  };

  afterAll(() => rmSync(directory, { recursive: true }));

  it('reads the metadata of each device, whatever its name', () => {
    const devices = readMetadataFile(write('{"a": {"name": "A"}, "__proto__": {"name": "P"}}'));
    expect([...devices].map(([id, meta]) => [id, meta.toString()])).toEqual([
      ['a', '{"name":"A"}'],
      ['__proto__', '{"name":"P"}'],
    ]);
  });

  const nested = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;

  it('takes metadata that is nested as deep as that of a device may be', () => {
    expect(
      readMetadataFile(write(`{"a": ${nested(64)}}`))
        .get('a')
        ?.toString(),
    ).toBe(nested(64));
  });

  it.each([
    ['no JSON', '{', /must be JSON/],
    ['an array', '[]', /must be a JSON object/],
    ['null', 'null', /must be a JSON object/],
    ['an illegal device id', '{"a/b": {}}', /"a\/b" is not a legal device id/],
    ['metadata that is no object', '{"a": "A"}', /metadata of "a" must be a JSON object/],
    ['metadata of 65 levels', `{\n"a": {},\n"b": ${nested(65)}}`, /line 3: .* 64 levels deep at most/],
    ['metadata of 20 000 levels', `{"a": ${nested(20_000)}}`, /64 levels deep at most/],
    ['metadata that is an array', '{"a": []}', /metadata of "a" must be a JSON object/],
  ])('refuses %s', (_what, content, says) => {
    expect(checkMetadataFile(write(content))).toMatch(says);
  });

  it('is reported with the other settings when the file is not there', () => {
    const start = () => loadConfig({ METADATA_FILE: join(directory, 'none.json'), MQTT_KEY: 'key' });
    expect(start).toThrow(/METADATA_FILE: cannot be read \(ENOENT\)/);
    expect(start).toThrow(/MQTT_CERT/);
  });
});
