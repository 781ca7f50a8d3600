"""Whole models: 20 steps of AdamW (lr 1e-3, decay 1e-2 on everything, no clipping) from stored weights on stored batches."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cases.blocks import GPT
from cases.modules import load
from common import GRAD_TOLERANCE, Family, Random, f32, to_golden, to_torch

STEPS = 20
DISTINCT = 4
TRAJECTORY_TOLERANCE = 1e-4
OPTIONS = {'lr': 1e-3, 'betas': (0.9, 0.999), 'eps': 1e-8, 'weight_decay': 1e-2}


def mlp():
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))


def cnn():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10))


def gpt():
    return GPT(vocab=17, block=8, layers=2, heads=2, dim=16)


def initial(name, module):
    """Uniform +- 1/sqrt(fan in) for weights and biases, 0.3 normal for embeddings, norms 1 and 0."""
    state = {}
    for key, value in module.state_dict().items():
        rng, shape = Random(f'models/{name}/{key}'), tuple(value.shape)
        if key.startswith(('wte', 'wpe')):
            state[key] = rng.normal(*shape, scale=0.3)
        elif 'ln' in key:
            state[key] = value.numpy().astype(np.float32)
        else:
            weight = key if len(shape) > 1 else key.replace('bias', 'weight')
            bound = float(np.prod(module.state_dict()[weight].shape[1:])) ** -0.5
            state[key] = rng.uniform(-bound, bound, *shape)
    return state


def mlp_data(rng):
    x = rng.normal(STEPS, 8, 16)
    return x, np.argmax(x @ rng.normal(16, 4), -1).astype(np.int32)


def cnn_data(rng):
    y = rng.ints(0, 10, STEPS, 8)
    patterns = rng.normal(10, 1, 10, 10)
    return f32(patterns[y] * 0.7 + rng.normal(STEPS, 8, 1, 10, 10, scale=0.5)), y


def gpt_data(rng):
    """Each token names its successor, with one in eight replaced: something to learn, never wholly learnt."""
    successor = rng.rng.permutation(17)
    tokens = np.empty((STEPS, 4, 9), np.int32)
    tokens[..., 0] = rng.ints(0, 17, STEPS, 4)
    for t in range(1, 9):
        tokens[..., t] = np.where(rng.bools(0.125, STEPS, 4), rng.ints(0, 17, STEPS, 4), successor[tokens[..., t - 1]])
    return tokens[..., :-1].copy(), tokens[..., 1:].copy()


def train(make, state, x, y, dtype):
    model = load(make(), state, dtype)
    optimizer = torch.optim.AdamW(model.parameters(), **OPTIONS, foreach=False)
    losses, norms, first = [], [], None
    for step in range(STEPS):
        logits = model(to_torch(x[step], dtype))
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), to_torch(y[step]).reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        grads = {k: p.grad.clone() for k, p in model.named_parameters()}
        first = first or grads
        losses.append(loss.item())
        norms.append(torch.sqrt(sum((g.double() ** 2).sum() for g in grads.values())).item())
        optimizer.step()
    return np.array(losses), np.array(norms), first, {k: v.detach() for k, v in model.named_parameters()}


def trajectory(family, name, make, data, model, ignore=None):
    ignore = ignore or {}
    state = initial(name, make())
    # Four batches, five times over, so that 20 steps show learning and not the luck of the batch.
    x, y = (np.tile(a[:DISTINCT], (STEPS // DISTINCT, *[1] * (a.ndim - 1))) for a in data(Random(f'models/{name}/data')))
    losses, norms, first, final = train(make, state, x, y, torch.float64)
    losses32, norms32, first32, final32 = train(make, state, x, y, torch.float32)
    attrs = {'optimizer': 'AdamW', 'lr': 1e-3, 'betas': [0.9, 0.999], 'eps': 1e-8, 'weightDecay': 1e-2, 'loss': 'crossEntropy'}
    family.add_case(name, 'trajectory', 'trajectory', {**attrs, 'model': model, 'ignoreFinal': ignore}, steps=STEPS, parameters=list(state))
    for key, value in state.items():
        family.put(name, f'init.{key}', value)
        family.put(name, f'grad1.{key}', to_golden(first[key]))
        family.put(name, f'final.{key}', to_golden(final[key]))
        family.check(name, f'grad1.{key}', first32[key], first[key], GRAD_TOLERANCE)
        ours, theirs = to_golden(final32[key]), to_golden(final[key])
        if key in ignore:
            begin, end = ignore[key]
            ours, theirs = np.delete(ours, slice(begin, end), 0), np.delete(theirs, slice(begin, end), 0)
        family.check(name, f'final.{key}', ours, theirs, TRAJECTORY_TOLERANCE)
    family.put(name, 'batch.x', x)
    family.put(name, 'batch.y', y)
    family.put(name, 'losses', losses)
    family.put(name, 'gradNorms', norms)
    family.check(name, 'losses', losses32, losses, TRAJECTORY_TOLERANCE)
    family.check(name, 'gradNorms', norms32, norms, TRAJECTORY_TOLERANCE)
    assert losses[-DISTINCT:].mean() < losses[:DISTINCT].mean() - 0.02, f'{name} does not learn'


def build():
    family = Family('models')
    trajectory(family, 'MLP', mlp, mlp_data, {'kind': 'mlp', 'sizes': [16, 32, 16, 4], 'batch': 8})
    trajectory(family, 'CNN', cnn, cnn_data, {'kind': 'cnn', 'channels': [1, 4, 8], 'kernelSize': 3, 'pool': 2, 'features': 72, 'classes': 10, 'batch': 8})
    # A bias on the keys shifts all scores of a query alike: its gradient is 0 but for rounding, which Adam then scales up.
    ignore = {f'blocks.{i}.attn.qkv.bias': [16, 32] for i in range(2)}
    sizes = {'kind': 'gpt', 'layers': 2, 'heads': 2, 'width': 16, 'block': 8, 'vocab': 17, 'batch': 4, 'tied': {'head.weight': 'wte.weight'}}
    trajectory(family, 'GPT', gpt, gpt_data, sizes, ignore)
    return family
