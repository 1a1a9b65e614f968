"""Of `genzoo.sources`, what modalities used before."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from genzoo.errors import UserError
from genzoo.sources.listing import walked
from genzoo.sources.splits import (
    SPLITS,
    check_share,
    choosing,
    in_order,
    official,
    rows_of,
    splits_first,
    splits_of,
)

__all__ = [
    "SPLITS",
    "check_share",
    "choosing",
    "files_below",
    "in_order",
    "official",
    "refuse",
    "rows_of",
    "splits_first",
    "splits_of",
]


def files_below(place: Path, suffixes: Sequence[str]) -> list[tuple[str, ...]]:
    return walked(place, suffixes).files


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
