"""Looking up, joining, cutting and moving: embedding, gather, concat, split, stack, pad, permute, cast, topK."""

import numpy as np
import torch
import torch.nn.functional as F

from common import Family, Random, f32


def embeddings(family):
    def case(name, rows, width, indices, padding=None, **more):
        weight = Random(f'index/embedding/{name}/weight').normal(rows, width)
        attrs = {} if padding is None else {'paddingIdx': padding}
        fn = lambda i, w: F.embedding(i, w, padding_idx=padding)  # noqa: E731
        family.op(f'embedding/{name}', 'embedding', fn, [indices, weight], attrs, ['indices', 'weight'], [False, True], **more)

    rng = Random('index/embedding')
    case('one', 1, 1, np.array([0], np.int32))
    case('row', 17, 8, rng.ints(0, 17, 7))
    case('grid', 17, 33, rng.ints(0, 17, 3, 5))
    # Far more look-ups than rows: the gradient of a row is a long sum, in a fixed order.
    case('duplicates', 3, 7, rng.ints(0, 3, 129))
    case('padding', 7, 8, rng.ints(0, 7, 4, 9), padding=0)
    case('paddingLast', 7, 8, rng.ints(4, 7, 4, 9), padding=6)
    case('scalar', 5, 4, np.array(3, np.int32))
    case('empty', 5, 4, np.zeros((0, 2), np.int32), tags=['empty'])


def joins(family):
    def many(name, op, fn, shapes, attrs, **more):
        rng = Random(f'index/{op}/{name}')
        inputs = [rng.normal(*s) for s in shapes]
        family.op(f'{op}/{name}', op, lambda *t: fn(t, attrs['axis']), inputs, attrs, [f'tensors.{i}' for i in range(len(shapes))], **more)

    many('axis0', 'concat', torch.cat, [(3, 5), (1, 5), (7, 5)], {'axis': 0})
    many('axis1', 'concat', torch.cat, [(3, 5), (3, 1), (3, 33)], {'axis': 1})
    many('middle', 'concat', torch.cat, [(2, 3, 5), (2, 4, 5)], {'axis': 1})
    many('last', 'concat', torch.cat, [(2, 3, 5), (2, 3, 1), (2, 3, 7)], {'axis': -1})
    many('channels', 'concat', torch.cat, [(2, 3, 4, 4), (2, 5, 4, 4)], {'axis': 1})
    many('single', 'concat', torch.cat, [(7,)], {'axis': 0})
    many('empty', 'concat', torch.cat, [(0, 3), (2, 3), (0, 3)], {'axis': 0}, tags=['empty'])
    many('front', 'stack', torch.stack, [(3, 5), (3, 5), (3, 5)], {'axis': 0})
    many('middle', 'stack', torch.stack, [(3, 5), (3, 5)], {'axis': 1})
    many('last', 'stack', torch.stack, [(3, 5), (3, 5)], {'axis': -1})
    many('scalars', 'stack', torch.stack, [(), (), ()], {'axis': 0})
    ints = [Random(f'index/i32/{i}').ints(-9, 9, 3, 5) for i in range(2)]
    for op, fn in (('concat', torch.cat), ('stack', torch.stack)):
        family.op(f'{op}/i32', op, lambda *t, fn=fn: fn(t, 1), ints, {'axis': 1}, ['tensors.0', 'tensors.1'])

    for name, shape, sizes, axis in [('sizes', (9, 5), [2, 3, 4], 0), ('last', (3, 33), [1, 32], -1), ('middle', (2, 6, 5), [2, 2, 2], 1), ('whole', (7,), [7], 0)]:
        x = Random(f'index/split/{name}').normal(*shape)
        attrs = {'sizes': sizes, 'axis': axis}
        outs = [f'part{i}' for i in range(len(sizes))]
        family.op(f'split/{name}', 'split', lambda x, s=sizes, a=axis: torch.split(x, s, a), [x], attrs, outs=outs)


