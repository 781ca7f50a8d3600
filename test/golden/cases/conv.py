"""conv2d and its three gradients, max and average pooling. Activations NCHW, kernels OIHW."""

import torch.nn.functional as F

from common import Family, Random, f32

# input, kernel, options, bias
CONVS = [
    ('basic', (2, 3, 8, 8), (4, 3, 3, 3), {}, True),
    ('nobias', (2, 3, 8, 8), (4, 3, 3, 3), {}, False),
    ('one', (1, 1, 1, 1), (1, 1, 1, 1), {}, True),
    ('pointwise', (3, 7, 5, 5), (9, 7, 1, 1), {}, True),
    ('ragged', (1, 5, 9, 11), (7, 5, 3, 3), {'padding': 1}, True),
    ('padded', (2, 3, 7, 7), (4, 3, 3, 3), {'padding': 1}, True),
    ('wideKernel', (2, 2, 9, 9), (3, 2, 5, 5), {'padding': 2}, False),
    ('wholeInput', (3, 4, 5, 5), (6, 4, 5, 5), {}, True),
    ('oblong', (2, 3, 6, 9), (4, 3, 1, 5), {'padding': [0, 2]}, True),
    ('strided', (2, 3, 9, 9), (4, 3, 3, 3), {'stride': 2}, True),
    ('stridedRemainder', (2, 3, 8, 10), (4, 3, 3, 3), {'stride': 3, 'padding': 1}, True),
    ('stridePair', (1, 3, 9, 8), (4, 3, 3, 2), {'stride': [2, 1], 'padding': [1, 0]}, True),
    ('stridedPointwise', (2, 4, 7, 7), (5, 4, 1, 1), {'stride': 2}, False),
    ('dilated', (2, 3, 10, 10), (4, 3, 3, 3), {'dilation': 2}, True),
    ('dilatedPair', (1, 2, 11, 9), (3, 2, 3, 3), {'dilation': [3, 2], 'padding': [1, 2], 'stride': [1, 2]}, True),
    ('grouped', (2, 6, 7, 7), (4, 3, 3, 3), {'groups': 2, 'padding': 1}, True),
    ('depthwise', (2, 5, 7, 7), (5, 1, 3, 3), {'groups': 5, 'padding': 1}, True),
    ('depthwiseMultiplier', (1, 3, 8, 8), (6, 1, 3, 3), {'groups': 3, 'stride': 2, 'padding': 1}, False),
    ('channels33', (1, 33, 5, 5), (17, 33, 3, 3), {'padding': 1}, True),
    ('channels16', (2, 16, 6, 6), (32, 16, 3, 3), {}, True),
    ('mnist', (2, 1, 12, 12), (8, 1, 3, 3), {}, True),
]
POOLS = [
    ('two', (2, 3, 8, 8), {'kernelSize': 2}),
    ('remainder', (2, 3, 7, 9), {'kernelSize': 2}),
    ('overlap', (1, 5, 9, 9), {'kernelSize': 3, 'stride': 2}),
    ('padded', (2, 4, 7, 7), {'kernelSize': 3, 'stride': 2, 'padding': 1}),
    ('strideOne', (1, 2, 6, 6), {'kernelSize': 3, 'stride': 1, 'padding': 1}),
    ('pairs', (2, 2, 8, 9), {'kernelSize': [2, 3], 'stride': [1, 2], 'padding': [0, 1]}),
    ('whole', (2, 33, 4, 4), {'kernelSize': 4}),
    ('one', (1, 1, 3, 3), {'kernelSize': 1}),
]


def pair(v):
    return tuple(v) if isinstance(v, list) else v


def conv2d(attrs):
    options = {k: pair(v) for k, v in attrs.items()}
    return lambda x, w, *b: F.conv2d(x, w, *b, **options)


def pool(fn, attrs):
    names = {'kernelSize': 'kernel_size', 'countIncludePad': 'count_include_pad'}
    options = {names.get(k, k): pair(v) for k, v in attrs.items()}
    return lambda x: fn(x, **options)


def build():
    family = Family('conv')
    for name, x, w, attrs, bias in CONVS:
        rng = Random(f'conv/{name}')
        fan_in = w[1] * w[2] * w[3]
        inputs = [rng.normal(*x), rng.normal(*w, scale=fan_in**-0.5)] + ([rng.normal(w[0])] if bias else [])
        family.op(f'conv2d/{name}', 'conv2d', conv2d(attrs), inputs, attrs, args=['x', 'weight', 'bias'][: len(inputs)])

    for name, shape, attrs in POOLS:
        # All negative in part: padding with 0 instead of -inf would show.
        x = f32(Random(f'conv/maxPool2d/{name}').distinct(*shape, step=0.01) - 1.0)
        family.op(f'maxPool2d/{name}', 'maxPool2d', pool(F.max_pool2d, attrs), [x], attrs)
        x = Random(f'conv/avgPool2d/{name}').normal(*shape)
        family.op(f'avgPool2d/{name}', 'avgPool2d', pool(F.avg_pool2d, attrs), [x], attrs)
    attrs = {'kernelSize': 3, 'stride': 2, 'padding': 1, 'countIncludePad': False}
    x = Random('conv/countIncludePad').normal(2, 3, 7, 7)
    family.op('avgPool2d/countIncludePad', 'avgPool2d', pool(F.avg_pool2d, attrs), [x], attrs, tags=['optional'])
    # After relu most windows hold several zeros: the first element (row-major) takes the gradient.
    x = f32(Random('conv/ties').normal(2, 3, 6, 6, shift=-0.5).clip(0))
    family.op('maxPool2d/ties', 'maxPool2d', pool(F.max_pool2d, {'kernelSize': 2}), [x], {'kernelSize': 2}, tags=['ties'])
    return family
