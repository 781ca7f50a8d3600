"""Ops behind layers: convolutions of other ranks and transposed, pooling to a given size, pixels and channels. PyTorch's layouts."""

import torch
import torch.nn.functional as F

from common import Family, Random, f32

NAMES = {'kernelSize': 'kernel_size', 'outputPadding': 'output_padding', 'countIncludePad': 'count_include_pad', 'outputSize': 'output_size'}

# op, name, input, kernel, options, bias
CONVS = [
    ('conv1d', 'basic', (2, 3, 9), (4, 3, 3), {}, True),
    ('conv1d', 'one', (1, 1, 1), (1, 1, 1), {}, False),
    ('conv1d', 'all', (2, 6, 13), (4, 3, 3), {'stride': 2, 'padding': 2, 'dilation': 2, 'groups': 2}, True),
    ('conv1d', 'depthwise', (2, 5, 8), (5, 1, 3), {'groups': 5, 'padding': 1}, False),
    ('conv1d', 'wide', (1, 33, 7), (7, 33, 1), {}, True),
    ('conv3d', 'basic', (2, 2, 4, 5, 4), (3, 2, 2, 3, 2), {}, True),
    ('conv3d', 'one', (1, 1, 1, 1, 1), (1, 1, 1, 1, 1), {}, True),
    ('conv3d', 'padded', (1, 3, 4, 4, 4), (2, 3, 3, 3, 3), {'padding': 1}, False),
    ('conv3d', 'all', (1, 4, 6, 6, 5), (4, 2, 3, 2, 2), {'stride': [2, 1, 2], 'padding': [2, 1, 0], 'dilation': [2, 1, 2], 'groups': 2}, True),
    ('convTranspose1d', 'basic', (2, 3, 5), (3, 4, 3), {}, True),
    ('convTranspose1d', 'all', (2, 4, 6), (4, 3, 4), {'stride': 3, 'padding': 2, 'outputPadding': 2, 'dilation': 2, 'groups': 2}, True),
    ('convTranspose2d', 'basic', (2, 3, 4, 5), (3, 4, 3, 3), {}, True),
    ('convTranspose2d', 'one', (1, 1, 1, 1), (1, 1, 1, 1), {}, False),
    ('convTranspose2d', 'double', (2, 4, 3, 3), (4, 3, 4, 4), {'stride': 2, 'padding': 1}, True),
    ('convTranspose2d', 'outputPadding', (1, 3, 4, 3), (3, 2, 3, 3), {'stride': 2, 'padding': 1, 'outputPadding': 1}, False),
    ('convTranspose2d', 'pairs', (2, 3, 3, 4), (3, 5, 2, 3), {'stride': [2, 3], 'padding': [0, 1], 'outputPadding': [1, 2], 'dilation': [3, 1]}, True),
    ('convTranspose2d', 'grouped', (1, 6, 4, 4), (6, 2, 3, 3), {'groups': 3, 'dilation': 2, 'padding': 1}, True),
    ('convTranspose2d', 'depthwise', (2, 5, 3, 3), (5, 1, 3, 3), {'groups': 5, 'stride': 2}, True),
    ('convTranspose2d', 'byDilation', (1, 2, 3, 3), (2, 3, 3, 3), {'dilation': 3, 'outputPadding': 2, 'padding': 1}, True),
    ('convTranspose2d', 'channels33', (1, 33, 3, 3), (33, 17, 3, 3), {'stride': 2}, True),
]
POOLS = [
    ('two', (2, 3, 8), {'kernelSize': 2}),
    ('overlap', (1, 5, 9), {'kernelSize': 3, 'stride': 2}),
    ('padded', (2, 4, 7), {'kernelSize': 3, 'stride': 1, 'padding': 1}),
    ('whole', (2, 7, 4), {'kernelSize': 4}),
]
ADAPTIVE = [
    ('adaptiveAvgPool1d', 'even', (2, 3, 8), 4),
    ('adaptiveAvgPool1d', 'uneven', (2, 3, 10), 4),
    ('adaptiveAvgPool1d', 'more', (1, 2, 3), 5),
    ('adaptiveMaxPool1d', 'uneven', (2, 3, 11), 4),
    ('adaptiveAvgPool2d', 'one', (2, 3, 5, 4), 1),
    ('adaptiveAvgPool2d', 'uneven', (2, 3, 7, 5), [3, 2]),
    ('adaptiveAvgPool2d', 'keep', (1, 2, 4, 6), [None, 4]),
    ('adaptiveAvgPool2d', 'more', (1, 2, 2, 3), [3, 5]),
    ('adaptiveMaxPool2d', 'even', (2, 3, 6, 4), [3, 2]),
    ('adaptiveMaxPool2d', 'uneven', (2, 2, 7, 5), [3, 3]),
]


