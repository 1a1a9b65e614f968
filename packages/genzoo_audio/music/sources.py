"""Where music lies: the embedded chorales, the public ones, files, folders.

Legend: M ticks, V = 4 voices.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from genzoo.download import download
from genzoo.errors import UserError
from genzoo.folders import SPLITS, files_below
from genzoo.reading import Broken, breaking, reading
from genzoo_audio.music.files import MAX_MB, SUFFIXES, pieces_of

JSB = (
    "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset/master/Jsb16thSeparated.json",
    "79294cc374f9252e95ef4b703161524c1c53dc1f712c236f00f1c1f5d54af5a7",
)
"""229 + 76 + 77 chorales of J. S. Bach on a grid of sixteenths (Boulanger-Lewandowski's split; C.-Z. Huang's file at
the commit 9a7f733). The music is in the public domain."""

EMBEDDED_TEST = 0.1
"""Share of the embedded chorales."""


class Piece(NamedTuple):
    """notes: int64 [M, V]. split: train, val or test, where the file or its folder says so."""

    name: str
    split: str | None
    notes: np.ndarray


def load(
    path: str,
    *,
    embedded: int,
    on_error: Literal["stop", "skip"],
    max_ticks: int,
    seed: int,
    max_mb: float = MAX_MB,
) -> list[Piece]:
    """All pieces that `data.path` names, in the order of their names.

    path: chorales (so many embedded ones; the last tenth are test), jsb, a MIDI or JSON file, or a folder of those,
        where the folders train, val (or valid, validation) and test are splits.
    on_error: where a file is of no use, "stop" with a UserError that names it, or "skip" it and say so.
    """
    if path == "chorales":
        from genzoo_audio.melodies import tunes

        test = max(1, round(embedded * EMBEDDED_TEST))
        names = [None] * (embedded - test) + ["test"] * test
        made = enumerate(tunes(embedded, seed))
        return [Piece(f"chorale {i}", names[i], notes) for i, notes in made]
    if not path:
        raise UserError("data.path is empty: give chorales, jsb, a MIDI or JSON file, or a folder of those")
    place = download(*JSB, name="jsb_chorales_16th.json") if path == "jsb" else Path(path).expanduser()
    if not place.exists():
        raise UserError(f"data.path={path}: there is no such file or folder (others: chorales, jsb)")
    if not place.is_dir():
        with reading(place) as file:
            return [Piece(*piece) for piece in pieces_of(file, max_ticks, max_mb)]
    found = list(splits_below(place))
    if not found:
        raise UserError(f"data.path={path}: the folder holds no {', '.join(SUFFIXES)} file")
    pieces = []
    for file, name, split in found:
        try:
            with breaking():
                pieces += [Piece(name, own or split, notes) for _, own, notes in pieces_of(file, max_ticks, max_mb)]
        except Broken as reason:
            if on_error == "stop":
                raise UserError(f"data.path={file} {reason} (or data.on_error=skip passes it over)") from reason
            print(f"skipped {file} {reason}", file=sys.stderr)
    if not pieces:
        raise UserError(f"data.path={path}: all of its {len(found)} files were skipped")
    return pieces


def splits_below(place: Path) -> Iterator[tuple[Path, str, str | None]]:
    """(file, its path below the folder, its split); hidden files are passed over."""
    for parts in files_below(place, SUFFIXES):
        split = SPLITS.get(parts[0].lower()) if len(parts) > 1 else None
        yield place.joinpath(*parts), "/".join(parts), split
