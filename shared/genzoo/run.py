"""The folder of a training run.

runs/text/
    config.yaml   log.csv   metrics.json
    checkpoints/step_000500/ ...   checkpoints/last   checkpoints/best
    samples/step_000500/ ...
"""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from genzoo import checkpoint
from genzoo.errors import UserError


class RunFolder:
    """Makes, finds and fills the folder of a run; nothing in it is overwritten silently."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.metrics = self.path / "metrics.json"

    def start(self, config_yaml: str) -> None:
        """A new run; UserError where something is there already."""
        if self.path.is_file():
            raise UserError(f"out={self.path} is a file: choose another out=")
        if self.path.exists() and any(self.path.iterdir()):
            raise UserError(f"out={self.path} is there already: go on with it by resume=true, or choose another out=")
        self.checkpoints.mkdir(parents=True)
        checkpoint.replace_text(self.path / "config.yaml", config_yaml)

    def last_checkpoint(self) -> Path | None:
        """The newest whole checkpoint folder."""
        saved = checkpoint.steps_saved(self.checkpoints)
        return saved[-1] if saved else None

    def config(self) -> dict[str, Any]:
        """The configuration the run was begun with; UserError where there is no run."""
        file = self.path / "config.yaml"
        if not file.is_file():
            raise UserError(f"no run to resume at {self.path}: leave resume=true out, or correct out=")
        return OmegaConf.to_container(OmegaConf.load(file))

    def save(self, name: str, *, is_best: bool, keep: int, **content: Any) -> None:
        """Writes a checkpoint, points `last` (and `best`) at it, deletes old ones."""
        checkpoint.save(self.checkpoints / name, **content)
        checkpoint.point(self.checkpoints / "last", name)
        if is_best:
            checkpoint.point(self.checkpoints / "best", name)
        checkpoint.forget_old(self.checkpoints, keep)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        known = json.loads(self.metrics.read_text()) if self.metrics.is_file() else {}
        checkpoint.replace_text(self.metrics, json.dumps({**known, **metrics}, indent=1))


class CsvLog:
    """log.csv: a row a report, a column a number. A number not seen before adds a column."""

    def __init__(self, path: Path, *, from_step: int = 0) -> None:
        """from_step: rows after this step belong to a future that a resumed run will write again, and are dropped."""
        self.path = path
        self.columns, self.rows = ["step", "split"], []
        if path.is_file():
            with open(path, newline="") as file:
                reader = csv.DictReader(file)
                self.columns = list(reader.fieldnames or self.columns)
                self.rows = [row for row in reader if 0 < from_step >= int(row["step"])]
            self._rewrite()

    def __call__(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
        row = {"step": step, "split": split, **{key: f"{value:.6g}" for key, value in numbers.items()}}
        new = [key for key in row if key not in self.columns]
        self.columns += new
        self.rows.append(row)
        if new or not self.path.is_file():
            self._rewrite()
        else:
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        checkpoint.replace_text(self.path, text.getvalue())


class TensorBoardLog:
    """Writes to <out>/tensorboard; needs the extra `tensorboard`."""

    def __init__(self, *, folder: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise UserError("logger=tensorboard needs tensorboard: pip install 'genzoo[tensorboard]'") from error
        self.open, self.writer = lambda: SummaryWriter(folder), None

    def __call__(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
        self.writer = self.writer or self.open()
        for key, value in numbers.items():
            self.writer.add_scalar(f"{split}/{key}", value, step)
        self.writer.flush()


class WandbLog:
    """Writes to Weights & Biases; needs the extra `wandb`."""

    def __init__(self, *, project: str, name: str, folder: str, mode: str = "online") -> None:
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise UserError("logger=wandb needs wandb: pip install 'genzoo[wandb]'") from error
        self.open = lambda: wandb.init(project=project, name=name, dir=folder, mode=mode, resume="allow")
        self.run = None

    def __call__(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
        self.run = self.run or self.open()
        self.run.log({f"{split}/{key}": value for key, value in numbers.items()}, step=step)
