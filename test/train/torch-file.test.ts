/** Files that torch 2.13 wrote (test/golden/torch-files/write.py), against the same values in safetensors. */
import { readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { CheckpointError, loadTorch, nn, Tensor, type TorchValue } from '../../lib/index.ts';
import { readSafetensors } from '../../lib/train/safetensors.ts';
import { staged } from '../../lib/train/state.ts';
import { temporary, valuesOf } from './helpers.ts';

const folder = fileURLToPath(new URL('../golden/torch-files', import.meta.url));
const at = (name: string) => join(folder, `${name}.pt`);
const names = readdirSync(folder).flatMap((f) => (f.endsWith('.pt') && !f.startsWith('refused') ? [f.slice(0, -3)] : []));

/** The value as write.py describes it; its tensors by name go into `into`. */
function skeleton(value: TorchValue, path: readonly string[], into: Map<string, Tensor>): unknown {
  if (value instanceof Tensor) {
    into.set(path.join('/'), value);
    return { tensor: path.join('/') };
  }
  if (typeof value === 'bigint') return { big: String(value) };
  if (typeof value === 'number' && !Number.isFinite(value))
    return { float: Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf' };
  if (value instanceof Uint8Array) return { bytes: [...value] };
  if (value instanceof Set) return { set: [...value].sort() };
  if (value instanceof Map) return { dict: [...value].map(([k, v]) => [k, skeleton(v, [...path, String(k)], into)]) };
  return Array.isArray(value) ? value.map((v, i) => skeleton(v, [...path, String(i)], into)) : value;
}

describe('a file of torch.save', () => {
  test.each(names)('%s holds what safetensors holds of it', async (name) => {
    await using expected = await readSafetensors(join(folder, 'expected.safetensors'));
    const tensors = new Map<string, Tensor>();
    const value = await loadTorch(at(name), { nested: true });
    expect(skeleton(value, [name], tensors)).toEqual(JSON.parse(expected.metadata.get(name) as string));
    const own = [...expected.tensors.keys()].filter((n) => n.startsWith(`${name}/`) || n === name);
    expect([...tensors.keys()].sort()).toEqual(own.sort());
    for (const { name: n, dtype, shape, data } of await staged(tensors)) {
      const info = expected.tensors.get(n);
      expect({ n, dtype, shape }).toEqual({ n, dtype: info?.dtype, shape: info?.shape });
      expect(Buffer.from(data as Uint8Array).equals(await expected.read(n)), n).toBe(true);
    }
  });

  test('are more than twelve', () => expect(names.length).toBeGreaterThanOrEqual(20));

  test('loads into a module; tied weights and parts that are the same are one tensor', async () => {
    const state = await loadTorch(at('checkpoint'), { key: 'model' });
    const model = new nn.Sequential(new nn.Linear(3, 4), new nn.Tanh(), new nn.Linear(4, 2));
    model.loadStateDict(state);
    expect(await valuesOf(model.stateDict())).toEqual(await valuesOf(state));
    const gpt = await loadTorch(at('gpt-tied'));
    expect(gpt.get('lm_head.weight')).toBe(gpt.get('wte.weight'));
    const shared = (await loadTorch(at('shared'), { nested: true })) as Map<string, Tensor[]>;
    const [a, b, c] = shared.get('list') as Tensor[];
    expect(a).toBe(b);
    expect(c).not.toBe(a);
    const [first, second] = shared.get('tuple') as Tensor[];
    expect(first).toBe(second);
  });

  test('gives a part by its keys', async () => {
    const step = await loadTorch(at('checkpoint'), { key: ['optimizer', 'state', 0, 'step'], nested: true });
    expect(await (step as Tensor).item()).toBe(2);
    expect(await loadTorch(at('checkpoint'), { key: 'epoch', nested: true })).toBe(3);
    expect(await loadTorch(at('shared'), { key: ['list', 2], nested: true })).toBeInstanceOf(Tensor);
  });

  test.each([
    ['refused-complex', /a tensor of complex64, which Anneal has not.*x\.float\(\)/],
    ['refused-sparse', /holds a sparse tensor.*x\.to_dense\(\)/],
    ['refused-quantised', /a tensor of qint8, which Anneal has not.*x\.dequantize\(\)/],
    ['refused-meta', /holds a meta tensor/],
    [
      'refused-module',
      /the Python object "torch\.nn\.modules\.linear\.Linear", which would have been code.*torch\.save\(model\.state_dict\(\)/,
    ],
    ['refused-code', /the Python object "__builtin__\.print", which would have been code to run\. Nothing was run/],
    ['refused-wide', /element 1 is 2147483648, which does not fit into i32/],
    ['refused-nine-dimensions', /a tensor of 9 dimensions; Anneal has at most 8/],
    ['refused-torchscript', /a TorchScript program, which is code.*module\.state_dict\(\)/],
    ['refused-compressed', /byteorder" is compressed.*zip -0/],
  ])('%s is refused in words', async (name, message) => {
    const refused = expect(loadTorch(at(name), { nested: true })).rejects;
    await refused.toThrow(CheckpointError);
    await expect(loadTorch(at(name), { nested: true })).rejects.toThrow(message);
  });

  test.each([
    ['checkpoint', {}, /not all of it is tensors by name: model, optimizer.*\{ key: "model" \}.*\{ nested: true \}/],
    ['tensor', {}, /holds one tensor, without a name\. Read it with \{ nested: true \}/],
    ['checkpoint', { key: 'modle' }, /no key "modle"; it has model, optimizer, scheduler, epoch/],
    ['checkpoint', { key: ['epoch', 'x'] }, /epoch has no keys/],
    ['shared', { key: ['list', 3] }, /list has no key 3; it has 0 to 2/],
    ['views', { maxBytes: 100 }, /take more than 100 bytes.*maxBytes/],
  ])('%s with %o is refused in words', async (name, options, message) => {
    await expect(loadTorch(at(name), options)).rejects.toThrow(message);
    await expect(loadTorch(at(name), options)).rejects.toBeInstanceOf(CheckpointError);
  });

  test('that is none, or none there, is refused', async () => {
    const dir = temporary();
    const path = join(dir, 'x.pt');
    await expect(loadTorch(path)).rejects.toThrow(/x\.pt: could not be opened: there is no such file/);
    await expect(loadTorch(dir)).rejects.toThrow(/not a regular file/);
    for (const [content, why] of [
      ['', /neither as a zip archive nor as a pickle.*loadSafetensors/],
      ['hello, world', /neither as a zip archive nor as a pickle/],
      ['PK\x03\x04', /its zip directory is missing\. Is it cut short/],
    ] as const) {
      writeFileSync(path, content);
      await expect(loadTorch(path)).rejects.toThrow(why);
    }
    truncateSync(path);
    await expect(loadTorch(path)).rejects.toBeInstanceOf(CheckpointError);
  });
});
