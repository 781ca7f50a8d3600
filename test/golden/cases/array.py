"""The usual mathematics, remainders, truth, scatters, running sums, order, repetition, einsum, norms, interpolation."""

import numpy as np
import torch
import torch.nn.functional as F

from common import Family, Random, f32

SIZES = [(), (1,), (7,), (3, 11)]
MATHS = {'tan': (-1.2, 1.2), 'asin': (-0.95, 0.95), 'acos': (-0.95, 0.95), 'atan': (-6, 6), 'sinh': (-3, 3), 'cosh': (-3, 3),
         'exp2': (-4, 4), 'log2': (0.1, 6), 'log10': (0.1, 6)}


def label(shape):
    return 'x'.join(map(str, shape)) or 'scalar'


def maths(family):
    for op, (low, high) in MATHS.items():
        for shape in SIZES:
            name = f'{op}/{label(shape)}'
            family.op(name, op, getattr(torch, op), [Random(f'array/{name}').uniform(low, high, *shape)])
        family.op(f'{op}/empty', op, getattr(torch, op), [np.ones((0, 2), np.float32)], tags=['empty'])
    extremes = f32([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0])
    for op in MATHS:
        family.op(f'{op}/extreme', op, getattr(torch, op), [extremes], diff=[False], tags=['nonfinite'])
    family.op('atan/large', 'atan', torch.atan, [f32([1e30, -1e30, 3e38])], diff=[False])
    family.op('sinh/small', 'sinh', torch.sinh, [f32([1e-6, -1e-4, 1e-20, 0.3])], elementwise=True)
    family.op('tan/large', 'tan', torch.tan, [f32([1e3, -12345.5, 70000.25])], tolerance=(1e-4, 1e-3))


def pairs(family):
    rng = Random('array/pairs')
    for a, b in [((), ()), ((5, 7), (7,)), ((4, 1), (3,)), ((129,), (129,))]:
        x, y = rng.normal(*a, scale=3.0), f32(rng.uniform(0.5, 3.0, *b) * (1 - 2 * rng.bools(0.5, *b)))
        family.op(f'atan2/{label(a)},{label(b)}', 'atan2', torch.atan2, [x, y])
        for op in ('fmod', 'remainder'):
            # Near a whole quotient rounding decides: keep away from it.
            q = np.floor(np.broadcast_to(x, np.broadcast_shapes(a, b)) / y) + 0.5
            left = f32(q * y + 0.2 * y)
            family.op(f'{op}/{label(a)},{label(b)}', op, getattr(torch, op), [left, y], tolerance=(1e-5, 1e-4))
        family.op(f'floorDivide/{label(a)},{label(b)}', 'floorDivide', torch.floor_divide, [left, y], diff=[False, False])
    signs = [f32([7, -7, 7, -7, 0, 1, np.inf, 1, np.nan]), f32([3, 3, -3, -3, 5, np.inf, 3, np.nan, 1])]
    for op in ('fmod', 'remainder', 'atan2'):
        family.op(f'{op}/signs', op, getattr(torch, op), signs, diff=[False, False], tags=['nonfinite'])
    ints = [np.array([7, -7, 7, -7, 0, 2**31 - 2, -(2**31) + 2], np.int32), np.array([3, 3, -3, -3, 5, 2, 7], np.int32)]
    for op, fn in {'fmod': torch.fmod, 'remainder': torch.remainder, 'floorDivide': torch.floor_divide, 'bitwiseAnd': torch.bitwise_and,
                   'bitwiseOr': torch.bitwise_or, 'bitwiseXor': torch.bitwise_xor}.items():
        family.op(f'{op}/ints', op, fn, ints)
    family.op('bitwiseNot/ints', 'bitwiseNot', torch.bitwise_not, [ints[0]])


