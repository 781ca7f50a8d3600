"""Losses. Anneal's give {sum, count}: out.0 is the sum over all terms, out.1 the divisor of the mean."""

import numpy as np
import torch
import torch.nn.functional as F

from common import Family, Random, f32

OUTS = ['sum', 'count!']
CHECK = {'rtol': 1e-4, 'atol': 1e-5}


def ratio(value, count):
    return value / count if count else value * 0


def cross_entropy(attrs, weighted):
    """With class weights w, smoothing s and K classes:
    hard target y: (1 - s) w[y] (-log p[y]) + s / K sum_c w[c] (-log p[c]); count = sum of w[y] over the rows not ignored
    soft target t: -sum_c w[c] ((1 - s) t[c] + s / K) log p[c];            count = number of rows (PyTorch's rule, weights or not)
    """
    smoothing, ignore, axis = attrs.get('labelSmoothing', 0.0), attrs.get('ignoreIndex', -100), attrs.get('axis', -1)

    def fn(logits, target, weight=None):
        soft = target.is_floating_point()
        rows = logits.movedim(axis, -1).reshape(-1, logits.shape[axis])
        t = target.movedim(axis, -1).reshape(rows.shape) if soft else target.reshape(-1)
        options = {'weight': weight, 'label_smoothing': smoothing, **({} if soft else {'ignore_index': ignore})}
        total = F.cross_entropy(rows, t, reduction='sum', **options)
        if soft:
            count = torch.tensor(float(len(rows)), dtype=rows.dtype)
        else:
            used = t != ignore
            count = weight[t[used]].sum() if weight is not None else used.sum().to(rows.dtype)
        if count > 0:
            mean = F.cross_entropy(rows, t, reduction='mean', **options)
            assert torch.allclose(total / count, mean, **CHECK), 'sum / count is not the mean of PyTorch'
        return total, count

    return fn


def cross_entropies(family):
    def case(name, logits, target, attrs=None, weight=None, **more):
        attrs = attrs or {}
        inputs = [logits, target] + ([weight] if weight is not None else [])
        args = ['logits', 'target', 'options.weight'][: len(inputs)]
        diff = [True, False, False][: len(inputs)]
        family.op(f'crossEntropy/{name}', 'crossEntropy', cross_entropy(attrs, weight is not None), inputs, attrs, args, diff, OUTS, **more)

    def draw(name, *shape, scale=2.0):
        rng = Random(f'loss/crossEntropy/{name}')
        return rng, rng.normal(*shape, scale=scale), rng.ints(0, shape[-1], *shape[:-1]), rng.uniform(0.2, 2.0, shape[-1])

    def soft(rng, *shape):
        p = rng.uniform(0.01, 1.0, *shape).astype(np.float64)
        return f32(p / p.sum(-1, keepdims=True))

    for shape in [(1, 2), (7, 10), (33, 5), (3, 129), (2, 5, 17), (1, 7, 33), (4, 1)]:
        name = 'x'.join(map(str, shape))
        _, x, y, w = draw(name, *shape)
        case(name, x, y)
        if shape[-1] == 1:
            continue
        case(f'{name}-smoothing', x, y, {'labelSmoothing': 0.1})
        case(f'{name}-weight', x, y, weight=w)
        case(f'{name}-weight-smoothing', x, y, {'labelSmoothing': 0.1}, w)
    for shape in [(9, 10), (2, 7, 17)]:
        name = 'x'.join(map(str, shape))
        rng, x, y, w = draw(f'ignore-{name}', *shape)
        y[rng.bools(0.4, *shape[:-1])] = -100
        case(f'ignore-{name}', x, y, {'ignoreIndex': -100})
        case(f'ignore-{name}-smoothing', x, y, {'ignoreIndex': -100, 'labelSmoothing': 0.2})
        case(f'ignore-{name}-weight', x, y, {'ignoreIndex': -100}, w)
        case(f'ignore-{name}-weight-smoothing', x, y, {'ignoreIndex': -100, 'labelSmoothing': 0.2}, w)
        t = soft(rng, *shape)
        case(f'soft-{name}', x, t)
        case(f'soft-{name}-smoothing', x, t, {'labelSmoothing': 0.1})
        case(f'soft-{name}-weight', x, t, weight=w)
        case(f'soft-{name}-weight-smoothing', x, t, {'labelSmoothing': 0.1}, w)
    _, x, y, w = draw('ignore-class', 9, 5)
    case('ignore-class', x, y, {'ignoreIndex': 2})
    case('ignore-class-weight-smoothing', x, y, {'ignoreIndex': 2, 'labelSmoothing': 0.1}, w)
    case('ignore-all', x, np.full(9, -100, np.int32), {'ignoreIndex': -100}, tags=['extreme'])
    case('oneHotSoft', x, f32(np.eye(5)[y]))
    rng = Random('loss/crossEntropy/axis')
    case('axis1', rng.normal(2, 5, 3, 4), rng.ints(0, 5, 2, 3, 4), {'axis': 1})
    x, y = f32([[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4], [90.0, 89.0, 60.0], [-500.0, -500.0, -500.0]]), np.array([0, 0, 1, 2], np.int32)
    case('extreme', x, y, tags=['extreme'])
    case('extreme-smoothing', x, y, {'labelSmoothing': 0.1}, tags=['extreme'])
    case('empty', np.zeros((0, 5), np.float32), np.zeros(0, np.int32), tags=['empty'])


