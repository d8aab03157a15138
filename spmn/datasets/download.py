"""The official bAbI files: fetch their archive, go on where it broke off, unpack what is safe."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from hardware.atomic import atomic
from spmn.datasets.babi import URL
from spmn.errors import DataError

TRIES = 5  # in a row, as long as each brings something
TIMEOUT = 30.0  # seconds without a byte
LARGEST = 2**30  # bytes of all files of an archive together
_CHUNK = 1 << 16

Progress = Callable[[int, int | None], None]
"""(bytes that have arrived, bytes in all if the server says) -> None"""


class Unpacked(NamedTuple):
    """Where the files of an archive are, how many, and how many are known to be the published ones."""

    folder: Path
    files: int
    verified: int


def published() -> dict[str, str]:
    """`FOLDER/FILE` -> sha256 of the official files that this project has seen (bAbI v1.2, en-10k, training).

    No file of task 3 and no test file is among them. The list is `babi.sha256` beside this module.
    """
    rows = (resources.files("spmn.datasets") / "babi.sha256").read_text().splitlines()
    return {name: digest for digest, name in (row.split() for row in rows)}


def download(
    folder: Path | str, url: str = URL, progress: Progress = lambda arrived, total: None
) -> Unpacked:
    """Fetch an archive of bAbI files into a folder, unless it is there already, and unpack it there.

    The archive's own sha256 is written beside it (`ARCHIVE.sha256`) when it has been unpacked once, and
    compared from then on. Raises DataError as `fetch` and `unpack` do, and for an archive that has changed.
    """
    name = PurePosixPath(_address(url)).name
    if not name:
        raise DataError(f"{url!r} names no file; name the archive, as in {URL}")
    archive = Path(folder) / name
    record = archive.with_name(f"{name}.sha256")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            fetch(url, archive, progress)
        found = f"{digest_of(archive)}  {name}\n"
        recorded = record.read_text(errors="replace") if record.exists() else found
        if recorded != found:
            raise DataError(
                f"'{archive}' has changed: its sha256 is {found.split()[0]}, '{record}' says "
                f"{recorded.strip()!r}; delete the archive to fetch it anew, or the record to trust this one"
            )
        unpacked = unpack(archive, archive.parent)
        with atomic(record) as temporary:
            temporary.write_text(found)
    except OSError as problem:
        raise DataError(f"cannot write to '{folder}': {problem}; name a writable folder with --out") from None
    return unpacked


def fetch(url: str, path: Path, progress: Progress = lambda arrived, total: None) -> None:
    """Get a file over HTTP; it appears at `path` when it is complete.

    Until then it is `PATH.part`, and the next call goes on from there (HTTP Range) if the server can. After a
    broken connection this is done at once, as long as something arrived.
    Raises DataError, which says what arrived, where the server is out of reach or does not give all of it.
    """
    _address(url)
    part = path.with_name(f"{path.name}.part")
    for _ in range(TRIES):
        before = _size(part)
        try:
            _receive(url, part, progress)
        except (OSError, http.client.HTTPException) as problem:
            reason = _reason(problem)
        else:
            os.replace(part, path)
            return
        if _size(part) <= before:
            break
    kept = f"the same command goes on after the {_size(part):,} bytes that arrived: " if _size(part) else ""
    raise DataError(f"cannot fetch {url!r}: {reason}; {kept}check the connection, or name a copy with --url")


def unpack(archive: Path, folder: Path, known: Mapping[str, str] | None = None) -> Unpacked:
    """Unpack a .tar.gz of plain files and folders; `known` is what `published` gives, which is the default.

    Nothing is unpacked if any member is a link, a device or would lie outside the folder. Each file appears
    whole, and only if it is the published one, where that is known. Raises DataError, naming the member.
    """
    known = published() if known is None else known
    verified = 0
    try:
        with gzip.open(archive) as whole:  # tarfile stops before the checksum at the end
            while whole.read(_CHUNK):
                pass
        with tarfile.open(archive, "r:gz") as tar:
            members = tar.getmembers()
            _check(members, archive)
            for member in members:
                source = tar.extractfile(member) if member.isfile() else None
                if source is not None:
                    verified += _write(source.read(), member.name, folder, archive, known)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise DataError(f"'{archive}' is damaged: {problem}; delete it and fetch it anew") from None
    tops = {PurePosixPath(member.name).parts[0] for member in members}
    files = sum(member.isfile() for member in members)
    return Unpacked(folder / tops.pop() if len(tops) == 1 else folder, files, verified)


def digest_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _address(url: str) -> str:
    """The path part of an address that can be fetched."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DataError(f"{url!r} is no web address; name one that starts with https:// or http://")
    return parts.path


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(problem: Exception) -> str:
    if isinstance(problem, urllib.error.HTTPError):
        return f"the server says {problem.code} {problem.reason}"
    return str(getattr(problem, "reason", problem)) or type(problem).__name__


def _receive(url: str, part: Path, progress: Progress) -> None:
    """Append to `part` what is missing; raises OSError or HTTPException where that breaks off."""
    had = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={had}-"} if had else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as answer:
        if answer.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if answer.headers.get("Content-Range") == f"bytes */{had}":
            return  # all of it had arrived
        part.unlink()
        raise ConnectionError("what had arrived is no part of the file, so it was deleted") from None
    with response:
        at, total = 0, response.headers.get("Content-Length")
        if response.status == http.client.PARTIAL_CONTENT:
            given = response.headers.get("Content-Range", "")
            if not given.startswith(f"bytes {had}-"):
                raise ConnectionError(f"asked for what follows {had} bytes, the server sent {given!r}")
            at, total = had, given.rpartition("/")[2]
        size = int(total) if total and total.isdecimal() else None
        with part.open("r+b" if at else "wb") as file:
            file.seek(at)
            while chunk := response.read(_CHUNK):
                _append(file, chunk)
                at += len(chunk)
                progress(at, size)
            os.fsync(file.fileno())
    if size is not None and at < size:
        raise ConnectionError(f"the connection broke off after {at:,} of {size:,} bytes")


def _append(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as problem:
        raise DataError(f"cannot write '{file.name}': {problem.strerror}; make room and go on") from None


def _check(members: list[tarfile.TarInfo], archive: Path) -> None:
    for member in members:
        path = PureWindowsPath(member.name)  # which knows drives and backslashes, too
        outside = path.drive or path.root or ".." in path.parts or not path.parts
        if outside or not (member.isfile() or member.isdir()):
            what = "would lie outside the folder" if outside else "is neither a file nor a folder"
            raise DataError(f"{member.name!r} in '{archive}' {what}; nothing was unpacked: use another copy")
    total = sum(member.size for member in members)
    if total > LARGEST:
        raise DataError(f"'{archive}' holds {total:,} bytes, more than {LARGEST:,}: it is not the bAbI data")


def _write(data: bytes, name: str, folder: Path, archive: Path, known: Mapping[str, str]) -> bool:
    """Whether the file, now in its place, is known to be the published one."""
    path = folder / name
    right, found = known.get("/".join(path.parts[-2:])), hashlib.sha256(data).hexdigest()
    if right not in (None, found):
        raise DataError(
            f"{name!r} in '{archive}' has sha256 {found}, the published file has {right}: use another copy"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_bytes(data)
    except OSError as problem:
        raise DataError(f"cannot unpack {name!r}: {problem.strerror}; look at '{path}'") from None
    return right is not None
