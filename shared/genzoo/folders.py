"""Folders of a user's files: which files they hold, what their names say of splits, what is said of broken ones.

Legend: N examples.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from genzoo.draws import numpy_generator
from genzoo.errors import UserError

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folders that are splits."""

Found = TypeVar("Found")
"""A dataclass of a file, with the attribute `split`."""


def files_below(place: Path, suffixes: Sequence[str]) -> list[tuple[str, ...]]:
    """The files with such endings, as parts of their paths below a folder, in order; hidden ones are passed over."""
    below = [file.relative_to(place).parts for file in place.rglob("*") if file.suffix.lower() in suffixes]
    seen = sorted(parts for parts in below if not any(part.startswith(".") for part in parts))
    return [parts for parts in seen if place.joinpath(*parts).is_file()]


def splits_first(files: Sequence[tuple[str, ...]]) -> bool:
    """Whether the first folders are splits, so that labels are the second ones: there is a train/, and nothing else."""
    tops = {parts[0].lower() for parts in files if len(parts) > 1}
    return "train" in tops and tops <= set(SPLITS)


def official(files: list[Found]) -> list[Found]:
    """The split of a published set: train/ is train; val is test/ where there is one, else val/. Where there are all
    three, val/ is left out, as in published scores. No train/, or nothing to score: no split."""
    there = {found.split for found in files}
    if {"train", "val", "test"} <= there:
        fewer = [found for found in files if found.split != "val"]
        print(f"{len(files) - len(fewer)} files of val are left out: test is what is scored", file=sys.stderr)
        files = fewer
    kept = {"train": "train", "val": "val", "test": "val"} if "train" in there and there & {"val", "test"} else {}
    return [replace(found, split=kept.get(found.split)) for found in files]


def validating(
    path: str,
    names: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[str | None],
    *,
    val_match: str | None,
    val_fraction: float,
    seed: int,
) -> np.ndarray:
    """Which clips validate, bool [N]: by their official splits, by a pattern of the files' names, or a share of each
    label, drawn. UserError where none is left on one side, or some have an official split and others have none."""
    if val_fraction == 1:
        return np.ones(len(names), bool)
    if any(splits):
        if val_match:
            raise UserError(f"data.path={path} has a split of its own: data.val_match={val_match} must be null")
        bare = next((name for name, split in zip(names, splits, strict=True) if not split), None)
        if bare:
            raise UserError(
                f"data.path={path}: {bare} is in no train/, val/ or test/ folder, and others are: put all there"
            )
        val, mend = np.array([split == "val" for split in splits]), "what is there for it is broken"
    elif val_match:
        val = np.array([fnmatchcase(Path(name).name, val_match) for name in names])
        mend = f"set data.val_match so that it matches some names, not all or none: it is {val_match}"
    else:
        val, mend = np.zeros(len(names), bool), "give more files, or set data.val_match"
        for label in sorted(set(labels)):
            mine = np.flatnonzero(np.array(labels) == label)
            mine = numpy_generator("split", seed, label).permutation(mine)
            val[mine[: min(max(1, round(len(mine) * val_fraction)), len(mine) - 1)]] = True  # a lone one trains
    for side, count in (("train", (~val).sum()), ("val", val.sum())):
        if not count:
            raise UserError(f"data.path={path}: of {len(names)} clips none is for {side}: {mend}")
    return val


def refuse(
    path: str, broken: Sequence[tuple[str, str]], count: int, on_error: Literal["stop", "skip"], any_left: bool
) -> None:
    """Stops at the first broken clip, given as (name, reason), or says which are left out of `count`."""
    if not broken:
        return
    name, reason = broken[0]
    if on_error == "stop":
        raise UserError(f"data.path={path}: {name} {reason} (data.on_error=skip leaves it out)")
    if not any_left:
        raise UserError(f"data.path={path}: no clip can be used, {len(broken)} are broken; the first: {name} {reason}")
    for name, reason in broken:
        print(f"skipped: {name} {reason}", file=sys.stderr)
    print(f"{len(broken)} of {count} files are left out", file=sys.stderr)
