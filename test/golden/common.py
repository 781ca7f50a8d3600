"""What every family of golden cases shares: seeded inputs, the f64 reference run, rounding, and the file.

The reference is computed in f64 from inputs that f32 holds exactly, and rounded once to f32: the golden is the truth to half an ulp,
not PyTorch's own f32 rounding. Each case is also run by PyTorch in f32. A case that PyTorch itself cannot meet within the
tolerance is ill-conditioned and stops the generator, unless it states a tolerance of its own.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

FORWARD_TOLERANCE = 1e-5
GRAD_TOLERANCE = 1e-4
# Below this, f32 results are (nearly) subnormal; kernels may flush them.
TINY = 1e-36


class Random:
    """Inputs keyed by the case's name, so that adding a case changes no other."""

    def __init__(self, name):
        self.rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))

    def normal(self, *shape, scale=1.0, shift=0.0):
        return f32(self.rng.standard_normal(shape) * scale + shift)

    def uniform(self, low, high, *shape):
        return f32(self.rng.uniform(low, high, shape))

    def ints(self, low, high, *shape):
        return np.asarray(self.rng.integers(low, high, shape), dtype=np.int32)

    def bools(self, p, *shape):
        return np.asarray(self.rng.uniform(0, 1, shape) < p)

    def distinct(self, *shape, step=0.25):
        """A shuffled ladder: no two values are closer than `step`, so max, argmax and topK have one answer."""
        n = int(np.prod(shape))
        return f32((self.rng.permutation(n) - n / 2) * step).reshape(shape)

    def away_from(self, points, *shape, gap=0.01, scale=1.5):
        """Normal values, none within `gap` of a kink."""
        x = self.rng.standard_normal(shape) * scale
        for p in points:
            x = np.where(np.abs(x - p) < gap, p + 2 * gap, x)
        return f32(x)


def f32(values):
    return np.asarray(values, dtype=np.float32)


def to_torch(array, dtype=torch.float64, grad=False):
    """f32 arrays become `dtype` tensors (leaves, if grad), i32 becomes int64 (what PyTorch indexes with)."""
    array = np.asarray(array)
    if array.dtype == np.float32:
        return torch.from_numpy(array.astype(np.float64)).to(dtype).requires_grad_(grad)
    return torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array.copy())


def to_golden(value):
    """A reference value as it is stored: floats rounded once to f32, integers as i32, bools as they are."""
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.dtype.kind == 'f':
        with np.errstate(over='ignore'):
            array = array.astype(np.float32)
    elif array.dtype.kind == 'i':
        assert array.size == 0 or np.abs(array).max() < 2**31
        array = array.astype(np.int32)
    return np.asarray(array, order='C')


def error(actual, expected, elementwise=False):
    """Max abs difference over max abs value, or the worst elementwise ratio; inf and nan must agree in place."""
    a, b = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert a.shape == b.shape, (a.shape, b.shape)
    if b.size == 0:
        return 0.0
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return float('inf')
    if not finite.any():
        return 0.0
    a, b = a[finite], b[finite]
    if elementwise:
        return float((np.abs(a - b) / np.maximum(np.abs(b), TINY / 1e-6)).max())
    # An all-zero reference has no scale of its own: compare with 1.
    scale = np.abs(b).max()
    return float(np.abs(a - b).max() / (scale if scale > 0 else 1.0))


