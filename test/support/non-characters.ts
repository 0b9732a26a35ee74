/** The 66 code points that Unicode keeps for inner use: U+FDD0 to U+FDEF, and the last two of each of the 17 planes. */
export const NON_CHARACTERS: string[] = [
  ...Array.from({ length: 32 }, (_, n) => 0xfdd0 + n),
  ...Array.from({ length: 17 }, (_, plane) => [0xfffe, 0xffff].map((last) => plane * 0x10000 + last)).flat(),
].map((code) => String.fromCodePoint(code));
