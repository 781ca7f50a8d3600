"""Scaled dot-product attention, by its formula; checked against PyTorch's own on the way."""

import numpy as np
import torch
import torch.nn.functional as F

from common import Family, Random, f32


def attend(causal, scale):
    def fn(q, k, v, mask=None):
        """softmax(q k^T scale, where mask) v; each of the Hkv heads serves Hq / Hkv neighbouring query heads."""
        groups = q.shape[1] // k.shape[1]
        keys, values = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        scores = q @ keys.mT * (scale or q.shape[-1] ** -0.5)
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool)
        if causal:
            allowed = allowed.tril()
        if mask is not None:
            allowed = allowed & mask
        out = torch.softmax(scores.masked_fill(~allowed, float('-inf')), -1) @ values
        theirs = F.scaled_dot_product_attention(q, k, v, allowed, scale=scale, enable_gqa=groups > 1)
        assert torch.allclose(out, theirs, rtol=1e-4, atol=1e-5)
        return out

    return fn


def mask_for(rng, *shape):
    """Random, but no row is wholly masked: there PyTorch's formula is 0 / 0."""
    mask = rng.bools(0.6, *shape)
    mask[..., 0] = True
    return mask


# name, B, Hq, Hkv, Tq, Tk, D, causal
SIZES = [
    ('one', 1, 1, 1, 1, 1, 4, False),
    ('small', 2, 2, 2, 7, 7, 8, False),
    ('t33', 1, 2, 2, 33, 33, 8, False),
    ('t65', 1, 2, 2, 65, 65, 8, False),
    ('cross', 2, 2, 2, 5, 17, 8, False),
    ('oneQuery', 1, 2, 2, 1, 33, 16, False),
    ('oddD', 1, 3, 3, 9, 9, 5, False),
    ('d64', 1, 1, 1, 12, 12, 64, False),
    ('grouped', 2, 4, 2, 9, 9, 8, False),
    ('causalOne', 1, 1, 1, 1, 1, 4, True),
    ('causal7', 2, 2, 2, 7, 7, 8, True),
    ('causal16', 1, 2, 2, 16, 16, 16, True),
    ('causal33', 1, 2, 2, 33, 33, 8, True),
    ('causal65', 1, 2, 2, 65, 65, 8, True),
    ('causal129', 1, 1, 1, 129, 129, 8, True),
    ('causalGrouped', 1, 4, 2, 17, 17, 8, True),
    ('causalMultiQuery', 2, 3, 1, 10, 10, 8, True),
]


def build():
    family = Family('attention')
    args = ['q', 'k', 'v', 'options.mask']

    def case(name, inputs, causal=False, scale=None, **more):
        attrs = {**({'causal': True} if causal else {}), **({'scale': scale} if scale else {})}
        diff = [True, True, True, False][: len(inputs)]
        family.op(f'attention/{name}', 'attention', attend(causal, scale), inputs, attrs, args[: len(inputs)], diff, **more)

    def qkv(name, b, hq, hkv, tq, tk, d, scale=1.0):
        rng = Random(f'attention/{name}')
        return [rng.normal(b, hq, tq, d, scale=scale), rng.normal(b, hkv, tk, d, scale=scale), rng.normal(b, hkv, tk, d)]

    for name, b, hq, hkv, tq, tk, d, causal in SIZES:
        case(name, qkv(name, b, hq, hkv, tq, tk, d), causal)
    rng = Random('attention/masks')
    case('scale', qkv('scale', 1, 2, 2, 7, 7, 8), scale=0.25)
    case('causalScale', qkv('causalScale', 1, 2, 2, 7, 7, 8), True, scale=1.0)
    case('mask2d', [*qkv('mask2d', 2, 2, 2, 9, 11, 8), mask_for(rng, 9, 11)])
    case('maskBatch', [*qkv('maskBatch', 2, 2, 2, 17, 17, 8), mask_for(rng, 2, 1, 17, 17)])
    case('maskHeads', [*qkv('maskHeads', 2, 4, 2, 7, 9, 8), mask_for(rng, 2, 4, 7, 9)])
    # Lengths as key padding: the common use of a mask.
    lengths = np.array([33, 20])
    padding = (np.arange(33)[None, :] < lengths[:, None]).reshape(2, 1, 1, 33)
    case('maskPadding', [*qkv('maskPadding', 2, 1, 1, 33, 33, 8), padding])
    case('causalMask', [*qkv('causalMask', 2, 2, 2, 17, 17, 8), mask_for(rng, 2, 1, 17, 17)], True)
    # Scores in the hundreds: one key takes all, and exp without the running maximum would overflow.
    case('extreme', qkv('extreme', 1, 2, 2, 17, 17, 8, scale=12.0), tags=['extreme'])
    case('causalExtreme', qkv('causalExtreme', 1, 2, 2, 33, 33, 8, scale=8.0), True, tags=['extreme'])
    q, k, v = qkv('equal', 1, 1, 1, 5, 7, 8)
    case('equalScores', [f32(q * 0), k, v], tags=['extreme'])
    return family