def moves(family):
    for name, shape, padding, value in [
        ('row', (7,), [[2, 3]], 0),
        ('value', (3, 5), [[1, 0], [2, 1]], -1.5),
        ('image', (2, 3, 4, 5), [[0, 0], [0, 0], [1, 1], [2, 0]], 0),
        ('none', (3, 5), [[0, 0], [0, 0]], 0),
        ('scalarRow', (1,), [[0, 32]], 1),
    ]:
        x = Random(f'index/pad/{name}').normal(*shape)
        flat = [n for before_after in reversed(padding) for n in before_after]
        fn = lambda x, p=flat, v=value: F.pad(x, p, value=v)  # noqa: E731
        family.op(f'pad/{name}', 'pad', fn, [x], {'padding': padding, 'value': value})
    for shape, axes in [((3, 5), [1, 0]), ((2, 3, 5), [2, 0, 1]), ((2, 3, 5), [0, 2, 1]), ((2, 3, 4, 5), [0, 2, 3, 1]), ((2, 3, 4, 5), [3, 1, 0, 2]), ((33, 65), [-1, 0]), ((7,), [0])]:
        name = f'permute/{"x".join(map(str, shape))}-{"".join(map(str, axes))}'
        x = Random(f'index/{name}').normal(*shape)
        family.op(name, 'permute', lambda x, a=axes: x.permute(a), [x], {'axes': axes})
    x = Random('index/permute/i32').ints(-9, 9, 3, 5)
    family.op('permute/i32', 'permute', lambda x: x.permute(1, 0), [x], {'axes': [1, 0]})
    for shape, to in [((33,), [5, 33]), ((5, 1), [5, 7]), ((), [3, 2]), ((3, 1, 1), [2, 3, 4, 5])]:
        name = f'broadcastTo/{"x".join(map(str, shape)) or "scalar"}-{"x".join(map(str, to))}'
        x = Random(f'index/{name}').normal(*shape)
        family.op(name, 'broadcastTo', lambda x, t=to: x.expand(t).clone(), [x], {'shape': to}, tags=['optional'])
    for name, shape, picks, axis in [('last', (5, 7), (5, 3), 1), ('first', (5, 7), (9, 7), 0), ('middle', (2, 5, 3), (2, 8, 3), 1), ('row', (33,), (65,), -1)]:
        rng = Random(f'index/gather/{name}')
        inputs = [rng.normal(*shape), rng.ints(0, shape[axis], *picks)]
        fn = lambda x, i, a=axis: x.gather(a, i)  # noqa: E731
        family.op(f'gather/{name}', 'gather', fn, inputs, {'axis': axis}, ['x', 'index'], tags=['optional'])


def rounded(dtype):
    """Casts, and widens again so that the golden needs no 16-bit type: the stored value is exact."""

    def fn(x):
        # From f32: f64 to a 16-bit type would be right too, but some builds round twice on the way.
        return x.to(torch.float32).to(dtype).to(torch.float32)

    return fn


def casts(family):
    def case(name, x, to, fn):
        family.op(f'cast/{name}', 'cast', fn, [x], {'dtype': to}, diff=[False])

    fractions = f32([0.0, -0.0, 0.4, 0.5, 0.6, -0.4, -0.5, -0.6, 1.5, 2.5, -1.5, 100.99, -100.99, 2**24, -(2**24)])
    case('f32-i32', fractions, 'i32', lambda x: x.to(torch.int64))
    case('f32-u8', f32([0.0, 0.9, 1.0, 127.5, 255.0]), 'u8', lambda x: x.to(torch.uint8))
    case('f32-bool', f32([0.0, -0.0, 1e-30, -2.0, float('nan'), float('inf')]), 'bool', lambda x: x.to(torch.bool))
    ints = np.array([0, 1, -1, 255, 2**24, 2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**31 - 1, -(2**31)], np.int32)
    case('i32-f32', ints, 'f32', lambda x: x.to(torch.float64))
    case('i32-bool', ints, 'bool', lambda x: x != 0)
    case('bool-f32', np.array([True, False]), 'f32', lambda x: x.to(torch.float64))
    case('bool-i32', np.array([True, False]), 'i32', lambda x: x.to(torch.int64))
    # Ties to even, the carry into the exponent, the largest finite value, overflow, subnormals of both kinds, inf and nan.
    hard = [1.0, -1.0, 1.00390625, 1.01171875, 1.001953125, 1.00048828125, 1.00146484375, 65504.0, 65519.0, 65520.0, 1e6, 3.4e38, -3.4e38]
    hard += [6.1e-5, 5.96e-8, 2.98e-8, 2.99e-8, 8.9e-8, 1e-40, float('inf'), float('-inf'), float('nan'), -0.0, 0.1, -1 / 3]
    for to, dtype in (('bf16', torch.bfloat16), ('f16', torch.float16)):
        case(f'f32-{to}-hard', f32(hard), to, rounded(dtype))
        case(f'f32-{to}', Random(f'index/cast/{to}').normal(129), to, rounded(dtype))


def top_k(family):
    for name, shape, attrs in [
        ('row', (33,), {'k': 5}),
        ('one', (1,), {'k': 1}),
        ('all', (7,), {'k': 7}),
        ('last', (5, 33), {'k': 3}),
        ('smallest', (5, 33), {'k': 3, 'largest': False}),
        ('axis0', (129, 2), {'k': 4, 'axis': 0}),
        ('middle', (2, 17, 3), {'k': 2, 'axis': 1}),
    ]:
        x = Random(f'index/topK/{name}').distinct(*shape)
        fn = lambda x, a=attrs: x.topk(a['k'], dim=a.get('axis', -1), largest=a.get('largest', True))  # noqa: E731
        family.op(f'topK/{name}', 'topK', fn, [x], attrs, outs=['values', 'indices'])


def build():
    family = Family('index')
    embeddings(family)
    joins(family)
    moves(family)
    casts(family)
    top_k(family)
    return family
