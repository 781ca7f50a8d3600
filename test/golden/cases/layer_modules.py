"""Layers with a state, by PyTorch's names: convolutions, instance norms, attention with masks, parametrized weights."""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from cases.modules import initial_state, load
from common import FORWARD_TOLERANCE, GRAD_TOLERANCE, Family, Random, to_golden, to_torch


def case(family, name, op, attrs, make, inputs, call=None, training=True, after=False, state=None):
    """`inputs`: arrays by argument name; `call(module, **inputs)`, names without 'options.'."""
    state = state or initial_state(f'layer_modules/{name}', make())
    seed = Random(f'layer_modules/{name}/grad_out')
    results, grad_out = {}, None
    for dtype in (torch.float64, torch.float32):
        module = load(make(), state, dtype).train(training)
        leaves = {k.split('.')[-1]: to_torch(v, dtype, np.asarray(v).dtype == np.float32) for k, v in inputs.items()}
        out = call(module, **leaves) if call else module(*leaves.values())
        grad_out = seed.normal(*out.shape) if grad_out is None else grad_out
        out.backward(to_torch(grad_out, dtype))
        results[dtype] = (out, list(leaves.values()), module)
    (out, leaves, module), (out32, leaves32, module32) = results[torch.float64], results[torch.float32]
    diff = [x.requires_grad for x in leaves]
    shown = {'inputs': len(inputs), 'args': list(inputs), 'differentiable': diff, 'outputs': 1, 'outs': ['out'], 'training': training}
    family.add_case(name, op, 'module', attrs, (), **shown)
    for key, value in state.items():
        if not key.endswith('num_batches_tracked'):
            family.put(name, f'state.{key}', value)
    for i, value in enumerate(inputs.values()):
        family.put(name, f'in.{i}', value)
    family.put(name, 'out.0', to_golden(out))
    family.put(name, 'grad_out.0', grad_out)
    family.check(name, 'out.0', out32, out, FORWARD_TOLERANCE)
    for i, x in enumerate(leaves):
        if diff[i]:
            family.put(name, f'grad.{i}', to_golden(x.grad))
            family.check(name, f'grad.{i}', leaves32[i].grad, x.grad, GRAD_TOLERANCE)
    theirs = dict(module32.named_parameters())
    for key, p in module.named_parameters():
        family.put(name, f'gstate.{key}', to_golden(p.grad))
        family.check(name, f'gstate.{key}', theirs[key].grad, p.grad, GRAD_TOLERANCE)
    if after:
        for key, value in module.named_buffers():
            if not key.endswith('num_batches_tracked'):
                family.put(name, f'after.{key}', to_golden(value))


def convolutions(family):
    names = {'outputPadding': 'output_padding', 'kernelSize': 'kernel_size'}
    for name, kind, shape, ins, outs, attrs in [
        ('Conv1d', 'Conv1d', (2, 4, 9), 4, 6, {'kernelSize': 3, 'stride': 2, 'padding': 1, 'groups': 2}),
        ('Conv3d', 'Conv3d', (1, 2, 4, 5, 4), 2, 3, {'kernelSize': [2, 3, 2], 'padding': 1, 'bias': False}),
        ('ConvTranspose1d', 'ConvTranspose1d', (2, 3, 5), 3, 4, {'kernelSize': 4, 'stride': 2, 'padding': 1}),
        ('ConvTranspose2d', 'ConvTranspose2d', (2, 4, 3, 4), 4, 6, {'kernelSize': 3, 'stride': 2, 'outputPadding': 1, 'groups': 2}),
    ]:
        options = {names.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}
        x = Random(f'layer_modules/{name}/x').normal(*shape)
        make = lambda k=kind, i=ins, o=outs, a=options: getattr(nn, k)(i, o, **a)  # noqa: E731
        case(family, name, f'nn.{kind}', {'inChannels': ins, 'outChannels': outs, **attrs}, make, {'x': x})


