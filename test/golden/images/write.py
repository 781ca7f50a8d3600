"""Images and what PIL reads of them: python3 test/golden/images/write.py (needs pillow, numpy, safetensors)."""
import pathlib, shutil
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(3)


def picture(h, w):
    """Smooth, with edges, so that resizing is no matter of single pixels."""
    y, x = np.mgrid[0:h, 0:w].astype(float)
    c = [np.sin(x / 7 + k) * np.cos(y / 9 - k) * 90 + 128 + 60 * ((x // 16 + y // 16 + k) % 2) - 30 for k in range(3)]
    return np.clip(np.stack(c, -1), 0, 255).astype(np.uint8)


for name in ("cat", "dog"):
    shutil.rmtree(here / name, ignore_errors=True)
    (here / name / "more").mkdir(parents=True)
Image.fromarray(picture(32, 32)).save(here / "cat/b.png")
Image.fromarray(picture(40, 64)).save(here / "cat/a.PNG")
Image.fromarray(picture(48, 32)).save(here / "dog/1.jpg", quality=95, subsampling=0)
alpha = np.dstack([picture(32, 32), np.full((32, 32, 1), 200, np.uint8)])
Image.fromarray(alpha, "RGBA").save(here / "dog/more/2.png")
Image.fromarray(picture(32, 32)[..., 0], "L").save(here / "dog/grey.png")
files = sorted(p for d in ("cat", "dog") for p in (here / d).rglob("*") if p.is_file())


def resize(image, size=24):
    """torchvision's Resize (which is PIL's of a PIL image) and CenterCrop."""
    short = min(image.size)
    w, h = (int(size * side / short) for side in image.size)
    image = image.resize((w, h), Image.BILINEAR)
    left, top = round((w - size) / 2), round((h - size) / 2)
    return image.crop((left, top, left + size, top + size))


same = {"cat/b.png", "dog/more/2.png", "dog/grey.png"}
out = {}
for p in files:
    name = str(p.relative_to(here))
    image = Image.open(p).convert("RGB")
    if name in same:
        out[f"same.{name}"] = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
    out[f"cover.{name}"] = np.ascontiguousarray(np.asarray(resize(image)).transpose(2, 0, 1))
save_file(out, here / "images.safetensors")
