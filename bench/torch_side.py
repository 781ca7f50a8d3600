"""PyTorch's side of the bench: the same models, batches and step. Speaks lines with main.ts: 'run N' -> milliseconds per step."""

import argparse
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


def memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (p.view(b, t, self.heads, c // self.heads).transpose(1, 2) for p in self.qkv(self.ln1(x)).split(c, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class Gpt(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(w['vocabulary'], w['width']), nn.Embedding(w['block'], w['width'])
        self.blocks = nn.ModuleList(Block(w['width'], w['heads']) for _ in range(w['layers']))
        self.ln_f = nn.LayerNorm(w['width'])
        for p in self.parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


def mlp(sizes):
    layers = []
    for i, o in zip(sizes, sizes[1:]):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )


def build(w):
    b = w['batch']
    if w['kind'] == 'mlp':
        return mlp(w['sizes']), torch.randn(b, w['sizes'][0]), torch.randint(0, w['sizes'][-1], (b,))
    if w['kind'] == 'cnn':
        return cnn().to(memory_format=torch.channels_last), torch.randn(b, 1, 28, 28), torch.randint(0, 10, (b,))
    tokens = torch.randint(0, w['vocabulary'], (b, w['block'] + 1))
    return Gpt(w), tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--workload', required=True)
    parser.add_argument('--dtype', default='f32')
    parser.add_argument('--threads', type=int, required=True)
    parser.add_argument('--compile', action='store_true')
    args = parser.parse_args()
    w = json.loads(args.workload)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    base = memory_mb()
    model, x, y = build(w)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    forward = torch.compile(model) if args.compile else model

    def step():
        with torch.autocast('cpu', torch.bfloat16, enabled=args.dtype == 'bf16'):
            logits = forward(x)
            loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), y.reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if w.get('awaitEach'):
            loss.item()
        return loss

    first, warm = step(), time.perf_counter()
    while time.perf_counter() - warm < 2:
        step()
    print(json.dumps({'ready': torch.__version__, 'loss': first.item()}), flush=True)
    for line in sys.stdin:
        command, *rest = line.split()
        if command != 'run':
            break
        n = int(rest[0])
        start = time.perf_counter()
        for _ in range(n):
            last = step()
        last.item()
        print(json.dumps({'ms': (time.perf_counter() - start) * 1000 / n, 'peakMB': memory_mb() - base}), flush=True)


main()
