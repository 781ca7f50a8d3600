"""The losses that loss.py lacks. Anneal's give {sum, count}: out.0 is the sum over all terms, out.1 the divisor of the mean."""

import numpy as np
import torch
import torch.nn.functional as F

from cases.loss import OUTS
from common import Family, Random, f32

NAMES = {'logInput': 'log_input', 'zeroInfinity': 'zero_infinity'}


def counted(total, n):
    return total, torch.tensor(float(n), dtype=total.dtype) if not isinstance(n, torch.Tensor) else n.to(total.dtype)


def torch_names(attrs):
    return {NAMES.get(k, k): v for k, v in attrs.items()}


def classes(family):
    for shape in [(1, 2), (7, 10), (2, 5, 17), (3, 129)]:
        name = 'x'.join(map(str, shape))
        rng = Random(f'losses/classes/{name}')
        logits, target, weight = rng.normal(*shape, scale=2.0), rng.ints(0, shape[-1], *shape[:-1]), rng.uniform(0.2, 2.0, shape[-1])
        target.reshape(-1)[-1] = -100 if shape[0] > 1 else target.reshape(-1)[-1]

        def nll(x, t, w=None):
            t = t.reshape(-1)
            used = t != -100
            count = w[t[used]].sum() if w is not None else used.sum()
            return counted(F.nll_loss(x.reshape(-1, x.shape[-1]), t, w, reduction='sum'), count)

        logp = f32(torch.log_softmax(torch.from_numpy(logits), -1).numpy())
        family.op(f'nll/{name}', 'nll', nll, [logp, target], None, ['input', 'target'], [True, False], OUTS)
        args = ['input', 'target', 'options.weight']
        family.op(f'nll/{name}-weight', 'nll', nll, [logp, target, weight], None, args, [True, False, False], OUTS)
        for gamma in (2, 0.5, 0):

            def focal(x, t, w=None, g=gamma):
                x, t = x.reshape(-1, x.shape[-1]), t.reshape(-1)
                used = t != -100
                lp = torch.log_softmax(x[used], -1).gather(1, t[used][:, None])[:, 0]
                each = (1 - lp.exp()) ** g * -lp
                return counted((each * w[t[used]] if w is not None else each).sum(), used.sum())

            attrs = {'gamma': gamma}
            family.op(f'focal/{name}-{gamma}', 'focal', focal, [logits, target], attrs, ['logits', 'target'], [True, False], OUTS)
        args = ['logits', 'target', 'options.weight']
        family.op(f'focal/{name}-weight', 'focal', lambda x, t, w: focal(x, t, w, 2), [logits, target, weight], {}, args, [True, False, False], OUTS)
    rng = Random('losses/classes/axis')
    x, t = f32(torch.log_softmax(torch.from_numpy(rng.normal(2, 5, 3)), 1).numpy()), rng.ints(0, 5, 2, 3)
    family.op('nll/axis', 'nll', lambda a, b: counted(F.nll_loss(a, b, reduction='sum'), 6), [x, t], {'axis': 1}, ['input', 'target'], [True, False], OUTS)