def norms(family):
    for name, kind, shape, attrs, training in [
        ('InstanceNorm1d', 'InstanceNorm1d', (3, 4, 7), {}, True),
        ('InstanceNorm2d-affine', 'InstanceNorm2d', (2, 3, 5, 4), {'affine': True, 'eps': 1e-3}, True),
        ('InstanceNorm2d-track', 'InstanceNorm2d', (2, 3, 5, 4), {'affine': True, 'trackRunningStats': True, 'momentum': 0.3}, True),
        ('InstanceNorm1d-eval', 'InstanceNorm1d', (3, 4, 7), {'trackRunningStats': True}, False),
    ]:
        options = {{'trackRunningStats': 'track_running_stats'}.get(k, k): v for k, v in attrs.items()}
        x = Random(f'layer_modules/{name}/x').normal(*shape, scale=2.0, shift=0.5)
        make = lambda k=kind, n=shape[1], o=options: getattr(nn, k)(n, **o)  # noqa: E731
        case(family, name, f'nn.{kind}', {'numFeatures': shape[1], **attrs}, make, {'x': x}, training=training, after=True)


def attentions(family):
    def attend(m, query, key=None, value=None, keyPaddingMask=None, attnMask=None, causal=False):
        key = query if key is None else key
        value = key if value is None else value
        if causal:
            attnMask = ~torch.ones(query.shape[1], key.shape[1], dtype=torch.bool).tril(key.shape[1] - query.shape[1])
        return m(query, key, value, key_padding_mask=keyPaddingMask, attn_mask=attnMask, need_weights=False)[0]

    def padding(rng, batch, keys):
        mask = rng.bools(0.4, batch, keys)
        mask[:, 0] = False
        return mask

    for name, dims, tq, tk, what, attrs in [
        ('self-padding', (12, 3), 7, 7, ['padding'], {}),
        ('self-causal-padding', (8, 2), 5, 5, ['padding'], {'causal': True}),
        ('cross', (12, 3), 5, 9, ['key'], {}),
        ('cross-value-padding', (12, 2), 4, 6, ['key', 'value', 'padding'], {}),
        ('cross-widths', (8, 2), 3, 5, ['key', 'value', 'padding'], {'kdim': 5, 'vdim': 7}),
        ('cross-noBias', (8, 4), 3, 1, ['key'], {'bias': False}),
        ('bool', (8, 2), 6, 6, ['bool', 'padding'], {}),
        ('bool-heads', (8, 2), 4, 5, ['key', 'bool-heads'], {}),
        ('float', (8, 2), 6, 6, ['float'], {}),
        ('float-heads', (8, 2), 4, 5, ['key', 'float-heads'], {}),
    ]:
        rng = Random(f'layer_modules/MultiheadAttention-{name}/x')
        (dim, heads), batch = dims, 2
        inputs = {'query': rng.normal(batch, tq, dim)}
        if 'key' in what:
            inputs['key'] = rng.normal(batch, tk, attrs.get('kdim', dim))
        if 'value' in what:
            inputs['value'] = rng.normal(batch, tk, attrs.get('vdim', dim))
        if 'padding' in what:
            inputs['options.keyPaddingMask'] = padding(rng, batch, tk)
        for kind in what:
            if kind.startswith(('bool', 'float')):
                shape = (batch * heads, tq, tk) if kind.endswith('heads') else (tq, tk)
                mask = rng.bools(0.4, *shape) if kind.startswith('bool') else rng.normal(*shape)
                if kind.startswith('bool'):
                    mask[..., 0] = False
                inputs['options.attnMask'] = mask
        options = {k: v for k, v in attrs.items() if k != 'causal'}
        make = lambda d=dim, h=heads, o=options: nn.MultiheadAttention(d, h, batch_first=True, **o)  # noqa: E731
        call = lambda m, c=attrs.get('causal', False), **given: attend(m, causal=c, **given)  # noqa: E731
        op_attrs = {'embedDim': dim, 'numHeads': heads, **attrs}
        case(family, f'MultiheadAttention-{name}', 'nn.MultiheadAttention', op_attrs, make, inputs, call)


