"""Fetching resumes, believes only checksums, and says in a sentence what went wrong."""

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clnf.core.errors import ConfigError, DataError
from clnf.streams.fetch.download import checksum_fits, download
from clnf.streams.fetch.sets import fetchable, fetchables
from clnf.streams.fetch.unpack import unpack

BODY = bytes(range(256)) * 2000
SUM = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY; can break off, ignore ranges, or lie. Notes what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.ranges, self.stop_after = BODY, True, len(BODY)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set.tgz"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        body, start = self.server.body, 0
        if "missing" in self.path:
            self.send_error(404)
            return
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + self.server.stop_after])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def test_a_broken_fetch_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "set.tgz"
    server.stop_after = 100_000
    with pytest.raises(DataError, match=r"the connection ended after 100000 bytes.*try again"):
        download(server.url, target, integrity=SUM, max_bytes=10**6)
    assert not target.exists()
    server.stop_after = len(BODY)
    seen: list[int] = []
    download(server.url, target, integrity=SUM, max_bytes=10**6, progress=seen.append)
    assert target.read_bytes() == BODY
    assert server.asked == [None, "bytes=100000-"]
    assert seen[0] > 100_000
    assert seen[-1] == len(BODY)
    download(server.url, target, integrity=SUM, max_bytes=10**6)
    assert len(server.asked) == 2
    assert list(target.parent.iterdir()) == [target]


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "set.tgz"
    target.with_name("set.tgz.part").write_bytes(b"old rest")
    server.ranges = False
    download(server.url, target, integrity=SUM, max_bytes=10**6)
    assert target.read_bytes() == BODY


def test_a_whole_part_is_recognised_and_a_wrong_one_removed(server: Server, tmp_path: Path) -> None:
    target, part = tmp_path / "set.tgz", tmp_path / "set.tgz.part"
    part.write_bytes(BODY)
    download(server.url, target, integrity=SUM, max_bytes=10**6)
    assert target.read_bytes() == BODY
    target.unlink()
    part.write_bytes(b"x" * len(BODY))
    with pytest.raises(DataError, match="not the published file"):
        download(server.url, target, integrity=SUM, max_bytes=10**6)
    assert list(tmp_path.iterdir()) == []
    download(server.url, target, integrity=SUM, max_bytes=10**6)


def test_another_file_too_large_a_file_and_no_file_are_refused(
    server: Server, tmp_path: Path
) -> None:
    target = tmp_path / "set.tgz"
    with pytest.raises(DataError, match="sends more than the 0 MB"):
        download(server.url, target, integrity=SUM, max_bytes=1000)
    with pytest.raises(DataError, match="answered 404"):
        download(server.url + "missing", target, integrity=SUM, max_bytes=10**6)
    with pytest.raises(DataError, match="by http, https or file"):
        download("ftp://x/y", target, integrity=SUM, max_bytes=1)
    for wrong in ("md5:00", "sha256", "sha256:zz", ""):
        with pytest.raises(ConfigError, match="a checksum is written"):
            target.write_bytes(b"")
            checksum_fits(target, wrong)
    assert not target.with_name("set.tgz").stat().st_size


def test_no_network_is_one_sentence_that_says_what_needs_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"could not be fetched .*refused.*which need none"):
        download("http://127.0.0.1:9/set", tmp_path / "s", integrity=SUM, max_bytes=1)
    with pytest.raises(DataError, match="could not be fetched"):
        download((tmp_path / "none").as_uri(), tmp_path / "s", integrity=SUM, max_bytes=1)


def test_checksums_in_both_manners() -> None:
    assert set(fetchables()) == {"sonicpi", "fluent_anim", "klettres", "furniture"}
    with pytest.raises(ConfigError, match="no set 'mnist' can be fetched; there are sonicpi"):
        fetchable("mnist")


def tar(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as made:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.type = len(data), kind
            entry.linkname = "/etc/passwd"
            made.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def deb(data: bytes) -> bytes:
    def member(name: str, body: bytes) -> bytes:
        return (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n".encode()
            + body
            + (b"\n" * (len(body) % 2))
        )

    return (
        b"!<arch>\n"
        + member("debian-binary", b"2.0\n")
        + member("control.tar.xz", b"odd")
        + (member("data.tar.xz", data))
    )


FILES = {"./usr/share/k/a.ogg": b"1", "./usr/doc/copyright": b"free", "./usr/bin/run": b"x"}


@pytest.mark.parametrize("wrap", [bytes, deb])
def test_wanted_files_and_papers_are_unpacked_and_nothing_else(wrap, tmp_path: Path) -> None:
    archive = tmp_path / "a"
    archive.write_bytes(wrap(tar(FILES)))
    out = tmp_path / "out"
    written = unpack(archive, out, (".ogg",))
    assert [path.relative_to(out).as_posix() for path in written] == [
        "share/k/a.ogg", "doc/copyright"
    ]  # fmt: skip
    assert written[0].read_bytes() == b"1"


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    archive = tmp_path / "a"
    bad = {"p/../../x.ogg": b"1", "/abs/y.ogg": b"1", "p\\..\\z.ogg": b"1", "p/good.ogg": b"1"}
    archive.write_bytes(tar(bad))
    out = tmp_path / "deep" / "out"
    assert [path.name for path in unpack(archive, out, (".ogg",))] == ["good.ogg"]
    assert {p.name for p in tmp_path.rglob("*.ogg")} == {"good.ogg"}
    archive.write_bytes(tar({"p/l.ogg": b""}, tarfile.SYMTYPE))
    with pytest.raises(DataError, match=r"holds no \.ogg files"):
        unpack(archive, out, (".ogg",))


@pytest.mark.parametrize("body", [b"", b"no archive", b"!<arch>\nshort", deb(b"no tar")])
def test_what_is_no_archive_is_one_sentence(body, tmp_path: Path) -> None:
    archive = tmp_path / "a"
    archive.write_bytes(body)
    with pytest.raises(DataError, match="fetch it again"):
        unpack(archive, tmp_path / "out", (".ogg",))