def truth(family):
    x = f32([[0, 1, np.nan, -0.0], [np.inf, -np.inf, 2, 0], [0, 0, 0, 0]])
    y = f32([[1, 1, 0, 0], [0, 3, 0, np.nan], [0, 0, 0, 5]])
    for op in ('isnan', 'isinf', 'isfinite'):
        family.op(op, op, getattr(torch, op), [x], diff=[False])
    family.op('logicalNot', 'logicalNot', torch.logical_not, [x], diff=[False])
    for op, fn in {'logicalAnd': torch.logical_and, 'logicalOr': torch.logical_or, 'logicalXor': torch.logical_xor}.items():
        family.op(op, op, fn, [x, y], diff=[False, False])
        family.op(f'{op}/bools', op, fn, [x > 0, y[0] > 0])
    for axis in (None, 0, 1, (0, 1)):
        for keep in (False, True):
            attrs = {**({} if axis is None else {'axis': list(axis) if isinstance(axis, tuple) else axis}), **({'keepDims': True} if keep else {})}
            dim = tuple(range(2)) if axis is None else axis
            for op, fn in {'any': torch.any, 'all': torch.all}.items():
                family.op(f'{op}/{axis}/{keep}', op, lambda t, fn=fn: fn(t, dim=dim, keepdim=keep), [x], attrs, diff=[False])
            count = lambda t: (t != 0).sum(dim=dim, keepdim=keep)  # noqa: E731
            family.op(f'countNonzero/{axis}/{keep}', 'countNonzero', count, [x], attrs, diff=[False])
    for op, fn in {'any': torch.any, 'all': torch.all}.items():
        family.op(f'{op}/empty', op, lambda t, fn=fn: fn(t, dim=1), [np.ones((3, 0), np.float32)], {'axis': 1}, diff=[False], tags=['empty'])


def scatters(family):
    rng = Random('array/scatter')
    for shape, axis, k in [((7,), 0, 5), ((4, 9), 1, 6), ((9, 3), 0, 4), ((2, 5, 3), 1, 3)]:
        of = [k if i == axis else d for i, d in enumerate(shape)]
        index = np.argsort(rng.uniform(0, 1, *shape), axis=axis).take(range(k), axis=axis).astype(np.int32)
        twice = rng.ints(0, shape[axis], *of)
        x, source = rng.normal(*shape), rng.normal(*of)
        args = ['x', 'index', 'source']
        attrs = {'axis': axis}
        diff = [True, False, True]
        family.op(f'scatter/{label(shape)}/{axis}', 'scatter', lambda a, i, s: a.scatter(axis, i, s), [x, index, source], attrs, args, diff)
        family.op(f'scatterAdd/{label(shape)}/{axis}', 'scatterAdd', lambda a, i, s: a.scatter_add(axis, i, s), [x, twice, source], attrs, args, diff)
        family.op(f'takeAlongAxis/{label(shape)}/{axis}', 'takeAlongAxis', lambda a, i: a.gather(axis, i), [x, twice], attrs, ['x', 'index'], [True, False])
        mask = rng.bools(0.4, shape[-1])
        family.op(f'maskedFill/{label(shape)}', 'maskedFill', lambda a, m: a.masked_fill(m, -2.5), [x, mask], {'value': -2.5}, ['x', 'mask'], [True, False])
        pick = rng.ints(0, shape[axis], 6)
        family.op(f'indexSelect/{label(shape)}/{axis}', 'indexSelect', lambda a: a.index_select(axis, torch.from_numpy(pick.astype(np.int64))), [x],
                  {'axis': axis, 'index': pick.tolist()})


