"""Which files `data.path` names, and which of those that lie there are passed over.

A path below `data.path` is a tuple of its parts. Hidden files (`.git/`, `.DS_Store`, macOS' `._a.wav`) are none of the
user's; what has another ending is passed over; and all of it is counted.
"""

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from genzoo.errors import UserError
from genzoo.reading import reading

Parts = tuple[str, ...]
"""Of a path below `data.path`."""

CLUTTER = {"Thumbs.db", "desktop.ini", "__MACOSX"}
"""What systems leave in people's folders, hidden or not."""


@dataclass(frozen=True)
class Listing:
    """place: the folder; files: what can be read, in order, as parts below it (of a lone file, its name in its folder).
    lone: whether `data.path` is that file. passed: how many others there are, by what they are ("3 .csv")."""

    place: Path
    files: list[Parts]
    lone: bool = False
    passed: Counter[str] = field(default_factory=Counter)

    def file(self, parts: Parts) -> Path:
        return self.place.joinpath(*parts)


def listing(path: str, endings: Collection[str], *, known: str = "", key: str = "data.path") -> Listing:
    """The files that a path of the user's names, with such endings (".wav", in lower case; ".nii.gz" too).

    known: what else the key may be, for messages: "melodies, fsdd". UserError where there is nothing, or nothing that
    can be read, with what there is instead.
    """
    more = f" (it may also be {known})" if known else ""
    if not path:
        raise UserError(f"{key} is empty: give a file or a folder{more}")
    place = Path(path).expanduser()
    if not os.path.exists(place):
        raise UserError(f"{key}={path}: there is no such file or folder{more}")
    with reading(place, key):  # no pipe, no device
        if not place.is_dir():
            if not of_kind(place.name, endings):
                raise UserError(f"{key}={path}: {ending(place.name)} is not read here; known endings: {said(endings)}")
            return Listing(place.parent, [(place.name,)], lone=True)
        found = walked(place, endings)
    if not found.files:
        there = f", but {counted(found.passed)}" if found.passed else ""
        raise UserError(f"{key}={path}: the folder holds no {said(endings)} file{there}")
    return found


def walked(place: Path, endings: Collection[str]) -> Listing:
    """The files of a folder and of all folders below it; links to folders are followed once."""
    files, passed, seen = [], Counter[str](), set()
    for folder, folders, names in os.walk(place, followlinks=True):
        state = os.stat(folder)
        again = (state.st_dev, state.st_ino) in seen
        seen.add((state.st_dev, state.st_ino))
        folders[:] = [] if again else sorted(name for name in folders if not is_clutter(name))
        above = Path(folder).relative_to(place).parts
        for name in () if again else names:
            file = Path(folder, name)
            if is_clutter(name):
                passed["hidden"] += 1
            elif not file.is_file():
                passed["links to nothing" if file.is_symlink() else "pipes or devices"] += 1
            elif not of_kind(name, endings):
                passed[ending(name)] += 1
            else:
                files.append((*above, name))
    return Listing(place, sorted(files), passed=passed)


def is_clutter(name: str) -> bool:
    return name.startswith(".") or name in CLUTTER


def of_kind(name: str, endings: Collection[str]) -> bool:
    """Whether a name ends as one that can be read, by as many of its endings as are listed."""
    pieces = name.lower().split(".")
    return any("." + ".".join(pieces[i:]) in endings for i in range(1, len(pieces)))


def ending(name: str) -> str:
    """ ".csv", or words where it has none."""
    return Path(name).suffix.lower() or "without an ending"


def said(endings: Collection[str]) -> str:
    return ", ".join(sorted(endings))


def counted(passed: Counter[str], most: int = 12) -> str:
    """ "3 .txt, 1 hidden": the most frequent first."""
    told = [f"{count} {what}" for what, count in sorted(passed.items(), key=lambda item: (-item[1], item[0]))]
    return ", ".join(told[:most]) + (f" and {len(told) - most} other kinds" if len(told) > most else "")
