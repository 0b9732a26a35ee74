import { compileLayouts } from '../layouts/compile/compile.js';
import { parseLayoutFile } from '../layouts/compile/layout-file.js';
import { presetNames, readPreset } from '../layouts/presets.js';
import { LayoutTrial } from './layout-trial.js';

const leased = { ingest: 'leased' } as const;

describe('the presets', () => {
  const variants = presetNames().flatMap((name) => {
    const { parameters, choose } = readPreset(name);
    const given = Object.fromEntries(
      Object.entries(parameters).flatMap(([key, { default: fallback, example }]) =>
        fallback === undefined ? [[key, example ?? 'x']] : [],
      ),
    );
    const choices = choose === undefined ? [undefined] : parameters[choose]!.choices!;
    return choices.map((choice) => ({
      title: choice === undefined ? name : `${name} with ${choose}: ${choice}`,
      text: JSON.stringify({
        version: 1,
        layouts: {
          one: { preset: name, with: { ...given, ...(choice !== undefined && { [choose!]: choice }) } },
        },
      }),
    }));
  });

  it.each(variants)('$title reads its own examples as they say', ({ text }) => {
    const layouts = compileLayouts(parseLayoutFile(text), leased);
    expect(layouts.layouts[0]?.examples.length).toBeGreaterThan(0);
    expect(new LayoutTrial(layouts).faults()).toEqual([]);
  });
});
