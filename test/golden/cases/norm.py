"""Layer, RMS, group and batch normalisation."""

import torch.nn.functional as F

from common import Family, Random, f32

EPS = 1e-5


def affine(rng, *shape):
    return [rng.normal(*shape, scale=0.3, shift=1.0), rng.normal(*shape)]


def layer_norm(family):
    def case(name, x, normalized, count, eps=EPS, **more):
        rng = Random(f'norm/layerNorm/{name}/affine')
        inputs = [x] + affine(rng, *normalized)[:count]
        attrs = {'eps': eps, 'normalizedShape': list(normalized)}
        fn = lambda x, *wb: F.layer_norm(x, normalized, *wb, eps=eps)  # noqa: E731
        family.op(f'layerNorm/{name}', 'layerNorm', fn, inputs, attrs, args=['x', 'weight', 'bias'][: len(inputs)], **more)

    for shape in [(5, 7), (33, 33), (3, 129), (2, 3, 17), (2, 2, 3, 8), (9,), (65, 2)]:
        name = 'x'.join(map(str, shape))
        case(name, Random(f'norm/layerNorm/{name}').normal(*shape, shift=0.3), shape[-1:], 2)
    rng = Random('norm/layerNorm/others')
    case('noBias', rng.normal(4, 33), (33,), 1)
    case('plain', rng.normal(4, 33), (33,), 0)
    case('lastTwo', rng.normal(3, 5, 7), (5, 7), 2)
    case('bigEps', rng.normal(4, 16), (16,), 2, eps=0.1)
    case('empty', f32([]).reshape(0, 8), (8,), 2, tags=['empty'])
    # A constant row: the variance is 0 and eps alone keeps the gradient finite.
    case('constant', f32([[2.0] * 16, [0.0] * 16]), (16,), 2, tags=['extreme'])
    case('farMean', rng.normal(4, 64, shift=100.0), (64,), 2, tags=['extreme'], tolerance=(2e-5, 1e-4))
    case('large', rng.normal(4, 33, scale=1e4), (33,), 2, tags=['extreme'])


def rms_norm(family):
    for name, shape, eps, weight in [
        ('5x7', (5, 7), 1e-6, True),
        ('3x129', (3, 129), 1e-6, True),
        ('2x3x33', (2, 3, 33), 1e-5, True),
        ('9', (9,), 1e-6, True),
        ('plain', (4, 16), 1e-6, False),
        ('bigEps', (4, 16), 0.1, True),
    ]:
        rng = Random(f'norm/rmsNorm/{name}')
        inputs = [rng.normal(*shape)] + ([rng.normal(shape[-1], scale=0.3, shift=1.0)] if weight else [])
        rms(family, name, inputs, eps)
    rng = Random('norm/rmsNorm/others')
    rms(family, 'zeros', [f32([[0.0] * 8, [1.0] * 8]), rng.normal(8)], 1e-6, tags=['extreme'])
    rms(family, 'large', [rng.normal(3, 33, scale=1e6), rng.normal(33)], 1e-6, tags=['extreme'])
    rms(family, 'empty', [f32([]).reshape(0, 8), rng.normal(8)], 1e-6, tags=['empty'])


def rms(family, name, inputs, eps, **more):
    shape = inputs[0].shape[-1:]
    fn = lambda x, *w: F.rms_norm(x, shape, *w, eps=eps)  # noqa: E731
    attrs = {'eps': eps, 'normalizedShape': list(shape)}
    family.op(f'rmsNorm/{name}', 'rmsNorm', fn, inputs, attrs, args=['x', 'weight'][: len(inputs)], **more)


def group_norm(family):
    for name, shape, groups, count in [
        ('2of4', (2, 4, 5, 5), 2, 2),
        ('instance', (2, 6, 3, 3), 6, 2),
        ('layer', (3, 6, 4, 5), 1, 2),
        ('3of9', (2, 9, 7), 3, 2),
        ('flat', (5, 8), 4, 2),
        ('ragged', (1, 33, 3, 3), 3, 2),
        ('plain', (2, 4, 3, 3), 2, 0),
    ]:
        rng = Random(f'norm/groupNorm/{name}')
        inputs = [rng.normal(*shape, shift=0.3)] + affine(rng, shape[1])[:count]
        fn = lambda x, *wb, g=groups: F.group_norm(x, g, *wb, eps=EPS)  # noqa: E731
        attrs = {'numGroups': groups, 'eps': EPS}
        family.op(f'groupNorm/{name}', 'groupNorm', fn, inputs, attrs, args=['x', 'weight', 'bias'][: len(inputs)])


def batch_norm(family):
    """Train: normalised by the biased batch variance; the running variance takes the unbiased one, as in PyTorch."""
    args = ['x', 'weight', 'bias', 'runningMean', 'runningVar']
    for name, shape, momentum, shift, tolerance in [
        ('4x3x5x5', (4, 3, 5, 5), 0.1, 0.3, None),
        ('2x33x3x3', (2, 33, 3, 3), 0.1, 0.3, None),
        ('1x2x4x4', (1, 2, 4, 4), 0.1, 0.3, None),
        ('8x7', (8, 7), 0.1, 0.3, None),
        ('momentum', (4, 3, 5, 5), 0.3, 0.3, None),
        ('farMean', (4, 3, 5, 5), 0.1, 100.0, (2e-5, 1e-4)),
    ]:
        rng = Random(f'norm/batchNorm/{name}')
        c = shape[1]
        inputs = [rng.normal(*shape, shift=shift), *affine(rng, c), rng.normal(c, scale=0.2), rng.uniform(0.5, 1.5, c)]

        def train(x, w, b, mean, var, momentum=momentum):
            mean, var = mean.clone(), var.clone()
            return F.batch_norm(x, mean, var, w, b, True, momentum, EPS), mean, var

        def evaluate(x, w, b, mean, var):
            return F.batch_norm(x, mean, var, w, b, False, 0.0, EPS)

        diff = [True, True, True, False, False]
        attrs = {'training': True, 'momentum': momentum, 'eps': EPS}
        outs = ['y', 'runningMean!', 'runningVar!']
        more = {'tags': ['extreme'], 'tolerance': tolerance} if tolerance else {}
        family.op(f'batchNorm/train-{name}', 'batchNorm', train, inputs, attrs, args, diff, outs, **more)
        if momentum == 0.1:
            family.op(f'batchNorm/eval-{name}', 'batchNorm', evaluate, inputs, {'training': False, 'eps': EPS}, args, diff, ['y'])


def build():
    family = Family('norm')
    layer_norm(family)
    rms_norm(family)
    group_norm(family)
    batch_norm(family)
    return family
