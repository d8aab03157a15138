"""Fetching from a server on this machine that behaves well or badly, and unpacking archives good and bad."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spmn.datasets import babi, download
from spmn.errors import DataError

NAME = "babi.tar.gz"
KNOWN = "en-10k/qa1_single-supporting-fact_train.txt"
STORY = b"1 Mary went to the garden.\n2 Where is Mary? \tgarden\t1\n"


class Server(ThreadingHTTPServer):
    """Serves `data` under every path; what else it does is set by the tests."""

    daemon_threads = True
    data = b""
    ranges = True  # whether it can send a part
    shift = 0  # by how much a part starts too late
    breaks: tuple[int, ...] = ()  # after how many bytes the first, second ... answer ends; then never
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/some/where/{NAME}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        body, total = server.data[start + server.shift :], len(server.data)
        if server.status != 200:
            return self.send_error(server.status)
        self.send_response(416 if start >= total else 206 if start else 200)
        if start >= total:
            body = b""
            self.send_header("Content-Range", f"bytes */{total}")
        elif start:
            self.send_header("Content-Range", f"bytes {start + server.shift}-{total - 1}/{total}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        number = len(server.asked) - 1
        self.wfile.write(body[: server.breaks[number]] if number < len(server.breaks) else body)
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        running.data = archive_of({f"babi/{KNOWN[:-4]}_copy.txt": STORY, "babi/README.txt": b"x" * 200_000})
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def archive_of(files: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=0) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in extra:
            tar.addfile(member)
    return packed.getvalue()


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# ---- fetching


def test_fetch_and_unpack(server, tmp_path):
    """A file that is lost, changed or left half-done; a record that is not that of the archive."""
    seen: list[tuple[int, int | None]] = []
    unpacked = download.download(tmp_path / "new", server.url, lambda *at: seen.append(at))
    assert unpacked == (tmp_path / "new" / "babi", 2, 0)
    copy = f"babi/{KNOWN[:-4]}_copy.txt"
    assert names_in(tmp_path / "new") == {NAME, f"{NAME}.sha256", copy, "babi/README.txt"}
    assert (tmp_path / "new" / copy).read_bytes() == STORY
    digest = hashlib.sha256(server.data).hexdigest()
    assert (tmp_path / "new" / f"{NAME}.sha256").read_text() == f"{digest}  {NAME}\n"
    assert seen[-1] == (len(server.data), len(server.data))


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    first = download.download(tmp_path, server.url)
    (tmp_path / "babi" / "README.txt").unlink()
    assert download.download(tmp_path, server.url) == first
    assert len(server.asked) == 1
    assert (tmp_path / "babi" / "README.txt").exists()


def test_it_goes_on_where_it_broke_off(server, tmp_path):
    """The part that had arrived fetched again, or kept though nothing fits it."""
    (tmp_path / "x.part").write_bytes(server.data[:1000])
    download.fetch(server.url, tmp_path / "x")
    assert server.asked == ["bytes=1000-"]
    assert (tmp_path / "x").read_bytes() == server.data
    assert names_in(tmp_path) == {"x"}


def test_broken_connections_are_taken_up_again(server, tmp_path):
    """A short answer taken for the whole file."""
    server.breaks = (1000, 70_000, 30)
    download.fetch(server.url, tmp_path / "x")
    assert server.asked == [None, "bytes=1000-", "bytes=71000-", "bytes=71030-"]
    assert (tmp_path / "x").read_bytes() == server.data


@pytest.mark.parametrize(
    ("breaks", "tries", "kept"), [((9, 9, 9, 9, 9), 5, 45), ((9, 0), 2, 9), ((0,), 1, 0)]
)
def test_a_server_that_never_finishes(server, tmp_path, breaks, tries, kept):
    """Trying for ever, a part that is thrown away, a file that appears though it is not whole."""
    server.breaks = breaks
    with pytest.raises(
        DataError, match=r"cannot fetch .*broke off after .* bytes; .*check the connection"
    ) as error:
        download.fetch(server.url, tmp_path / "x")
    assert len(server.asked) == tries
    assert (f"goes on after the {kept} bytes" in str(error.value)) == (kept > 0)
    assert names_in(tmp_path) == {"x.part"}
    server.breaks = ()
    download.fetch(server.url, tmp_path / "x")
    assert server.asked[-1] == (f"bytes={kept}-" if kept else None)
    assert (tmp_path / "x").read_bytes() == server.data


def test_a_server_without_ranges(server, tmp_path):
    """The whole file appended to the part that was there."""
    server.ranges = False
    (tmp_path / "x.part").write_bytes(b"0" * 1000)
    download.fetch(server.url, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == server.data


def test_a_part_that_is_the_whole(server, tmp_path):
    """A server that has no more bytes to give: 416 is no failure then."""
    (tmp_path / "x.part").write_bytes(server.data)
    download.fetch(server.url, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == server.data


def test_a_part_of_something_longer(server, tmp_path):
    """A part that can never be completed, kept for ever."""
    (tmp_path / "x.part").write_bytes(server.data + b"more")
    with pytest.raises(DataError, match="no part of the file, so it was deleted"):
        download.fetch(server.url, tmp_path / "x")
    download.fetch(server.url, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == server.data


def test_another_part_than_asked_for(server, tmp_path):
    """Bytes put where they do not belong."""
    server.shift = 5
    (tmp_path / "x.part").write_bytes(server.data[:1000])
    with pytest.raises(DataError, match=r"asked for what follows 1000 bytes, the server sent 'bytes 1005-"):
        download.fetch(server.url, tmp_path / "x")
    assert (tmp_path / "x.part").read_bytes() == server.data[:1000]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses(server, tmp_path, status):
    server.status = status
    with pytest.raises(DataError, match=rf"cannot fetch '{server.url}': the server says {status} .*--url"):
        download.download(tmp_path, server.url)
    assert names_in(tmp_path) == set()


def test_no_server(tmp_path):
    """An exception of urllib that gets out; the port was free a moment ago."""
    with Server() as closed:
        url = closed.url
    with pytest.raises(
        DataError, match=r"cannot fetch .*refused; check the connection, or name a copy with --url"
    ):
        download.download(tmp_path, url)


@pytest.mark.parametrize(
    "url", ["", "babi.tar.gz", "file:///etc/passwd", "ftp://a/b", "https://", "http://[x/"]
)
def test_no_web_address(tmp_path, url):
    """A local file, or anything else, that is opened as if it were a download."""
    with pytest.raises(DataError, match=rf"{re.escape(repr(url))} is no web address.*https"):
        download.download(tmp_path, url)


def test_an_address_without_a_file(tmp_path):
    with pytest.raises(DataError, match="'http://localhost/' names no file"):
        download.download(tmp_path, "http://localhost/")


def test_no_room(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to .*file"):
        download.download(tmp_path / "file", server.url)


# ---- unpacking


def test_a_changed_archive_is_refused(server, tmp_path):
    """Another archive under the same name, taken for the first one."""
    download.download(tmp_path, server.url)
    (tmp_path / NAME).write_bytes(archive_of({"babi/README.txt": b"other"}))
    with pytest.raises(
        DataError, match=rf"{NAME}' has changed: its sha256 is \w+, .*says '{'[0-9a-f]' * 64}"
    ):
        download.download(tmp_path, server.url)
    assert (tmp_path / "babi" / "README.txt").read_bytes() == b"x" * 200_000
    (tmp_path / NAME).unlink()
    assert download.download(tmp_path, server.url).files == 2


def unpack(tmp_path: Path, packed: bytes, known: dict[str, str] | None = None) -> download.Unpacked:
    archive = tmp_path / NAME
    archive.write_bytes(packed)
    return download.unpack(archive, tmp_path / "out" / "deep", known)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "name",
    [
        "/etc/evil",
        "../evil",
        "babi/../../evil",
        "..",
        "babi/..",
        "\\evil",
        "..\\evil",
        "C:\\evil",
        "C:evil",
        "//a/b/c",
    ],
)
def test_members_outside_the_folder(tmp_path, name):
    """A name that leads out of the folder, on this system or another; anything unpacked before that."""
    with pytest.raises(DataError, match=re.escape(f"{name!r} in '{tmp_path}")) as error:
        unpack(tmp_path, archive_of({"good.txt": b"good", name: b"evil"}))
    assert "outside the folder; nothing was unpacked" in str(error.value)
    assert names_in(tmp_path) == {NAME}


@pytest.mark.parametrize(
    "member",
    [
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("link", tarfile.SYMTYPE, "good.txt"),
        special("hard", tarfile.LNKTYPE, "good.txt"),
        special("device", tarfile.CHRTYPE),
        special("disk", tarfile.BLKTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member.name}-{member.linkname}",
)
def test_members_that_are_no_files(tmp_path, member):
    """A link or a device that is made, or written through."""
    with pytest.raises(
        DataError, match=rf"'{member.name}' in .* is neither a file nor a folder; nothing was"
    ):
        unpack(tmp_path, archive_of({"good.txt": b"good"}, member))
    assert names_in(tmp_path) == {NAME}


def test_folders_are_no_fault(tmp_path):
    unpacked = unpack(tmp_path, archive_of({"a/b.txt": b"good"}, special("a", tarfile.DIRTYPE)))
    assert unpacked == (tmp_path / "out" / "deep" / "a", 1, 0)


def test_a_file_that_is_a_folder(tmp_path):
    """An OSError that gets out."""
    with pytest.raises(DataError, match=r"cannot unpack 'a/b\.txt'.*look at"):
        unpack(tmp_path, archive_of({"a": b"file", "a/b.txt": b"good"}))


def test_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 7)
    with pytest.raises(DataError, match=r"holds 8 bytes, more than 7: it is not"):
        unpack(tmp_path, archive_of({"a": b"1234", "b": b"5678"}))
    assert names_in(tmp_path) == {NAME}


@pytest.mark.parametrize("damage", ["cut", "flipped", "page", "empty", "no archive"])
def test_damaged_archives(tmp_path, damage):
    """An exception of tarfile, gzip or zlib that gets out."""
    good = archive_of({"a": bytes(range(256)) * 4000})
    middle = len(good) // 2
    bad = {
        "cut": good[:middle],
        "flipped": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
        "page": b"<html>Please log in</html>",
        "empty": b"",
        "no archive": gzip.compress(b"1" * 5000),
    }[damage]
    with pytest.raises(DataError, match=rf"{NAME}' is damaged: .*delete it and fetch it anew"):
        unpack(tmp_path, bad)


# ---- the published files


def test_published_files_are_verified(tmp_path):
    """A published file that is counted though it was not compared."""
    packed = archive_of({f"babi/{KNOWN}": STORY, "babi/en/other.txt": STORY})
    right = {KNOWN: hashlib.sha256(STORY).hexdigest()}
    assert unpack(tmp_path, packed, right).verified == 1
    assert unpack(tmp_path, packed, {}).verified == 0


def test_a_file_unlike_the_published_one_is_refused(tmp_path):
    """A changed file that appears under an official name."""
    with pytest.raises(
        DataError, match=rf"'babi/{KNOWN}' in .* has sha256 \w+, the published file has 749ea9f7"
    ):
        unpack(tmp_path, archive_of({f"babi/{KNOWN}": STORY}))
    assert names_in(tmp_path) == {NAME}


@pytest.mark.parametrize("task", babi.TASKS)
def test_list_of_published_files(task, official_path):
    """A sha256 that is not that of the official file, or that stands beside another name."""
    name = f"en-10k/{babi.file_name(task, 'train')}"
    if task == 3:
        assert name not in download.published()
        return
    path = official_path(task)
    assert download.published()[name] == download.digest_of(path)


def test_size_of_the_list():
    assert len(download.published()) == 19