def pointwise(family, op, fn, name, inputs, attrs=None, args=None, diff=None, count=None, **more):
    def summed(*t):
        total = fn(*t, reduction='sum')
        return total, torch.tensor(float(t[0].numel() if count is None else count), dtype=total.dtype)

    family.op(f'{op}/{name}', op, summed, inputs, attrs, args or ['input', 'target'], diff, OUTS, **more)


def regressions(family):
    for shape in [(), (7,), (3, 43), (2, 3, 5)]:
        name = 'x'.join(map(str, shape)) or 'scalar'
        rng = Random(f'loss/regression/{name}')
        x = rng.normal(*shape, scale=2.0)
        y = f32(x + rng.away_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], *shape))
        pointwise(family, 'mse', F.mse_loss, name, [x, y])
        pointwise(family, 'l1', F.l1_loss, name, [x, y])
        for delta in (1.0, 0.5, 2.0):
            huber = lambda a, b, reduction, d=delta: F.huber_loss(a, b, reduction=reduction, delta=d)  # noqa: E731
            pointwise(family, 'huber', huber, f'{name}-delta{delta}', [x, y], {'delta': delta})
    empty = [np.zeros((0, 3), np.float32)] * 2
    for op, fn in (('mse', F.mse_loss), ('l1', F.l1_loss), ('huber', F.huber_loss)):
        pointwise(family, op, fn, 'empty', empty, tags=['empty'])
    far = [f32([1e4, -1e4, 0.0, 1e-4]), f32([0.0, 0.0, 1e4, 0.0])]
    pointwise(family, 'huber', F.huber_loss, 'extreme', far, tags=['extreme'])
    pointwise(family, 'l1', F.l1_loss, 'ties', [f32([1.0, 2.0]), f32([1.0, 1.0])], tags=['ties'])


def bces(family):
    def case(name, inputs, weight=False, pos=False, **more):
        def bce(x, y, *rest, reduction):
            rest = list(rest)
            w = rest.pop(0) if weight else None
            return F.binary_cross_entropy_with_logits(x, y, w, pos_weight=rest.pop(0) if pos else None, reduction=reduction)

        args = ['logits', 'target'] + (['options.weight'] if weight else []) + (['options.posWeight'] if pos else [])
        pointwise(family, 'bceWithLogits', bce, name, inputs, None, args, [True] + [False] * (len(inputs) - 1), **more)

    for shape in [(), (7,), (5, 33), (2, 3, 5)]:
        name = 'x'.join(map(str, shape)) or 'scalar'
        rng = Random(f'loss/bce/{name}')
        x, y, soft = rng.normal(*shape, scale=2.0), f32(rng.bools(0.4, *shape)), rng.uniform(0, 1, *shape)
        case(name, [x, y])
        case(f'{name}-soft', [x, soft])
        if shape:
            w, p = rng.uniform(0.2, 2.0, *shape), rng.uniform(0.5, 4.0, shape[-1])
            case(f'{name}-weight', [x, y, w], weight=True)
            case(f'{name}-posWeight', [x, y, p], pos=True)
            case(f'{name}-weight-posWeight', [x, soft, w, p], weight=True, pos=True)
    rng = Random('loss/bce/broadcast')
    case('broadcastWeight', [rng.normal(5, 7), f32(rng.bools(0.5, 5, 7)), rng.uniform(0.2, 2.0, 5, 1)], weight=True)
    x, y = f32([100.0, -100.0, 100.0, -100.0, 1e4, -1e4, 0.0]), f32([1, 0, 0, 1, 1, 1, 0.5])
    case('extreme', [x, y], tags=['extreme'])
    case('extreme-posWeight', [x, y, f32([3.0] * 7)], pos=True, tags=['extreme'])


def kls(family):
    """sum of t (log t - x), 0 where t = 0. count = number of distributions (rows over the last axis): PyTorch's 'batchmean' for [N, C]."""
    for shape in [(1, 2), (7, 10), (3, 129), (2, 5, 17)]:
        name = 'x'.join(map(str, shape))
        rng = Random(f'loss/kl/{name}')
        rows = int(np.prod(shape[:-1]))
        x = f32(torch.log_softmax(torch.from_numpy(rng.normal(*shape, scale=2.0).astype(np.float64)), -1).numpy())
        log_t = torch.log_softmax(torch.from_numpy(rng.normal(*shape).astype(np.float64)), -1).numpy()
        pointwise(family, 'kl', F.kl_div, name, [x, f32(np.exp(log_t))], diff=[True, False], count=rows)
        log_kl = lambda a, b, reduction: F.kl_div(a, b, reduction=reduction, log_target=True)  # noqa: E731
        pointwise(family, 'kl', log_kl, f'{name}-logTarget', [x, f32(log_t)], {'logTarget': True}, diff=[True, False], count=rows)
    x = f32(np.log([[0.25, 0.25, 0.5], [0.1, 0.8, 0.1]]))
    pointwise(family, 'kl', F.kl_div, 'zeroTarget', [x, f32([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])], diff=[True, False], count=2, tags=['extreme'])


def build():
    family = Family('loss')
    cross_entropies(family)
    regressions(family)
    bces(family)
    kls(family)
    return family
