"""Where clips lie: embedded tunes, public sets, a user's files; and what their names say of labels and splits.

Legend: N clips.
"""

import csv
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from genzoo.errors import UserError
from genzoo.folders import SPLITS, files_below, official, refuse, splits_first, splits_of
from genzoo.reading import judge, reading
from genzoo_audio.files import HIGHEST_HZ, SUFFIXES, from_int16, to_int16
from genzoo_audio.public import PUBLIC, place_of
from genzoo_audio.scan import scan

LISTS = {"validation_list.txt": "val", "testing_list.txt": "test"}
"""Lists of names that are splits, as in Speech Commands; what is in none of them trains."""

LIST_MB = 50
"""Of a list of names, or of labels, at most."""

NOISE = "_background_noise_"
"""Speech Commands' folder of long noises, which are no clips."""

MELODIES, MELODIES_RATE_HZ = 600, 8000
"""Tunes of the embedded set, and its rate where none is asked for."""


@dataclass
class Clips:
    """Clips, in the order of their names.

    samples: int16, all of them one after another (of files a np.memmap in the cache folder); starts: int64 [N + 1],
    where each begins, and the end. names: the files, relative to the folder. labels: "" where there are none,
    "7_george" where there are two fields; fields: what they say: ("digit", "speaker"), ("label",) of folders, () of
    none.
    split: [N], train, val or test.
    """

    rate_hz: int
    samples: np.ndarray
    starts: np.ndarray
    names: list[str]
    labels: list[str]
    fields: tuple[str, ...]
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def wave(self, i: int) -> np.ndarray:
        """A clip, float32 [T] in [-1, 1)."""
        return from_int16(self.samples[self.starts[i] : self.starts[i + 1]])


@dataclass(frozen=True)
class Found:
    """A file. name: its path below the folder. label: of the folders; split: train or val, where folders or lists say.
    broken: why it is of no use."""

    file: Path
    name: str
    label: str = ""
    split: str | None = None
    broken: str = ""


def find_clips(
    path: str,
    *,
    rate_hz: int | None = None,
    labels: str | None = None,
    val_match: str | None = None,
    val_fraction: float = 0.1,
    trim_db: float | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    seed: int = 0,
    max_s: float = 30.0,
    embedded: int = MELODIES,
) -> Clips:
    """The clips of "melodies" (embedded), "fsdd", "speech_commands" (public), a file, or a folder with all below it.

    rate_hz: what all are resampled to; None: the rate that most of the files have.
    labels: None: the first folders, where there are any (the second, where the first are splits); a CSV file with a
        column `file` and one or more of labels; or a template of the files' names without their endings, as
        "{digit}_{speaker}_{}": a field in braces for each label, and {} for what is none.
    The split is that of folders train/, val/ and test/ or of Speech Commands' lists, where there are any; else val are
    the files whose name val_match matches ("*_[0-4].wav"); else val_fraction of each label, drawn by the seed. A lone
    file is cut: its last val_fraction is val. val_fraction=1: everything is val.
    trim_db: silence, softer than the loudest sample by so many decibels, is trimmed from both ends; None: it is not.
    on_error: what is done at a broken file (see `files.read_audio`; also one longer than max_s seconds, or without a
        label): "stop" raises a UserError that names it, "skip" says so on stderr.
    embedded: how many tunes there are of path=melodies.
    UserError also where no clip is left on one side of the split.
    """
    if on_error not in ("stop", "skip"):
        raise UserError(f"data.on_error is stop or skip, not {on_error!r}")
    if not 0 < val_fraction <= 1:
        raise UserError(f"data.val_fraction lies above 0, up to 1, not {val_fraction}")
    if rate_hz is not None and not 1 <= rate_hz <= HIGHEST_HZ:
        raise UserError(f"data.rate_hz is at least 1 and at most {HIGHEST_HZ}, not {rate_hz}")
    if path.lower() == "melodies":
        return tunes(embedded, rate_hz or MELODIES_RATE_HZ, val_match, val_fraction, seed)
    public = PUBLIC.get(path.lower())
    if public:
        labels, val_match = labels or public.labels, val_match or public.val_match
    folder, files = find(path)
    files, fields = labelled(files, labels, folder)
    usable = [found for found in files if not found.broken]
    refuse(path, [(found.name, found.broken) for found in files if found.broken], len(files), on_error, bool(usable))
    read = scan([(f.name, f.file) for f in usable], folder, rate_hz=rate_hz, trim_db=trim_db, max_s=max_s)
    refuse(path, [*read.broken.items()], len(files), on_error, len(read.broken) < len(usable))
    starts = [0, *(end for found, end in zip(usable, read.ends, strict=True) if found.name not in read.broken)]
    usable = [found for found in usable if found.name not in read.broken]
    if len(files) == 1 and val_fraction < 1:
        starts.insert(1, round(starts[1] * (1 - val_fraction)))
        usable = [replace(usable[0], name=f"{usable[0].name}[{i}]", split=s) for i, s in enumerate(("train", "val"))]
        if min(end - start for start, end in pairwise(starts)) < 2:
            raise UserError(f"data.path={path} is one file, too short to be cut into train and val: give a folder")
    names, found_labels = [found.name for found in usable], [found.label for found in usable]
    splits = [found.split for found in usable]
    options = {"val_match": val_match, "val_fraction": val_fraction, "seed": seed}
    split = splits_of(path, names, found_labels, splits, **options)
    return Clips(read.rate_hz, read.samples, np.array(starts, np.int64), names, found_labels, fields, split)