def running(family):
    for shape, axis in [((1,), 0), ((7,), -1), ((33,), 0), ((3, 11), 0), ((3, 11), 1), ((2, 5, 3), 1)]:
        for op, fn in {'cumsum': torch.cumsum, 'cumprod': torch.cumprod}.items():
            name = f'{op}/{label(shape)}/{axis}'
            x = Random(f'array/{name}').normal(*shape)
            if op == 'cumprod':
                x = f32(np.sign(x) * (0.5 + np.abs(x)) ** 0.5)
            family.op(name, op, lambda t, fn=fn: fn(t, axis), [x], {'axis': axis})
    zeros = f32([[2, 0, 3, 1.5], [0, 1, 0, 4], [1, 2, 3, 0]])
    family.op('cumprod/zeros', 'cumprod', lambda t: torch.cumprod(t, 1), [zeros], {'axis': 1})
    family.op('cumsum/ints', 'cumsum', lambda t: torch.cumsum(t, 0), [np.arange(-5, 7, dtype=np.int32)], {'axis': 0})
    family.op('cumsum/bools', 'cumsum', lambda t: torch.cumsum(t, 0), [np.array([True, False, True, True])], {'axis': 0})
    family.op('cumsum/empty', 'cumsum', lambda t: torch.cumsum(t, 1), [np.ones((3, 0), np.float32)], {'axis': 1}, tags=['empty'])


def order(family):
    for shape, axis in [((1,), 0), ((33,), 0), ((3, 11), 0), ((3, 11), 1), ((2, 5, 3), 1)]:
        for down in (False, True):
            x = Random(f'array/sort/{shape}').distinct(*shape)
            attrs = {'axis': axis, **({'descending': True} if down else {})}
            family.op(f'sort/{label(shape)}/{axis}/{down}', 'sort', lambda t: torch.sort(t, dim=axis, descending=down, stable=True), [x], attrs,
                      outs=['values', 'indices'])
    ties = f32([2, 1, 2, np.nan, 1, -np.inf, np.nan, 2, 0.0, -0.0])
    for down in (False, True):
        attrs = {'descending': True} if down else {}
        family.op(f'sort/ties/{down}', 'sort', lambda t: torch.sort(t, descending=down, stable=True), [ties], attrs, diff=[False],
                  outs=['values', 'indices'], tags=['nonfinite'])
        family.op(f'argsort/{down}', 'argsort', lambda t: torch.argsort(t, descending=down, stable=True), [ties], attrs, diff=[False])


def moves(family):
    rng = Random('array/moves')
    x = rng.normal(3, 4, 5)
    for d in (-5, -1, 0, 2, 9):
        family.op(f'tril/{d}', 'tril', lambda t: torch.tril(t, d), [x], {'diagonal': d})
        family.op(f'triu/{d}', 'triu', lambda t: torch.triu(t, d), [x], {'diagonal': d})
    for i, (shifts, axis) in enumerate([(1, None), (-7, None), (2, 0), ([1, -2], [0, 2]), ([1, 3], [1, 1]), (0, 1)]):
        if i == 4:
            continue  # an axis twice: refused here
        attrs = {'shifts': shifts, **({} if axis is None else {'axis': axis})}
        family.op(f'roll/{i}', 'roll', lambda t: torch.roll(t, shifts, axis) if axis is not None else torch.roll(t, shifts), [x], attrs)
    for r in ([1, 1, 1], [2, 1, 3], [2, 3, 1, 1], [1, 0, 2]):
        family.op(f'repeat/{r}', 'repeat', lambda t: t.repeat(r), [x], {'repeats': r}, tags=['empty'] if 0 in r else [])
    for r in ([2], [2, 1], [3, 1, 1, 2]):
        family.op(f'tile/{r}', 'tile', lambda t: torch.tile(t, r), [x], {'repeats': r})
    for r, axis in [(2, None), (3, 1), ([2, 0, 1], 0), (1, 2)]:
        attrs = {'repeats': r, **({} if axis is None else {'axis': axis})}
        family.op(f'repeatInterleave/{r}/{axis}', 'repeatInterleave',
                  lambda t: torch.repeat_interleave(t, torch.tensor(r) if isinstance(r, list) else r, dim=axis), [x], attrs)
    family.op('outer', 'outer', torch.outer, [rng.normal(5), rng.normal(7)])
    family.op('oneHot', 'oneHot', lambda i: F.one_hot(i, 6), [rng.ints(0, 6, 3, 4)], {'numClasses': 6}, ['index'])


