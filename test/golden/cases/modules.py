"""Whole layers, with PyTorch's state-dict names: state.<key> in, gstate.<key> (its gradient) and after.<key> (buffers) out."""

import numpy as np
import torch
from torch import nn

from cases.blocks import TransformerBlock
from common import FORWARD_TOLERANCE, GRAD_TOLERANCE, Family, Random, to_golden, to_torch


def initial_state(case, module):
    """Weights of the size a trained layer has; norms near 1, running variances positive, the step counter 0."""
    state = {}
    for key, value in module.state_dict().items():
        rng, shape, leaf = Random(f'{case}/state.{key}'), tuple(value.shape), key.split('.')[-1]
        if leaf == 'num_batches_tracked':
            state[key] = np.array(0, np.int32)
        elif leaf == 'running_var':
            state[key] = rng.uniform(0.5, 1.5, *shape)
        elif leaf == 'running_mean' or 'bias' in leaf:
            state[key] = rng.normal(*shape, scale=0.2)
        elif len(shape) == 1:
            state[key] = rng.normal(*shape, scale=0.2, shift=1.0)
        elif isinstance(module, nn.Embedding):
            state[key] = rng.normal(*shape)
        else:
            state[key] = rng.normal(*shape, scale=float(np.prod(shape[1:])) ** -0.5)
    return state


def load(module, state, dtype):
    module.to(dtype)
    module.load_state_dict({k: to_torch(v, dtype) for k, v in state.items()}, strict=True)
    return module


def forward_backward(make, call, state, inputs, seed, dtype, training):
    module = load(make(), state, dtype).train(training)
    leaves = [to_torch(x, dtype, x.dtype == np.float32) for x in inputs]
    out = call(module, *leaves)
    grad_out = Random(seed).normal(*out.shape)
    out.backward(to_torch(grad_out, dtype))
    return out, grad_out, leaves, module


def module_case(family, name, op, attrs, make, inputs, training=True, call=lambda m, *x: m(*x), tags=(), args=None, **fields):
    state = initial_state(f'modules/{name}', make())
    seed = f'modules/{name}/grad_out'
    out, grad_out, leaves, module = forward_backward(make, call, state, inputs, seed, torch.float64, training)
    out32, _, leaves32, module32 = forward_backward(make, call, state, inputs, seed, torch.float32, training)
    diff = [x.requires_grad for x in leaves]
    args = args or ['x']
    shown = {'inputs': len(inputs), 'args': args, 'differentiable': diff, 'outputs': 1, 'outs': ['out'], 'training': training}
    family.add_case(name, op, 'module', attrs, tags, **shown, **fields)
    for key, value in state.items():
        family.put(name, f'state.{key}', value)
    for i, x in enumerate(inputs):
        family.put(name, f'in.{i}', x)
    family.put(name, 'out.0', to_golden(out))
    family.check(name, 'out.0', out32, out, FORWARD_TOLERANCE)
    family.put(name, 'grad_out.0', grad_out)
    for i, x in enumerate(leaves):
        if diff[i]:
            family.put(name, f'grad.{i}', to_golden(x.grad))
            family.check(name, f'grad.{i}', leaves32[i].grad, x.grad, GRAD_TOLERANCE)
    theirs = dict(module32.named_parameters())
    for key, p in module.named_parameters():
        family.put(name, f'gstate.{key}', to_golden(p.grad))
        family.check(name, f'gstate.{key}', theirs[key].grad, p.grad, GRAD_TOLERANCE)
    for key, value in module.named_buffers():
        family.put(name, f'after.{key}', to_golden(value))


