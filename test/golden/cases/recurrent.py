"""nn.LSTM, nn.GRU and nn.RNN, batch first: layers, directions, first states, and packed sequences of other lengths."""

import numpy as np
import torch
from torch import nn

from cases.modules import initial_state, load
from common import FORWARD_TOLERANCE, GRAD_TOLERANCE, Family, Random, to_golden, to_torch

KINDS = {'LSTM': nn.LSTM, 'GRU': nn.GRU, 'RNN': nn.RNN}

# name, kind, (batch, time, input), hidden, options, lengths, first states
CASES = [
    *[(f'{k}-plain', k, (3, 5, 4), 6, {}, None, False) for k in KINDS],
    *[(f'{k}-one', k, (1, 1, 1), 1, {}, None, False) for k in KINDS],
    *[(f'{k}-all', k, (3, 6, 5), 7, {'numLayers': 2, 'bidirectional': True}, [6, 2, 4], True) for k in KINDS],
    *[(f'{k}-packed', k, (4, 7, 3), 5, {}, [1, 7, 3, 6], True) for k in KINDS],
    *[(f'{k}-reverse', k, (2, 4, 3), 4, {'bidirectional': True, 'bias': False}, None, True) for k in KINDS],
    ('RNN-relu', 'RNN', (2, 5, 4), 6, {'nonlinearity': 'relu', 'numLayers': 3}, [5, 3], True),
    ('LSTM-33', 'LSTM', (7, 9, 33), 17, {'numLayers': 2}, None, False),
    ('GRU-33', 'GRU', (7, 9, 33), 17, {'bidirectional': True}, [9, 9, 1, 5, 8, 2, 3], False),
]


def make(kind, shape, hidden, attrs):
    names = {'numLayers': 'num_layers'}
    return KINDS[kind](shape[2], hidden, batch_first=True, **{names.get(k, k): v for k, v in attrs.items()})


def forward(module, x, lengths, states):
    """Output, h and c as PyTorch gives them for packed sequences (in the batch's order)."""
    given = (tuple(states) if len(states) == 2 else states[0]) if states else None
    if lengths is None:
        out, last = module(x, given)
    else:
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
        out, last = module(packed, given)
        out, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
    return [out, *(last if isinstance(last, tuple) else [last])]


def case(family, name, kind, shape, hidden, attrs, lengths, first):
    build = lambda: make(kind, shape, hidden, attrs)  # noqa: E731
    state = initial_state(f'recurrent/{name}', build())
    rng = Random(f'recurrent/{name}/x')
    inputs = {'x': rng.normal(*shape)}
    rows = attrs.get('numLayers', 1) * (2 if attrs.get('bidirectional') else 1)
    if first:
        for key in ('h0', 'c0') if kind == 'LSTM' else ('h0',):
            inputs[f'options.{key}'] = rng.normal(rows, shape[0], hidden)
    outs = ['output', 'h', 'c'] if kind == 'LSTM' else ['output', 'h']
    seeds = Random(f'recurrent/{name}/grad_out')
    results, grad_outs = {}, None
    for dtype in (torch.float64, torch.float32):
        module = load(build(), state, dtype)
        leaves = [to_torch(v, dtype, True) for v in inputs.values()]
        out = forward(module, leaves[0], lengths, leaves[1:])
        grad_outs = grad_outs or [seeds.normal(*o.shape) for o in out]
        torch.autograd.backward(out, [to_torch(g, dtype) for g in grad_outs])
        results[dtype] = (out, leaves, module)
    out, leaves, module = results[torch.float64]
    out32, leaves32, module32 = results[torch.float32]
    args = [*inputs, *(['options.lengths'] if lengths else [])]
    diff = [True] * len(inputs) + ([False] if lengths else [])
    shown = {'inputs': len(args), 'args': args, 'differentiable': diff, 'outputs': len(outs), 'outs': outs, 'training': True}
    family.add_case(name, f'nn.{kind}', 'module', {'inputSize': shape[2], 'hiddenSize': hidden, **attrs}, (), **shown)
    for key, value in state.items():
        family.put(name, f'state.{key}', value)
    for i, value in enumerate([*inputs.values(), *([np.asarray(lengths, np.int32)] if lengths else [])]):
        family.put(name, f'in.{i}', value)
    for k, o in enumerate(out):
        family.put(name, f'out.{k}', to_golden(o))
        family.put(name, f'grad_out.{k}', grad_outs[k])
        family.check(name, f'out.{k}', out32[k], o, FORWARD_TOLERANCE)
    for i, x in enumerate(leaves):
        family.put(name, f'grad.{i}', to_golden(x.grad))
        family.check(name, f'grad.{i}', leaves32[i].grad, x.grad, GRAD_TOLERANCE)
    theirs = dict(module32.named_parameters())
    for key, p in module.named_parameters():
        family.put(name, f'gstate.{key}', to_golden(p.grad))
        family.check(name, f'gstate.{key}', theirs[key].grad, p.grad, GRAD_TOLERANCE)


def build():
    family = Family('recurrent')
    for row in CASES:
        case(family, *row)
    return family
