"""Optimizers: 20 steps from fixed parameters under given gradients; clipping by the global norm."""

import numpy as np
import torch

from common import Family, Random, to_golden, to_torch

STEPS = 20
SHAPES = [(5, 7), (33,), (1,), ()]
TRACE_TOLERANCE = 1e-5
SGD, ADAM, ADAMW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
NAMES = {'weightDecay': 'weight_decay', 'lrDecay': 'lr_decay', 'initialAccumulatorValue': 'initial_accumulator_value'}

# name, class, options
TABLE = [
    ('SGD', SGD, {'lr': 0.1}),
    ('SGD-weightDecay', SGD, {'lr': 0.05, 'weightDecay': 0.1}),
    ('SGD-momentum', SGD, {'lr': 0.05, 'momentum': 0.9}),
    ('SGD-momentum-weightDecay', SGD, {'lr': 0.05, 'momentum': 0.9, 'weightDecay': 0.1}),
    ('SGD-dampening', SGD, {'lr': 0.05, 'momentum': 0.9, 'dampening': 0.5}),
    ('SGD-nesterov', SGD, {'lr': 0.05, 'momentum': 0.9, 'nesterov': True}),
    ('SGD-nesterov-weightDecay', SGD, {'lr': 0.01, 'momentum': 0.8, 'nesterov': True, 'weightDecay': 0.01}),
    ('Adam', ADAM, {}),
    ('Adam-lr', ADAM, {'lr': 0.05}),
    ('Adam-weightDecay', ADAM, {'lr': 0.05, 'weightDecay': 0.1}),
    ('Adam-amsgrad', ADAM, {'lr': 0.05, 'amsgrad': True}),
    ('Adam-betas', ADAM, {'lr': 0.05, 'betas': [0.5, 0.9], 'eps': 1e-6}),
    ('AdamW', ADAMW, {}),
    ('AdamW-lr', ADAMW, {'lr': 0.05, 'weightDecay': 0.01}),
    ('AdamW-weightDecay', ADAMW, {'lr': 0.05, 'weightDecay': 0.5}),
    ('AdamW-noDecay', ADAMW, {'lr': 0.05, 'weightDecay': 0}),
    ('AdamW-betas', ADAMW, {'lr': 0.05, 'betas': [0.9, 0.95], 'weightDecay': 0.1}),
    ('AdamW-eps', ADAMW, {'lr': 0.05, 'eps': 0.1}),
    ('AdamW-amsgrad', ADAMW, {'lr': 0.05, 'betas': [0.8, 0.9], 'amsgrad': True, 'weightDecay': 0.1}),
    ('AdamW-amsgrad-betas', ADAMW, {'lr': 0.01, 'betas': [0.5, 0.7], 'amsgrad': True}),
]


def options_of(attrs):
    return {NAMES.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}


def run(kind, attrs, params, grads, dtype, groups=None):
    """The parameters after each step, and the state at the end."""
    leaves = [to_torch(p, dtype, True) for p in params]
    given = [{'params': [leaves[i] for i in g['params']], **options_of({k: v for k, v in g.items() if k != 'params'})} for g in groups or []]
    optimizer = kind(given or leaves, **options_of(attrs), foreach=False)
    trace = [[] for _ in leaves]
    for step in range(len(grads[0])):
        for p, g in zip(leaves, grads):
            p.grad = to_torch(g[step], dtype)
        optimizer.step()
        for kept, p in zip(trace, leaves):
            kept.append(p.detach().clone())
    state = [{k: v for k, v in optimizer.state[p].items() if isinstance(v, torch.Tensor) and k != 'step'} for p in leaves]
    return [torch.stack(t) for t in trace], state


