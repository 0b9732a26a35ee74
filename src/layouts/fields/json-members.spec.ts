import { membersOf, mergedFields } from './json-members.js';

const texts = (json: string): string[][] | undefined =>
  membersOf(Buffer.from(json))?.map((member) => member.map((bytes) => bytes.toString()));

describe('membersOf', () => {
  it('gives names and values as they were written', () => {
    expect(texts('{"a":21.50,"b" : [1, {"c":"}"}] ,"d":"x\\"y,", "e":{"f":{}},"g":true}')).toEqual([
      ['"a"', '21.50'],
      ['"b"', '[1, {"c":"}"}]'],
      ['"d"', '"x\\"y,"'],
      ['"e"', '{"f":{}}'],
      ['"g"', 'true'],
    ]);
  });

  it('keeps number texts that no double holds', () => {
    expect(texts('{"n":12345678901234567890.10,"e":-1.0E+2}')).toEqual([
      ['"n"', '12345678901234567890.10'],
      ['"e"', '-1.0E+2'],
    ]);
  });

  it('gives one name to what means the same', () => {
    expect(texts('{"\\u0061":1,"\\/":2,"\\ud83d\\ude00":3,"\\ud800":4,"é\\n":5}')).toEqual([
      ['"a"', '1'],
      ['"/"', '2'],
      ['"😀"', '3'],
      ['"\\ud800"', '4'],
      ['"é\\n"', '5'],
    ]);
  });

  it('gives duplicates in their order, and names that objects of JavaScript treat otherwise', () => {
    expect(texts('{"__proto__":1,"":2,"":3}')).toEqual([
      ['"__proto__"', '1'],
      ['""', '2'],
      ['""', '3'],
    ]);
  });

  it('knows an empty object with white space, and what is no object', () => {
    expect(texts(' { \n} ')).toEqual([]);
    expect(['[{"a":1}]', '1', '"{}"', 'null'].map(texts)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('agrees with JSON.parse on generated objects', () => {
    const value = (depth: number): unknown => {
      const kind = Math.floor(Math.random() * (depth > 3 ? 4 : 6));
      return [
        () => Math.random() * 1e6,
        () => ['', 'a"b', '\\', '\u2028}', '{,:', '日本'][Math.floor(Math.random() * 6)],
        () => null,
        () => true,
        () => Array.from({ length: 3 }, () => value(depth + 1)),
        () => object(depth + 1),
      ][kind]?.();
    };
    const object = (depth: number): unknown =>
      Object.fromEntries(
        Array.from({ length: Math.floor(Math.random() * 5) }, (_, at) => [
          `${'"\\é{'[at % 4]}${at}`,
          value(depth),
        ]),
      );
    for (let round = 0; round < 500; round += 1) {
      const written = object(0);
      const json = JSON.stringify(written, null, round % 3);
      const read = membersOf(Buffer.from(json)) ?? [];
      expect(read.map(([name, text]) => [JSON.parse(name.toString()), JSON.parse(text.toString())])).toEqual(
        Object.entries(written as object),
      );
    }
  });
});

describe('mergedFields', () => {
  it('removes what is null', () => {
    expect(mergedFields(Buffer.from('{"a":null,"b":"null","c":[null]}'))).toEqual([
      [Buffer.from('"a"'), null],
      [Buffer.from('"b"'), Buffer.from('"null"')],
      [Buffer.from('"c"'), Buffer.from('[null]')],
    ]);
  });
});