def tuples(attrs):
    return {NAMES.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}


def snake(name):
    for a, b in (('convT', 'conv_t'), ('adaptiveAvgPool', 'adaptive_avg_pool'), ('adaptiveMaxPool', 'adaptive_max_pool'), ('Pool', '_pool')):
        if a in name:
            return name.replace(a, b)
    return name


def convolutions(family):
    for op, name, x, kernel, attrs, bias in CONVS:
        rng = Random(f'layers/{op}/{name}')
        outs = kernel[1] * attrs.get('groups', 1) if 'Transpose' in op else kernel[0]
        inputs = [rng.normal(*x), rng.normal(*kernel, scale=0.5)] + ([rng.normal(outs)] if bias else [])
        fn = getattr(F, snake(op))
        family.op(f'{op}/{name}', op, lambda a, w, *b, f=fn, o=tuples(attrs): f(a, w, *b, **o), inputs, attrs, ['x', 'weight', 'bias'][: len(inputs)])


def pools(family):
    for name, shape, attrs in POOLS:
        x = Random(f'layers/pool1d/{name}').distinct(*shape)
        for op in ('maxPool1d', 'avgPool1d'):
            family.op(f'{op}/{name}', op, lambda a, f=getattr(F, snake(op)), o=tuples(attrs): f(a, **o), [x], attrs)
    attrs = {'kernelSize': 3, 'padding': 1, 'countIncludePad': False}
    x = Random('layers/pool1d/exclude').normal(2, 3, 7)
    family.op('avgPool1d/exclude', 'avgPool1d', lambda a, o=tuples(attrs): F.avg_pool1d(a, **o), [x], attrs)
    for op, name, shape, size in ADAPTIVE:
        x = Random(f'layers/{op}/{name}').distinct(*shape)
        fn = getattr(F, snake(op))
        family.op(f'{op}/{name}', op, lambda a, f=fn, s=size: f(a, tuple(s) if isinstance(s, list) else s), [x], {'outputSize': size})
    # The first of equal values row by row, though windows are found axis by axis.
    x = f32([[[[0, 2, 1], [2, 0, 2], [2, 2, 2]]]])
    family.op('adaptiveMaxPool2d/ties', 'adaptiveMaxPool2d', lambda a: F.adaptive_max_pool2d(a, 2), [x], {'outputSize': 2}, tags=['ties'])
    for factor, shape in ((2, (2, 8, 3, 2)), (3, (1, 9, 2, 2)), (1, (1, 2, 2, 3))):
        x = Random(f'layers/pixels/{factor}').normal(*shape)
        family.op(f'pixelShuffle/{factor}', 'pixelShuffle', lambda a, r=factor: F.pixel_shuffle(a, r), [x], {'factor': factor})
    for factor, shape in ((2, (2, 3, 6, 4)), (3, (1, 2, 3, 6))):
        x = Random(f'layers/unpixels/{factor}').normal(*shape)
        family.op(f'pixelUnshuffle/{factor}', 'pixelUnshuffle', lambda a, r=factor: F.pixel_unshuffle(a, r), [x], {'factor': factor})


# ---- positions, biases, bags --------------------------------------------------------------------------------------------------