def parametrized(family):
    linear = {'layer': 'Linear', 'inFeatures': 5, 'outFeatures': 4}
    conv = {'layer': 'Conv2d', 'inChannels': 3, 'outChannels': 4, 'kernelSize': 3}
    flipped = {'layer': 'ConvTranspose2d', 'inChannels': 3, 'outChannels': 4, 'kernelSize': 2}
    rows, image = (6, 5), (2, 3, 5, 5)
    for name, op, attrs, make, shape, training in [
        ('weightNorm-Linear', 'weightNorm', linear, lambda: weight_norm(nn.Linear(5, 4)), rows, True),
        ('weightNorm-Conv2d', 'weightNorm', conv, lambda: weight_norm(nn.Conv2d(3, 4, 3)), image, True),
        ('weightNorm-dim1', 'weightNorm', {**linear, 'dim': 1}, lambda: weight_norm(nn.Linear(5, 4), dim=1), rows, True),
        ('weightNorm-whole', 'weightNorm', {**linear, 'dim': None}, lambda: weight_norm(nn.Linear(5, 4), dim=None), rows, True),
        ('spectralNorm-Linear', 'spectralNorm', linear, lambda: spectral_norm(nn.Linear(5, 4)), rows, True),
        ('spectralNorm-eval', 'spectralNorm', linear, lambda: spectral_norm(nn.Linear(5, 4)), rows, False),
        ('spectralNorm-Conv2d', 'spectralNorm', {**conv, 'iterations': 3}, lambda: spectral_norm(nn.Conv2d(3, 4, 3), n_power_iterations=3), image, True),
        ('spectralNorm-ConvTranspose2d', 'spectralNorm', flipped, lambda: spectral_norm(nn.ConvTranspose2d(3, 4, 2)), image, True),
    ]:
        state = initial_state(f'layer_modules/{name}', make())
        for key in state:
            if key.endswith(('_u', '_v')):
                v = Random(f'layer_modules/{name}/{key}').normal(*state[key].shape)
                state[key] = np.asarray(v / np.linalg.norm(v), np.float32)
            elif key.endswith('original0'):
                state[key] = np.abs(state[key]) + np.float32(0.5)
        x = Random(f'layer_modules/{name}/x').normal(*shape)
        case(family, name, f'nn.{op}', attrs, make, {'x': x}, training=training, after=True, state=state)


def build():
    family = Family('layer_modules')
    convolutions(family)
    norms(family)
    attentions(family)
    parametrized(family)
    prelu = lambda: nn.PReLU(4)  # noqa: E731
    case(family, 'PReLU', 'nn.PReLU', {'numParameters': 4}, prelu, {'x': Random('layer_modules/PReLU/x').away_from([0], 2, 4, 3)})
    for name in ('ReLU6', 'Hardtanh', 'Hardsigmoid', 'Hardswish', 'Mish', 'SELU', 'CELU', 'LogSigmoid', 'Softsign', 'Tanhshrink'):
        x = Random(f'layer_modules/{name}/x').away_from([-3, -1, 0, 1, 3, 6], 7, 33, scale=3.0)
        attrs = {'CELU': {'alpha': 0.7}}.get(name, {})
        case(family, name, f'nn.{name}', attrs, lambda n=name, a=attrs: getattr(nn, n)(**a), {'x': x})
    bag = lambda: nn.EmbeddingBag(7, 3, mode='sum', padding_idx=1)  # noqa: E731
    ids = Random('layer_modules/EmbeddingBag/x').ints(0, 7, 4, 5)
    case(family, 'EmbeddingBag', 'nn.EmbeddingBag', {'count': 7, 'dim': 3, 'mode': 'sum', 'paddingIdx': 1}, bag, {'indices': ids})
    return family
