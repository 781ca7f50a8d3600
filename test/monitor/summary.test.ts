import { describe, expect, test } from 'vitest';
import { cnn } from '../../examples/mnist/model.ts';
import {
  ConfigError,
  nn,
  type Parameter,
  rngState,
  ShapeError,
  scope,
  summary,
  type Tensor,
  tensor,
  zeros,
} from '../../lib/index.ts';
import { list } from '../helpers/place.ts';

const mlp = () => new nn.Sequential(new nn.Linear(4, 8), new nn.ReLU(), new nn.Linear(8, 2));
const row = (s: ReturnType<typeof summary>, name: string) => s.rows.find((r) => r.name === name) as (typeof s.rows)[number];

describe('summary', () => {
  test('shapes, parameters, multiply-adds and saved bytes of a small network', () => {
    const s = summary(mlp(), [3, 4]);
    expect(s.rows.map(({ name, kind, depth, calls }) => [name, kind, depth, calls])).toEqual([
      ['', 'Sequential', 0, 1],
      ['0', 'Linear', 1, 1],
      ['1', 'ReLU', 1, 1],
      ['2', 'Linear', 1, 1],
    ]);
    expect(row(s, '0')).toMatchObject({ input: [[3, 4]], output: [[3, 8]], trainable: 40, macs: 96, activationBytes: 0 });
    // Saved by the ReLU, and again, the same memory, by the layer behind it.
    expect(s.totals).toEqual({
      ...{ trainable: 58, frozen: 0, macs: 96 + 48, activationBytes: 3 * 8 * 4 },
      ...{ parameterBytes: 58 * 4, bufferBytes: 0 },
    });
    expect(String(s)).toMatch(/module +kind +input +output +parameters +MACs +saved/);
    expect(String(s)).toMatch(/total +58 +144 +96 B/);
  });

  test('the MNIST network, by hand', () => {
    const s = summary(cnn(), [2, 1, 28, 28]);
    expect(s.totals.trainable).toBe(1_199_882);
    expect(s.totals.macs).toBe(2 * (26 * 26 * 32 * 9 + 24 * 24 * 64 * 32 * 9 + 9216 * 128 + 128 * 10));
    expect(row(s, '6').output).toEqual([[2, 9216]]);
  });

  test('attention counts the pairs that may meet; modules within modules', () => {
    const [b, t, c] = [2, 6, 8];
    const block = new nn.TransformerBlock(c, 2, { dropout: 0 });
    const s = summary(block, [b, t, c]);
    const pairs = (t * (t + 1)) / 2;
    expect(row(s, 'attn').macs).toBe(b * pairs * c * 2);
    expect(row(s, 'attn.proj')).toMatchObject({ depth: 2, calls: 1, macs: b * t * c * c });
    expect(s.totals.macs).toBe(b * t * 12 * c * c + b * pairs * c * 2);
    expect(s.totals.trainable).toBe(block.parameters().reduce((n, p) => n + p.size, 0));
  });

  test('what it counts as saved is what the tape holds', () => {
    const model = mlp();
    const x = zeros([128, 4]); // blocks of memory are whole then
    const { device } = x;
    scope(() => model.forward(x)); // whatever is made at the first call
    const before = device.memory().live;
    scope(() => {
      const y = scope(() => {
        // As `summary` runs them: each by itself.
        const [a, relu, b] = model.layers as [nn.Linear, nn.ReLU, nn.Linear];
        return b.forward(relu.forward(a.forward(x)));
      });
      expect(device.memory().live - before - y.bytes).toBe(summary(model, x).totals.activationBytes);
    });
  });

  test('a tied parameter is counted once, a frozen one apart; modules that nobody calls are listed', () => {
    class Tied extends nn.Module {
      wte = new nn.Embedding(10, 4);
      unused = new nn.Linear(3, 3).freeze();
      again = new nn.Linear(4, 4);
      weight: Parameter = this.wte.weight;
      forward(ids: Tensor): Tensor {
        const x = this.again.forward(this.again.forward(this.wte.forward(ids)));
        return x.matmul(this.weight, { transposeB: true });
      }
    }
    const s = summary(new Tied(), tensor([[1, 2, 3]], { dtype: 'i32' }));
    expect(s.totals).toMatchObject({ trainable: 40 + 20, frozen: 12, parameterBytes: 72 * 4 });
    expect(row(s, 'again')).toMatchObject({ calls: 2, macs: 2 * 3 * 16, trainable: 20 });
    expect(row(s, 'unused')).toMatchObject({ calls: 0, frozen: 12, input: [], output: [] });
    expect(row(s, '').macs).toBe(3 * 4 * 10);
    expect(String(s)).toContain('Linear x2');
    expect(String(s)).toContain('12 frozen');
  });

  test('nothing is left changed', async () => {
    const norm = new nn.BatchNorm2d(2);
    const model = new nn.Sequential(new nn.Conv2d(1, 2, { kernelSize: 3 }), norm, new nn.Dropout(0.5));
    const seen = async () => ({
      rng: rngState(),
      mean: await list(norm.runningMean),
      variance: await list(norm.runningVar),
      versions: [...model.stateDict().values()].map((t) => [t.storage.version, t.storage.handle, t.storage.refs]),
      modules: model.modules().map((m) => [m.training, m.path, Object.getOwnPropertyNames(m).join()]),
      parameters: model.parameters().map((p) => [p.shadow, p.shadowVersion, p.grad]),
    });
    model.parameters(); // names parameters, as ever
    const before = await seen();
    const { handles } = norm.runningMean.device.memory();
    summary(model, [4, 1, 6, 6], { precision: 'bf16' });
    expect(() => summary(model, [4, 2, 6, 6])).toThrow(ShapeError);
    expect(await seen()).toEqual(before);
    expect(norm.runningMean.device.memory().handles).toBe(handles);
    model.eval();
    summary(model, [4, 1, 6, 6]);
    expect(model.modules().map((m) => m.training)).toEqual([false, false, false, false]);
  });

  test('16-bit activations take half', () => {
    const bytes = (precision: 'f32' | 'bf16') =>
      summary(new nn.Sequential(new nn.Linear(4, 8), new nn.Sigmoid(), new nn.Linear(8, 2)), [3, 4], { precision }).totals
        .activationBytes;
    expect(bytes('f32')).toBe(96);
    // The input is cast, and its copy kept.
    expect(bytes('bf16')).toBe(3 * 4 * 2 + 48);
  });

  test('takes several inputs, and refuses what is none', () => {
    class Sum extends nn.Module {
      forward(a: Tensor, b: Tensor): Tensor {
        return a.add(b);
      }
    }
    expect(row(summary(new Sum(), [zeros([2]), zeros([2])]), '').input).toEqual([[2], [2]]);
    expect(() => summary(mlp(), 'x' as never)).toThrow(ConfigError);
    expect(() => summary(mlp(), [1.5])).toThrow(ConfigError);
    expect(() => summary(mlp(), [3, 5])).toThrow(/^summary: in 0 \(Linear\): linear: x \[3, 5\] must end in 4/);
    expect(() => summary({} as never, [1])).toThrow(ConfigError);
    expect(() => summary(mlp(), [3, 4], { precison: 'bf16' } as never)).toThrow(/precision/);
  });
});
