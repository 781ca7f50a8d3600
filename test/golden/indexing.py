"""NumPy's answers to 200 random indices: `python indexing.py > indexing.json`. x counts from 0; the gradient of x for a result's gradient of 1, 2, ..."""
import json
import random

import numpy as np

random.seed(20261123)


def slice_text(n):
    def bound():
        return random.choice([None, random.randint(-n - 2, n + 2)])

    start, stop, step = bound(), bound(), random.choice([None, 1, 2, -1, -2, 3, -3])
    text = f"{'' if start is None else start}:{'' if stop is None else stop}" + ("" if step is None else f":{step}")
    return text, slice(start, stop, step)


def case():
    shape = [random.choice([1, 2, 3, 4, 5]) for _ in range(random.randint(1, 4))]
    x = np.arange(int(np.prod(shape))).reshape(shape)
    text, index = [], []
    axis = 0
    dots = random.random() < 0.3
    broadcast = random.choice([[3], [2, 2], [1], [2, 1]])
    while axis < len(shape):
        n = shape[axis]
        r = random.random()
        if r < 0.08:
            text.append(None), index.append(None)
            continue
        if dots and r < 0.3:
            text.append("..."), index.append(Ellipsis)
            dots = False
            axis += random.randint(0, len(shape) - axis)
            continue
        if r < 0.3:
            i = random.randint(-n, n - 1)
            text.append(i), index.append(i)
        elif r < 0.6:
            t, s = slice_text(n)
            text.append(t), index.append(s)
        elif r < 0.85:
            own = [random.choice([d, 1]) for d in broadcast][random.randint(0, len(broadcast) - 1):]
            values = np.random.default_rng(random.randint(0, 10**6)).integers(-n, n, own)
            text.append({"list" if random.random() < 0.5 else "tensor": values.tolist()}), index.append(values)
        elif r < 0.93:
            dims = random.randint(1, len(shape) - axis)
            mask = np.random.default_rng(random.randint(0, 10**6)).random(shape[axis:axis + dims]) < 0.5
            text.append({"list": mask.tolist()}), index.append(mask)
            axis += dims - 1
        elif axis > 0:
            break
        axis += 1
    try:
        y = x[tuple(index)]
    except IndexError:  # masks and lists that do not broadcast
        return None
    if y.ndim > 6:
        return None
    gradient = np.zeros(shape)
    np.add.at(gradient, tuple(index), (np.arange(y.size) + 1).reshape(y.shape))
    return {"shape": shape, "index": text, "out": list(y.shape), "values": y.ravel().tolist(), "gradient": gradient.ravel().tolist()}


cases = []
while len(cases) < 200:
    c = case()
    if c:
        cases.append(c)
print("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]")
