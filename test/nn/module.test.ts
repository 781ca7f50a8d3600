import { describe, expect, test } from 'vitest';
import {
  CheckpointError,
  ConfigError,
  DeviceError,
  loadSafetensors,
  losses,
  manualSeed,
  nn,
  noGrad,
  optim,
  Stepper,
  saveSafetensors,
  type Tensor,
  tensor,
  zeros,
} from '../../lib/index.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import { onGpu } from '../helpers/device.ts';
import { temporary, valuesOf } from '../train/helpers.ts';

const shapes = (m: nn.Module) => Object.fromEntries([...m.stateDict()].map(([name, t]) => [name, t.shape]));

class Net extends nn.Module {
  inProj = new nn.Linear(2, 3);
  layers = [new nn.Linear(3, 3), [new nn.Linear(3, 3, { bias: false })], new nn.ReLU()];
  heads = new Map<string, nn.Module>([
    ['left', new nn.Linear(3, 1)],
    ['right', new nn.Linear(3, 2)],
  ]);
  scale = new nn.Parameter(zeros([3]));
  seenCount = new nn.Buffer(zeros([]));
  readonly size = 3;
  none: nn.Parameter | null = null;
  #hidden = new nn.Linear(3, 3);
  forward(x: Tensor): Tensor {
    return this.#hidden.forward(this.inProj.forward(x));
  }
}

describe('what registers', () => {
  test('fields, arrays, Maps; Parameters and Buffers; in snake_case; private fields do not', () => {
    expect(shapes(new Net())).toEqual({
      'in_proj.weight': [3, 2],
      'in_proj.bias': [3],
      'layers.0.weight': [3, 3],
      'layers.0.bias': [3],
      'layers.1.0.weight': [3, 3],
      'heads.left.weight': [1, 3],
      'heads.left.bias': [1],
      'heads.right.weight': [2, 3],
      'heads.right.bias': [2],
      scale: [3],
      seen_count: [],
    });
  });

  test('parameters without buffers; each knows its name, whatever part of the model lists its own later', () => {
    const net = new Net();
    const names = [...net.namedParameters()].map(([name]) => name);
    expect(names).toHaveLength(10);
    expect(names).not.toContain('seen_count');
    expect([...net.namedBuffers()].map(([name]) => name)).toEqual(['seen_count']);
    net.inProj.parameters();
    net.inProj.freeze().unfreeze();
    expect(net.inProj.weight.name).toBe('in_proj.weight');
  });

  test('modules with their paths', () => {
    const net = new Net();
    const paths = ['', 'in_proj', 'layers.0', 'layers.1.0', 'layers.2', 'heads.left', 'heads.right'];
    expect([...net.namedModules()].map(([path]) => path)).toEqual(paths);
    expect(net.modules()).toHaveLength(7);
    new Stepper({ model: net, optimizer: new optim.AdamW(net.parameters()) });
    expect(net.modules().map((m) => m.path)).toEqual(paths);
  });

  test('a module that contains itself is told so', () => {
    class Child extends nn.Module {
      parent: nn.Module | null = null;
      w = new nn.Parameter(zeros([1]));
      forward() {}
    }
    class Parent extends nn.Module {
      child = new Child();
      forward() {}
    }
    const parent = new Parent();
    parent.child.parent = parent;
    expect(() => parent.stateDict()).toThrow(ConfigError);
    expect(() => parent.stateDict()).toThrow(/'child\.parent' is a module that contains itself.*private field/);
  });
});

