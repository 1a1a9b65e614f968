"""What is learned from, what chooses the weights, and what figures are of: train, val and test.

Legend: N examples.
"""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from genzoo.draws import numpy_generator
from genzoo.errors import UserError

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folders that are splits."""

Whole = TypeVar("Whole", str, Tensor)

Found = TypeVar("Found")
"""A dataclass of a file, with the attribute `split`."""


def splits_first(files: Sequence[tuple[str, ...]]) -> bool:
    """Whether the first folders are splits, so that labels are the second ones: there is a train/, and nothing else."""
    tops = {parts[0].lower() for parts in files if len(parts) > 1}
    return "train" in tops and tops <= set(SPLITS)


def official(files: list[Found]) -> list[Found]:
    """The split of a published set: folders train/, val/ and test/ are what they say, and where there is one of the
    last two, it is val. No train/, or nothing to score: no split."""
    there = {found.split for found in files}
    if {"train", "val", "test"} <= there:
        return files
    kept = {"train": "train", "val": "val", "test": "val"} if "train" in there and there & {"val", "test"} else {}
    return [replace(found, split=kept.get(found.split)) for found in files]


def splits_of(
    path: str,
    names: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[str | None],
    *,
    val_match: str | None,
    val_fraction: float,
    seed: int,
) -> np.ndarray:
    """The split of each clip, [N]: its official one, or val by a pattern of the files' names, or of each label a share
    that is drawn. UserError where none is left on one side, or some have an official split and others have none."""
    if val_fraction == 1:
        return np.full(len(names), "val")
    if any(splits):
        if val_match:
            raise UserError(f"data.path={path} has a split of its own: data.val_match={val_match} must be null")
        bare = next((name for name, split in zip(names, splits, strict=True) if not split), None)
        if bare:
            raise UserError(
                f"data.path={path}: {bare} is in no train/, val/ or test/ folder, and others are: put all there"
            )
        found, mend = np.array(splits), "what is there for it is broken"
    elif val_match:
        found = np.array(["val" if fnmatchcase(Path(name).name, val_match) else "train" for name in names])
        mend = f"set data.val_match so that it matches some names, not all or none: it is {val_match}"
    else:
        found, mend = np.full(len(names), "train"), "give more files, or set data.val_path or data.val_match"
        if 1 < len(names) == len(set(labels)):
            mend = "each folder holds one, and is a label: set data.labels=none"
        for label in sorted(set(labels)):
            mine = np.flatnonzero(np.array(labels) == label)
            mine = numpy_generator("split", seed, label).permutation(mine)
            found[mine[: min(max(1, round(len(mine) * val_fraction)), len(mine) - 1)]] = "val"  # a lone one trains
    for side in ("train", "val"):
        if side not in found:
            raise UserError(f"data.path={path}: of {len(names)} examples none is for {side}: {mend}")
    return found


def rows_of(splits: np.ndarray) -> dict[str, np.ndarray]:
    """The places of the clips of each split that there is, from the split of each, [N]."""
    names = ("train", "val", "test") if "test" in splits else ("train", "val")
    return {name: np.flatnonzero(splits == name) for name in names}


def choosing(rows: dict[str, np.ndarray], share: float, *seed: int | str) -> dict[str, np.ndarray]:
    """Where `data.select_fraction` asks for it, three splits of two: a share of train, drawn, chooses the weights, as
    val, and what was held out becomes test."""
    if not share or "test" in rows:
        return rows
    drawn = numpy_generator("select", *seed).permutation(rows["train"])
    count = max(1, round(share * len(drawn)))
    if count >= len(drawn):
        raise UserError(f"data.select_fraction={share:g} leaves nothing of {len(drawn)} to train on: lower it")
    return {"train": np.sort(drawn[count:]), "val": np.sort(drawn[:count]), "test": rows["val"]}


def in_order(x: Whole, held_out: float, share: float) -> dict[str, Whole]:
    """The parts of one long thing, by split: its end is held out, and of what is before it the end chooses the weights
    (`data.select_fraction`), where that is asked for."""
    cut = int(len(x) * (1 - held_out))
    if not share:
        return {"train": x[:cut], "val": x[cut:]}
    first = int(cut * (1 - share))
    return {"train": x[:first], "val": x[first:cut], "test": x[cut:]}


def check_share(share: float) -> None:
    if not 0 <= share < 1:
        raise UserError(f"data.select_fraction must lie from 0 to below 1, not {share}")
