"""Images: pixels, or the edges that a small filter bank finds, as a rate or latency code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from spmn.errors import DataError, SettingsError
from spmn.senses.codes import code_named
from spmn.senses.interface import Floats, Sense, Spikes

SMALLEST, LARGEST = 8, 4096
"""Pixels along a side of an image that can be taken."""


@dataclass(frozen=True)
class Image(Sense):
    """An image of any size from 8 to 4,096 pixels a side, grey or in colour, seen on a grid of size x size.

    The image is padded to a square with the mean of its border, averaged to the grid by area, turned to grey
    (Rec. 601) unless `colour`, and stretched to 0..1, so that neither brightness nor contrast matters; an
    image of one value is silent. `convolution` replaces pixels by the responses of a fixed bank of Gabor
    filters (Daugman 1985), 4 orientations and 2 polarities on every second pixel, each the share of the
    largest response that the filter could give.

    Lines: size^2 (3 size^2 in colour), or 8 (size/2)^2 with filters. Cost: at most one spike per line with
    the latency code, T times the mean value with the rate codes.
    """

    name: ClassVar[str] = "image"
    size: int = 28
    code: str = "latency"
    convolution: bool = False
    colour: bool = False

    def __post_init__(self) -> None:
        if not 4 <= self.size <= 224 or self.size % 2:
            raise SettingsError(f"size is {self.size}; it must be an even number from 4 to 224")
        if self.convolution and self.colour:
            raise SettingsError("convolution works on grey images; leave out colour")
        code_named(self.code)

    @property
    def lines(self) -> int:
        return 2 * self.size**2 if self.convolution else (3 if self.colour else 1) * self.size**2

    def __call__(self, stimulus: npt.NDArray[Any], steps: int) -> Spikes:
        """stimulus: [height, width] or [height, width, channels], 8-bit integers, or floats from 0 to 1.

        Raises DataError for other shapes, values and sizes.
        """
        seen = self._grid(pixels(stimulus))
        span = float(seen.max() - seen.min())
        seen = (seen - seen.min()) / span if span > 1e-6 else np.zeros_like(seen)
        if self.convolution:
            seen = self._filtered(seen[0])
        return code_named(self.code)(seen.astype(np.float32), steps)

    def _grid(self, image: Floats) -> Floats:
        """[channels, size, size]."""
        high, wide, channels = image.shape
        side = max(high, wide)
        border = np.concatenate((image[0], image[-1], image[:, 0], image[:, -1])).mean(0)
        square = np.broadcast_to(border, (side, side, channels)).copy()
        top, left = (side - high) // 2, (side - wide) // 2
        square[top : top + high, left : left + wide] = image
        averaged = averaging(side, self.size)
        found = np.einsum("ih,hwc,jw->cij", averaged, square, averaged)
        if channels == 3 and not self.colour:
            found = np.einsum("c,cij->ij", [0.299, 0.587, 0.114], found)[None]
        elif channels == 1 and self.colour:
            found = np.repeat(found, 3, 0)
        return np.asarray(found, np.float32)

    def _filtered(self, image: Floats) -> Floats:
        """[4 orientations, 2 polarities, size/2, size/2], from 0 to 1."""
        found = torch.nn.functional.conv2d(
            torch.nn.functional.pad(torch.from_numpy(image)[None, None], (3, 3, 3, 3), "replicate"),
            self._gabor,
            stride=2,
        )[0]
        both: Floats = torch.stack((found, -found), 1).clamp(0, 1).numpy()
        return both

    @cached_property
    def _gabor(self) -> torch.Tensor:
        """[4, 1, 7, 7]: zero mean, largest response to an image in 0..1 is 1."""
        at = torch.arange(-3.0, 4.0)
        y, x = torch.meshgrid(at, at, indexing="ij")
        filters = []
        for turned in (0.0, 45.0, 90.0, 135.0):
            angle = torch.deg2rad(torch.tensor(turned))
            across = x * torch.cos(angle) + y * torch.sin(angle)
            wave = torch.exp(-(x**2 + y**2) / (2 * 1.8**2)) * torch.sin(2 * torch.pi * across / 6)
            filters.append(wave / wave.clamp(min=0).sum())
        return torch.stack(filters)[:, None]


def pixels(image: npt.NDArray[Any]) -> Floats:
    """[height, width, 1 or 3], from 0 to 1. Raises DataError for what is no image; a fourth channel (alpha)
    is dropped."""
    found = np.asarray(image)
    found = found[:, :, None] if found.ndim == 2 else found
    if found.ndim != 3 or found.shape[2] not in (1, 3, 4):
        raise DataError(
            f"an image of shape {list(np.shape(image))}; give [height, width] or [height, width, 1, 3 or 4]"
        )
    if not all(SMALLEST <= side <= LARGEST for side in found.shape[:2]):
        raise DataError(
            f"an image of {found.shape[0]} x {found.shape[1]} pixels; give {SMALLEST} to {LARGEST} a side"
        )
    if found.dtype == np.uint8:
        found = found / 255
    elif not np.issubdtype(found.dtype, np.floating):
        raise DataError(f"an image of type {found.dtype}; give 8-bit integers, or floats from 0 to 1")
    elif not (np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1):
        raise DataError(
            f"an image of floats from {found.min():.3g} to {found.max():.3g}; scale them to 0 to 1"
        )
    return found[:, :, : 3 if found.shape[2] == 4 else None].astype(np.float32)


def averaging(given: int, wanted: int) -> npt.NDArray[np.float64]:
    """[wanted, given]: share of every given cell in every wanted one, rows add up to 1."""
    edges = np.linspace(0, given, wanted + 1)
    cell = np.arange(given)
    overlap = np.minimum(edges[1:, None], cell + 1) - np.maximum(edges[:-1, None], cell)
    shares: npt.NDArray[np.float64] = np.clip(overlap, 0, None) * (wanted / given)
    return shares


def read_image(path: Path | str) -> npt.NDArray[np.uint8]:
    """[height, width, 3] of a file that Pillow reads. Raises DataError where it cannot."""
    from PIL import Image as Pillow  # comes with matplotlib
    from PIL import UnidentifiedImageError

    try:
        with Pillow.open(path) as file:
            return np.asarray(file.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError) as problem:
        raise DataError(
            f"{str(path)!r} is no image that can be read ({problem}); give a PNG or JPEG"
        ) from None
