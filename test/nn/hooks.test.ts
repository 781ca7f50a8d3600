import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ConfigError, kept, nn, noGrad, ShapeError, scope, type Tensor, tensor } from '../../lib/index.ts';
import { list } from '../helpers/place.ts';

const ones = (rows: number, columns: number, requiresGrad = false) =>
  tensor(new Float32Array(rows * columns).fill(1), { shape: [rows, columns], requiresGrad });

/** x times 3, as a module. */
class Triple extends nn.Module {
  forward(x: Tensor): Tensor {
    return x.mul(3);
  }
}

describe('forward hooks', () => {
  test('see inputs and output in order, replace either, and go away again', async () => {
    const m = new Triple();
    const log: string[] = [];
    const pre = m.registerForwardPreHook((_, [x]) => {
      log.push('pre');
      return (x as Tensor).add(1);
    });
    const post = m.registerForwardHook((self, [x], y) => {
      expect(self).toBe(m);
      expect((x as Tensor).shape).toEqual((y as Tensor).shape);
      log.push('post');
      return (y as Tensor).neg();
    });
    m.registerForwardPreHook(() => {
      log.push('second');
    });
    expect(await list(m.forward(tensor([1, 2])))).toEqual([-6, -9]);
    expect(log).toEqual(['pre', 'second', 'post']);
    pre.remove();
    expect(await list(m.forward(tensor([1, 2])))).toEqual([-3, -6]);
    post.remove();
    post.remove();
    expect(await list(m.forward(tensor([1, 2])))).toEqual([3, 6]);
  });

  test('nothing stands in front of forward once the last is gone', () => {
    const m = new nn.Linear(2, 2);
    const keys = Object.keys(m);
    {
      using _hook = m.registerForwardHook(() => {});
      expect(Object.hasOwn(m, 'forward')).toBe(true);
      expect(Object.keys(m)).toEqual(keys);
      expect([...m.stateDict().keys()]).toEqual(['weight', 'bias']);
    }
    expect(Object.hasOwn(m, 'forward')).toBe(false);
    class Field extends nn.Module {
      override forward = (x: Tensor): Tensor => x.mul(2);
    }
    const field = new Field();
    const own = field.forward;
    const handle = field.registerForwardHook(() => {});
    expect(field.forward).not.toBe(own);
    handle.remove();
    expect(field.forward).toBe(own);
    expect(Object.keys(field)).toContain('forward');
  });

  test('layers that are run in one pass with others are called by themselves when hooked', async () => {
    const linear = new nn.Linear(3, 3);
    const relu = new nn.ReLU();
    const net = new nn.Sequential(linear, relu);
    const x = tensor([[1, -2, 3]]);
    const plain = await list(net.forward(x));
    const seen: Tensor[] = [];
    const look = (_: nn.Module, __: readonly unknown[], y: unknown) => {
      seen.push(kept(y as Tensor));
    };
    const handles = [linear.registerForwardHook(look), relu.registerForwardHook(look)];
    expect(await list(net.forward(x))).toEqual(plain);
    expect(await list((seen[0] as Tensor).relu())).toEqual(plain);
    expect(await list(seen[1] as Tensor)).toEqual(plain);
    for (const h of handles) h.remove();
    expect(await list(net.forward(x))).toEqual(plain);
    expect(seen.length).toBe(2);

    const block = new nn.TransformerBlock(4, 2, { dropout: 0 });
    const called: string[] = [];
    for (const [name, m] of block.namedModules())
      m.registerForwardHook(() => {
        called.push(name);
      });
    block.forward(tensor(new Float32Array(24).fill(0.5), { shape: [2, 3, 4] }));
    expect(called).toEqual(['ln1', 'attn.qkv', 'attn.proj', 'attn', 'ln2', 'mlp.up', 'mlp.down', 'mlp', '']);
  });

  test('refuse what is no function', () => {
    const m = new Triple();
    for (const method of ['registerForwardPreHook', 'registerForwardHook', 'registerFullBackwardHook'] as const)
      expect(() => m[method](1 as never)).toThrow(ConfigError);
    expect(Object.hasOwn(m, 'forward')).toBe(false);
  });
});

