/** Image transforms against torchvision 0.28's functional ones with the same parameters (test/golden/augment.py). */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { PaddingMode } from '../../lib/data/augment/descriptors.ts';
import { headerOf, Programs, paddingCode } from '../../lib/data/augment/instructions.ts';
import { cutBox } from '../../lib/data/augment/mix.ts';
import { emitRandAugment, inverseAffine, type RandAugmentName } from '../../lib/data/augment/plan.ts';
import type { Augmenter } from '../../lib/data/job.ts';
import { loadAddon } from '../../lib/native/load.ts';

interface Attrs {
  readonly op: string;
  readonly [name: string]: unknown;
}
interface Case {
  readonly name: string;
  readonly dtype: 'u8' | 'f32';
  readonly shape: readonly [number, number, number];
  readonly out: readonly number[];
  readonly attrs: Attrs;
}

const file = readFileSync(new URL('../golden/augment.safetensors', import.meta.url));
const headerBytes = Number(file.readBigUInt64LE(0));
const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<
  string,
  { dtype: string; data_offsets: [number, number] }
> & { __metadata__: { cases: string } };
const cases = JSON.parse(header.__metadata__.cases) as Case[];
function read(name: string) {
  const { dtype, data_offsets } = header[name] as { dtype: string; data_offsets: [number, number] };
  const bytes = file.subarray(8 + headerBytes + data_offsets[0], 8 + headerBytes + data_offsets[1]);
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  return dtype === 'U8' ? new Uint8Array(buffer) : dtype === 'I32' ? new Int32Array(buffer) : new Float32Array(buffer);
}

const native = loadAddon() as Augmenter;

/** Runs one case's step natively. */
function run({ attrs: a, shape, dtype, out: outShape }: Case, input: Uint8Array | Float32Array) {
  const [channels, height, width] = shape;
  const programs = new Programs(1, 64);
  programs.begin(0);
  const emit = programs.emit;
  const bound = dtype === 'u8' ? 255 : 1;
  const filled = { interpolation: (a.interpolation ?? 'nearest') as 'nearest', fill: (a.fill ?? 0) as number };
  const extent = { channels, height, width, bound, encoding: undefined };
  const each = (v: unknown) => Array.from({ length: channels }, () => v as number);
  const put = (m: number[]) => emit('affine', ...m, filled.interpolation === 'nearest' ? 0 : 1, ...each(filled.fill));
  const num = (name: string) => a[name] as number;
  if (a.op === 'flipHorizontal' || a.op === 'flipVertical' || a.op === 'autocontrast' || a.op === 'equalize') emit(a.op);
  else if (a.op === 'crop') {
    const [top, left] = [num('top') - num('padding'), num('left') - num('padding')];
    emit('crop', top, left, num('height'), num('width'), paddingCode(a.mode as PaddingMode), ...each(a.fill));
  } else if (a.op === 'resizedCrop') emit('resizedCrop', ...(a.box as number[]));
  else if (a.op === 'erase') emit('erase', ...(a.box as number[]), ...each(a.values));
  else if (a.op === 'rotate') put(inverseAffine(-num('angle'), [0, 0], 1, [0, 0]));
  else if (a.op === 'affine')
    put(inverseAffine(num('angle'), a.translate as [number, number], num('scale'), a.shear as [number, number]));
  else if (a.op === 'solarize') emit('solarize', num('share') * bound);
  else if (a.op === 'randAugment') emitRandAugment(a.name as RandAugmentName, num('strength'), num('sign'), filled, extent, emit);
  else emit(a.op as 'hue', num('factor'));
  const outSize = outShape.reduce((p, n) => p * n, 1);
  const out = dtype === 'u8' ? new Uint8Array(outSize) : new Float32Array(outSize);
  const numbers = {
    step: input.length,
    shift: 0,
    channels,
    height,
    width,
    outSize,
    stride: 64,
    encoding: undefined,
    constants: [],
  };
  native.augment(input, Uint32Array.of(0), out, headerOf(numbers), programs.numbers, 0, 1);
  return out;
}

// Bytes may differ by one level, seldom: where torch's fused multiply-adds or f32 grids fall on the other side of a whole number or a half; and in resizing,
// whose weights torch keeps in 16 bits.
const seldom = (op: string) => (op === 'resizedCrop' ? 0.05 : 0.02);

describe('torchvision says', () => {
  it('there are cases of every kind', () => {
    expect(cases.length).toBeGreaterThan(300);
    expect(new Set(cases.map((c) => c.attrs.op)).size).toBe(17);
  });

  it.each(cases.map((c) => [c.name, c] as const))('%s', (name, c) => {
    const want = read(`${name}/out`);
    const got = run(c, read(`${name}/in`) as Uint8Array);
    expect(got.length).toBe(want.length);
    let worst = 0;
    let differing = 0;
    for (let i = 0; i < want.length; i++) {
      const off = Math.abs((want[i] as number) - (got[i] as number));
      worst = Math.max(worst, off);
      if (off > 0) differing++;
    }
    if (c.dtype === 'f32') expect(worst).toBeLessThanOrEqual(2e-6 * Math.max(1, ...want));
    else {
      expect(worst).toBeLessThanOrEqual(1);
      expect(differing / want.length).toBeLessThanOrEqual(seldom(c.attrs.op));
    }
  });

  it('normalize', () => {
    const [x, want] = [read('normalize/in'), read('normalize/out')];
    const out = new Float32Array(x.length);
    const encoding = { scale: 1, mean: [0.1, 0.2, 0.3], std: [0.5, 0.6, 0.7] };
    const numbers = { step: 360, shift: 0, channels: 3, height: 12, width: 10, outSize: 360, stride: 1, encoding, constants: [] };
    native.augment(x as Float32Array, Uint32Array.of(0), out, headerOf(numbers), new Float64Array(1), 0, 1);
    out.forEach((v, i) => {
      expect(Math.abs(v - (want[i] as number))).toBeLessThanOrEqual(1e-6);
    });
  });

  it('mixup and cutmix, bit for bit', () => {
    const oneHot = () => {
      const y = new Float32Array(20);
      read('mix/y').forEach((label, k) => {
        y[4 * k + label] = 1;
      });
      return y;
    };
    const x = read('mix/x') as Float32Array;
    const y = oneHot();
    native.mixup(x, 5, 0.3);
    native.mixup(y, 5, 0.3);
    expect([x, y]).toEqual([read('mixup/x'), read('mixup/y')]);
    const cut = cutBox(0.6, 12, 10, 7, 4);
    const [cx, cy] = [read('mix/x') as Float32Array, oneHot()];
    native.cutmix(cx, 5, 12, 10, Float64Array.from(cut.box));
    native.mixup(cy, 5, cut.lambda);
    expect([cx, cy]).toEqual([read('cutmix/x'), read('cutmix/y')]);
  });
});
