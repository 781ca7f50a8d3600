"""matmul with its transpose flags and batch broadcasting, and linear with its activation epilogues."""

import numpy as np
import torch.nn.functional as F

from common import Family, Random

# a, b as multiplied (before the flags store them transposed)
PLAIN = [
    ((1, 1), (1, 1)),
    ((7, 33), (33, 5)),
    ((33, 129), (129, 17)),
    ((1, 33), (33, 1)),
    ((65, 1), (1, 7)),
    ((3, 5, 7), (3, 7, 9)),
    ((2, 3, 5, 7), (2, 3, 7, 4)),
    ((4, 5, 7), (7, 3)),
    ((5, 7), (4, 7, 3)),
    ((2, 1, 5, 7), (3, 7, 4)),
    ((1, 5, 7), (6, 7, 2)),
]
VECTORS = [((33,), (33,)), ((7,), (7, 5)), ((5, 7), (7,)), ((7,), (3, 7, 5)), ((3, 5, 7), (7,))]
EMPTY = [((2, 0), (0, 3)), ((0, 4), (4, 3)), ((3, 4), (4, 0)), ((0, 2, 3), (0, 3, 4))]
ACTIVATIONS = {'none': lambda x: x, 'relu': F.relu, 'gelu': F.gelu}


def label(*shapes):
    return ','.join('x'.join(map(str, s)) for s in shapes)


def swap(shape):
    return (*shape[:-2], shape[-1], shape[-2])


def multiply(ta, tb):
    return lambda a, b: (a.mT if ta else a) @ (b.mT if tb else b)


def build():
    family = Family('matmul')
    for a, b in PLAIN + VECTORS:
        name = f'matmul/{label(a, b)}'
        rng = Random(f'matmul/{name}')
        # A shift keeps the single dot products away from 0.
        shift = 0.5 if len(a) == len(b) == 1 else 0.0
        family.op(name, 'matmul', multiply(False, False), [rng.normal(*a, shift=shift), rng.normal(*b, shift=shift)], args=['a', 'b'])
    for a, b in [PLAIN[1], PLAIN[2], PLAIN[5], PLAIN[7], PLAIN[9]]:
        for ta, tb in ((True, False), (False, True), (True, True)):
            name = f'matmul/{label(a, b)}-{"T" if ta else "N"}{"T" if tb else "N"}'
            rng = Random(f'matmul/{name}')
            inputs = [rng.normal(*(swap(a) if ta else a)), rng.normal(*(swap(b) if tb else b))]
            family.op(name, 'matmul', multiply(ta, tb), inputs, {'transposeA': ta, 'transposeB': tb}, args=['a', 'b'])
    for a, b in EMPTY:
        inputs = [np.ones(a, np.float32), np.ones(b, np.float32)]
        family.op(f'matmul/{label(a, b)}', 'matmul', multiply(False, False), inputs, args=['a', 'b'], tags=['empty'])

    for shape, out in [((5, 7), 3), ((1, 1), 1), ((33, 17), 65), ((2, 3, 33), 9), ((7,), 5), ((2, 2, 3, 5), 4), ((129, 8), 1)]:
        for activation, act in ACTIVATIONS.items():
            for bias in (True, False):
                name = f'linear/{label(shape)}-{out}-{activation}{"" if bias else "-nobias"}'
                rng = Random(f'matmul/{name}')
                inputs = [rng.normal(*shape), rng.normal(out, shape[-1])] + ([rng.normal(out)] if bias else [])
                if activation == 'relu':
                    pre = inputs[0].astype(np.float64) @ inputs[1].T.astype(np.float64) + (inputs[2] if bias else 0)
                    assert np.abs(pre).min() > 1e-5, f'{name}: a value too near the kink of relu'
                attrs = {} if activation == 'none' else {'activation': activation}
                family.op(name, 'linear', lambda *t, act=act: act(F.linear(*t)), inputs, attrs, args=['x', 'weight', 'bias'][: len(inputs)])
    inputs = [np.ones((0, 4), np.float32), np.ones((3, 4), np.float32), np.ones(3, np.float32)]
    family.op('linear/0x4-3', 'linear', F.linear, inputs, args=['x', 'weight', 'bias'], tags=['empty'])
    return family