def optimizer_case(family, name, kind, attrs, grad_scale=1.0, groups=None, sparse=False, steps=STEPS, shapes=SHAPES):
    rng = Random(f'{family.name}/{name}')
    params = [rng.normal(*s) for s in shapes]
    # The second half has another scale: amsgrad's maximum then matters.
    ramp = np.where(np.arange(steps) < steps // 2, 1.0, 0.2)
    grads = [rng.normal(steps, *s, scale=grad_scale) * ramp.reshape(-1, *[1] * len(s)).astype(np.float32) for s in shapes]
    if sparse:
        grads = [np.where(rng.bools(0.5, *g.shape), g, np.float32(0)) for g in grads]
    trace, state = run(kind, attrs, params, grads, torch.float64, groups)
    trace32, _ = run(kind, attrs, params, grads, torch.float32, groups)
    options = {**attrs, 'groups': groups} if groups else attrs
    family.add_case(name, f'optim.{kind.__name__}', 'optimizer', options, params=len(params), steps=steps, state=sorted(state[0]))
    for i, p in enumerate(params):
        family.put(name, f'param.{i}', p)
        family.put(name, f'grads.{i}', grads[i])
        family.put(name, f'trace.{i}', to_golden(trace[i]))
        family.put(name, f'final.{i}', to_golden(trace[i][-1]))
        family.check(name, f'trace.{i}', trace32[i], trace[i], TRACE_TOLERANCE)
        for key, value in state[i].items():
            family.put(name, f'state.{i}.{key}', to_golden(value))


def clip(max_norm):
    def fn(*grads):
        """norm = sqrt(sum of all squares); every gradient is multiplied by min(1, maxNorm / (norm + 1e-6))."""
        leaves = [torch.zeros_like(g).requires_grad_() for g in grads]
        for leaf, g in zip(leaves, grads):
            leaf.grad = g.detach().clone()
        norm = torch.nn.utils.clip_grad_norm_(leaves, max_norm, foreach=False)
        return (norm, *[leaf.grad for leaf in leaves])

    return fn


def clips(family):
    for name, shapes, scale, max_norm in [
        ('clips', [(5, 7), (33,), (1,), ()], 1.0, 1.0),
        ('below', [(5, 7), (33,)], 0.01, 1.0),
        ('one', [(129,)], 3.0, 0.5),
        ('scalar', [()], 3.0, 1.0),
        ('large', [(3, 43), (7,)], 1e12, 1.0),
        ('tiny', [(3, 43), (7,)], 1e-8, 1e-9),
        ('zero', [(3, 4), (7,)], 0.0, 1.0),
        ('mixed', [(3, 43), (7,), (1,)], 1.0, 2.5),
    ]:
        rng = Random(f'optim/clipGradNorm/{name}')
        grads = [rng.normal(*s, scale=scale) for s in shapes]
        outs = ['norm', *[f'clipped.{i}' for i in range(len(shapes))]]
        args = [f'grads.{i}' for i in range(len(shapes))]
        family.op(f'clipGradNorm/{name}', 'clipGradNorm', clip(max_norm), grads, {'maxNorm': max_norm}, args, [False] * len(grads), outs)


def build():
    family = Family('optim')
    for name, kind, attrs in TABLE:
        optimizer_case(family, name, kind, attrs)
    # Gradients of the size of eps, and gradients with many exact zeros (embedding rows not seen).
    optimizer_case(family, 'AdamW-tinyGrads', ADAMW, {'lr': 0.01}, grad_scale=1e-8)
    optimizer_case(family, 'AdamW-largeGrads', ADAMW, {'lr': 0.01}, grad_scale=1e6)
    optimizer_case(family, 'Adam-zeros', ADAM, {'lr': 0.01}, sparse=True)
    optimizer_case(family, 'SGD-momentum-zeros', SGD, {'lr': 0.01, 'momentum': 0.9}, sparse=True)
    groups = [{'params': [0], 'weightDecay': 0.3}, {'params': [1, 2, 3], 'weightDecay': 0, 'lr': 0.01}]
    optimizer_case(family, 'AdamW-groups', ADAMW, {'lr': 0.05}, groups=groups)
    groups = [{'params': [0, 2], 'lr': 0.05, 'momentum': 0.9}, {'params': [1, 3], 'weightDecay': 0.1}]
    optimizer_case(family, 'SGD-groups', SGD, {'lr': 0.01}, groups=groups)
    clips(family)
    return family