class Family:
    def __init__(self, name):
        self.name = name
        self.cases = []
        self.tensors = {}
        self.complaints = []

    # -- storing ----------------------------------------------------------------------------------------------------------
    def put(self, case, role, array):
        key = f'{case}/{role}'
        assert key not in self.tensors, f'{key} twice'
        self.tensors[key] = np.asarray(array, order='C')

    def add_case(self, name, op, kind, attrs, tags=(), **fields):
        assert all(c['name'] != name for c in self.cases), f'case {name} twice'
        case = {'name': name, 'op': op, 'kind': kind, 'attrs': attrs, 'dtype': 'f32', **fields}
        if tags:
            case['tags'] = list(tags)
        self.cases.append(case)
        return case

    def check(self, name, role, actual, expected, limit, elementwise=False):
        e = error(to_golden(actual), to_golden(expected), elementwise)
        if not e <= limit:
            self.complaints.append(f'{self.name}: {name}/{role}: PyTorch in f32 is {e:.2e} from f64 (limit {limit:.0e})')

    # -- one op -----------------------------------------------------------------------------------------------------------
    def op(self, name, op, fn, inputs, attrs=None, args=None, diff=None, outs=('out',), tags=(), tolerance=None, elementwise=False):
        """Runs `fn(*inputs)` in f64 and stores inputs, outputs, random output gradients and input gradients.

        diff: which inputs take a gradient (default: every float one). outs: names of the outputs; a name that ends in '!' takes
        no gradient although it is a float (a count, a running statistic).
        """
        inputs = [np.asarray(x) for x in inputs]
        isfloat = [x.dtype == np.float32 for x in inputs]
        diff = isfloat if diff is None else list(diff)
        args = args or ['x', 'y', 'z'][: len(inputs)]
        assert len(args) == len(diff) == len(inputs), name
        names = [o.rstrip('!') for o in outs]
        case = self.add_case(
            name, op, 'op', attrs or {}, tags, inputs=len(inputs), args=args, differentiable=diff, outputs=len(outs), outs=names
        )
        # The dtype under test: float if any input is, else that of the first input.
        if not any(isfloat):
            case['dtype'] = {'int32': 'i32', 'bool': 'bool', 'uint8': 'u8'}[inputs[0].dtype.name]
        if tolerance:
            case['tolerance'] = {'forward': tolerance[0], 'grad': tolerance[1]}
        if elementwise:
            case['compare'] = 'elementwise'
        forward_limit, grad_limit = tolerance or (FORWARD_TOLERANCE, GRAD_TOLERANCE)

        grad_outs = {}
        results = {}
        for dtype in (torch.float64, torch.float32):
            leaves = [to_torch(x, dtype, d) for x, d in zip(inputs, diff)]
            out = fn(*leaves)
            out = list(out) if isinstance(out, (tuple, list)) else [out]
            assert len(out) == len(outs), name
            takes = [k for k, o in enumerate(out) if o.requires_grad and not outs[k].endswith('!')]
            if not grad_outs:
                rng = Random(f'{self.name}/{name}/grad_out')
                grad_outs = {k: rng.normal(*out[k].shape) for k in takes}
            grads = {}
            if takes and any(diff):
                which = [i for i, d in enumerate(diff) if d]
                found = torch.autograd.grad(
                    [out[k] for k in takes], [leaves[i] for i in which], [to_torch(grad_outs[k], dtype) for k in takes], allow_unused=True
                )
                grads = {i: torch.zeros_like(leaves[i]) if g is None else g for i, g in zip(which, found)}
            results[dtype] = (out, grads)

        out, grads = results[torch.float64]
        assert set(grads) == {i for i, d in enumerate(diff) if d}, f'{name}: a differentiable input without a gradient'
        for i, x in enumerate(inputs):
            self.put(name, f'in.{i}', x)
        for k, o in enumerate(out):
            self.put(name, f'out.{k}', to_golden(o))
            self.check(name, f'out.{k}', results[torch.float32][0][k], o, forward_limit, elementwise)
        for k, g in grad_outs.items():
            self.put(name, f'grad_out.{k}', g)
        for i, g in grads.items():
            self.put(name, f'grad.{i}', to_golden(g))
            self.check(name, f'grad.{i}', results[torch.float32][1][i], g, grad_limit, elementwise)

    # -- the file ---------------------------------------------------------------------------------------------------------
    def save(self, folder):
        """One metadata key only: safetensors writes several in no fixed order, and the bytes must repeat."""
        path = Path(folder) / f'{self.name}.safetensors'
        save_file(self.tensors, str(path), metadata={'cases': json.dumps(self.cases, separators=(',', ':'))})
        path.chmod(0o644)  # safetensors writes 0600
        return path
