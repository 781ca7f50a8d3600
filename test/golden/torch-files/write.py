"""Files as torch.save writes them, and what is in them: expected.safetensors has every tensor as CASE/PATH, and each CASE's value as JSON.

    python -m pip install torch==2.13.0 numpy safetensors
    python test/golden/torch-files/write.py

Legacy files name storages by address, so those bytes differ from run to run; everything else is the same.
"""

import collections
import io
import json
import math
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

here = Path(__file__).parent
tensors, values = {}, {}


def skeleton(case, path, v):
    """The value as JSON, its tensors as names, which go into `tensors`."""
    if isinstance(v, torch.Tensor):
        name = "/".join([case, *path])
        narrow = {torch.int16, torch.int8, torch.uint16, torch.uint32}
        t = v.detach()
        tensors[name] = (t.to(torch.int32) if t.dtype in narrow else t).contiguous().clone()
        return {"tensor": name}
    if v is None or isinstance(v, (bool, str)):
        return v
    if isinstance(v, int):
        return v if abs(v) < 2**53 else {"big": str(v)}
    if isinstance(v, float):
        return v if math.isfinite(v) else {"float": "nan" if math.isnan(v) else "inf" if v > 0 else "-inf"}
    if isinstance(v, (bytes, bytearray)):
        return {"bytes": list(v)}
    if isinstance(v, (torch.dtype, torch.device)):
        return str(v)
    if isinstance(v, dict):
        return {"dict": [[k, skeleton(case, [*path, str(k)], x)] for k, x in v.items()]}
    if isinstance(v, (set, frozenset)):
        return {"set": sorted(v)}
    return [skeleton(case, [*path, str(i)], x) for i, x in enumerate(v)]


def save(case, value, **options):
    torch.save(value, here / f"{case}.pt", **options)
    loaded = torch.load(here / f"{case}.pt", weights_only=False)
    values[case] = json.dumps(skeleton(case, [], loaded))


class Block(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(b)
        self.downsample = nn.Sequential(nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Block(4, 4), Block(4, 8))
        self.fc = nn.Linear(8, 5)


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(11, 8)
        self.wpe = nn.Embedding(6, 8)
        self.h = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
        self.lm_head = nn.Linear(8, 11, bias=False)
        self.lm_head.weight = self.wte.weight
        self.register_buffer("mask", torch.ones(6, 6, dtype=torch.bool).tril())


def dtypes():
    floats = [0.0, -0.0, 1.5, -2.25, 65504.0, 1e-7, float("inf"), float("-inf"), float("nan")]
    out = {str(d)[6:]: torch.tensor(floats, dtype=d) for d in (torch.float32, torch.float64, torch.float16, torch.bfloat16)}
    for d, low, high in (
        (torch.int64, -(2**31), 2**31 - 1),
        (torch.int32, -(2**31), 2**31 - 1),
        (torch.int16, -(2**15), 2**15 - 1),
        (torch.int8, -128, 127),
        (torch.uint8, 0, 255),
        (torch.uint16, 0, 2**16 - 1),
        (torch.uint32, 0, 2**31 - 1),
    ):
        out[str(d)[6:]] = torch.tensor([low, high, 0, 1, 7], dtype=d)
    out["bool"] = torch.tensor([True, False, True])
    return out


def views():
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    return {
        "base": base,
        "transposed": base.transpose(0, 2),
        "permuted": base.permute(1, 2, 0),
        "row": base[1],
        "element": base[2, 3, 4],
        "stepped": base[:, ::2, 1::3],
        "column": base[:, :, 2],
        "expanded": base[0, 0, :1].expand(7, 3, 1),
        "expandedRow": base[0, :1].expand(4, 5),
        "windows": base.view(-1).as_strided((10, 4), (3, 1), 5),
        "channelsLast": torch.arange(48.0).reshape(2, 3, 2, 4).contiguous(memory_format=torch.channels_last),
        "ones": base[:, :1, :1],
        "empty": base[:, :0],
        "emptyEnd": base.view(-1)[60:],
        "half": torch.arange(12, dtype=torch.bfloat16).reshape(3, 4).t(),
        "long": torch.arange(12).reshape(3, 4).t(),
        "bytes": torch.arange(12, dtype=torch.uint8).reshape(3, 4).t(),
        "double": torch.arange(12, dtype=torch.float64).reshape(3, 4).t(),
    }


def checkpoint():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5])
    for _ in range(2):
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        scheduler.step()
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    return {**{k: v.state_dict() for k, v in parts.items()}, "epoch": 3, "rng": torch.get_rng_state()[:40].clone(), "args": {"lr": 0.01}}


