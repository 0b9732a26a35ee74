import { frameCounter, frameMemory } from './text-frame.js';

describe(frameMemory.name, () => {
  it('gives each frame memory that no other has, of any length', () => {
    const lengths = [0, 1, 200, 4_096, 4_097, 70_000, 7, 4_096, 4_096, 300];
    const frames = Array.from({ length: 50 }, () => lengths.map((length) => frameMemory(length))).flat();
    frames.forEach((frame, index) => frame.fill(index % 251));
    frames.forEach((frame, index) => {
      expect(frame).toHaveLength(lengths[index % lengths.length] as number);
      expect(frame.every((byte) => byte === index % 251)).toBe(true);
    });
  });

  it('counts the frames', () => {
    const before = frameCounter.made;
    frameMemory(10);
    expect(frameCounter.made).toBe(before + 1);
  });
});