def tunes(count: int, rate_hz: int, val_match: str | None, val_fraction: float, seed: int) -> Clips:
    """The first tunes of `melodies.melodies`, always the same ones."""
    samples, starts, labels = embedded_tunes(count, rate_hz)
    names = [f"{label}_{i:03d}.wav" for i, label in enumerate(labels)]
    options = {"val_match": val_match, "val_fraction": val_fraction, "seed": seed}
    split = splits_of("melodies", names, labels, [None] * len(names), **options)
    return Clips(rate_hz, samples, starts, names, list(labels), ("timbre",), split)


@lru_cache(maxsize=1)
def embedded_tunes(count: int, rate_hz: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Their samples and starts, as in `Clips` but read-only, and labels."""
    from genzoo_audio.melodies import melodies

    waves, labels, _ = melodies(count, rate_hz)
    samples, starts = to_int16(np.concatenate(waves)), np.cumsum([0, *map(len, waves)])
    samples.flags.writeable = starts.flags.writeable = False
    return samples, starts, tuple(labels)


# ---- files


def find(path: str) -> tuple[Path, list[Found]]:
    """The folder, and the files below it in the order of their names, with what the folders say of them."""
    if path.lower() in PUBLIC:
        place = place_of(path.lower())
    elif not path:
        raise UserError(f"data.path is empty: give a file, a folder, melodies, {', '.join(PUBLIC)}")
    else:
        place = Path(path).expanduser()
    if not place.exists():
        raise UserError(
            f"data.path={path}: there is no such file or folder (known sets: melodies, {', '.join(PUBLIC)})"
        )
    with reading(place):
        if not place.is_dir():
            if place.suffix.lower() not in SUFFIXES:
                raise UserError(f"data.path={path}: known endings are {', '.join(SUFFIXES)}")
            return place.parent, [Found(place, place.name)]
    parts = files_below(place, SUFFIXES)
    lists = listed(place)
    if lists:
        parts = [names for names in parts if names[0] != NOISE]
    if not parts:
        raise UserError(f"data.path={path}: the folder holds no {', '.join(SUFFIXES)} file")
    split_first = splits_first(parts)
    files = []
    for names in parts:
        first, second = [*names[:-1], "", ""][:2]
        label, kind = (second, first) if split_first else (first, second)
        name = "/".join(names)
        kind = lists.get(name, "train") if lists else SPLITS.get(kind.lower())
        files.append(Found(place.joinpath(*names), name, label, kind))
    return place, official(files)


def listed(place: Path) -> dict[str, str]:
    """The split of each name in the lists of a folder; empty where it has none."""
    splits = {}
    for file, kind in LISTS.items():
        if (place / file).is_file():
            with reading(place / file) as opened:
                judge(opened.stat().st_size, LIST_MB, "the most")
                splits |= dict.fromkeys(opened.read_text(encoding="utf-8", errors="replace").split(), kind)
    return splits


# ---- labels


def labelled(files: list[Found], labels: str | None, folder: Path) -> tuple[list[Found], tuple[str, ...]]:
    """The files with their labels, and the names of the fields. What has none, and should, is broken."""
    if labels is None:
        if not any(found.label for found in files):
            return files, ()
        bare = "lies in no folder, and others do, which is a label"
        return [found if found.label else replace(found, broken=bare) for found in files], ("label",)
    if "{" in labels:
        pattern, fields = template(labels)
        matches = [pattern.fullmatch(Path(found.name).stem) for found in files]
        told = {found.name: match.groups() for found, match in zip(files, matches, strict=True) if match}
        why = f"does not match data.labels={labels}"
    else:
        told, fields = table(labels, folder)
        why = f"is not in data.labels={labels}"
        absent = sorted(told.keys() - {found.name for found in files})
        if len(absent) == len(told):
            raise UserError(f"data.labels={labels}: no file in it is in data.path; name them relative to that folder")
        if absent:
            print(f"{labels}: {len(absent)} files in it are not in data.path; the first: {absent[0]}", file=sys.stderr)
    return [with_label(found, told, why) for found in files], fields


def with_label(found: Found, told: Mapping[str, tuple[str, ...]], why: str) -> Found:
    values = told.get(found.name, ())
    return replace(found, label="_".join(values)) if values and all(values) else replace(found, broken=why)


def template(labels: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """A pattern whose groups are the fields of "{digit}_{speaker}_{}", as short as can be, and their names."""
    pieces = re.split(r"\{(\w*)\}", labels)
    fields = tuple(field for field in pieces[1::2] if field)
    if not fields or len(set(fields)) < len(fields) or any(set("{}") & set(text) for text in pieces[::2]):
        raise UserError(f"data.labels={labels} needs fields in braces, each name once, as {{digit}}_{{speaker}}_{{}}")
    pattern = "".join(
        re.escape(piece) if i % 2 == 0 else "(.+?)" if piece else "(?:.*?)" for i, piece in enumerate(pieces)
    )
    return re.compile(pattern), fields


def table(labels: str, folder: Path) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The labels of each file of a CSV file, found as it is named or in the folder, and the names of the fields."""
    places = [place for place in (Path(labels).expanduser(), folder / labels) if place.is_file()]
    if not places:
        raise UserError(f"data.labels={labels}: there is no such CSV file; a template has fields in braces")
    with reading(places[0], "data.labels") as place:
        judge(place.stat().st_size, LIST_MB, "the most")
        with open(place, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, restval="")
            fields = tuple(name for name in rows.fieldnames or () if name != "file")
            if not fields or "file" not in rows.fieldnames:
                raise UserError(f"data.labels={labels}: the first line names the columns: file, and one or more labels")
            told = {row["file"].strip().replace("\\", "/"): tuple(row[f].strip() for f in fields) for row in rows}
    return told, fields
