"""What is said before anything is learned: what was taken, what was passed over, what was changed."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from genzoo.errors import UserError
from genzoo.reading import Broken, breaking, printable
from genzoo.sources.listing import counted

OnError = Literal["stop", "skip"]

MOST_CLASSES = 12
"""That are named with their numbers."""


@dataclass
class Faults:
    """What is broken among many. path: of the data. on_error: "stop" at the first one, in a line that names it, or
    "skip" it: it is said on stderr, and counted."""

    path: str
    on_error: OnError = "stop"
    broken: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.on_error not in ("stop", "skip"):
            raise UserError(f"data.on_error is stop or skip, not {self.on_error!r}")

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Around all that is done with one: reading and every check. What is raised inside is its fault."""
        try:
            with breaking():
                yield
        except Broken as why:
            self.add(name, str(why), why)

    def add(self, name: str, why: str, error: BaseException | None = None) -> None:
        if self.on_error == "stop":
            raise UserError(
                f"data.path={self.path}: {printable(name)} {why} (data.on_error=skip leaves it out)"
            ) from error
        self.broken.append((name, why))
        print(f"skipped: {printable(name)} {why}", file=sys.stderr)

    def close(self, left: int) -> None:
        """UserError where nothing is left."""
        if not left and self.broken:
            name, why = self.broken[0]
            raise UserError(
                f"data.path={self.path}: nothing can be used, {len(self.broken)} are broken; the first: "
                f"{printable(name)} {why}"
            )


@dataclass
class Report:
    """Gathered while data is prepared. took: "58 clips of 4 classes", "44.1 kHz stereo". passed: files by their kinds.
    notes: further changes ("2 clips cut at 10 s")."""

    took: list[str] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """A line of what was taken, and one of what was not, where there is any."""
        first = [f"data  {'; '.join(self.took)}"] if self.took else []
        second = [f"passed over: {counted(self.passed)}"] if self.passed else []
        rest = "; ".join(second + self.notes)
        return [printable(line) for line in (*first, *([f"      {rest}"] if rest else []))]


def number(count: int, noun: str) -> str:
    """ "1 clip", "3 clips", "3 classes"."""
    plural = noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")
    return f"{count:,} {noun if count == 1 else plural}"


def of_classes(labels: Sequence[str]) -> str:
    """ " of 4 classes (bd 15, sn 14, …)"; "" where there are none."""
    told = Counter(label for label in labels if label)
    if not told:
        return ""
    some = [f"{label} {count}" for label, count in list(told.items())[:MOST_CLASSES]]
    return f" of {number(len(told), 'class')} ({', '.join(some + ['…'] * (len(told) > MOST_CLASSES))})"


def of_splits(counts: Mapping[str, int]) -> str:
    """ "train 52, val 6"."""
    return ", ".join(f"{split} {count:,}" for split, count in counts.items())
