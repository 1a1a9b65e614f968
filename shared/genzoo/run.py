"""The folder of a training run.

runs/text/
    config.yaml   log.csv   metrics.json
    checkpoints/step_000500/ ...   checkpoints/last   checkpoints/best
    samples/step_000500/ ...
"""

import csv
import io
import json
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from genzoo import checkpoint
from genzoo.contract import part
from genzoo.errors import UserError
from genzoo.reading import Broken, judged_yaml, reading

LOCK = ".lock"
"""Held while a folder is written to; the system lets go of it when a process ends, however it ends."""

OURS = {LOCK, "config.yaml", "log.csv", "curve.png", "checkpoints", "samples", "tensorboard"}
"""What a run writes before its first checkpoint."""


def hold(folder: Path) -> FileLock:
    """The lock of a folder that is there, acquired; UserError where another process has it."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"out={folder} is being written by another process: wait for it, or choose another") from error
    return lock


@contextmanager
def claimed(base: Path, *, given: bool) -> Iterator[Path]:
    """A folder to write samples to that no other process writes to: `base` itself where the user named it and it is
    free; else the next free base/000, base/001 … Where nothing comes to be written, nothing stays."""
    made = [place for place in (base, *base.parents) if not place.exists()]
    if given:
        refuse_full(base)
    base.mkdir(parents=True, exist_ok=True)
    folder = base if given else next_folder(base)
    try:
        with held(folder):
            refuse_full(folder)
            yield folder
    except BaseException:
        with suppress(OSError):  # it is not empty: that was made
            for place in dict.fromkeys((folder, *made)):
                place.rmdir()
        raise


def next_folder(base: Path) -> Path:
    """The next free base/000, base/001 …, made."""
    taken = [int(p.name) for p in base.glob("*") if p.name.isdecimal()]
    for i in count(max(taken, default=-1) + 1):
        with suppress(FileExistsError):  # another process was faster
            (base / f"{i:03d}").mkdir()
            return base / f"{i:03d}"
    raise AssertionError


def refuse_full(folder: Path) -> None:
    """UserError where a folder to write to is a file, or not empty."""
    if folder.exists() and (folder.is_file() or any(entry.name != LOCK for entry in folder.iterdir())):
        raise UserError(f"out={folder} is not empty: choose another out=")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds a folder for a while, and leaves no lock behind."""
    lock = hold(folder)
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()