def elementwise(family):
    for shape in [(7,), (5, 33), (2, 3, 5)]:
        name = 'x'.join(map(str, shape))
        rng = Random(f'losses/elements/{name}')
        n = int(np.prod(shape))
        x, y, soft = rng.normal(*shape, scale=2.0), f32(rng.bools(0.4, *shape)), rng.uniform(0.0, 1.0, *shape)
        sign = f32(np.where(rng.bools(0.5, *shape), 1, -1))
        pair = ['input', 'target']
        for key, target, attrs in (('', y, {}), ('-soft', soft, {'gamma': 1.5, 'alpha': 0.6}), ('-plain', y, {'gamma': 0, 'alpha': None})):

            def focal(a, t, o=attrs):
                p, ce = torch.sigmoid(a), F.binary_cross_entropy_with_logits(a, t, reduction='none')
                each = ce * (1 - (p * t + (1 - p) * (1 - t))) ** o.get('gamma', 2)
                alpha = o.get('alpha', 0.25)
                return counted((each if alpha is None else (alpha * t + (1 - alpha) * (1 - t)) * each).sum(), n)

            family.op(f'binaryFocal/{name}{key}', 'binaryFocal', focal, [x, target], attrs, ['logits', 'target'], [True, False], OUTS)
        away = f32(rng.away_from([-1.0, 0.0, 0.5, 1.0], *shape))
        for attrs in ({}, {'margin': 0.5, 'squared': True}):

            def hinge(a, t, o=attrs):
                each = torch.relu(o.get('margin', 1) - a * t)
                return counted((each**2 if o.get('squared') else each).sum(), n)

            family.op(f'hinge/{name}-{len(attrs)}', 'hinge', hinge, [away, sign], attrs, pair, [True, False], OUTS)
        fn = lambda a, t: counted(F.hinge_embedding_loss(a, t, margin=0.5, reduction='sum'), n)  # noqa: E731
        family.op(f'hingeEmbedding/{name}', 'hingeEmbedding', fn, [away, sign], {'margin': 0.5}, pair, [True, False], OUTS)
        for beta in (1.0, 0.5, 0):
            other = f32(away + rng.away_from([-1.0, -0.5, 0.0, 0.5, 1.0], *shape))
            fn = lambda a, b, d=beta: counted(F.smooth_l1_loss(a, b, beta=d, reduction='sum'), n)  # noqa: E731
            family.op(f'smoothL1/{name}-{beta}', 'smoothL1', fn, [away, other], {'beta': beta}, pair, None, OUTS)
        counts = f32(rng.ints(0, 9, *shape))
        for attrs in ({}, {'full': True}, {'logInput': False}, {'logInput': False, 'full': True, 'eps': 1e-3}):
            rate = rng.uniform(0.3, 4.0, *shape)
            fn = lambda a, t, o=torch_names(attrs): counted(F.poisson_nll_loss(a, t, reduction='sum', **o), n)  # noqa: E731
            key = '-'.join([name, *attrs])
            family.op(f'poissonNll/{key}', 'poissonNll', fn, [rate, counts], attrs, pair, [True, False], OUTS)
        variance = rng.uniform(0.2, 2.0, *shape)
        for attrs in ({}, {'full': True, 'eps': 0.5}):
            fn = lambda a, t, v, o=attrs: counted(F.gaussian_nll_loss(a, t, v, reduction='sum', **o), n)  # noqa: E731
            family.op(f'gaussianNll/{name}-{len(attrs)}', 'gaussianNll', fn, [x, soft, variance], attrs, [*pair, 'variance'], None, OUTS)
        last = rng.uniform(0.2, 2.0, *shape[:-1], 1)
        fn = lambda a, t, v: counted(F.gaussian_nll_loss(a, t, v, reduction='sum'), n)  # noqa: E731
        if len(shape) > 1:
            family.op(f'gaussianNll/{name}-rows', 'gaussianNll', fn, [x, soft, last], {}, [*pair, 'variance'], None, OUTS)


def distances(family):
    for shape in [(1, 3), (5, 7), (2, 3, 33)]:
        name = 'x'.join(map(str, shape))
        rng = Random(f'losses/distances/{name}')
        rows = int(np.prod(shape[:-1]))
        a, b, c = (rng.normal(*shape) for _ in range(3))
        for attrs in ({}, {'margin': 0.3, 'p': 1}, {'margin': 2.0, 'swap': True}, {'p': 3, 'margin': 5.0}):
            fn = lambda x, y, z, o=attrs: counted(F.triplet_margin_loss(x, y, z, reduction='sum', **o), rows)  # noqa: E731
            key = '-'.join([name, *(f'{k}{v}' for k, v in attrs.items())])
            family.op(f'tripletMargin/{key}', 'tripletMargin', fn, [a, b, c], attrs, ['anchor', 'positive', 'negative'], None, OUTS)
        alike = rng.bools(0.5, *shape[:-1])
        label, sign = f32(alike), f32(np.where(alike, 1, -1))

        def contrastive(x, y, t):
            d = (x - y).norm(dim=-1)
            return counted((0.5 * (t * d**2 + (1 - t) * torch.relu(6.0 - d) ** 2)).sum(), rows)

        args = ['a', 'b', 'label']
        family.op(f'contrastive/{name}', 'contrastive', contrastive, [a, b, label], {'margin': 6.0}, args, [True, True, False], OUTS)

        def cosine(x, y, t):
            x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
            return counted(F.cosine_embedding_loss(x, y, t.reshape(-1), margin=-0.2, reduction='sum'), rows)

        args = ['a', 'b', 'target']
        family.op(f'cosineEmbedding/{name}', 'cosineEmbedding', cosine, [a, b, sign], {'margin': -0.2}, args, [True, True, False], OUTS)
    for shape in [(1, 1, 1), (2, 7, 3), (3, 4, 5, 2)]:
        name = 'x'.join(map(str, shape))
        rng = Random(f'losses/dice/{name}')
        p, t = rng.uniform(0.05, 0.95, *shape), f32(rng.bools(0.4, *shape))
        for attrs in ({}, {'smooth': 0.1, 'squared': True}, {'axis': 1}, {'axis': None}):

            def dice(x, y, o=attrs):
                if o.get('axis', -1) is None:
                    x, y = x[..., None], y[..., None]
                elif o.get('axis') == 1:
                    x, y = x.movedim(1, -1), y.movedim(1, -1)
                x, y = (v.reshape(v.shape[0], -1, v.shape[-1]) for v in (x, y))
                s, power = o.get('smooth', 1), 2 if o.get('squared') else 1
                each = 1 - (2 * (x * y).sum(1) + s) / ((x**power).sum(1) + (y**power).sum(1) + s)
                return counted(each.sum(), each.numel())

            key = '-'.join([name, *(f'{k}{v}' for k, v in attrs.items())])
            family.op(f'dice/{key}', 'dice', dice, [p, t], attrs, ['input', 'target'], [True, False], OUTS)


