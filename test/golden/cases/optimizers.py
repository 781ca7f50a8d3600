"""Every optimizer of torch.optim that Anneal has, 100 steps."""

import torch

from cases.optim import ADAM, ADAMW, SGD, optimizer_case
from common import Family

RMSPROP, ADAGRAD = torch.optim.RMSprop, torch.optim.Adagrad
TABLE = [
    ('SGD', SGD, {'lr': 0.1}),
    ('SGD-momentum-weightDecay', SGD, {'lr': 0.05, 'momentum': 0.9, 'weightDecay': 0.01}),
    ('SGD-dampening', SGD, {'lr': 0.05, 'momentum': 0.9, 'dampening': 0.5}),
    ('SGD-nesterov', SGD, {'lr': 0.05, 'momentum': 0.9, 'nesterov': True, 'weightDecay': 0.01}),
    ('Adam', ADAM, {'lr': 0.01}),
    ('Adam-weightDecay', ADAM, {'lr': 0.01, 'weightDecay': 0.1}),
    ('Adam-amsgrad', ADAM, {'lr': 0.01, 'amsgrad': True}),
    ('AdamW', ADAMW, {'lr': 0.01}),
    ('AdamW-amsgrad', ADAMW, {'lr': 0.01, 'betas': [0.9, 0.95], 'weightDecay': 0.1, 'amsgrad': True}),
    ('RMSprop', RMSPROP, {}),
    ('RMSprop-alpha-eps', RMSPROP, {'lr': 0.02, 'alpha': 0.9, 'eps': 1e-3}),
    ('RMSprop-weightDecay', RMSPROP, {'weightDecay': 0.1}),
    ('RMSprop-momentum', RMSPROP, {'lr': 0.005, 'momentum': 0.9}),
    ('RMSprop-centered', RMSPROP, {'centered': True}),
    ('RMSprop-centered-momentum', RMSPROP, {'lr': 0.005, 'momentum': 0.8, 'centered': True, 'weightDecay': 0.01}),
    ('Adagrad', ADAGRAD, {}),
    ('Adagrad-lrDecay', ADAGRAD, {'lr': 0.1, 'lrDecay': 0.02}),
    ('Adagrad-initial', ADAGRAD, {'lr': 0.1, 'initialAccumulatorValue': 0.5, 'eps': 1e-4, 'weightDecay': 0.05}),
]


def build():
    family = Family('optimizers')
    for name, kind, attrs in TABLE:
        optimizer_case(family, name, kind, attrs, steps=100, shapes=[(3, 5), (7,), ()])
    return family
