"""HDF5 files of named integer arrays and texts, checked when read; docs/program-format.md describes them.

Every dataset carries the sha256 of its path, type, shape and bytes; the root carries the sha256 of all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hardware.atomic import atomic
from hardware.errors import FileError

FORMAT = "spmn-hardware"
VERSION = 3
INFLATION = 1032
"""Most bytes that one compressed byte can stand for in deflate, the compression of these files."""
MAX_CHUNK = 2**32 - 1
"""Most bytes that HDF5 compresses at once."""

Leaf = npt.NDArray[Any] | str | tuple[str, ...]

# what h5py raises for a damaged file, depending on where the damage is
_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, MemoryError, OverflowError)


def write(path: str | Path, kind: str, leaves: Mapping[str, Leaf]) -> None:
    """Write `leaves` (path inside the file -> integers, a text or texts) as a file of this kind.

    The file appears under `path` complete, or not at all. Raises FileError if it cannot be written.
    """
    try:
        # the latest format has checksums on its own structures; without them a flipped bit can crash HDF5
        with atomic(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
            _fill(file, kind, leaves)
    except OSError as error:
        raise FileError(
            f"{path}: cannot be written ({error}): check the folder and its free space"
        ) from error


def read(
    path: str | Path, kind: str, explain: Callable[[Mapping[str, Leaf]], str] = lambda leaves: ""
) -> dict[str, Leaf]:
    """The leaves of a file of this kind.

    Args:
        explain: says of leaves that are not the ones written which dataset is missing or does not belong.

    Raises FileError if the file is missing, no HDF5, of another kind or version, truncated or changed.
    """
    try:
        with h5py.File(path, "r") as file:
            return _checked(file, path, kind, explain)
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file: check the path") from error
    except _DAMAGE as error:
        raise FileError(f"{path}: truncated, damaged or no HDF5 file ({error}): write it again") from error


def _fill(file: h5py.File, kind: str, leaves: Mapping[str, Leaf]) -> None:
    for name, leaf in leaves.items():
        data = leaf if isinstance(leaf, np.ndarray) else _encoded(name, leaf)
        # one chunk, so that no index of chunks is stored
        chunks = data.shape if data.nbytes <= MAX_CHUNK else True
        packing = {"compression": "gzip", "shuffle": True, "chunks": chunks} if data.size > 64 else {}
        halved = bool(packing) and _fits_halved(data)
        dataset = file.create_dataset(name, data=(data // 2).astype(np.int8) if halved else data, **packing)
        if halved:
            dataset.attrs["unit"] = np.int8(2)
        dataset.attrs["sha256"] = np.bytes_(_digest(name, leaf))
    file.attrs["format"] = np.bytes_(FORMAT)
    file.attrs["kind"] = np.bytes_(kind)
    file.attrs["version"] = VERSION
    file.attrs["sha256"] = np.bytes_(_digest_all(leaves))


def _fits_halved(data: npt.NDArray[Any]) -> bool:
    """True for 16-bit integers whose halves have 8: weights of mixed sign, which are even on the chip."""
    if data.dtype != np.int16 or (data & 1).any():
        return False
    return bool(data.min() >= -256 and data.max() <= 254)


def _encoded(name: str, leaf: str | tuple[str, ...]) -> npt.NDArray[Any]:
    encoded = []
    for text in (leaf,) if isinstance(leaf, str) else leaf:
        try:
            encoded.append(text.encode())
        except UnicodeEncodeError as error:
            raise FileError(
                f"dataset {name!r} cannot hold the text {text!r} ({error}): use Unicode"
            ) from error
        if text.endswith("\0"):  # HDF5 pads texts with NUL
            raise FileError(f"dataset {name!r} cannot hold the text {text!r}: it must not end with NUL")
    return np.array(encoded[0] if isinstance(leaf, str) else encoded, dtype=np.bytes_)


def _checked(
    file: h5py.File, path: str | Path, kind: str, explain: Callable[[Mapping[str, Leaf]], str]
) -> dict[str, Leaf]:
    if not _is(file.attrs.get("format"), FORMAT.encode()):
        raise FileError(f"{path}: an HDF5 file of another program: give a {kind} written by hardware")
    if not _is(file.attrs["version"], VERSION):
        raise FileError(
            f"{path}: version {file.attrs['version']}: this code reads version {VERSION}, write it again"
        )
    if not _is(file.attrs["kind"], kind.encode()):
        found = file.attrs["kind"]
        shown = found.decode(errors="replace") if isinstance(found, bytes) else found
        raise FileError(f"{path}: holds a {shown}: give a {kind}")
    datasets: dict[str, h5py.Dataset] = {}
    file.visititems(
        lambda name, item: datasets.update({name: item}) if isinstance(item, h5py.Dataset) else None
    )
    leaves: dict[str, Leaf] = {}
    for name, dataset in datasets.items():
        try:
            leaf = _leaf(dataset)
            intact = _is(dataset.attrs["sha256"], _digest(name, leaf).encode())
        except _DAMAGE as error:
            raise FileError(
                f"{path}: dataset {name!r} cannot be read ({error}): write the file again"
            ) from error
        if not intact:
            raise FileError(
                f"{path}: dataset {name!r} was changed after it was written: write the file again"
            )
        leaves[name] = leaf
    if not _is(file.attrs["sha256"], _digest_all(leaves).encode()):
        reason = explain(leaves)
        raise FileError(
            f"{path}: datasets were added or removed after it was written"
            f"{f' ({reason})' if reason else ''}: write the file again"
        )
    return leaves


def _is(attribute: object, expected: bytes | int) -> bool:
    """True if an attribute is this scalar; arrays, which == compares element by element, are not."""
    return isinstance(attribute, (bytes, np.integer)) and bool(attribute == expected)


def _leaf(dataset: h5py.Dataset) -> Leaf:
    if dataset.shape is None or dataset.dtype.kind not in "iubS":
        raise TypeError(f"its type is {dataset.dtype}: only integers and texts of fixed length are written")
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > INFLATION * stored:  # checked before memory is taken for it
        raise ValueError(f"{stored} stored bytes cannot hold its shape {dataset.shape}")
    values = np.asarray(dataset[()])
    if _is(dataset.attrs.get("unit"), 2):
        values = values.astype(np.int16) * np.int16(2)
    if values.dtype.kind != "S":
        return values
    return (
        str(values.item().decode()) if values.ndim == 0 else tuple(text.decode() for text in values.tolist())
    )


def _digest(name: str, leaf: Leaf) -> str:
    if isinstance(leaf, np.ndarray):
        kind, content = f"{leaf.dtype.str}{leaf.shape}", leaf.tobytes()
    else:
        texts = (leaf,) if isinstance(leaf, str) else leaf
        encoded = [text.encode() for text in texts]
        kind = f"{type(leaf).__name__}{[len(text) for text in encoded]}"
        content = b"".join(encoded)
    return hashlib.sha256(f"{name}\0{kind}\0".encode() + content).hexdigest()


def _digest_all(leaves: Mapping[str, Leaf]) -> str:
    return hashlib.sha256(
        "".join(_digest(name, leaves[name]) for name in sorted(leaves)).encode()
    ).hexdigest()
