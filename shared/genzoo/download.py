"""Public files: fetched once, checked, resumed after a break, kept in the user's cache folder."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from platformdirs import user_cache_path

from genzoo.errors import UserError


def cache_folder() -> Path:
    """$GENZOO_CACHE, or genzoo's folder in the user's cache."""
    return Path(os.environ.get("GENZOO_CACHE") or user_cache_path("genzoo"))


FORBIDDEN: ContextVar[str] = ContextVar("genzoo_forbidden", default="")


@contextmanager
def no_fetching(why: str) -> Iterator[None]:
    """While open, whatever would be fetched is refused. why: who asked for it in place of the user, and the mend."""
    token = FORBIDDEN.set(why)
    try:
        yield
    finally:
        FORBIDDEN.reset(token)


def allowed(address: str) -> None:
    """UserError where nothing may be fetched now: a file from outside asks for it, and not the user."""
    if FORBIDDEN.get():
        raise UserError(f"{address} would be fetched, and {FORBIDDEN.get()}")


def download(url: str, sha256: str, *, name: str, chunk: int = 1 << 20) -> Path:
    """The file at `url`, from the cache if it is there. A broken transfer goes on where it stopped.

    sha256: of the whole file, in hex; a file that differs is deleted and refused.
    """
    file = cache_folder() / name
    if file.is_file():
        return file
    allowed(url)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            mode = "ab" if have and answer.status == 206 else "wb"
            due, got = answer.headers["Content-Length"], 0
            with open(part, mode) as out:
                while block := answer.read(chunk):
                    got += out.write(block)
            if due is not None and got < int(due):  # to http.client the end of a connection is the end of the file
                raise ConnectionError(f"the connection ended after {got} of {due} bytes")
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: the part is the whole already
            raise UserError(f"cannot download {url} ({error}): try again, or fetch it yourself to {file}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"cannot download {url} ({error}): try again, or fetch it yourself to {file}") from error
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise UserError(f"{url} is not the file it should be (SHA-256 {found}, expected {sha256}): try again")
    os.replace(part, file)
    return file


def sha256_of(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