def einsums(family):
    for eq, *shapes in [
        ('ij,jk->ik', (3, 5), (5, 4)), ('ij,jk', (3, 5), (5, 4)), ('ba', (3, 5)), ('ii->i', (4, 4)), ('ii', (4, 4)), ('iji->ij', (3, 2, 3)),
        ('i,i->', (7,), (7,)), ('i,j->ij', (7,), (3,)), ('i,i->i', (7,), (7,)), ('ij->', (3, 5)), ('ij->j', (3, 5)),
        ('bij,bjk->bik', (2, 3, 5), (2, 5, 4)), ('bij,bkj->bik', (2, 3, 5), (2, 4, 5)), ('bji,bjk->bki', (2, 5, 3), (2, 5, 4)),
        ('bqhd,bkhd->bhqk', (2, 3, 2, 4), (2, 5, 2, 4)), ('bhqk,bkhd->bqhd', (2, 2, 3, 5), (2, 5, 2, 4)),
        ('...ij,...jk->...ik', (2, 3, 5), (5, 4)), ('...ij,...jk', (2, 1, 3, 5), (4, 5, 2)), ('...i->...', (2, 3, 4)), ('i...,i...->...', (3, 2), (3, 1)),
        ('ij,jk,kl->il', (2, 3), (3, 4), (4, 5)), ('bn,anm,bm->ba', (2, 3), (5, 3, 4), (2, 4)), ('ij,kl->', (2, 3), (4, 5)), ('a,b,c->abc', (2,), (3,), (4,)),
    ]:
        name = f'einsum/{eq}'
        rng = Random(f'array/{name}')
        fn = lambda *t: torch.einsum(eq, *t)  # noqa: E731
        family.op(name, 'einsum', fn, [rng.normal(*s) for s in shapes], {'equation': eq})


def norms(family):
    x = Random('array/norm').away_from([0], 3, 4, 5, gap=0.1)
    for p in (2, 1, 3, 0.5, -1, 0, float('inf'), float('-inf')):
        for axis in (None, 1, (0, 2)):
            attrs = {**({} if axis is None else {'axis': list(axis) if isinstance(axis, tuple) else axis}), 'keepDims': axis == 1}
            attrs['p'] = p if abs(p) != float('inf') else ('Infinity' if p > 0 else '-Infinity')
            family.op(f'norm/{p}/{axis}', 'norm', lambda t: torch.linalg.vector_norm(t, p, dim=axis, keepdim=axis == 1), [x], attrs, diff=[p != 0])
    for p in (2, 1, 3):
        family.op(f'norm/{p}/zero', 'norm', lambda t: torch.linalg.vector_norm(t, p, dim=1), [f32([[0, 0], [3, 4]])], {'p': p, 'axis': 1})


def pictures(family):
    for shape in [(1, 1, 4, 4), (2, 3, 5, 7)]:
        x = Random(f'array/interpolate/{shape}').normal(*shape)
        for attrs in [{'size': [8, 8]}, {'size': 3}, {'scaleFactor': 2}, {'scaleFactor': [1.7, 0.6]}, {'size': [shape[2], shape[3]]}, {'size': 1}]:
            for mode, corners in [('nearest', None), ('bilinear', False), ('bilinear', True)]:
                more = {**attrs, 'mode': mode, **({} if corners is None else {'alignCorners': corners})}
                fn = lambda t: F.interpolate(t, size=attrs.get('size'), scale_factor=attrs.get('scaleFactor'), mode=mode, align_corners=corners)  # noqa: E731
                family.op(f'interpolate/{label(shape)}/{more}', 'interpolate', fn, [x], more)
    rows = Random('array/interpolate/rows').normal(2, 3, 9)
    for mode, corners in [('nearest', None), ('linear', False), ('linear', True)]:
        more = {'size': 14, 'mode': mode, **({} if corners is None else {'alignCorners': corners})}
        family.op(f'interpolate/rows/{mode}/{corners}', 'interpolate', lambda t: F.interpolate(t, size=14, mode=mode, align_corners=corners), [rows], more)


def build():
    family = Family('array')
    for part in (maths, pairs, truth, scatters, running, order, moves, einsums, norms, pictures):
        part(family)
    return family
