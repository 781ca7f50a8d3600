"""Rates of PyTorch's schedulers over long runs, and of formulas in f64 where PyTorch has none: python test/golden/schedules.py > test/golden/schedules.json"""

import json
import math
import random

import torch
from torch.optim import lr_scheduler as ls

PEAK = 0.3
random.seed(5)


def optimizer(rate=PEAK):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)


def rates(make, n):
    o = optimizer()
    s = make(o)
    found = [o.param_groups[0]['lr']]
    for _ in range(n):
        o.step()
        s.step()
        found.append(o.param_groups[0]['lr'])
    return found


def warm(o, steps):
    return ls.LinearLR(o, start_factor=0.01, total_iters=steps)


def handed(steps, then):
    return lambda o: ls.SequentialLR(o, [warm(o, steps), then(o)], milestones=[steps])


def formula(f):
    return lambda n: [PEAK * f(t) for t in range(n + 1)]


def wsd(t, total=900, rise=100, fall=200):
    if t < rise:
        return 0.01 + 0.99 * t / rise
    return 1 if t <= total - fall else max(0, (total - t) / fall)


# name, the same as a chain of Anneal's parts, steps, rates. Where PyTorch's own would go on beyond its length (a cosine rises again), the run ends there.
TORCH = [
    ('constant', [{'kind': 'constant', 'factor': 0.4}], 500, lambda o: ls.ConstantLR(o, factor=0.4, total_iters=1000)),
    ('linear', [{'kind': 'linear', 'from': 1, 'to': 0.05, 'steps': 700}], 800, lambda o: ls.LinearLR(o, start_factor=1, end_factor=0.05, total_iters=700)),
    ('warmup', [{'kind': 'warmup', 'steps': 1000}], 1200, lambda o: warm(o, 1000)),
    ('cosine', [{'kind': 'cosine', 'to': 0.1, 'steps': 1000}], 1000, lambda o: ls.CosineAnnealingLR(o, 1000, eta_min=PEAK * 0.1)),
    ('cosine to 0', [{'kind': 'cosine', 'steps': 317}], 317, lambda o: ls.CosineAnnealingLR(o, 317)),
    ('restarts', [{'kind': 'cosineRestarts', 'period': 100}], 750, lambda o: ls.CosineAnnealingWarmRestarts(o, 100)),
    ('restarts x2', [{'kind': 'cosineRestarts', 'period': 50, 'mult': 2, 'to': 0.02}], 1600, lambda o: ls.CosineAnnealingWarmRestarts(o, 50, T_mult=2, eta_min=PEAK * 0.02)),
    ('step', [{'kind': 'step', 'every': 90, 'gamma': 0.5}], 1000, lambda o: ls.StepLR(o, 90, gamma=0.5)),
    ('milestones', [{'kind': 'step', 'at': [300, 600, 650]}], 1000, lambda o: ls.MultiStepLR(o, [300, 600, 650])),
    ('exponential', [{'kind': 'exponential', 'gamma': 0.997}], 1500, lambda o: ls.ExponentialLR(o, 0.997)),
    ('polynomial', [{'kind': 'polynomial', 'power': 2.5, 'steps': 600}], 700, lambda o: ls.PolynomialLR(o, 600, power=2.5)),
    ('one cycle', [{'kind': 'oneCycle', 'steps': 1000}], 999, lambda o: ls.OneCycleLR(o, PEAK, total_steps=1000)),
    ('one cycle, straight', [{'kind': 'oneCycle', 'steps': 801, 'pctStart': 0.2, 'divFactor': 10, 'finalDivFactor': 100, 'anneal': 'linear'}], 800,
     lambda o: ls.OneCycleLR(o, PEAK, total_steps=801, pct_start=0.2, div_factor=10, final_div_factor=100, anneal_strategy='linear')),
    ('one cycle, three phases', [{'kind': 'oneCycle', 'steps': 640, 'pctStart': 0.4, 'threePhase': True}], 639,
     lambda o: ls.OneCycleLR(o, PEAK, total_steps=640, pct_start=0.4, three_phase=True)),
    ('warm-up, exponential', [{'kind': 'warmup', 'steps': 200}, {'kind': 'exponential', 'gamma': 0.999}], 900, handed(200, lambda o: ls.ExponentialLR(o, 0.999))),
    ('warm-up, step', [{'kind': 'warmup', 'steps': 64}, {'kind': 'step', 'every': 100}], 500, handed(64, lambda o: ls.StepLR(o, 100))),
]
FORMULAS = [
    ('warm-up, cosine', [{'kind': 'warmup', 'steps': 300}, {'kind': 'cosine', 'to': 0.1, 'steps': 1700}], 2000,
     lambda t: 0.01 + 0.99 * t / 300 if t < 300 else 0.1 + 0.9 * (1 + math.cos(math.pi * (t - 300) / 1700)) / 2),
    ('inverse sqrt', [{'kind': 'inverseSqrt', 'timescale': 400}], 2000, lambda t: 1 / math.sqrt(1 + t / 400)),
    ('Vaswani', [{'kind': 'warmup', 'steps': 400, 'from': 0}, {'kind': 'inverseSqrt', 'timescale': 400}], 4000,
     lambda t: min(t / 400, math.sqrt(400 / t) if t else 0)),
    ('stable, decay', [{'kind': 'warmup', 'steps': 100}, {'kind': 'constant', 'steps': 600}, {'kind': 'linear', 'steps': 200}], 1000, wsd),
    ('1 - sqrt', [{'kind': 'oneMinusSqrt', 'to': 0.1, 'steps': 500}], 600, lambda t: 1 - 0.9 * math.sqrt(min(t, 500) / 500)),
]
PLATEAU = [
    {'patience': 3, 'factor': 0.7},
    {},
    {'mode': 'max', 'patience': 2, 'factor': 0.8, 'cooldown': 4},
    {'patience': 0, 'factor': 0.9, 'threshold': 0.05, 'thresholdMode': 'abs', 'minLr': 0.01},
]
NAMES = {'minLr': 'min_lr', 'thresholdMode': 'threshold_mode'}


def kept(found, n):
    """Every 37th, and all around where a part may end."""
    places = {0, 1, 2, n - 1, n, *range(0, n + 1, 37), *(i + d for i in range(50, n, 50) for d in (-1, 0, 1))}
    return {'at': sorted(places), 'rates': [found[i] for i in sorted(places)]}


def plateau(options):
    o = optimizer()
    s = ls.ReduceLROnPlateau(o, **{NAMES.get(k, k): v for k, v in options.items()})
    falling = -1 if options.get('mode') == 'max' else 1
    values = [3 + falling * (math.exp(-t / 40) + 0.05 * random.gauss(0, 1)) for t in range(200)]
    found = []
    for v in values:
        s.step(v)
        found.append(o.param_groups[0]['lr'])
    return {'options': options, 'values': values, 'rates': found}


cases = [{'name': name, 'parts': parts, **kept(rates(make, n), n)} for name, parts, n, make in TORCH]
cases += [{'name': name, 'parts': parts, **kept(formula(f)(n), n)} for name, parts, n, f in FORMULAS]
print(json.dumps({'peak': PEAK, 'cases': cases, 'plateau': [plateau(p) for p in PLATEAU]}, separators=(',', ':')))
