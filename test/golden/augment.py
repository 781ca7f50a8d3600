"""Images through torchvision.transforms.v2.functional with given parameters: python augment.py writes augment.safetensors beside itself.

Needs torch==2.13.0 and torchvision==0.28.0 beside generate.py's. f32 images are computed in f64 and rounded once; u8 images are torchvision's own u8.
Each case: in [C, H, W], out, and in the metadata its steps, as test/data/augment-golden.test.ts reads them.
"""
import json
import pathlib

import torch

# The transforms are plain Python over torch; where torchvision's compiled operators do not load (a wheel for CUDA beside torch for the CPU), its import asks
# only that two of them, which we do not use, have been declared.
library = torch.library.Library("torchvision", "FRAGMENT")
for operator in ("nms", "qnms"):
    try:
        library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:
        pass
from safetensors.torch import save_file  # noqa: E402
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

import math

cases, tensors = [], {}
modes = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}


def image(c, h, w, dtype, seed):
    g = torch.Generator().manual_seed(seed)
    # smooth shapes with noise on them: histograms and edges of every kind
    y, x = torch.meshgrid(torch.linspace(0, 3, h), torch.linspace(0, 4, w), indexing="ij")
    planes = [0.5 + 0.35 * torch.sin(x * (k + 1) + y) + 0.15 * (torch.rand(h, w, generator=g) - 0.5) for k in range(c)]
    u8 = (torch.stack(planes).clamp(0, 1) * 255).to(torch.uint8)
    return u8 if dtype == "u8" else (u8.to(torch.float64) / 256 + 2.0**-10).to(torch.float32)


def add(name, attrs, run):
    for c, h, w in ((3, 17, 22), (1, 12, 9), (3, 32, 32)):
        for dtype in ("u8", "f32"):
            x = image(c, h, w, dtype, len(cases))
            y = run(x) if dtype == "u8" else run(x.to(torch.float64)).to(torch.float32)
            key = f"{name}-{c}x{h}x{w}-{dtype}"
            tensors[f"{key}/in"], tensors[f"{key}/out"] = x, y.clone().contiguous()
            cases.append({"name": key, "dtype": dtype, "shape": [c, h, w], "out": list(y.shape), "attrs": attrs})


add("hflip", {"op": "flipHorizontal"}, F.horizontal_flip)
add("vflip", {"op": "flipVertical"}, F.vertical_flip)
for mode in ("constant", "edge", "reflect", "symmetric"):
    fill = 7 if mode == "constant" else 0
    add(f"crop-{mode}", {"op": "crop", "padding": 3, "top": 1, "left": 5, "height": 10, "width": 8, "mode": mode, "fill": fill},
        lambda x, m=mode, f=fill: F.crop(F.pad(x, [3, 3, 3, 3], fill=f, padding_mode=m), 1, 5, 10, 8))
for top, left, h, w, oh, ow in ((2, 1, 7, 6, 12, 15), (0, 0, 12, 9, 5, 4), (1, 2, 9, 5, 9, 11)):
    add(f"resizedCrop-{oh}-{ow}", {"op": "resizedCrop", "box": [top, left, h, w, oh, ow]},
        lambda x, a=(top, left, h, w, oh, ow): F.resized_crop(x, *a[:4], list(a[4:]), antialias=True))
for f in (0.0, 0.37, 1.0, 1.63):
    for op in ("brightness", "contrast", "saturation"):
        add(f"{op}-{f}", {"op": op, "factor": f}, lambda x, o=op, v=f: getattr(F, f"adjust_{o}")(x, v))
    add(f"sharpness-{f}", {"op": "sharpness", "factor": f}, lambda x, v=f: F.adjust_sharpness(x, v))
for f in (-0.5, -0.21, 0.0, 0.08, 0.5):
    add(f"hue-{f}", {"op": "hue", "factor": f}, lambda x, v=f: F.adjust_hue(x, v))
for bits in (1, 4, 7, 8):
    add(f"posterize-{bits}", {"op": "posterize", "factor": bits}, lambda x, v=bits: F.posterize(x, v))
for t in (0.0, 0.4, 1.0):
    add(f"solarize-{t}", {"op": "solarize", "share": t},
        lambda x, v=t: F.solarize(x, v * (255 if x.dtype == torch.uint8 else 1.0)))