class RunFolder:
    """Makes, finds and fills the folder of a run; nothing in it is overwritten silently, and one process writes it at a
    time."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.metrics = self.path / "metrics.json"
        self.lock: FileLock | None = None

    def check_free(self) -> None:
        """UserError where something is there that is more than what a run leaves that was killed before its first
        checkpoint."""
        if self.path.is_file():
            raise UserError(f"out={self.path} is a file: choose another out=")
        there = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        if {name for name in there if not name.startswith(checkpoint.UNFINISHED)} <= OURS and self._bare():
            return
        raise UserError(f"out={self.path} is there already: go on with it by resume=true, or choose another out=")

    def _bare(self) -> bool:
        return not any(self.checkpoints.glob("step_*")) and not any(self.samples.glob("*"))

    def start(self) -> None:
        """A new run, from now on this process's; UserError where something is there already."""
        self.check_free()
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock = hold(self.path)
        self.check_free()  # another may have been faster
        self.forget()
        self.checkpoints.mkdir()

    def go_on(self) -> None:
        """A run that is there, from now on this process's."""
        self.lock = hold(self.path)
        self.checkpoints.mkdir(exist_ok=True)

    def close(self, *, forget: bool = False) -> None:
        """Lets go of the folder. forget: of a new run that failed, leave nothing unless it has a checkpoint."""
        if self.lock is None:
            return
        if forget and not any(self.checkpoints.glob("step_*")):
            self.forget()
            self.lock.release()
            with suppress(OSError):
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        self.lock.release()
        self.lock = None

    def forget(self) -> None:
        """Deletes what a run wrote that has no checkpoint."""
        self.sweep()
        for name in OURS - {LOCK}:
            place = self.path / name
            shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Deletes what a kill left half written."""
        for place in (self.path, self.checkpoints):
            for half in place.glob(f"{checkpoint.UNFINISHED}*"):
                if not half.name.endswith(self.metrics.name):  # which has a lock of its own
                    shutil.rmtree(half) if half.is_dir() else half.unlink()

    def newest(self) -> tuple[checkpoint.Checkpoint, dict[str, Any], list[str]] | None:
        """The newest checkpoint that is not damaged, its training state, and what is wrong with newer ones; None where
        there is none at all, UserError where all are damaged."""
        damage: list[str] = []
        for folder in reversed(checkpoint.steps_saved(self.checkpoints)):
            try:
                return checkpoint.load(folder), checkpoint.load_train_state(folder), damage
            except UserError as error:
                damage.append(str(error))
        if damage:
            raise UserError(damage[0])
        return None

    def set_aside(self, after: int) -> None:
        """Renames what claims to be a checkpoint of a later step than the one that training goes on from: it is
        damaged. The pointers are made true: a kill may have come before they were."""
        self.sweep()
        for folder in checkpoint.steps_saved(self.checkpoints):
            if checkpoint.step_of(folder) > after:
                free = (self.checkpoints / f"damaged_{i}_{folder.name}" for i in count())
                os.rename(folder, next(place for place in free if not place.exists()))
        self._point()

    def _point(self) -> None:
        last, best = checkpoint.newest_of(self.checkpoints), checkpoint.best_of(self.checkpoints)
        for name, target in (("last", last), ("best", best)):
            if target:
                checkpoint.point(self.checkpoints / name, target.resolve().name)

    def config(self) -> dict[str, Any]:
        """The configuration the run was begun with; UserError where there is no run, or it is damaged."""
        file = self.path / "config.yaml"
        if not file.is_file():
            raise UserError(f"no run to resume at {self.path}: leave resume=true out, or correct out=")
        with reading(file, "config"):
            config = judged_yaml(file)
            absent = {"data", "model", "objective", "trainer"} - {
                key for key, value in config.items() if isinstance(value, dict)
            }
            if absent:
                raise Broken(f"lacks {', '.join(sorted(absent))}: take the config.yaml of its newest checkpoint")
        return config

    def write_config(self, config: Mapping[str, Any]) -> str:
        """Writes config.yaml; returns its text."""
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        checkpoint.replace_text(self.path / "config.yaml", text)
        return text

    def save(self, name: str, *, is_best: bool, keep: int, **content: Any) -> None:
        """Writes a checkpoint, which says which is the best now; points `last` and `best`; deletes old ones."""
        best = name if is_best else getattr(checkpoint.best_of(self.checkpoints), "name", "")
        checkpoint.save(self.checkpoints / name, best=best, **content)
        self._point()
        checkpoint.forget_old(self.checkpoints, keep)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Adds to metrics.json."""
        self._change_metrics(lambda known: known | metrics)

    def add_report(self, split: str, report: Mapping[str, Any]) -> None:
        """Adds what `genzoo evaluate` found to metrics.json: as the latest of its split, and beside those of other
        protocols (another seed, another checkpoint), in "evaluations"."""
        report = json.loads(json.dumps(report))

        def added(known: dict[str, Any]) -> dict[str, Any]:
            others = [r for r in known.get("evaluations", []) if r["protocol"] != report["protocol"]]
            return known | {f"evaluate_{split}": report, "evaluations": [*others, report]}

        self._change_metrics(added)

    def _change_metrics(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """One process after the other. A file that is damaged is set aside, and that is said."""
        with FileLock(self.path / f"{LOCK}.metrics"):
            for half in self.path.glob(f"{checkpoint.UNFINISHED}*{self.metrics.name}"):
                half.unlink()
            known = {}
            if self.metrics.is_file():
                try:
                    known = {} | json.loads(self.metrics.read_text(encoding="utf-8"))
                except Exception:  # cut short, or written by somebody else
                    aside = next(p for i in count() if not (p := self.path / f"metrics.damaged_{i}.json").exists())
                    os.rename(self.metrics, aside)
                    print(f"({self.metrics} is damaged: it is {aside} now, and a new one is begun)", file=sys.stderr)
            checkpoint.replace_text(self.metrics, json.dumps(change(known), indent=1))


def read_log(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a log.csv; UserError where it is damaged."""
    with reading(path, "log"), open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        rows, columns = list(reader), list(reader.fieldnames or [])
        if columns and not {"step", "split"} <= {*columns}:
            raise Broken("has no columns step and split: move it away")
        for row in rows:
            if None in row or None in row.values() or not row["step"].isdecimal():
                raise Broken(f"has a row that is none ({','.join(map(str, row.values()))[:80]}): move it away")
        return columns, rows


class Logger(ABC):
    """What is told the numbers of a run while it learns."""

    @abstractmethod
    def __call__(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
        """The numbers of a step, of split "train" or "val"."""


class CsvLog(Logger):
    """log.csv: a row a report, a column a number. A number not seen before adds a column."""

    def __init__(self, path: Path, *, from_step: int = 0) -> None:
        """from_step: rows after this step belong to a future that a resumed run will write again, and are dropped, as
        soon as the first new one is written."""
        self.path = path
        self.columns, self.rows = ["step", "split"], []
        self.whole = not path.is_file()
        if not self.whole:
            columns, rows = read_log(path)
            self.columns = columns or self.columns
            self.rows = [row for row in rows if 0 < from_step >= int(row["step"])]

    def __call__(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
        row = {"step": step, "split": split, **{key: f"{value:.6g}" for key, value in numbers.items()}}
        new = [key for key in row if key not in self.columns]
        self.columns += new
        self.rows.append(row)
        if new or not self.whole or not self.path.is_file():
            self._rewrite()
        else:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        checkpoint.replace_text(self.path, text.getvalue())
        self.whole = True


@part
class TensorBoardLog(Logger):
    """Writes to tensorboard/ in the folder of the run; needs the extra `tensorboard`."""

    def __init__(self, run: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise UserError("logger=tensorboard needs tensorboard: pip install 'genzoo[tensorboard]'") from error
        self.open, self.writer = lambda: SummaryWriter(f"{run}/tensorboard"), None

    def __call__(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
        self.writer = self.writer or self.open()
        for key, value in numbers.items():
            self.writer.add_scalar(f"{split}/{key}", value, step)
        self.writer.flush()


@part
class WandbLog(Logger):
    """Writes to Weights & Biases; needs the extra `wandb`."""

    def __init__(self, run: str, *, project: str, name: str | None = None, mode: str = "online") -> None:
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise UserError("logger=wandb needs wandb: pip install 'genzoo[wandb]'") from error
        self.open = lambda: wandb.init(project=project, name=name or run, dir=run, mode=mode, resume="allow")
        self.run = None

    def __call__(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
        self.run = self.run or self.open()
        self.run.log({f"{split}/{key}": value for key, value in numbers.items()}, step=step)