def angles(t, dim, base=10000.0, offset=0):
    i = torch.arange(t, dtype=torch.float64)[:, None] + offset
    return i * base ** (-2 * torch.arange(dim // 2, dtype=torch.float64) / dim)


def rotary(attrs):
    """Su et al. 2021; halves as in GPT-NeoX and LLaMA, neighbours as in the paper and GPT-J."""

    def fn(x):
        t, width = x.shape[-2:]
        dim = attrs.get('dim', width)
        a = angles(t, dim, attrs.get('base', 10000.0), attrs.get('offset', 0)).to(x.dtype)
        turning, rest = x[..., :dim], x[..., dim:]
        if attrs.get('interleaved'):
            z = torch.view_as_complex(turning.reshape(*turning.shape[:-1], dim // 2, 2).contiguous())
            turned = torch.view_as_real(z * torch.polar(torch.ones_like(a), a)).reshape(turning.shape)
        else:
            p, q = turning.chunk(2, -1)
            turned = torch.cat([p * a.cos() - q * a.sin(), q * a.cos() + p * a.sin()], -1)
        return torch.cat([turned, rest], -1)

    return fn


def attentions(family):
    for name, shape, attrs in [
        ('plain', (2, 3, 5, 8), {}),
        ('one', (1, 1, 1, 2), {}),
        ('interleaved', (2, 2, 7, 6), {'interleaved': True}),
        ('part', (1, 2, 4, 10), {'dim': 4, 'base': 500}),
        ('offset', (2, 3, 8), {'offset': 33}),
    ]:
        family.op(f'rotary/{name}', 'rotary', rotary(attrs), [Random(f'layers/rotary/{name}').normal(*shape)], attrs)

    def attend(attrs):
        def fn(q, k, v, bias, mask=None):
            bias = bias.expand(*q.shape[:3], k.shape[2])
            if attrs.get('causal'):
                allowed = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
                mask = allowed if mask is None else mask & allowed
            if mask is not None:
                bias = bias.masked_fill(~mask, float('-inf'))
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=attrs.get('scale'))

        return fn

    for name, q, k, bias, attrs, masked in [
        ('heads', (2, 3, 5, 4), (2, 3, 7, 4), (3, 5, 7), {}, False),
        ('causal', (1, 2, 4, 3), (1, 2, 6, 3), (1, 1, 4, 6), {'causal': True, 'scale': 0.3}, False),
        ('masked', (2, 2, 5, 3), (2, 2, 5, 3), (2, 5, 5), {'causal': True}, True),
        ('one', (1, 1, 1, 1), (1, 1, 1, 1), (1,), {}, False),
    ]:
        rng = Random(f'layers/biased/{name}')
        inputs, args = [rng.normal(*q), rng.normal(*k), rng.normal(*k), rng.normal(*bias)], ['q', 'k', 'v', 'bias']
        if masked:
            mask = rng.bools(0.6, q[0], 1, 1, k[2])
            mask[..., 0] = True
            inputs.append(mask)
            args.append('options.mask')
        family.op(f'biasedAttention/{name}', 'biasedAttention', attend(attrs), inputs, attrs, args)


def bags(family):
    for name, shape, attrs, weighted in [
        ('sum', (4, 5), {'mode': 'sum'}, False),
        ('weighted', (3, 4), {'mode': 'sum'}, True),
        ('mean', (4, 5), {'mode': 'mean'}, False),
        ('max', (4, 5), {'mode': 'max'}, False),
        ('padding', (5, 6), {'mode': 'mean', 'paddingIdx': 0}, False),
        ('maxPadding', (5, 3), {'mode': 'max', 'paddingIdx': 2}, False),
        ('offsets', (11,), {'mode': 'mean', 'offsets': [0, 3, 3, 10]}, False),
        ('offsetsSum', (11,), {'mode': 'sum', 'offsets': [0, 1, 7], 'paddingIdx': 1}, True),
        ('offsetsMax', (9,), {'mode': 'max', 'offsets': [0, 4, 9]}, False),
    ]:
        rng = Random(f'layers/bag/{name}')
        ids, table = rng.ints(0, 7, *shape), rng.distinct(7, 3, step=0.1)
        inputs, args = [ids, table], ['indices', 'weight']
        if weighted:
            inputs.append(rng.uniform(0.5, 2.0, *shape))
            args.append('options.perSampleWeights')

        def bag(i, w, f=None, o=attrs):
            offsets = torch.tensor(o['offsets']) if 'offsets' in o else None
            options = {'mode': o['mode'], 'per_sample_weights': f, 'padding_idx': o.get('paddingIdx')}
            return F.embedding_bag(i, w, offsets, **options)

        family.op(f'embeddingBag/{name}', 'embeddingBag', bag, inputs, attrs, args)


def build():
    family = Family('layers')
    convolutions(family)
    pools(family)
    attentions(family)
    bags(family)
    return family