add("autocontrast", {"op": "autocontrast"}, F.autocontrast)
add("equalize", {"op": "equalize"}, F.equalize)
add("erase", {"op": "erase", "box": [2, 3, 5, 4], "values": 9},
    lambda x: F.erase(x, 2, 3, 5, 4, torch.tensor([9.0], dtype=x.dtype if x.dtype != torch.uint8 else torch.float32)[:, None, None].to(x.dtype)))
for mode in modes:
    for angle in (-31.7, 12.3, 87.0):  # not 90: on an uneven image its pixels fall half-way between two
        add(f"rotate-{angle}-{mode}", {"op": "rotate", "angle": angle, "interpolation": mode, "fill": 5},
            lambda x, a=angle, m=mode: F.rotate(x, a, interpolation=modes[m], fill=[5.0]))
    for i, (angle, shift, scale, shear) in enumerate(((21.3, [2, -1], 0.83, [11.0, 0.0]), (-7.1, [0, 0], 1.31, [-9.3, 14.2]))):
        add(f"affine-{i}-{mode}", {"op": "affine", "angle": angle, "translate": shift, "scale": scale, "shear": shear, "interpolation": mode, "fill": 0},
            lambda x, a=(angle, shift, scale, shear), m=mode: F.affine(x, a[0], a[1], a[2], a[3], interpolation=modes[m], fill=[0.0]))

# RandAugment's fourteen, at bin 9 of 31, through torchvision's own dispatch.
from torchvision.transforms import v2  # noqa: E402

names = {"Identity": "identity", "ShearX": "shearX", "ShearY": "shearY", "TranslateX": "translateX", "TranslateY": "translateY", "Rotate": "rotate",
         "Brightness": "brightness", "Color": "color", "Contrast": "contrast", "Sharpness": "sharpness", "Posterize": "posterize",
         "Solarize": "solarize", "AutoContrast": "autocontrast", "Equalize": "equalize"}
policy = v2.RandAugment()
assert list(names) == list(v2.RandAugment._AUGMENTATION_SPACE), v2.RandAugment._AUGMENTATION_SPACE.keys()
for theirs, ours in names.items():
    magnitudes, signed = v2.RandAugment._AUGMENTATION_SPACE[theirs]
    for sign in ((1, -1) if signed else (1,)):
        def run(x, t=theirs, mf=magnitudes, s=sign):
            m = mf(31, x.shape[-2], x.shape[-1])
            value = float(m[9]) * s if m is not None else 0.0
            return policy._apply_image_or_video_transform(x, t, value, interpolation=InterpolationMode.NEAREST, fill=policy._fill)
        add(f"randAugment-{ours}-{sign}", {"op": "randAugment", "name": ours, "sign": sign, "strength": 0.3}, run)

# Normalise, mixup and cutmix of a batch.
x = image(3, 12, 10, "f32", 77)
tensors["normalize/in"] = x
tensors["normalize/out"] = F.normalize(x.to(torch.float64), [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]).to(torch.float32)
batch = torch.stack([image(3, 12, 10, "f32", k) for k in range(5)])
labels = torch.tensor([0, 3, 1, 1, 2])
for name, cls, params in (("mixup", v2.MixUp, dict(lam=0.3)), ("cutmix", v2.CutMix, None)):
    t = cls(num_classes=4)
    if params is None:
        # CutMix.make_params for lambda 0.6 and a centre of (7, 4)
        r = 0.5 * math.sqrt(1.0 - 0.6)
        hw, hh = int(r * 10), int(r * 12)
        box = (max(7 - hw, 0), max(4 - hh, 0), min(7 + hw, 10), min(4 + hh, 12))
        params = dict(box=box, lam_adjusted=1.0 - (box[2] - box[0]) * (box[3] - box[1]) / 120)
    params = dict(params, labels=labels, batch_size=5)
    tensors[f"{name}/x"] = t.transform(batch, params).contiguous()
    tensors[f"{name}/y"] = t.transform(labels, params).contiguous()
tensors["mix/x"], tensors["mix/y"] = batch, labels.to(torch.int32)

here = pathlib.Path(__file__).parent
save_file(tensors, str(here / "augment.safetensors"), metadata={"cases": json.dumps(cases)})
print(len(cases), "cases")
