import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { randomHorizontalFlip } from '../../lib/data/augment/image.ts';
import { imageFolder } from '../../lib/data/image-folder.ts';
import { loader } from '../../lib/data/loader.ts';
import { ConfigError, DataError } from '../../lib/native/errors.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { loadSafetensors } from '../../lib/train/index.ts';
import { collect, errorOf } from './helpers.ts';

const folder = fileURLToPath(new URL('../golden/images', import.meta.url));
const expected = await loadSafetensors(join(folder, 'images.safetensors'));
const bytesOf = async (name: string) => Array.from(await (expected.get(name) as never as { data(): Promise<Uint8Array> }).data());
const classes = ['cat', 'dog'];

const temporary = () => {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-images-'));
  cpSync(folder, dir, { recursive: true });
  return dir;
};
const worst = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, v, i) => Math.max(most, Math.abs(v - (b[i] as number))), 0);

describe('data.imageFolder', () => {
  it('numbers classes and sorts files as torchvision does', async () => {
    const set = await imageFolder(folder, { size: 32, classes });
    expect(set.classes).toEqual(classes);
    expect(set.files.map((f) => relative(folder, f))).toEqual([
      'cat/a.PNG',
      'cat/b.png',
      'dog/1.jpg',
      'dog/grey.png',
      'dog/more/2.png',
    ]);
    const labels = await Promise.all(set.files.map(async (_, i) => (await set.get(i)).y.data[0]));
    expect(labels).toEqual([0, 0, 1, 1, 1]);
  });

  // Written and read by PIL: test/golden/images/write.py
  it('gives the pixels that PIL gives: of the same size exactly, resized to within 4 of 255 where the sides stay in proportion', async () => {
    const same = await imageFolder(folder, { size: 32, classes });
    const small = await imageFolder(folder, { size: 24, classes });
    for (const [i, file] of same.files.entries()) {
      const name = relative(folder, file);
      if (expected.has(`same.${name}`)) {
        const { x } = await same.get(i);
        expect(x.shape).toEqual([3, 32, 32]);
        expect(Array.from(x.data, (v) => Math.round(Number(v) * 255))).toEqual(await bytesOf(`same.${name}`));
      }
      const { x } = await small.get(i);
      const levels = Array.from(x.data, (v) => Number(v) * 255);
      // 64 x 40 becomes 38.4 x 24: PIL takes 38, which moves edges.
      expect(worst(levels, await bytesOf(`cover.${name}`)), name).toBeLessThanOrEqual(name === 'cat/a.PNG' ? 12 : 4);
    }
  });

  it('grey, stretched and with bars', async () => {
    const grey = await (await imageFolder(folder, { size: [8, 12], channels: 1, fit: 'fill', classes })).get(0);
    expect(grey.x.shape).toEqual([1, 8, 12]);
    const bars = await (await imageFolder(folder, { size: 64, fit: 'contain', classes })).get(0); // 40 high, 64 wide
    expect(Array.from(bars.x.data.slice(0, 64))).toEqual(new Array(64).fill(0));
    expect(Number(bars.x.data[32 * 64 + 5])).toBeGreaterThan(0);
  });

  it('in memory gives the same batches for any number of workers, as from the files', async () => {
    const set = await imageFolder(folder, { size: 16, classes });
    const told: number[] = [];
    const memory = await set.inMemory({ progress: (done, of) => told.push(done / of) });
    expect([memory.length, memory.skipped, told.at(-1)]).toEqual([5, [], 1]);
    const options = { batchSize: 2, shuffle: true, transform: [randomHorizontalFlip()] };
    const [a, b] = [
      await collect(loader(memory, { ...options, workers: 0 })),
      await collect(loader(memory, { ...options, workers: 2 })),
    ];
    expect(a).toEqual(b);
    const files = await collect(loader(set, { batchSize: 2, shuffle: true }));
    const held = await collect(loader(memory, { batchSize: 2, shuffle: true }));
    expect(files).toEqual(held);
  });

  it('an image that is damaged: an error that names it, another in its place, or left out', async () => {
    const dir = temporary();
    const broken = join(dir, 'cat', 'b.png');
    writeFileSync(broken, readFileSync(broken).subarray(0, 300));
    const set = await imageFolder(dir, { size: 32, classes });
    const error = await errorOf(() => set.get(1));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(/data\.imageFolder: .*b\.png: the image cannot be read/);
    await expect(set.inMemory()).rejects.toThrow(/b\.png/);
    const memory = await set.inMemory({ badImages: 'skip' });
    expect([memory.length, memory.skipped]).toEqual([4, [broken]]);
    await expect(collect(loader(set, { batchSize: 5 }))).rejects.toThrow(/b\.png/);
    const batches = await collect(loader(set, { batchSize: 5, badSamples: 'replace' }));
    expect(batches).toEqual(await collect(loader(set, { batchSize: 5, badSamples: 'replace' })));
  });

  it('bytes flipped anywhere: an image, or an error in words', async () => {
    const dir = temporary();
    const random = new PhiloxStream(4, 'images');
    const originals = ['cat/b.png', 'dog/1.jpg'].map((f) => [join(dir, f), readFileSync(join(folder, f))] as const);
    const set = await imageFolder(dir, { size: 8, classes });
    for (let n = 0; n < 60; n++)
      for (const [file, good] of originals) {
        const bytes = Uint8Array.from(good);
        for (let k = 0; k <= n % 4; k++) bytes[random.below(bytes.length)] = random.below(256);
        writeFileSync(file, n % 5 === 4 ? bytes.subarray(0, random.below(bytes.length)) : bytes);
        const got = await set.get(set.files.indexOf(file)).catch((e: unknown) => e);
        if (got instanceof Error) expect(got).toBeInstanceOf(DataError);
        else expect((got as { x: { shape: number[] } }).x.shape).toEqual([3, 8, 8]);
      }
  });

  it.each([
    [{ size: 0 }, /size must be pixels from 1 to 16384/],
    [{ size: [4] }, /size must be/],
    [{ size: 8, channels: 2 }, /channels must be 1 or 3/],
    [{ size: 8, fit: 'cut' }, /fit must be 'cover'/],
    [{ size: 8, classes: ['cats'] }, /no folder "cats"\. Did you mean "cat"\?/],
    [{ sise: 8 }, /sise.*"size"/],
  ])('refuses %j', async (options, message) => {
    await expect(imageFolder(folder, options as never)).rejects.toThrow(message);
  });

  it('refuses folders without classes or images', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'anneal-images-'));
    await expect(imageFolder(dir, { size: 8 })).rejects.toThrow(/has no folders/);
    mkdirSync(join(dir, 'empty'));
    await expect(imageFolder(dir, { size: 8 })).rejects.toThrow(/no image is in .*empty/);
    await expect(imageFolder(join(dir, 'none'), { size: 8 })).rejects.toThrow(/there is no such folder/);
    await expect(imageFolder(3 as never, { size: 8 })).rejects.toThrow(ConfigError);
  });
});
