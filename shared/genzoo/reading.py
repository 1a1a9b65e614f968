"""The boundary around everything that is read from outside: what goes wrong in there is one line that names the file.

Libraries raise what they like for a damaged file, so nothing is listed: whatever is raised inside `reading` or
`breaking` comes out as one kind of error.
"""

import os
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from genzoo.errors import UserError

DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the order of those around them on a terminal."""


class Broken(Exception):
    """What is wrong with one file of several, in a few words that go on from its name; on_error says what follows."""


def reason(error: BaseException) -> str:
    """What a library says, as a few words for a person."""
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return printable(first[:200]) or type(error).__name__


@contextmanager
def breaking(what: str = "cannot be read") -> Iterator[None]:
    """Around the loader of one file of several: whatever is raised inside is a `Broken` outside. A `Broken` of its own
    and a `UserError` (a library that is missing) pass."""
    try:
        yield
    except (Broken, UserError):
        raise
    except Exception as error:
        raise Broken(f"{what} ({reason(error)})") from error


@contextmanager
def reading(file: str | Path, key: str = "data.path") -> Iterator[Path]:
    """Around the loader of a lone file, which it gives as a path: whatever is raised inside is a UserError that begins
    with `key=file`. What is no regular file (a pipe, a device) is refused before anybody opens it."""
    path = Path(file)
    try:
        regular(path)
        yield path
    except UserError:
        raise
    except Broken as error:
        raise UserError(f"{key}={file} {error}") from error
    except FileNotFoundError as error:
        raise UserError(f"{key}={file}: there is no such file") from error
    except Exception as error:
        raise UserError(f"{key}={file} cannot be read ({reason(error)}): is it damaged, or of another kind?") from error


def regular(file: Path) -> None:
    """Broken for what only looks like a file (a pipe, a device, a socket); FileNotFoundError where there is nothing."""
    mode = os.stat(file).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise Broken("is a pipe or a device, no file")


def judge(claimed_bytes: float, max_mb: float, key: str = "data.max_mb") -> None:
    """Broken where what a header claims to hold, unpacked, is more than the limit: asked before it is unpacked."""
    if claimed_bytes > max_mb * 1e6:
        raise Broken(f"claims to hold {claimed_bytes / 1e6:,.0f} MB, and {key} is {max_mb:g}")


def unpacked_bytes(archive: Path) -> int:
    """What the parts of a ZIP file (NPZ and others are such) claim to hold together."""
    with zipfile.ZipFile(archive) as opened:
        return sum(part.file_size for part in opened.infolist())


def printable(text: str) -> str:
    """Text as a terminal may show it: control characters but line breaks and tabs, and those that turn the direction,
    as escapes (\\x1b), so that no file can move the cursor or recolour what stands there."""
    return "".join(
        char
        if char in "\n\t" or (unicodedata.category(char) not in ("Cc", "Cs") and char not in DIRECTIONS)
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def judged_yaml(source: Path | str, *, max_mb: float = 1, most: int = 100_000) -> Any:
    """What a YAML file, or a text, says, as plain values. Broken where the file is larger than that, or its anchors,
    written out, make more than `most` values: a few lines can stand for billions."""
    if isinstance(source, Path):
        judge(source.stat().st_size, max_mb, "the most for such a file")
        source = source.read_text(encoding="utf-8")
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = most  # of itself, where it holds itself
            pairs = [] if isinstance(node, yaml.ScalarNode) else node.value
            parts = [part for pair in pairs for part in (pair if isinstance(pair, tuple) else (pair,))]
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    root = yaml.compose(source, yaml.SafeLoader)
    if root is not None and size(root) > most:
        raise Broken(f"stands for more than {most:,} values, written out")
    return yaml.safe_load(source)
