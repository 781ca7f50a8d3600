"""Reductions over one, several or all axes; softmax and log-softmax."""

import numpy as np
import torch

from common import Family, Random, f32


def axes_of(attrs, x):
    axis = attrs.get('axis')
    return tuple(range(x.ndim)) if axis is None else tuple(axis) if isinstance(axis, list) else (axis,)


def keep(attrs):
    return attrs.get('keepDims', False)


def arg(fn):
    return lambda x, a: fn(x, dim=a['axis'], keepdim=keep(a)) if 'axis' in a else fn(x)


def prod(x, attrs):
    return x.prod(dim=attrs['axis'], keepdim=keep(attrs)) if 'axis' in attrs else x.prod()


def variance(x, attrs):
    return torch.var(x, dim=axes_of(attrs, x), correction=attrs.get('correction', 1), keepdim=keep(attrs))


REDUCTIONS = {
    'sum': lambda x, a: x.sum(dim=axes_of(a, x), keepdim=keep(a)) if x.ndim else x.sum(),
    'mean': lambda x, a: x.mean(dim=axes_of(a, x), keepdim=keep(a)) if x.ndim else x.mean(),
    'max': lambda x, a: x.amax(dim=axes_of(a, x), keepdim=keep(a)) if x.ndim else x.amax(),
    'min': lambda x, a: x.amin(dim=axes_of(a, x), keepdim=keep(a)) if x.ndim else x.amin(),
    'logSumExp': lambda x, a: x.logsumexp(dim=axes_of(a, x), keepdim=keep(a)),
    'variance': variance,
    'argmax': arg(torch.argmax),
    'argmin': arg(torch.argmin),
    'prod': prod,
}
SINGLE = {'argmax', 'argmin', 'prod'}
DISTINCT = {'max', 'min', 'argmax', 'argmin'}

# shape, options
PLACES = [
    ((7,), {}),
    ((1,), {'axis': 0}),
    ((129,), {'axis': -1, 'keepDims': True}),
    ((3, 43), {}),
    ((5, 33), {'axis': 0}),
    ((5, 33), {'axis': 1}),
    ((33, 7), {'axis': -1, 'keepDims': True}),
    ((2, 129), {'axis': 1}),
    ((129, 2), {'axis': 0, 'keepDims': True}),
    ((3, 5, 7), {'axis': 1}),
    ((3, 5, 7), {'axis': [0, 2]}),
    ((3, 5, 7), {'axis': [-1, 0], 'keepDims': True}),
    ((2, 3, 4, 5), {'axis': [0, 2, 3], 'keepDims': True}),
    ((2, 3, 4, 5), {'axis': [1, 2]}),
    ((3, 1, 7), {'axis': 1}),
]


def label(shape, attrs):
    rest = ''.join(f'-{k}{v}' for k, v in attrs.items()).replace(' ', '').replace('True', '').replace('[', '').replace(']', '')
    return ('x'.join(map(str, shape)) or 'scalar') + rest


def sample(op, name, shape):
    rng = Random(f'reduce/{name}')
    if op in DISTINCT:
        return rng.distinct(*shape)
    # A shifted mean keeps sums away from 0, where the relative error of any order of summation is unbounded.
    return rng.uniform(0.5, 1.5, *shape) if op == 'prod' else rng.normal(*shape, shift=0.5)


