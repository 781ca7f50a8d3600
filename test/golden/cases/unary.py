"""Elementwise ops of one tensor."""

import torch
import torch.nn.functional as F

from common import Family, Random, f32

# Where the domain allows: signs, zeros, tiny, moderate, saturating, overflowing in f32.
ANY = [0.0, 1e-8, -1e-8, 1e-4, -1e-4, 0.5, -0.5, 1.0, -1.0, 5.0, -5.0, 9.5, -9.5, 20.5, -20.5, 60.0, -60.0, 87.0, -87.0, 100.0, -100.0]
LARGE = ANY + [1e3, -1e3, 1e4, -1e4]
SMALL_LARGE = [0.0, 1e-6, -1e-6, 0.5, -0.5, 3.0, -3.0, 10.0, -10.0, 100.0, -100.0, 1e3, -1e3, 1e4, -1e4]
POSITIVE = [1e-30, 1e-10, 1e-4, 0.25, 0.999, 1.0, 1.001, 2.0, 1e3, 1e10, 1e30]
ROUNDS = [0.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 0.49999997, -0.49999997, 3.0, -3.0, 8388607.5, -8388607.5, 16777216.0, 1e20, -1e20]

# op, attrs, reference, domain, extremes, compared element by element at the extremes
TABLE = [
    ('neg', {}, torch.neg, 'any', ANY, True),
    ('abs', {}, torch.abs, 'kink', ANY, True),
    ('exp', {}, torch.exp, 'any', ANY, True),
    ('log', {}, torch.log, 'positive', POSITIVE, True),
    ('log1p', {}, torch.log1p, 'aboveMinusOne', [0.0, 1e-8, -1e-8, 1e-3, -1e-3, -0.999, 1.0, 1e4, 1e10, 1e30], True),
    # below -5 PyTorch's gradient, expm1(x) + 1, loses exp(x) to cancellation
    ('expm1', {}, torch.expm1, 'any', [v for v in ANY if v >= -5], True),
    ('sqrt', {}, torch.sqrt, 'positive', POSITIVE, True),
    ('rsqrt', {}, torch.rsqrt, 'positive', [1e-20, *POSITIVE[1:]], True),
    ('square', {}, torch.square, 'any', [0.0, 1e-10, -1e-10, 3.0, -3.0, 1e15, -1e15], True),
    ('reciprocal', {}, torch.reciprocal, 'nonzero', [1e-15, -1e-15, 0.5, -0.5, 3.0, 1e10, -1e10], True),
    ('sin', {}, torch.sin, 'any', SMALL_LARGE, False),
    ('cos', {}, torch.cos, 'any', SMALL_LARGE, False),
    ('tanh', {}, torch.tanh, 'any', LARGE, False),
    ('sigmoid', {}, torch.sigmoid, 'any', LARGE, False),
    ('erf', {}, torch.erf, 'any', LARGE, False),
    ('relu', {}, F.relu, 'kink', LARGE, True),
    ('leakyRelu', {'slope': 0.01}, lambda x: F.leaky_relu(x, 0.01), 'kink', LARGE, True),
    ('leakyRelu', {'slope': 0.25}, lambda x: F.leaky_relu(x, 0.25), 'kink', LARGE, True),
    ('elu', {'alpha': 1.0}, F.elu, 'kink', LARGE, False),
    ('elu', {'alpha': 0.5}, lambda x: F.elu(x, 0.5), 'kink', LARGE, False),
    ('gelu', {}, F.gelu, 'any', LARGE, False),
    ('gelu', {'approximate': 'tanh'}, lambda x: F.gelu(x, approximate='tanh'), 'any', LARGE, False),
    ('silu', {}, F.silu, 'any', LARGE, False),
    ('softplus', {}, F.softplus, 'any', LARGE, False),
    ('clamp', {'min': -0.5, 'max': 1.25}, lambda x: x.clamp(-0.5, 1.25), 'kink', [*LARGE[:5], *LARGE[7:]], True),
    ('clamp', {'min': 0.25}, lambda x: x.clamp(min=0.25), 'kink', LARGE, True),
    ('clamp', {'max': 0.25}, lambda x: x.clamp(max=0.25), 'kink', LARGE, True),
    ('floor', {}, torch.floor, 'flat', ROUNDS, True),
    ('ceil', {}, torch.ceil, 'flat', ROUNDS, True),
    ('round', {}, torch.round, 'flat', ROUNDS, True),
    ('sign', {}, torch.sign, 'flat', ANY, True),
    ('pow', {'exponent': 2}, lambda x: x.pow(2), 'any', [0.0, -3.0, 1e15, -1e15], True),
    ('pow', {'exponent': 3}, lambda x: x.pow(3), 'any', [0.0, -3.0, 1e10, -1e10], True),
    ('pow', {'exponent': 0}, lambda x: x.pow(0), 'any', [0.0, -3.0, 1e15, -1e15], True),
    ('pow', {'exponent': 1}, lambda x: x.pow(1), 'any', [0.0, -3.0, 1e15, -1e15], True),
    ('pow', {'exponent': 0.5}, lambda x: x.pow(0.5), 'positive', POSITIVE, True),
    ('pow', {'exponent': -1}, lambda x: x.pow(-1), 'nonzero', [1e-10, -1e-10, 3.0, -3.0, 1e10], True),
    ('pow', {'exponent': -2}, lambda x: x.pow(-2), 'nonzero', [1e-10, -1e-10, 3.0, -3.0, 1e10], True),
    ('pow', {'exponent': 1.7}, lambda x: x.pow(1.7), 'positive', [1e-10, 0.5, 3.0, 1e5], True),
    ('hardtanh', {}, F.hardtanh, 'kink', [*LARGE[:7], *LARGE[9:]], True),
]
SHAPES = [(), (1,), (7,), (3, 43), (2, 3, 1, 17)]
KINKS = [-1.0, -0.5, 0.0, 0.25, 1.0, 1.25]
OPTIONAL = {'hardtanh'}
# At inf, -inf and nan the last two are x * 0 = nan by their formula, and sign(nan) is nobody's promise.
UNSAFE_AT_INFINITY = {'gelu', 'silu', 'sign', 'floor', 'ceil', 'round'}


