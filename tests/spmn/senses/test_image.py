"""Images of all sizes and kinds, and those that are none."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spmn.errors import DataError, SettingsError
from spmn.senses import Image, read_image
from spmn.senses.image import averaging


def drawn(size: int, turned: bool = False) -> np.ndarray:
    """A bright bar on dark ground."""
    image = np.zeros((size, size), np.float32)
    image[:, size * 3 // 8 : size * 5 // 8] = 1
    return image.T if turned else image


@given(given_size=st.integers(1, 60), wanted=st.integers(1, 60))
def test_averaging_keeps_the_mean(given_size: int, wanted: int) -> None:
    shares = averaging(given_size, wanted)
    assert shares.sum(1) == pytest.approx(1)
    assert shares.sum(0) == pytest.approx(wanted / given_size)


@settings(deadline=None)
@given(
    size=st.sampled_from([28, 56, 100, 224]),
    convolution=st.booleans(),
    code=st.sampled_from(["rate", "latency"]),
)
def test_the_size_of_the_image_hardly_matters(size: int, convolution: bool, code: str) -> None:
    sense = Image(28, code, convolution)
    small, large = sense(drawn(56), 5), sense(drawn(size), 5)
    assert small.shape == large.shape == (5, sense.lines)
    assert (small != large).any(0).mean() < 0.12
    assert small.any()


def test_brightness_contrast_and_kind_do_not_matter() -> None:
    sense, image = Image(), drawn(28)
    expected = sense(image, 5)
    assert (sense(0.2 + 0.3 * image, 5) == expected).all()
    assert (sense((image * 255).astype(np.uint8), 5) == expected).all()
    colours = np.repeat(image[:, :, None], 3, 2)
    assert (sense(colours, 5) == expected).all()
    assert (sense(np.dstack((colours, np.ones_like(image))), 5) == expected).all()
    assert (Image(colour=True)(image, 5).reshape(5, 3, -1) == expected[:, None]).all()


def test_an_even_image_is_silent() -> None:
    for convolution in (False, True):
        assert not Image(convolution=convolution)(np.full((30, 40), 0.7), 5).any()


def test_filters_see_orientation() -> None:
    sense = Image(28, "rate", convolution=True)
    upright, lying = (
        sense(drawn(28, turned), 5).reshape(5, 4, 2, 14, 14).sum((0, 2, 3, 4)) for turned in (False, True)
    )
    assert upright.argmax() == 0
    assert lying.argmax() == 2
    assert upright.max() > 2 * upright[2]


def test_a_wide_image_is_padded_not_stretched() -> None:
    wide = np.zeros((28, 56), np.float32)
    wide[:, 28:] = 1
    seen = Image(28, "rate")(wide, 4).sum(0).reshape(28, 28)
    assert set(seen[7:21, :14].ravel()) == {0}
    assert set(seen[7:21, 14:].ravel()) == {4}
    assert (seen[:7] == seen[0, 0]).all()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((28, 28, 2), np.uint8), r"shape \[28, 28, 2\]"),
        (np.zeros(28, np.uint8), r"shape \[28\]"),
        (np.zeros((4, 28), np.uint8), "4 x 28 pixels; give 8 to 4096 a side"),
        (np.zeros((28, 28), np.int32), "type int32"),
        (np.full((28, 28), 3.0), "floats from 3 to 3; scale"),
        (np.full((28, 28), np.nan), "floats from nan"),
    ],
)
def test_what_is_no_image_is_refused(image: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Image()(image, 5)


def test_settings_out_of_range() -> None:
    for size in (2, 27, 300):
        with pytest.raises(SettingsError, match=f"size is {size}"):
            Image(size)
    with pytest.raises(SettingsError, match="leave out colour"):
        Image(convolution=True, colour=True)
    with pytest.raises(SettingsError, match="no code"):
        Image(code="morse")


def test_files(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray((drawn(40) * 255).astype(np.uint8)).save(tmp_path / "bar.png")
    found = read_image(tmp_path / "bar.png")
    assert found.shape == (40, 40, 3)
    assert (Image()(found, 5) == Image()(drawn(40), 5)).all()
    (tmp_path / "text.png").write_text("no image")
    for name in ("text.png", "missing.png"):
        with pytest.raises(DataError, match=f"{name}.* is no image"):
            read_image(tmp_path / name)
