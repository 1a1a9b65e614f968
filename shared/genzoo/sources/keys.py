"""Keys of what is kept: hashes of the files' contents.

Names, sizes and dates are equal in the copies that archives, version control and containers make. A file is read to be
hashed once; it need not be read again while its device, inode, size, mtime and ctime stay.
"""

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from genzoo.download import cache_folder

RACY_NS = 2_000_000_000
"""A file that changed so shortly before it was hashed may change again without another time: it is not remembered."""

State = tuple[int, int, int, int, int]


def state_of(file: Path) -> State:
    """What changes where a file is written anew, whatever its name says, and stays where its folder is moved."""
    state = file.stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def content_key(*asked: object, files: Sequence[tuple[str, Path]]) -> str:
    """A name for what is made of files, given as (name, file), in the way that `asked` says: 32 hex digits."""
    told = [(name, digest) for (name, _), digest in zip(files, hashes([file for _, file in files]), strict=True)]
    return hashlib.blake2b(repr((asked, told)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def hashes(files: Sequence[Path]) -> list[str]:
    """The BLAKE2b of each file's bytes, 64 hex digits, in the order of the files."""
    states = [state_of(file) for file in files]
    known = remembered(states)
    new: dict[State, str] = {}
    found = []
    for file, state in zip(files, states, strict=True):
        digest = known.get(state)
        if digest is None:
            digest = known[state] = hash_of(file)
            if time.time_ns() - state[-1] > RACY_NS and state_of(file) == state:
                new[state] = digest
        found.append(digest)
    remember(new)
    return found


def hash_of(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def database() -> sqlite3.Connection:
    place = cache_folder() / "hashes.sqlite"
    place.parent.mkdir(parents=True, exist_ok=True)
    opened = sqlite3.connect(place, timeout=10, isolation_level=None)
    opened.execute("create table if not exists hashes (state text primary key, digest text) without rowid")
    return opened


def remembered(states: Sequence[State]) -> dict[State, str]:
    """The hashes of those files that are as they were; none where the cache folder cannot be read, or is damaged."""
    found: dict[State, str] = {}
    with suppress(OSError, sqlite3.Error), closing(database()) as opened:
        for state in states:
            row = opened.execute("select digest from hashes where state = ?", (repr(state),)).fetchone()
            if row:
                found[state] = str(row[0])
    return found


def remember(new: dict[State, str]) -> None:
    if new:
        with suppress(OSError, sqlite3.Error), closing(database()) as opened:
            opened.execute("begin")
            opened.executemany("insert or replace into hashes values (?, ?)", [(repr(s), d) for s, d in new.items()])
            opened.execute("commit")
