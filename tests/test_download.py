"""Downloads over a real connection that breaks, and archives that mean harm."""

import io
import re
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitalfactory import download
from vitalfactory.errors import VitalFactoryError

CONTENT = bytes(range(256)) * 4000


@dataclass
class Site:
    """One file on a server, and how the server behaves."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    says_size: bool = True
    cuts: list[int] = field(default_factory=list)
    """How much of each of the next answers is sent before the connection is cut."""
    answers: list[int] = field(default_factory=list)
    """Status of each of the next answers that is not the file."""
    range_start: int | None = None
    """Where a range starts, whatever was asked for."""
    asked: list[str | None] = field(default_factory=list)


class Server(ThreadingHTTPServer):
    """Says nothing of readers that hang up, which some tests have them do."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers.get("Range")
        site.asked.append(wanted)
        if site.answers:
            self.send_error(site.answers.pop(0))
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
        if start and start >= len(site.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(site.content)}")
            self.end_headers()
            return
        self.send_file(start)

    def send_file(self, start: int) -> None:
        site = self.site
        body = site.content[start:]
        self.send_response(206 if start else 200)
        if start:
            shown = start if site.range_start is None else site.range_start
            self.send_header("Content-Range", f"bytes {shown}-{len(site.content) - 1}/{len(site.content)}")
        if site.says_size:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "PAUSES_SECONDS", (0.0, 0.0, 0.0))
    served = Site()
    handler = type("Handler", (Handler,), {"site": served})
    with Server(("127.0.0.1", 0), handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}/file.zip"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield served
        server.shutdown()
        thread.join()


def test_a_file_comes_once(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.zip"
    assert download.fetch(site.url, file, len(CONTENT)) == file
    assert file.read_bytes() == CONTENT
    assert download.fetch(site.url, file, len(CONTENT)) == file
    assert download.fetch(site.url, file) == file
    assert site.asked == [None]
    assert {path.name for path in file.parent.iterdir()} == {"file.zip", ".file.zip.lock"}


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"cuts": [1000]}, [None, "bytes=1000-"]),
        ({"cuts": [0, 300_000]}, [None, None, "bytes=300000-"]),
        ({"cuts": [1000], "ranges": False}, [None, "bytes=1000-"]),
        ({"cuts": [1000], "range_start": 7}, [None, "bytes=1000-", None]),
        ({"answers": [503, 429]}, [None, None, None]),
        ({"says_size": False}, [None]),
        ({"content": b""}, [None]),
    ],
    ids=["resumed", "cut twice", "server without Range", "another range", "busy server", "no length", "empty file"],
)
def test_a_bad_connection_is_got_over(
    site: Site, tmp_path: Path, change: dict[str, object], asked: list[str | None]
) -> None:
    for name, value in change.items():
        setattr(site, name, value)
    file = tmp_path / "file.zip"
    download.fetch(site.url, file)
    assert file.read_bytes() == site.content
    assert site.asked == asked


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (CONTENT[:5000], ["bytes=5000-"]),
        (CONTENT, [f"bytes={len(CONTENT)}-"]),
        (CONTENT + b"more", [f"bytes={len(CONTENT) + 4}-", None]),
        (b"", [None]),
    ],
    ids=["begun", "complete", "too long", "empty"],
)
def test_what_an_earlier_run_kept_is_gone_on_with(
    site: Site, tmp_path: Path, part: bytes, asked: list[str | None]
) -> None:
    (tmp_path / "file.zip.part").write_bytes(part)
    assert download.fetch(site.url, tmp_path / "file.zip").read_bytes() == CONTENT
    assert site.asked == asked


