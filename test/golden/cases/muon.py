"""torch.optim.Muon, 100 steps. Its Newton-Schulz iterations compute in bf16 whatever the parameters are: a looser reference than the others."""

import torch

from cases.optim import optimizer_case
from common import Family

TABLE = [
    ('Muon', {'lr': 0.02}),
    ('Muon-plain', {'lr': 0.02, 'nesterov': False, 'momentum': 0.8, 'weightDecay': 0}),
    ('Muon-adjusted', {'lr': 0.005, 'adjustLr': 'matchRmsAdamW', 'nsSteps': 4}),
]


def muon(leaves, foreach, **options):
    options['adjust_lr_fn'] = {'matchRmsAdamW': 'match_rms_adamw'}.get(options.pop('adjustLr', None))
    options['ns_steps'] = options.pop('nsSteps', 5)
    return torch.optim.Muon(leaves, **options)


muon.__name__ = 'Muon'


def build():
    family = Family('muon')
    for name, attrs in TABLE:
        optimizer_case(family, name, muon, attrs, steps=100, shapes=[(6, 10), (12, 4), (8, 8)])
    family.complaints.clear()  # its own runs in f32 and f64 differ by what bf16 makes of them
    return family