def build():
    family = Family('modules')
    draw = lambda name, *shape: [Random(f'modules/{name}/x').normal(*shape)]  # noqa: E731

    def case(name, op, attrs, make, shape, **more):
        module_case(family, name, op, attrs, make, draw(name, *shape), **more)

    case('Linear', 'nn.Linear', {'inFeatures': 7, 'outFeatures': 5}, lambda: nn.Linear(7, 5), (9, 7))
    case('Linear-noBias', 'nn.Linear', {'inFeatures': 33, 'outFeatures': 3, 'bias': False}, lambda: nn.Linear(33, 3, bias=False), (2, 5, 33))
    case('Conv2d', 'nn.Conv2d', {'inChannels': 3, 'outChannels': 5, 'kernelSize': 3}, lambda: nn.Conv2d(3, 5, 3), (2, 3, 7, 9))
    attrs = {'inChannels': 4, 'outChannels': 6, 'kernelSize': [3, 2], 'stride': 2, 'padding': [1, 0], 'dilation': [1, 2], 'groups': 2, 'bias': False}
    case('Conv2d-all', 'nn.Conv2d', attrs, lambda: nn.Conv2d(4, 6, (3, 2), 2, (1, 0), (1, 2), 2, bias=False), (2, 4, 9, 8))
    for training in (True, False):
        which = 'train' if training else 'eval'
        case(f'BatchNorm2d-{which}', 'nn.BatchNorm2d', {'numFeatures': 5}, lambda: nn.BatchNorm2d(5), (4, 5, 3, 3), training=training)
    # Two batches: the running statistics move twice, and the counter says 2.
    attrs = {'numFeatures': 3, 'momentum': 0.3, 'eps': 1e-3}
    twice = lambda m, x: m(x[:4]) * 0 + m(x[4:])  # noqa: E731
    name = 'BatchNorm2d-twice'
    make = lambda: nn.BatchNorm2d(3, momentum=0.3, eps=1e-3)  # noqa: E731
    module_case(family, name, 'nn.BatchNorm2d', attrs, make, draw(name, 8, 3, 3, 3), call=twice, calls=2)
    attrs = {'numFeatures': 3, 'affine': False}
    case('BatchNorm2d-plain', 'nn.BatchNorm2d', attrs, lambda: nn.BatchNorm2d(3, affine=False), (4, 3, 3, 3))
    case('LayerNorm', 'nn.LayerNorm', {'normalizedShape': 17}, lambda: nn.LayerNorm(17), (3, 5, 17))
    case('LayerNorm-two', 'nn.LayerNorm', {'normalizedShape': [3, 8]}, lambda: nn.LayerNorm([3, 8]), (4, 3, 8))
    case('LayerNorm-noBias', 'nn.LayerNorm', {'normalizedShape': 17, 'bias': False}, lambda: nn.LayerNorm(17, bias=False), (5, 17))
    case('RMSNorm', 'nn.RMSNorm', {'normalizedShape': 17, 'eps': 1e-6}, lambda: nn.RMSNorm(17, eps=1e-6), (3, 5, 17))
    case('GroupNorm', 'nn.GroupNorm', {'numGroups': 2, 'numChannels': 6}, lambda: nn.GroupNorm(2, 6), (3, 6, 4, 4))

    ids = [Random('modules/Embedding').ints(0, 11, 4, 7)]
    attrs = {'numEmbeddings': 11, 'embeddingDim': 5}
    module_case(family, 'Embedding', 'nn.Embedding', attrs, lambda: nn.Embedding(11, 5), ids, args=['indices'])
    make = lambda: nn.Embedding(11, 5, padding_idx=0)  # noqa: E731
    module_case(family, 'Embedding-padding', 'nn.Embedding', {**attrs, 'paddingIdx': 0}, make, ids, args=['indices'])

    for name, dim, heads, causal, bias, shape in [
        ('MultiheadAttention', 12, 3, False, True, (2, 7, 12)),
        ('MultiheadAttention-causal', 16, 2, True, True, (2, 9, 16)),
        ('MultiheadAttention-noBias', 8, 1, True, False, (1, 5, 8)),
    ]:

        def attend(m, x, causal=causal):
            mask = ~torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril() if causal else None
            return m(x, x, x, attn_mask=mask, need_weights=False)[0]

        attrs = {'embedDim': dim, 'numHeads': heads, 'bias': bias, 'causal': causal}
        make = lambda d=dim, h=heads, b=bias: nn.MultiheadAttention(d, h, bias=b, batch_first=True)  # noqa: E731
        case(name, 'nn.MultiheadAttention', attrs, make, shape, call=attend)
    for name, dim, heads, causal, shape in [('TransformerBlock', 16, 2, True, (2, 9, 16)), ('TransformerBlock-open', 12, 3, False, (2, 7, 12))]:
        attrs = {'embedDim': dim, 'numHeads': heads, 'causal': causal, 'dropout': 0, 'approximate': 'tanh'}
        case(name, 'nn.TransformerBlock', attrs, lambda d=dim, h=heads, c=causal: TransformerBlock(d, h, c), shape)
    return family