describe('tying', () => {
  class Tied extends nn.Module {
    wte = new nn.Embedding(5, 4);
    head = new nn.Linear(4, 5, { bias: false });
    constructor() {
      super();
      this.head.weight = this.wte.weight;
    }
    forward(tokens: Tensor): Tensor {
      return this.head.forward(this.wte.forward(tokens));
    }
  }

  test('one parameter, two names', async () => {
    const model = new Tied();
    expect([...model.stateDict().keys()]).toEqual(['wte.weight', 'head.weight']);
    expect(model.parameters()).toHaveLength(1);
    const [all] = optim.paramGroups(model, { weightDecay: 0.1 });
    expect(all?.params).toHaveLength(1);
    const tokens = tensor(Int32Array.of(1, 2));
    losses.crossEntropy(model.forward(tokens), tokens).mean().backward();
    const both = await (model.wte.weight.grad as Tensor).data();
    // the sum of what each use gives
    const apart = new Tied();
    apart.head.weight = new nn.Parameter(noGrad(() => model.wte.weight.mul(1)));
    apart.loadStateDict({ 'wte.weight': model.wte.weight }, { strict: false });
    losses.crossEntropy(apart.forward(tokens), tokens).mean().backward();
    const [a, b] = await Promise.all([apart.wte.weight.grad, apart.head.weight.grad].map((g) => (g as Tensor).data()));
    both.forEach((v, i) => {
      expect(v).toBeCloseTo((a?.[i] as number) + (b?.[i] as number), 6);
    });
  });

  test('one name of a state dict is enough', async () => {
    const model = new Tied();
    model.loadStateDict({ 'wte.weight': tensor(new Float32Array(20).fill(3), { shape: [5, 4] }) });
    expect([...(await model.head.weight.data())]).toEqual(Array(20).fill(3));
    model.loadStateDict({ 'head.weight': tensor(new Float32Array(20).fill(4), { shape: [5, 4] }) });
    expect([...(await model.wte.weight.data())]).toEqual(Array(20).fill(4));
    expect(() => model.loadStateDict({})).toThrow(/missing: wte\.weight, head\.weight/);
  });
});

describe('freezing', () => {
  test('no gradient flows to it, nor is any computed behind it', () => {
    const model = new nn.Sequential(new nn.Linear(2, 3), new nn.ReLU(), new nn.Linear(3, 1));
    (model.layers[0] as nn.Module).freeze();
    const y = model.forward(zeros([4, 2]));
    y.sum().backward();
    expect(model.parameters().map((p) => p.grad !== null)).toEqual([false, false, true, true]);
    expect((model.layers[0] as nn.Linear).forward(zeros([1, 2])).node).toBeNull();
    model.unfreeze().zeroGrad();
    model
      .forward(zeros([4, 2]))
      .sum()
      .backward();
    expect(model.parameters().every((p) => p.grad !== null)).toBe(true);
    model.zeroGrad();
    expect(model.parameters().every((p) => p.grad === null)).toBe(true);
  });
});

describe('modes', () => {
  test('train and eval reach everything below', () => {
    const net = new Net();
    expect(net.modules().every((m) => m.training)).toBe(true);
    expect(net.eval()).toBe(net);
    expect(net.modules().some((m) => m.training)).toBe(false);
    net.train();
    expect(net.modules().every((m) => m.training)).toBe(true);
  });
  test('to a device', () => {
    const net = new Net();
    const here = defaultDevice();
    expect(net.to(here)).toBe(net);
    expect([...net.to('cpu').parameters()].map((p) => p.device.name)).toEqual([...net.parameters()].map(() => 'cpu'));
    if (onGpu) expect([...net.to(here).parameters()].map((p) => p.device)).toEqual([...net.parameters()].map(() => here));
    else expect(() => net.to('cuda')).toThrow(DeviceError);
  });
});

