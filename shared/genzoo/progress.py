"""What a person sees while files are read and a model learns: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    track,
)

Item = TypeVar("Item")


class TrainingProgress:
    """A context manager; `update` takes the numbers of a step, `say` prints text above the bar."""

    def __init__(self, steps: int, *, first: int = 0, every_s: float = 10.0, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, highlight=False)
        self.steps, self.every_s, self.last_line = steps, every_s, -float("inf")
        self.numbers: dict[str, float] = {}
        self.bar = None
        if self.console.is_terminal:
            self.bar = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.task = self.bar.add_task("train", total=steps, completed=first, numbers="")

    def __enter__(self) -> "TrainingProgress":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        self.numbers |= numbers
        shown = [
            f"{label} {self.numbers[key]:.{digits}f}"
            for key, label, digits in (
                ("loss", "loss", 3),
                ("val_loss", "val", 3),
                ("examples_per_second", "examples/s", 0),
            )
            if key in self.numbers
        ]
        if self.bar:
            self.bar.update(self.task, completed=step, numbers="  ".join(shown))
        elif time.monotonic() - self.last_line > self.every_s or step == self.steps or "val_loss" in numbers:
            self.last_line = time.monotonic()
            self.console.print(f"step {step}/{self.steps}  {'  '.join(shown)}")

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def shown(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items one by one, with a bar on stderr, or a line every ten seconds where it is no terminal."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        yield from track(items, description=what, console=console, transient=True)
        return
    said = time.monotonic()
    for i, item in enumerate(items):
        if time.monotonic() - said > 10:
            said = time.monotonic()
            console.print(f"{what} {i}/{len(items)}")
        yield item