def test_a_connection_that_always_breaks_keeps_what_came(site: Site, tmp_path: Path) -> None:
    site.cuts = [100, 200, 300]
    with pytest.raises(VitalFactoryError, match="ended at 600 of 1024000 bytes; 3 attempts failed") as error:
        download.fetch(site.url, tmp_path / "file.zip")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "file.zip").exists()
    assert (tmp_path / "file.zip.part").read_bytes() == CONTENT[:600]
    download.fetch(site.url, tmp_path / "file.zip")
    assert site.asked[-1] == "bytes=600-"
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_another_size_than_expected(site: Site, tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="the server has 1024000 bytes, expected 5"):
        download.fetch(site.url, tmp_path / "file.zip", 5)
    assert not (tmp_path / "file.zip").exists()


def test_a_short_file_of_unsaid_size(site: Site, tmp_path: Path) -> None:
    site.says_size = False
    site.cuts = [10, 10, 10]
    site.ranges = False
    with pytest.raises(VitalFactoryError, match="ended at 10 of 1024000 bytes"):
        download.fetch(site.url, tmp_path / "file.zip", len(CONTENT))


def test_a_file_of_the_wrong_size_is_fetched_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.zip").write_bytes(b"old")
    assert download.fetch(site.url, tmp_path / "file.zip", len(CONTENT)).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (500, 3)])
def test_a_refusal_is_told_in_one_line(site: Site, tmp_path: Path, status: int, asked: int) -> None:
    site.answers = [status] * 3
    with pytest.raises(VitalFactoryError, match=f"{re.escape(site.url)}: the server answered {status}"):
        download.fetch(site.url, tmp_path / "file.zip")
    assert len(site.asked) == asked


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/file", "/etc/passwd"])
def test_only_the_web_is_asked(tmp_path: Path, url: str) -> None:
    with pytest.raises(VitalFactoryError, match="https://"):
        download.fetch(url, tmp_path / "file")


def test_nobody_listens(site: Site, tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="no connection"):
        download.fetch("http://127.0.0.1:9/file.zip", tmp_path / "file.zip")


