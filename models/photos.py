"""Natural photos that installed packages carry: ImageNet's statistics without ImageNet.

foolbox has 20 ImageNet photos of 512x512 with their classes, scikit-image photos of everyday
things. The files are read where the packages lie; the packages are not imported.
"""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image

from .data import MEAN, STD

SUFFIXES = (".jpg", ".jpeg", ".png")
FOOLBOX, FOOLBOX_FOLDER, FOOLBOX_STEM = "foolbox", "foolbox/data", "imagenet_"
SKIMAGE, SKIMAGE_FOLDER = "scikit-image", "skimage/data"
# Photos of things that people see: no drawings, text, masks, microscopes or telescopes; of the
# stereo pair, one. Five of them are grey.
SKIMAGE_PHOTOS = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png",
                  "coins.png", "grass.png", "gravel.png", "motorcycle_left.png", "rocket.jpg")
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Photo:
    """``label``: ImageNet's class, None where it is not known."""

    path: Path
    label: int | None = None

    @property
    def name(self):
        return self.path.stem


def photos():
    """The 20 photos of foolbox and the 10 of scikit-image, a list of Photo. FileNotFoundError."""
    folder = _folder(FOOLBOX, FOOLBOX_FOLDER)
    # The names end with the class: imagenet_00_243.jpg.
    found = [Photo(path, int(path.stem.split("_")[-1]))
             for path in sorted(folder.glob(f"{FOOLBOX_STEM}*.jpg"))]
    folder = _folder(SKIMAGE, SKIMAGE_FOLDER)
    found += [Photo(folder / name) for name in SKIMAGE_PHOTOS]
    for photo in found:
        if not photo.path.exists():
            raise FileNotFoundError(f"{photo.path}: not found; another version of its package is "
                                    f"installed than requirements-bench.txt names")
    return found


def photos_in(folder):
    """Every .jpg, .jpeg and .png below a folder, by name. FileNotFoundError where there is none."""
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"{folder}: no photos; looked for {', '.join(SUFFIXES)}")
    return [Photo(path) for path in found]


def center_crop(photo, resolution=224, resize=256, resample="bilinear"):
    """A Photo -> uint8 (3, resolution, resolution): the short edge scaled to ``resize`` pixels,
    then the square in the middle. Grey photos get three equal channels."""
    with Image.open(photo.path) as image:
        image = image.convert("RGB")
    width, height = image.size
    scale = resize / min(width, height)
    image = image.resize((round(width * scale), round(height * scale)), FILTERS[resample])
    left, top = ((edge - resolution) // 2 for edge in image.size)
    image = image.crop((left, top, left + resolution, top + resolution))
    return np.asarray(image).transpose(2, 0, 1).copy()


def normalized_crop(photo, resolution=224):
    """A Photo -> float32 (3, resolution, resolution) as torchvision's ImageNet networks take it:
    bilinear, 0 .. 1, ImageNet's mean and standard deviation."""
    x = center_crop(photo, resolution).astype(np.float32) / np.float32(255)
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in (MEAN, STD))
    return (x - mean) / std


def _folder(package, folder):
    try:
        return Path(metadata.distribution(package).locate_file(folder))
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"{package}: not installed; it carries the photos "
                                f"(`scripts/setup.sh bench` installs it)") from None
