"""Photos from folders and from packages: which, and how they become inputs."""

import numpy as np
import pytest
from PIL import Image

from litepress.models.data import MEAN, STD
from litepress.models.photos import Photo, center_crop, normalized_crop, photos, photos_in


def picture(path, pixels):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return Photo(path)


def test_a_folder_of_photos(tmp_path):
    (tmp_path / "b").mkdir()
    picture(tmp_path / "b" / "second.PNG", np.zeros((4, 4, 3)))
    picture(tmp_path / "a.jpg", np.zeros((4, 4)))
    (tmp_path / "notes.txt").write_text("no photo")
    found = photos_in(tmp_path)
    assert [(photo.name, photo.label) for photo in found] == [("a", None), ("second", None)]
    with pytest.raises(FileNotFoundError, match=r"nothing: no photos; looked for \.jpg"):
        photos_in(tmp_path / "nothing")


def test_center_crop_takes_the_middle_of_the_short_edge(tmp_path):
    """A wide picture at its own scale: the square in the middle, every pixel as it was."""
    pixels = np.random.default_rng(1).integers(0, 256, (64, 100, 3))
    photo = picture(tmp_path / "wide.png", pixels)
    crop = center_crop(photo, 56, resize=64)
    assert crop.dtype == np.uint8 and crop.shape == (3, 56, 56)
    assert np.array_equal(crop, pixels[4:60, 22:78].transpose(2, 0, 1))
    tall = picture(tmp_path / "tall.png", pixels.transpose(1, 0, 2))
    assert np.array_equal(center_crop(tall, 56, resize=64), crop.transpose(0, 2, 1))


@pytest.mark.parametrize("resample", ("bilinear", "bicubic"))
def test_center_crop_scales_and_turns_grey_into_three_channels(tmp_path, resample):
    photo = picture(tmp_path / "grey.png", np.full((100, 50), 77))
    assert (center_crop(photo, resample=resample) == 77).all()
    x = normalized_crop(photo)
    assert x.dtype == np.float32 and x.shape == (3, 224, 224)
    expected = (np.float32(77) / 255 - np.array(MEAN)) / np.array(STD)
    assert np.allclose(x, expected.reshape(3, 1, 1), rtol=1e-5)


def test_the_installed_photos():
    try:
        found = photos()
    except FileNotFoundError as error:
        assert "`scripts/setup.sh bench` installs it" in str(error)
        pytest.skip(str(error))
    assert len(found) == 30 and len({photo.name for photo in found}) == 30
    assert [photo.label for photo in found[:3]] == [243, 559, 438]
    assert sum(photo.label is not None for photo in found) == 20
    for photo in found:
        crop = center_crop(photo)
        assert crop.shape == (3, 224, 224) and crop.std() > 10, photo.name
