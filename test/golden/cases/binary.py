"""Elementwise ops of two tensors, with NumPy's broadcasting; comparisons; where."""

import numpy as np
import torch

from common import Family, Random, f32

# (a, b): equal shapes, ragged ends, scalars, leading, inner and two-sided broadcasts
SHAPES = [
    ((), ()),
    ((129,), (129,)),
    ((3, 43), (3, 43)),
    ((3, 43), ()),
    ((), (33,)),
    ((5, 33), (33,)),
    ((7,), (4, 7)),
    ((5, 1), (5, 33)),
    ((2, 3, 5, 7), (3, 1, 1)),
    ((4, 1, 7), (5, 1)),
    ((1,), (1, 1, 1)),
]
EMPTY = [((0,), (0,)), ((0, 3), (3,)), ((2, 0), (2, 1))]
ARITHMETIC = {
    'add': torch.add,
    'sub': torch.sub,
    'mul': torch.mul,
    'div': torch.div,
    'pow': torch.pow,
    'maximum': torch.maximum,
    'minimum': torch.minimum,
}
COMPARISONS = {'eq': torch.eq, 'ne': torch.ne, 'lt': torch.lt, 'le': torch.le, 'gt': torch.gt, 'ge': torch.ge}


def label(*shapes):
    return ','.join('x'.join(map(str, s)) or 'scalar' for s in shapes)


def pair(op, rng, a, b):
    if op == 'pow':
        return [rng.uniform(0.2, 3.0, *a), rng.normal(*b)]
    if op == 'div':
        return [rng.normal(*a), f32(rng.uniform(0.3, 3.0, *b) * (1 - 2 * rng.bools(0.5, *b)))]
    if op in ('maximum', 'minimum'):
        # Even and odd quarters: never equal, so that the gradient has one answer.
        return [f32(rng.ints(-20, 20, *a) * 0.5), f32(rng.ints(-20, 20, *b) * 0.5 + 0.25)]
    return [rng.normal(*a), rng.normal(*b)]


def build():
    family = Family('binary')
    for op, fn in ARITHMETIC.items():
        for a, b in SHAPES:
            name = f'{op}/{label(a, b)}'
            family.op(name, op, fn, pair(op, Random(f'binary/{name}'), a, b))
        for a, b in EMPTY:
            family.op(f'{op}/{label(a, b)}', op, fn, [np.ones(a, np.float32), np.ones(b, np.float32)], tags=['empty'])

    ints = Random('binary/ints')
    for op in ('add', 'sub', 'mul', 'maximum', 'minimum'):
        family.op(f'{op}/i32', op, ARITHMETIC[op], [ints.ints(-500, 500, 5, 33), ints.ints(-500, 500, 33)])
        family.op(f'{op}/number', op, lambda x, fn=ARITHMETIC[op]: fn(x, torch.full_like(x, 2.5)), [ints.normal(3, 7)], {'other': 2.5}, tags=['scalarOther'])
    family.op('div/number', 'div', lambda x: x / 2.5, [ints.normal(3, 7)], {'other': 2.5}, tags=['scalarOther'])

    big = f32([1e30, -1e30, 1e-30, 1.0, 0.0])
    family.op('div/extreme', 'div', torch.div, [big, f32([1e-5, 1e20, 1e-5, -0.0, 0.0])], diff=[False, False], tags=['extreme'])
    family.op('mul/extreme', 'mul', torch.mul, [big, f32([1e30, 1e-30, 1e30, -0.0, 1e30])], tags=['extreme'], elementwise=True)
    # A negative base has a real power only at whole exponents, and no gradient for the exponent.
    whole = [f32([-2.0, -2.0, -3.0, 2.0, 0.0, -1.5]), f32([2.0, 3.0, -1.0, 0.0, 2.0, 1.0])]
    family.op('pow/negativeBase', 'pow', torch.pow, whole, diff=[True, False], tags=['extreme'])
    # 0^y: d/dx at y = 1 is 1, at y = 2 is 0; d/dy is 0 by PyTorch's rule, not nan.
    family.op('pow/zeroBase', 'pow', torch.pow, [f32([0.0, 0.0, 0.0]), f32([1.0, 2.0, 3.0])], tags=['extreme'])
    nan = [f32([float('nan'), 1.0, float('inf'), float('-inf')]), f32([1.0, float('nan'), 2.0, 2.0])]
    ties = [f32([1.0, 2.0, -3.0, 0.0]), f32([1.0, 0.0, -3.0, 0.0])]
    for op in ('maximum', 'minimum'):
        family.op(f'{op}/nonfinite', op, ARITHMETIC[op], nan, diff=[False, False], tags=['nonfinite'])
        family.op(f'{op}/ties', op, ARITHMETIC[op], ties, tags=['ties'])

    for op, fn in COMPARISONS.items():
        for a, b in SHAPES[1:10]:
            rng = Random(f'binary/{op}/{label(a, b)}')
            inputs = [f32(rng.ints(-3, 4, *a)), f32(rng.ints(-3, 4, *b))]
            family.op(f'{op}/{label(a, b)}', op, fn, inputs, diff=[False, False])
        rng = Random(f'binary/{op}/i32')
        family.op(f'{op}/i32', op, fn, [rng.ints(-3, 4, 5, 33), rng.ints(-3, 4, 33)])
        special = [f32([float('nan'), 0.0, float('inf'), 1.0]), f32([float('nan'), -0.0, float('inf'), float('nan')])]
        family.op(f'{op}/nonfinite', op, fn, special, diff=[False, False], tags=['nonfinite'])
        family.op(f'{op}/empty', op, fn, [f32([]), f32([])], diff=[False, False], tags=['empty'])

    for c, a, b in [((), (), ()), ((3, 43), (3, 43), (3, 43)), ((5, 1), (33,), (5, 33)), ((7,), (), (4, 7)), ((2, 3, 5), (3, 1), ()), ((0, 3), (3,), ())]:
        name = f'where/{label(c, a, b)}'
        rng = Random(f'binary/{name}')
        inputs = [rng.bools(0.5, *c), rng.normal(*a), rng.normal(*b)]
        family.op(name, 'where', torch.where, inputs, args=['condition', 'x', 'y'], tags=['empty'] if 0 in c else [])
    # The branch not taken may be nan or inf: it must leave no trace in the gradient.
    inputs = [np.array([True, False, True]), f32([1.0, float('nan'), 2.0]), f32([float('inf'), 5.0, float('nan')])]
    family.op('where/nonfinite', 'where', torch.where, inputs, args=['condition', 'x', 'y'], tags=['nonfinite'])
    return family