describe('loadStateDict', () => {
  const from = (m: nn.Module) => new Map([...m.stateDict()].map(([name, t]) => [name, noGrad(() => t.mul(2))]));

  test('copies: the tensors given are not aliased; dtypes are converted', async () => {
    const net = new nn.Linear(2, 2);
    const given = {
      weight: tensor(
        [
          [1, 2],
          [3, 4],
        ],
        { dtype: 'f64', device: 'cpu' },
      ),
      bias: tensor([5, 6], { dtype: 'bf16' }),
    };
    expect(net.loadStateDict(given)).toBe(net);
    given.weight.dispose();
    given.bias.dispose();
    expect(await valuesOf(net.stateDict())).toEqual(
      new Map([
        ['weight', [1, 2, 3, 4]],
        ['bias', [5, 6]],
      ]),
    );
    expect(net.weight.dtype).toBe('f32');
  });

  test('through a file', async () => {
    const [a, b] = [new Net(), new Net()];
    const path = `${temporary()}/net.safetensors`;
    await saveSafetensors(path, a.stateDict());
    b.loadStateDict(await loadSafetensors(path));
    expect(await valuesOf(b.stateDict())).toEqual(await valuesOf(a.stateDict()));
  });

  test('names all that does not fit, and then changes nothing', async () => {
    const net = new Net();
    const before = await valuesOf(net.stateDict());
    const state = from(net);
    state.delete('scale');
    state.delete('layers.0.bias');
    state.set('extra.weight', zeros([1]));
    state.set('in_proj.weight', zeros([2, 3]));
    const load = () => net.loadStateDict(state);
    expect(load).toThrow(CheckpointError);
    expect(load).toThrow(
      /missing: layers\.0\.bias, scale\. unexpected: extra\.weight\. .*in_proj\.weight: expected \[3, 2\], got \[2, 3\]/,
    );
    expect(() => net.loadStateDict(state, { strict: false })).toThrow(/in_proj\.weight: expected \[3, 2\]/); // a shape is never loose
    expect(await valuesOf(net.stateDict())).toEqual(before);
    state.delete('in_proj.weight');
    net.loadStateDict(state, { strict: false });
    expect((await valuesOf(net.stateDict())).get('in_proj.bias')).toEqual(before.get('in_proj.bias')?.map((v) => v * 2));
    expect((await valuesOf(net.stateDict())).get('in_proj.weight')).toEqual(before.get('in_proj.weight'));
  });

  test('what is no tensor, or was freed', async () => {
    const net = new nn.Linear(1, 1);
    const freed = zeros([1]);
    freed.dispose();
    expect(() => net.loadStateDict({ weight: zeros([1, 1]), bias: freed })).toThrow(/bias: was freed/);
    expect(() => net.loadStateDict({ weight: [[1]] as never, bias: zeros([1]) })).toThrow(/weight: is no tensor/);
    expect(() => net.loadStateDict(undefined as never)).toThrow(/loadSafetensors/);
    expect(() => net.loadStateDict({}, { strct: false } as never)).toThrow(/"strct" should be "strict"/);
  });

  test('PyTorch’s batch counts are passed over', () => {
    const norm = new nn.Sequential(new nn.Conv2d(1, 2, { kernelSize: 1 }), new nn.BatchNorm2d(2));
    const state = from(norm).set('1.num_batches_tracked', tensor(Int32Array.of(7), { shape: [] }));
    norm.loadStateDict(state);
    expect(() => norm.loadStateDict(new Map([...state, ['0.num_batches_tracked', zeros([])]]))).toThrow(
      /unexpected: 0\.num_batches_tracked/,
    );
  });

  test('a running backward notices that its weights were written', () => {
    const net = new nn.Linear(2, 2);
    const y = net.forward(tensor([[1, 2]], { requiresGrad: true })).sum();
    net.loadStateDict(from(net));
    expect(() => y.backward()).toThrow(/written since/);
  });
});

test('members that are Lambdas and functions of one’s own compose', async () => {
  manualSeed(1);
  const model = new nn.Sequential(new nn.Lambda((x) => x.mul(2)), new nn.Identity(), new nn.Flatten());
  expect([...(await model.forward(tensor([[[1, 2]]])).data())]).toEqual([2, 4]);
  expect(model.stateDict().size).toBe(0);
  expect(() => new nn.Sequential(((x: Tensor) => x) as never)).toThrow(/argument 0 is not a Module.*Lambda/);
});
