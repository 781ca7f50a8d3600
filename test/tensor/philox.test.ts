import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../lib/native/errors.ts';
import {
  hashStream,
  mulhi,
  PhiloxStream,
  philox,
  seedKey,
  uniform01,
  type Words2,
  type Words4,
} from '../../lib/tensor/philox.ts';

const hex = (words: ArrayLike<number>) => Array.from(words, (w) => w.toString(16).padStart(8, '0')).join(' ');

describe('philox4x32-10', () => {
  // Random123, tests/kat_vectors
  const vectors: [Words4, Words2, string][] = [
    [[0, 0, 0, 0], [0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    [[0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], 'd16cfe09 94fdcceb 5001e420 24126ea1'],
  ];
  it.each(vectors)('known answer for counter %j key %j', (counter, key, words) => {
    expect(hex(philox(counter, key, new Uint32Array(4)))).toBe(words);
    expect(hex(philox(counter, key, [0, 0, 0, 0]))).toBe(words);
  });

  it('mulhi equals the BigInt product', () => {
    const s = new PhiloxStream(3, 'mulhi');
    for (const [a, b] of [
      [0xffffffff, 0xffffffff],
      [0, 5],
      [0x10000, 0x10000],
    ] as const)
      expect(mulhi(a, b)).toBe(Number((BigInt(a) * BigInt(b)) >> 32n));
    for (let i = 0; i < 500; i++) {
      const [a, b] = [s.word(), s.word()];
      expect(mulhi(a, b)).toBe(Number((BigInt(a) * BigInt(b)) >> 32n));
    }
  });

  it('seeds, streams and uniforms', () => {
    expect(seedKey(0)).toEqual([0, 0]);
    expect(seedKey(2 ** 40 + 7)).toEqual([7, 256]);
    expect(seedKey(-1)).toEqual([0xffffffff, 0xffffffff]);
    expect(seedKey(0x0123456789abcdefn)).toEqual([0x89abcdef, 0x01234567]);
    expect(() => seedKey(0.5)).toThrow(ConfigError);
    expect(() => seedKey(Number.NaN)).toThrow(ConfigError);
    expect(hashStream('')).toBe(0x811c9dc5);
    expect(hashStream('a')).toBe(0xe40c292c); // FNV reference
    expect(hashStream('foobar')).toBe(0xbf9cf968);
    expect(uniform01(0)).toBe(0);
    expect(uniform01(0xffffffff)).toBe(1 - 2 ** -24);
  });

  it('the stream follows the house rule for counters', () => {
    const s = new PhiloxStream(5, 9, 2);
    const first = Array.from({ length: 10 }, () => s.word());
    const block = philox([1, 0, 9, 2], [5, 0], new Uint32Array(4));
    expect(first.slice(4, 8)).toEqual([...block]);
    expect(s.seek(3).word()).toBe(first[3]);
    const far = 4 * (2 ** 32 + 6) + 1;
    expect(s.wordAt(far)).toBe(philox([6, 1, 9, 2], [5, 0], new Uint32Array(4))[1]);
    expect(new PhiloxStream(5, 9, 3).word()).not.toBe(first[0]);
    expect(new PhiloxStream(6, 9, 2).word()).not.toBe(first[0]);
  });

  it('below is unbiased and in range', () => {
    const s = new PhiloxStream(1, 'below');
    const counts = new Array(7).fill(0);
    for (let i = 0; i < 70_000; i++) counts[s.below(7)]++;
    const chi2 = counts.reduce((sum, c) => sum + (c - 10_000) ** 2 / 10_000, 0);
    expect(chi2).toBeLessThan(22.5); // 99.9 % for 6 degrees of freedom
    expect(s.below(1)).toBe(0);
    const big = 3 * 2 ** 30; // a quarter of the words are rejected here
    let low = 0;
    for (let i = 0; i < 30_000; i++) if (s.below(big) < 2 ** 30) low++;
    expect(Math.abs(low - 10_000)).toBeLessThan(350);
    for (const n of [0, -1, 1.5, 2 ** 32]) expect(() => s.below(n)).toThrow(ConfigError);
  });

  it('permutation holds each number once, and pieces equal the whole', () => {
    const whole = new PhiloxStream(1, 'p', 4).permutation(1000);
    expect([...whole].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    const pieces = Uint32Array.from({ length: 1000 }, (_, i) => i);
    const s = new PhiloxStream(1, 'p', 4);
    s.shuffle(pieces, 999, 500);
    s.shuffle(pieces, 500, 0);
    expect(pieces).toEqual(whole);
    expect(new PhiloxStream(1, 'p', 5).permutation(1000)).not.toEqual(whole);
    expect(new PhiloxStream(1, 'p').permutation(0)).toHaveLength(0);
  });
});