def plain():
    return {
        "none": None,
        "bools": [True, False],
        "ints": [0, 255, 256, 65535, 65536, -1, 2**31 - 1, -(2**31), 2**31, 2**53 - 1, -(2**53) + 1, 2**53, 2**64, -(2**70)],
        "floats": [0.5, -1e300, float("inf"), float("-inf"), float("nan")],
        "text": ["", "a", "é", "\U0001f600", "x" * 300],
        "bytes": [b"", b"\x00\xff", bytes(range(256)), bytearray(b"abc")],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "sets": [{1, 2}, frozenset({3}), set()],
        "size": torch.Size([2, 3]),
        "device": torch.device("cuda:1"),
        "dtype": [torch.float32, torch.complex64],
        "counter": collections.Counter({2: 1}),
        "defaults": collections.defaultdict(list, {"a": [1]}),
        "ordered": collections.OrderedDict([("z", 1), ("a", 2)]),
        1: "one",
        "__proto__": {"constructor": 1},
    }


def shared():
    base = torch.arange(10.0)
    twice = nn.Parameter(torch.ones(2, 2))
    return {"list": [base, base, base[2:5]], "tuple": (twice, twice), "halves": base.split(5)}


class Evil:
    def __reduce__(self):
        return (print, ("run",))


torch.manual_seed(0)
resnet = ResNet()
with torch.no_grad():
    for name, b in resnet.named_buffers():
        b.copy_(torch.full_like(b, 3) if b.dtype == torch.int64 else torch.rand_like(b))
save("resnet", resnet.state_dict())
save("resnet-legacy", resnet.state_dict(), _use_new_zipfile_serialization=False)
save("gpt-tied", GPT().state_dict())
save("dtypes", dtypes())
legacy = {k: v for k, v in dtypes().items() if k not in ("uint16", "uint32")}
save("dtypes-legacy", legacy, _use_new_zipfile_serialization=False)
save("views", views())
save("views-legacy", views(), _use_new_zipfile_serialization=False)
save("tensor", torch.arange(6.0).reshape(2, 3))
save("parameter", nn.Parameter(torch.arange(3.0)))
save("checkpoint", checkpoint())
for protocol in (3, 4, 5):
    save(f"plain-{protocol}", plain(), pickle_protocol=protocol)
    save(f"checkpoint-{protocol}", checkpoint(), pickle_protocol=protocol)
save("plain", plain())
save("shared", shared())
save("empty", {})
save("lstm", nn.LSTM(3, 4, num_layers=2, bidirectional=True).state_dict())
attributes = torch.arange(4.0)
attributes.note = "kept by Python"
marked = nn.Parameter(torch.arange(2.0))
marked.note = "this too"
save("attributes", {"t": attributes, "p": marked})
torch.serialization.set_crc32_options(False)
save("without-checksums", {"w": torch.arange(5.0)})
torch.serialization.set_crc32_options(True)

# Written anew by another zip, with zip64 numbers in every entry.
packed = io.BytesIO()
with zipfile.ZipFile(here / "tensor.pt") as old, zipfile.ZipFile(packed, "w") as new:
    for info in old.infolist():
        with new.open(zipfile.ZipInfo(info.filename), "w", force_zip64=True) as f:
            f.write(old.read(info))
(here / "zip64.pt").write_bytes(packed.getvalue())
values["zip64"] = json.dumps(skeleton("zip64", [], torch.load(here / "zip64.pt")))

# What is refused.
torch.save({"x": torch.ones(2, dtype=torch.complex64)}, here / "refused-complex.pt")
torch.save({"x": torch.eye(2).to_sparse()}, here / "refused-sparse.pt")
torch.save(nn.Linear(2, 1), here / "refused-module.pt")
torch.save({"x": torch.tensor([1, 2**31])}, here / "refused-wide.pt")
torch.save({"x": Evil()}, here / "refused-code.pt")
torch.save({"x": torch.ones(2, 1, 1, 1, 1, 1, 1, 1, 1)}, here / "refused-nine-dimensions.pt")
torch.save({"x": torch.ones(2, device="meta")}, here / "refused-meta.pt")
torch.save({"x": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, here / "refused-quantised.pt")
torch.jit.save(torch.jit.script(nn.Linear(2, 1)), here / "refused-torchscript.pt")
packed = io.BytesIO()
with zipfile.ZipFile(here / "tensor.pt") as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
    for info in old.infolist():
        new.writestr(info.filename, old.read(info))
(here / "refused-compressed.pt").write_bytes(packed.getvalue())

save_file(tensors, here / "expected.safetensors", values)
(here / "expected.safetensors").chmod(0o644)