describe('full backward hooks', () => {
  test('see the gradients of inputs and outputs, once for each call of forward', async () => {
    const m = new Triple();
    const seen: (Tensor | null)[][] = [];
    m.registerFullBackwardHook((self, gradInput, gradOutput) => {
      expect(self).toBe(m);
      seen.push([gradInput[0], gradOutput[0]].map((g) => kept(g as Tensor)));
    });
    const x = ones(1, 2, true);
    m.forward(m.forward(x))
      .mul(tensor([[1, 10]]))
      .sum()
      .backward();
    const values = await Promise.all(seen.flat().map((t) => list(t as Tensor)));
    expect(values).toEqual([
      [3, 30],
      [1, 10],
      [9, 90],
      [3, 30],
    ]);
    expect(await list(x.grad as Tensor)).toEqual([9, 90]);
  });

  test('what they return takes the place of the gradients of the inputs', async () => {
    const m = new Triple();
    m.registerFullBackwardHook((_, [g]) => (g as Tensor).mul(100));
    m.registerFullBackwardHook((_, [g]) => [(g as Tensor).add(1)]);
    const x = ones(1, 2, true);
    m.forward(x).sum().backward();
    expect(await list(x.grad as Tensor)).toEqual([301, 301]);
  });

  test('inputs that want no gradient give null; parameters get theirs', async () => {
    const m = new nn.Linear(2, 3);
    let inputs: readonly unknown[] = [];
    let shape: readonly number[] = [];
    m.registerFullBackwardHook((_, gradInput, gradOutput) => {
      inputs = gradInput;
      shape = (gradOutput[0] as Tensor).shape;
    });
    scope(() => m.forward(ones(4, 2)).sum().backward());
    expect(inputs).toEqual([null]);
    expect(shape).toEqual([4, 3]);
    expect(await list(m.bias?.grad as Tensor)).toEqual([4, 4, 4]);
    inputs = [];
    noGrad(() => m.forward(ones(4, 2)));
    expect(inputs).toEqual([]);
  });

  test('outputs of several tensors', async () => {
    class Halves extends nn.Module {
      forward(x: Tensor): { a: Tensor; rest: Tensor[] } {
        return { a: x.mul(2), rest: [x.mul(3), x.detach()] };
      }
    }
    const m = new Halves();
    let found: readonly (Tensor | null)[] = [];
    m.registerFullBackwardHook((_, __, gradOutput) => {
      found = gradOutput.map((g) => g && kept(g.alias()));
    });
    const x = ones(1, 2, true);
    const { a, rest } = m.forward(x);
    expect(rest.length).toBe(2);
    a.mul(5)
      .add(rest[0] as Tensor)
      .sum()
      .backward();
    expect(await list(x.grad as Tensor)).toEqual([13, 13]);
    expect(await Promise.all(found.map((g) => list(g as Tensor)))).toEqual([
      [5, 5],
      [1, 1],
    ]);
  });

  test('refuse gradients of another number or shape', () => {
    const bad = (result: unknown, kind: new (m: string) => Error) => {
      const m = new Triple();
      m.registerFullBackwardHook(() => result);
      expect(() =>
        m
          .forward(ones(1, 2, true))
          .sum()
          .backward(),
      ).toThrow(kind);
    };
    bad([ones(1, 2), ones(1, 2)], ConfigError);
    bad(ones(2, 2), ShapeError);
    bad('x', ConfigError);
  });
});

describe('a module as text', () => {
  test('is an indented tree with options, equal neighbours folded', () => {
    class Net extends nn.Module {
      stem = new nn.Linear(8, 4, { bias: false });
      layers = [1, 2, 3].map(() => new nn.Sequential(new nn.Linear(4, 4), new nn.ReLU()));
      head = new nn.Linear(4, 2).freeze();
      forward(x: Tensor): Tensor {
        return x;
      }
    }
    const expected = `Net(
  (stem): Linear(in 8, out 4, no bias)
  (layers.0-2): 3 x Sequential(
    (0): Linear(in 4, out 4, bias)
    (1): ReLU()
  )
  (head): Linear(in 4, out 2, bias, frozen)
)`;
    expect(inspect(new Net())).toBe(expected);
    expect(String(new Net())).toBe(expected);
    expect(String(new nn.Dropout(0.25))).toBe('Dropout(p 0.25)');
    expect(String(new nn.Conv2d(1, 8, { kernelSize: 3 }))).toContain('weight [8, 1, 3, 3]');
    expect(String(new nn.GELU({ approximate: 'tanh' }))).toBe('GELU(approximate tanh)');
  });

  test('does not follow a module into itself', () => {
    class Loop extends nn.Module {
      self: nn.Module = this;
      forward(x: Tensor): Tensor {
        return x;
      }
    }
    expect(String(new Loop())).toContain('Loop(...)');
  });
});