def ctcs(family):
    def ctc(attrs):
        def fn(lp, targets, ins=None, outs=None):
            steps, rows = lp.shape[:2]
            ins = torch.full((rows,), steps) if ins is None else ins
            outs = torch.full((rows,), targets.shape[1]) if outs is None else outs
            each = F.ctc_loss(lp, targets, ins, outs, attrs.get('blank', 0), 'none', attrs.get('zeroInfinity', False))
            scale = 1 if attrs.get('perLabel') is False else outs.clamp(min=1)
            # PyTorch's gradient supposes a log_softmax before: true - (-exp(lp)). What it adds is taken off, so that the golden is the derivative.
            inside = torch.arange(steps)[:, None] < ins[None]
            real = (torch.isfinite(each.detach()) & (each.detach() != 0)).to(lp.dtype)
            extra = (lp.exp().sum(-1) * inside).sum(0) * real
            # A row whose labels do not fit has no gradient.
            each = torch.where(torch.isfinite(each), each, each.detach())
            return counted(((each - extra + extra.detach()) / scale).sum(), rows)

        return fn

    def case(name, steps, rows, classes, targets, ins=None, outs=None, attrs=None, **more):
        attrs = attrs or {}
        x = Random(f'losses/ctc/{name}').normal(steps, rows, classes, scale=1.5)
        inputs = [f32(torch.log_softmax(torch.from_numpy(x), -1).numpy()), np.asarray(targets, np.int32)]
        args = ['logProbs', 'targets']
        for key, value in (('options.inputLengths', ins), ('options.targetLengths', outs)):
            if value is not None:
                inputs.append(np.asarray(value, np.int32))
                args.append(key)
        fn = ctc(attrs)
        call = (lambda lp, t, *r: fn(lp, t, *r)) if ins is not None or outs is None else (lambda lp, t, o: fn(lp, t, None, o))
        family.op(f'ctc/{name}', 'ctc', call, inputs, attrs, args, [True] + [False] * (len(inputs) - 1), OUTS, **more)

    rng = Random('losses/ctc/targets')
    case('plain', 6, 2, 5, rng.ints(1, 5, 2, 3))
    case('one', 1, 1, 2, [[1]])
    case('repeated', 8, 2, 4, [[1, 1, 2], [3, 3, 3]])
    case('lengths', 9, 4, 6, rng.ints(1, 6, 4, 4), [9, 5, 7, 3], [4, 2, 0, 1])
    case('sums', 7, 3, 5, rng.ints(1, 5, 3, 2), attrs={'perLabel': False})
    case('blank', 7, 2, 5, rng.ints(0, 4, 2, 3), attrs={'blank': 4})
    case('long', 33, 3, 17, rng.ints(1, 17, 3, 9), [33, 20, 28], [9, 5, 7])
    case('impossible', 4, 3, 4, [[1, 2, 3], [1, 1, 1], [2, 1, 1]], [4, 4, 2], [3, 3, 2], {'zeroInfinity': True})


def build():
    family = Family('losses')
    classes(family)
    elementwise(family)
    distances(family)
    ctcs(family)
    return family
