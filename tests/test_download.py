"""Downloads from a server on this machine that breaks off, ignores what it is asked, or sends the wrong file."""

import hashlib
import socket
import struct
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from platformdirs import user_cache_path

from genzoo.download import cache_folder, download, sha256_of
from genzoo.errors import UserError

CONTENT = b"".join(i.to_bytes(4, "big") for i in range(50_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


class Server(ThreadingHTTPServer):
    """Serves CONTENT. `manners` says how to answer the first, second ... request; the last one stays.

    good: honours Range. deaf: ignores Range. closed, reset, chunked: breaks off half way, by an orderly end of the
    connection, by its reset, or within a chunked answer. other: sends another file. A number: that HTTP status.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.manners: list[str] = ["good"]
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/set.bin"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        manner = self.server.manners.pop(0) if len(self.server.manners) > 1 else self.server.manners[0]
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        if manner.isdigit():
            self.send_error(int(manner))
            return
        content = CONTENT[::-1] if manner == "other" else CONTENT
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and manner != "deaf" else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if manner == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % HALF + content[:HALF] + b"\r\n")
            return
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if manner in ("closed", "reset"):
            self.wfile.write(content[start : start + HALF])
            if manner == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            return
        self.wfile.write(content[start:])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; no proxy between this machine and itself."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def server(cache: Path) -> Iterator[Server]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def part(cache: Path, content: bytes) -> Path:
    """What an earlier download left behind."""
    cache.mkdir()
    file = cache / "set.bin.part"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("chunk", [1, 1 << 20], ids=["byte by byte", "in one piece"])
def test_whole(server, cache, chunk, monkeypatch):
    """The file arrives byte for byte under its name; nothing else is left, and the second call asks nobody."""
    content = CONTENT[:1000] if chunk == 1 else CONTENT
    monkeypatch.setitem(globals(), "CONTENT", content)
    sha256 = hashlib.sha256(content).hexdigest()
    file = download(server.url, sha256, name="sets/set.bin", chunk=chunk)
    assert file == cache / "sets" / "set.bin"
    assert file.read_bytes() == content
    assert [path.name for path in file.parent.iterdir()] == ["set.bin"]
    assert download(server.url, sha256, name="sets/set.bin") == file
    assert server.ranges == [None]


def test_cached_copy_needs_no_server(cache):
    """A file that is there is taken, though nobody listens at the address."""
    cache.mkdir()
    (cache / "set.bin").write_bytes(CONTENT)
    assert download("http://127.0.0.1:9/set.bin", SHA256, name="set.bin") == cache / "set.bin"


@pytest.mark.parametrize("have", [1, HALF, len(CONTENT) - 1])
def test_goes_on_where_it_stopped(server, cache, have):
    """Only the missing bytes are asked for."""
    left = part(cache, CONTENT[:have])
    assert download(server.url, SHA256, name="set.bin").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={have}-"]
    assert not left.exists()


def test_server_without_ranges(server, cache):
    """A server that sends the whole file nevertheless: it is taken from its beginning, not added to the part."""
    server.manners = ["deaf"]
    part(cache, CONTENT[:HALF])
    assert download(server.url, SHA256, name="set.bin").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={HALF}-"]


def test_part_that_is_whole(server, cache):
    """Stopped between the last byte and the renaming: the server has nothing more to send, and the file is kept."""
    left = part(cache, CONTENT)
    assert download(server.url, SHA256, name="set.bin").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]
    assert not left.exists()


@pytest.mark.parametrize("manner", ["closed", "reset", "chunked"])
def test_broken_transfer(server, cache, manner):
    """A connection that ends half way is an error of one line, and the next call asks for what is not there yet."""
    server.manners = [manner, "good"]
    with pytest.raises(UserError, match=f"cannot download {server.url} .*: try again, or fetch it yourself to"):
        download(server.url, SHA256, name="set.bin")
    assert not (cache / "set.bin").exists()
    left = cache / "set.bin.part"
    have = left.stat().st_size if left.exists() else 0
    if manner == "closed":  # the others may take bytes with them that were on their way
        assert have == HALF
    assert download(server.url, SHA256, name="set.bin").read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={have}-" if have else None]


def test_broken_twice(server, cache):
    """Each call gets further."""
    third = len(CONTENT) // 3
    part(cache, CONTENT[:third])
    server.manners = ["closed", "good"]
    with pytest.raises(UserError, match="cannot download"):
        download(server.url, SHA256, name="set.bin")
    assert download(server.url, SHA256, name="set.bin").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={third}-", f"bytes={third + HALF}-"]


@pytest.mark.parametrize("have", [0, HALF])
def test_wrong_file(server, cache, have):
    """Another content is refused with both hashes, and deleted, also where only its second half is wrong."""
    server.manners = ["other", "good"]
    if have:
        part(cache, CONTENT[:have])
    wrong = hashlib.sha256(CONTENT[:have] + CONTENT[::-1][have:]).hexdigest()
    with pytest.raises(UserError, match=rf"not the file it should be \(SHA-256 {wrong}, expected {SHA256}\)"):
        download(server.url, SHA256, name="set.bin")
    assert list(cache.iterdir()) == []
    assert download(server.url, SHA256, name="set.bin").read_bytes() == CONTENT, "and a second try begins anew"
    assert server.ranges[-1] is None


@pytest.mark.parametrize("status", ["404", "500"])
def test_refusal_of_the_server(server, cache, status):
    """The line names the address, the reason, and where to put the file by hand; a part is kept."""
    server.manners = [status]
    left = part(cache, CONTENT[:HALF])
    message = f"cannot download {server.url} .*{status}.*fetch it yourself to {cache / 'set.bin'}"
    with pytest.raises(UserError, match=message):
        download(server.url, SHA256, name="set.bin")
    assert left.read_bytes() == CONTENT[:HALF]
    assert not (cache / "set.bin").exists()


def test_nobody_there(cache):
    """A closed port gives the same kind of line."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/set.bin"
        with pytest.raises(UserError, match="cannot download .*refused.*fetch it yourself"):
            download(url, SHA256, name="set.bin")


def test_cache_folder(monkeypatch):
    """$GENZOO_CACHE where it says something, the user's cache else."""
    monkeypatch.setenv("GENZOO_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")
    for unset in (lambda: monkeypatch.setenv("GENZOO_CACHE", ""), lambda: monkeypatch.delenv("GENZOO_CACHE")):
        unset()
        assert cache_folder() == user_cache_path("genzoo")


def test_sha256(tmp_path):
    """Of the empty file and of "abc", as FIPS 180-4 gives them."""
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert sha256_of(file) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    file.write_bytes(b"abc")
    assert sha256_of(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