def reductions(family):
    for op, fn in REDUCTIONS.items():
        diff = [op not in ('argmax', 'argmin')]
        for shape, attrs in PLACES:
            if op in SINGLE and isinstance(attrs.get('axis'), list):
                continue
            for extra in ([{'correction': 0}, {'correction': 1}] if op == 'variance' else [{}]):
                if extra.get('correction') == 1 and np.prod([shape[i] for i in axes_of(attrs, np.empty(shape))]) == 1:
                    continue  # 0 / 0
                options = {**attrs, **extra}
                name = f'{op}/{label(shape, options)}'
                tags = ['optional'] if op == 'prod' else []
                family.op(name, op, lambda x, fn=fn, o=options: fn(x, o), [sample(op, name, shape)], options, diff=diff, tags=tags)
        if op != 'variance':
            tags = ['optional'] if op == 'prod' else []
            family.op(f'{op}/scalar', op, lambda x, fn=fn: fn(x, {}), [f32(1.5)], {}, diff=diff, tags=tags)

    for op in ('sum', 'mean', 'logSumExp'):
        fn = REDUCTIONS[op]
        family.op(f'{op}/empty-3x0-axis1', op, lambda x, fn=fn: fn(x, {'axis': 1}), [np.zeros((3, 0), np.float32)], {'axis': 1}, tags=['empty'])
    for op in ('sum', 'mean', 'max', 'min', 'logSumExp', 'argmax'):
        fn = REDUCTIONS[op]
        x = np.zeros((0, 3), np.float32)
        family.op(f'{op}/empty-0x3-axis1', op, lambda x, fn=fn: fn(x, {'axis': 1}), [x], {'axis': 1}, diff=[op != 'argmax'], tags=['empty'])
    family.op('sum/empty', 'sum', lambda x: x.sum(), [f32([])], tags=['empty'])
    rng = Random('reduce/i32')
    for op in ('sum', 'max', 'min', 'argmax'):
        x = rng.rng.permutation(165).astype(np.int32).reshape(5, 33) - 80
        family.op(f'{op}/i32-axis1', op, lambda x, fn=REDUCTIONS[op]: fn(x, {'axis': 1}), [x], {'axis': 1})

    # Ties: max and min share the gradient evenly (PyTorch's amax); argmax and argmin name the first.
    x = f32([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [0.0, -1.0, -1.0, -1.0]])
    for op in ('max', 'min'):
        family.op(f'{op}/ties', op, lambda x, fn=REDUCTIONS[op]: fn(x, {'axis': 1}), [x], {'axis': 1}, tags=['ties'])
    for op, first in (('argmax', np.argmax), ('argmin', np.argmin)):
        family.op(f'{op}/ties', op, lambda x, f=first: torch.from_numpy(f(x.numpy(), axis=1)), [x], {'axis': 1}, diff=[False], tags=['ties'])

    # nan wins every maximum and minimum; the shift inside logSumExp must not overflow or meet inf - inf.
    nan = f32([[1.0, float('nan'), 2.0], [float('inf'), 0.0, 1.0], [float('-inf'), 0.0, 1.0]])
    for op in ('sum', 'mean', 'max', 'min', 'logSumExp'):
        fn = REDUCTIONS[op]
        family.op(f'{op}/nonfinite', op, lambda x, fn=fn: fn(x, {'axis': 1}), [nan], {'axis': 1}, diff=[False], tags=['nonfinite'])
    big = f32([[1000.0, 999.0, -1000.0], [-1e4, -1e4, -1e4], [88.0, 89.0, 90.0], [-200.0, 0.0, float('-inf')]])
    family.op('logSumExp/extreme', 'logSumExp', lambda x: x.logsumexp(1), [big], {'axis': 1}, tags=['extreme'])
    # A mean far from 0 destroys the one-pass E[x^2] - E[x]^2 in f32.
    far = Random('reduce/far').normal(4, 129, shift=1000.0)
    for c in (0, 1):
        attrs = {'axis': 1, 'correction': c}
        family.op(f'variance/extreme-correction{c}', 'variance', lambda x, a=attrs: variance(x, a), [far], attrs, tags=['extreme'])


def softmaxes(family):
    big = f32([[1000.0, 999.0, -1000.0, 0.0], [-1e4, -1e4, -1e4, -1e4 + 1], [88.0, 89.0, 90.0, 60.0], [0.0, -200.0, 1.0, -300.0]])
    masked = f32([[1.0, float('-inf'), 2.0], [float('-inf'), float('-inf'), 0.5]])
    for op, fn in (('softmax', torch.softmax), ('logSoftmax', torch.log_softmax)):
        for shape, axis in [((7,), 0), ((1,), 0), ((5, 33), -1), ((5, 33), 0), ((3, 129), 1), ((3, 5, 7), 1), ((2, 3, 4, 5), 1), ((2, 3, 4, 5), -1), ((4, 1), 1)]:
            name = f'{op}/{label(shape, {"axis": axis})}'
            rng = Random(f'reduce/{name}')
            family.op(name, op, lambda x, fn=fn, d=axis: fn(x, d), [rng.normal(*shape, scale=2.0)], {'axis': axis})
        family.op(f'{op}/scalar', op, lambda x, fn=fn: fn(x, 0), [f32(2.5)], {'axis': 0}, tags=['optional'])
        family.op(f'{op}/empty', op, lambda x, fn=fn: fn(x, 1), [np.zeros((0, 5), np.float32)], {'axis': 1}, tags=['empty'])
        family.op(f'{op}/extreme', op, lambda x, fn=fn: fn(x, 1), [big], {'axis': 1}, tags=['extreme'])
    family.op('softmax/nonfinite', 'softmax', lambda x: torch.softmax(x, 1), [masked], {'axis': 1}, tags=['nonfinite'])
    family.op('logSoftmax/nonfinite', 'logSoftmax', lambda x: torch.log_softmax(x, 1), [masked], {'axis': 1}, diff=[False], tags=['nonfinite'])


def build():
    family = Family('reduce')
    reductions(family)
    softmaxes(family)
    return family