def sample(domain, rng, shape):
    if domain == 'positive':
        return rng.uniform(0.05, 4.0, *shape)
    if domain == 'aboveMinusOne':
        return rng.uniform(-0.9, 4.0, *shape)
    if domain == 'nonzero':
        x = rng.uniform(0.2, 3.0, *shape)
        return f32(x * (1 - 2 * rng.bools(0.5, *shape)))
    return rng.away_from(KINKS, *shape)


def label(op, attrs):
    return op + ''.join(f'-{k}{v}' for k, v in attrs.items())


def build():
    family = Family('unary')
    for op, attrs, fn, domain, extremes, elementwise in TABLE:
        base = label(op, attrs)
        diff = [domain != 'flat']
        tags = ['optional'] if op in OPTIONAL else []
        for shape in SHAPES:
            name = f'{base}/{"x".join(map(str, shape)) or "scalar"}'
            family.op(name, op, fn, [sample(domain, Random(f'unary/{name}'), shape)], attrs, diff=diff, tags=tags)
        family.op(f'{base}/empty', op, fn, [f32([]).reshape(0, 3)], attrs, diff=diff, tags=[*tags, 'empty'])
        values = extremes if domain != 'kink' else [v for v in extremes if v not in KINKS]
        family.op(f'{base}/extreme', op, fn, [f32(values)], attrs, diff=diff, tags=[*tags, 'extreme'], elementwise=elementwise)
        if op not in UNSAFE_AT_INFINITY:
            x = f32([float('inf'), float('-inf'), float('nan'), 1.5, 0.0, -1.0])
            family.op(f'{base}/nonfinite', op, fn, [x], attrs, diff=[False], tags=[*tags, 'nonfinite'])

    # PyTorch's choice of a subgradient at the kink.
    for op, attrs, at in [
        ('abs', {}, [0.0, -0.0, 1.0]),
        ('relu', {}, [0.0, -0.0, 1.0]),
        ('leakyRelu', {'slope': 0.25}, [0.0, -0.0, 1.0]),
        ('clamp', {'min': -0.5, 'max': 1.25}, [-0.5, 1.25, 0.0]),
    ]:
        fn = next(row[2] for row in TABLE if row[0] == op and row[1] == attrs)
        family.op(f'{label(op, attrs)}/kink', op, fn, [f32(at)], attrs, tags=['ties'])
    for op, fn in [('neg', torch.neg), ('abs', torch.abs)]:
        family.op(f'{op}/i32', op, fn, [Random(f'unary/{op}/i32').ints(-1000, 1000, 33)])
    return family