def make_zip(path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_zip_and_tar_give_the_same_files(tmp_path: Path) -> None:
    members = {"set/a.hea": b"1", "set/deep/b.mat": b"22", "readme": b""}
    make_zip(tmp_path / "set.zip", {"set/": b"", **members})
    make_tar(tmp_path / "set.tar.gz", *((tar_member(name), content) for name, content in members.items()))
    for archive in ("set.zip", "set.tar.gz"):
        out = tmp_path / f"out of {archive}"
        download.unpack(tmp_path / archive, out)
        assert files_of(out) == {**members, f".{archive}.lock": b""}


EVIL = {
    "zip-slip": lambda path: make_zip(path, {"ok": b"1", "../evil": b"2"}),
    "deep zip-slip": lambda path: make_zip(path, {"set/../../evil": b"2"}),
    "absolute": lambda path: make_zip(path, {"/tmp/evil-of-vitalfactory": b"2"}),
    "zip link": lambda path: make_zip(path, {"evil": b"/etc"}, stat.S_IFLNK | 0o777),
    "zip device": lambda path: make_zip(path, {"evil": b""}, stat.S_IFCHR | 0o666),
    "tar-slip": lambda path: make_tar(path, (tar_member("ok"), b"1"), (tar_member("../evil"), b"2")),
    "tar absolute": lambda path: make_tar(path, (tar_member("/tmp/evil-of-vitalfactory"), b"2")),
    "tar link": lambda path: make_tar(
        path, (tar_member("evil", tarfile.SYMTYPE, "/etc"), b""), (tar_member("evil/x"), b"2")
    ),
    "tar hard link": lambda path: make_tar(path, (tar_member("evil", tarfile.LNKTYPE, "/etc/passwd"), b"")),
    "tar device": lambda path: make_tar(path, (tar_member("evil", tarfile.CHRTYPE), b"")),
    "tar pipe": lambda path: make_tar(path, (tar_member("evil", tarfile.FIFOTYPE), b"")),
}


@pytest.mark.parametrize("kind", EVIL)
def test_an_archive_that_means_harm_is_refused_whole(tmp_path: Path, kind: str) -> None:
    archive = EVIL[kind](tmp_path / "evil.archive")
    out = tmp_path / "a" / "out"
    with pytest.raises(VitalFactoryError, match=r"leads out of the folder|is a link or a device"):
        download.unpack(archive, out)
    assert set(files_of(tmp_path)) == {"evil.archive", "a/out/.evil.archive.lock"}
    assert not Path("/tmp/evil-of-vitalfactory").exists()


@pytest.mark.parametrize("kind", ["zip", "tar", "many"])
def test_a_bomb_is_not_set_off(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "bomb"
    zeros = b"\0" * 5_000_000
    if kind == "zip":
        make_zip(archive, {"a": zeros})
    elif kind == "tar":
        make_tar(archive, (tar_member("a"), zeros))
    else:
        make_zip(archive, {str(number): b"" for number in range(1000)})
    assert archive.stat().st_size < 200_000
    with pytest.raises(VitalFactoryError, match="unpacks to more than 4000000 bytes"):
        download.unpack(archive, tmp_path / "out", limit=4_000_000)
    assert set(files_of(tmp_path / "out")) == {".bomb.lock"}


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_bytes(b"mine")
    archive = make_zip(tmp_path / "set.zip", {"new": b"", "set/mine": b"theirs"})
    with pytest.raises(VitalFactoryError, match="is there already"):
        download.unpack(archive, tmp_path)
    assert (tmp_path / "set" / "mine").read_bytes() == b"mine"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["no archive", "cut zip", "changed zip", "encrypted", "cut tar", "changed xz"])
def test_a_damaged_archive_is_told_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    archive = tmp_path / "set"
    content = bytes(range(256)) * 400
    if damage == "cut tar":
        make_tar(archive, (tar_member("a"), content), (tar_member("b"), content))
        raw = archive.read_bytes()
        archive.write_bytes(raw[: len(raw) // 2])
    elif damage == "changed xz":
        with tarfile.open(archive, "w:xz") as opened:
            opened.add(__file__, "a")
        raw = archive.read_bytes()
        archive.write_bytes(raw[:200] + bytes(200) + raw[400:])
    else:
        raw = make_zip(archive, {"a": content, "b": content}).read_bytes()
        flipped = raw[:60] + bytes([raw[60] ^ 1]) + raw[61:]
        central = raw.rindex(b"PK\1\2") + 8
        locked = raw[:central] + b"\1" + raw[central + 1 :]
        changed = {"no archive": b"<html>", "cut zip": raw[:100], "changed zip": flipped, "encrypted": locked}
        archive.write_bytes(changed[damage])
    out = tmp_path / "out"
    with pytest.raises(VitalFactoryError, match=r"delete it and fetch it again"):
        download.unpack(archive, out)
    assert set(files_of(out)) == {".set.lock"}


def test_a_kill_in_the_middle_leaves_nothing_half(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "set.zip", {f"set/{number}": b"x" for number in range(9)})
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom vitalfactory import download\n"
        "write, done = download._write, []\n"
        "def stop(*given):\n    done.append(write(*given))\n    len(done) < 4 or os.kill(os.getpid(), 9)\n"
        "download._write = stop\ndownload.unpack(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", code, str(archive), str(out)])
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "set").exists()
    download.unpack(archive, out)
    assert len(list((out / "set").iterdir())) == 9
    assert {path.name for path in out.iterdir()} == {"set", ".set.zip.lock"}


@settings(max_examples=60)
@given(st.lists(st.text(st.sampled_from("./a\\~:\0"), min_size=1, max_size=8), min_size=1, max_size=4))
def test_no_member_name_leads_out(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make_tar(root / "set.tar", *((tar_member(name), b"x") for name in names))
        try:
            download.unpack(root / "set.tar", root / "deep" / "out")
        except (VitalFactoryError, OSError):
            assert {path.name for path in (root / "deep" / "out").iterdir()} == {".set.tar.lock"}
        assert {path.name for path in root.iterdir()} == {"set.tar", "deep"}
        assert {path.name for path in (root / "deep").iterdir()} == {"out"}
