import { describe, expect, it } from 'vitest';
import { Adam, AdamW, paramGroups, recipes, SGD } from '../../lib/optim/index.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { Parameter } from '../../lib/tensor/tensor.ts';

const parameter = (name: string, shape: number[]) => {
  const p = new Parameter(tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), { shape }));
  p.name = name;
  return p;
};

/** An embedding tied to the head, a layer, a norm. */
function model() {
  const parameters: Record<string, Parameter> = {
    'wte.weight': parameter('wte.weight', [5, 3]),
    'up.weight': parameter('up.weight', [3, 3]),
    'up.bias': parameter('up.bias', [3]),
    'ln.weight': parameter('ln.weight', [3]),
  };
  const entries: [string, Parameter][] = [...Object.entries(parameters), ['head.weight', parameters['wte.weight'] as Parameter]];
  return { parameters, namedParameters: () => entries };
}
const names = (groups: { params: readonly { name?: string }[] }[]) => groups.map((g) => g.params.map((p) => p.name));

describe('paramGroups', () => {
  it('decays what has two dimensions, each parameter once', () => {
    const groups = paramGroups(model(), { weightDecay: 0.1 });
    expect(names(groups)).toEqual([
      ['wte.weight', 'up.weight'],
      ['up.bias', 'ln.weight'],
    ]);
    expect(groups.map((g) => g.weightDecay)).toEqual([0.1, 0]);
  });
  it('leaves out more by name, by module, by parameter', () => {
    const m = model();
    for (const noDecay of [['wte.weight'], ['wte'], ['head'], [m.parameters['wte.weight'] as Parameter]])
      expect(names(paramGroups(m, { weightDecay: 0.1, noDecay }))[0]).toEqual(['up.weight']);
    expect(paramGroups(m, { weightDecay: 0.1, noDecay: ['wte', 'up'] }).length).toBe(1);
  });
  it('refuses what it cannot find', () => {
    expect(() => paramGroups(model(), { weightDecay: 1, noDecay: ['up.wieght'] })).toThrow(/Did you mean "up.weight"/);
    expect(() => paramGroups(model(), {} as never)).toThrow(/weightDecay must be a number/);
    expect(() => paramGroups([] as never, { weightDecay: 1 })).toThrow(/namedParameters/);
    expect(() => paramGroups(model(), { weightDecay: 1, nodecay: [] } as never)).toThrow(/"noDecay"/);
  });
  it('goes to an optimizer, whose state is keyed by names', () => {
    const adam = new AdamW(paramGroups(model(), { weightDecay: 0.1 }), { lr: 2e-3, betas: [0.9, 0.95] });
    expect(adam.groups.map((g) => [g.lr, g.weightDecay, g.betas])).toEqual([
      [2e-3, 0.1, [0.9, 0.95]],
      [2e-3, 0, [0.9, 0.95]],
    ]);
    for (const p of adam.parameters) p.grad = tensor(new Float32Array(p.size), { shape: p.shape });
    adam.step();
    const { groups, tensors } = adam.stateDict();
    expect(groups.map((g) => g.params)).toEqual([
      ['wte.weight', 'up.weight'],
      ['up.bias', 'ln.weight'],
    ]);
    expect([...tensors.keys()].slice(0, 3)).toEqual(['wte.weight/step', 'wte.weight/expAvg', 'wte.weight/expAvgSq']);
  });
});

describe("recipes: the guide's presets", () => {
  it('Adam 1e-3; AdamW with 0.01; SGD 0.01 to 0.1, momentum 0.9, decay 1e-4 to 1e-3', () => {
    const first = (o: { groups: readonly object[] }) => o.groups[0] as Record<string, unknown>;
    const adam = recipes.adam(model());
    expect(adam).toBeInstanceOf(Adam);
    expect(first(adam)).toMatchObject({ lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 });
    const adamW = recipes.adamW(model());
    expect(adamW).toBeInstanceOf(AdamW);
    expect(first(adamW)).toMatchObject({ lr: 1e-3, weightDecay: 0.01 });
    const sgd = recipes.sgd(model());
    expect(sgd).toBeInstanceOf(SGD);
    expect(first(sgd)).toMatchObject({ lr: 0.1, momentum: 0.9, weightDecay: 1e-4 });
    expect(first(recipes.sgdGentle(model()))).toMatchObject({ lr: 0.01, momentum: 0.9, weightDecay: 1e-3 });
    expect(recipes.sgd(model()).groups[1]).toMatchObject({ weightDecay: 0 });
    expect(first(recipes.adamW(model(), { lr: 3e-4, weightDecay: 0.1 }))).toMatchObject({ lr: 3e-4, weightDecay: 0.1 });
    expect(() => recipes.sgd(model(), { momentm: 1 } as never)).toThrow(/should be "momentum"/);
  });
});
