"""Writes the PyTorch golden files: python test/golden/generate.py [FAMILY ...]. See README.md beside this file."""

import hashlib
import sys
from pathlib import Path

import torch

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cases import array, attention, binary, conv, index, layer_modules, layers, loss, losses, matmul, models, modules, muon, norm, optim, optimizers, recurrent, reduce, unary  # noqa: E402

FAMILIES = [array, unary, binary, reduce, matmul, conv, norm, attention, loss, index, modules, optim, optimizers, models, layers, recurrent, losses, layer_modules, muon]


def main(wanted):
    # One thread and the deterministic paths: the same bytes on every run.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    known = {m.__name__.split('.')[-1]: m for m in FAMILIES}
    unknown = [w for w in wanted if w not in known]
    if unknown:
        sys.exit(f'Unknown family {", ".join(unknown)}. Known: {", ".join(known)}.')
    complaints, cases, size = [], 0, 0
    for name, module in known.items():
        if wanted and name not in wanted:
            continue
        family = module.build()
        assert family.name == name
        path = family.save(HERE)
        data = path.read_bytes()
        complaints += family.complaints
        cases += len(family.cases)
        size += len(data)
        print(f'{name:10} {len(family.cases):4} cases {len(family.tensors):5} tensors {len(data):8} bytes  {hashlib.sha256(data).hexdigest()[:16]}')
    print(f'{"all":10} {cases:4} cases {size:27} bytes')
    for c in complaints:
        print('ILL-CONDITIONED', c, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
