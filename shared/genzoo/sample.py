"""`genzoo sample`: examples from a checkpoint, written as files, shown, or streamed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genzoo import api, checkpoint
from genzoo.config import compose_config, plain
from genzoo.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def sampling_config(overrides: Sequence[str], *, config_dir: str | None = None) -> "DictConfig":
    """sample.yaml with the checkpoint's own sampling options as further keys."""
    from genzoo.evaluation import checkpoint_path

    saved = checkpoint.load(checkpoint_path(overrides)).config
    return compose_config(
        "sample", overrides, config_dir=config_dir, nodes={"sampling_of_checkpoint": saved.get("sampling") or {}}
    )


def sample_config(config: "DictConfig") -> list[Path]:
    """Samples as sample.yaml says; returns the files written."""
    settings = plain(config)
    own = ("checkpoint", "n", "seed", "batch_size", "out", "stream", "device", "trust")
    mine, options = {key: settings[key] for key in own}, {k: v for k, v in settings.items() if k not in own}
    if mine["n"] < 1 or mine["batch_size"] < 1:
        raise UserError("n and batch_size must be at least 1")
    trained = api.load(mine["checkpoint"], device=mine["device"], trust=mine["trust"])
    return stream(trained, mine, options) if mine["stream"] else make(trained, mine, options)


def stream(trained: api.Trained, mine: dict, options: dict) -> list[Path]:
    if mine["n"] != 1:
        raise UserError("stream=true shows one sample while it is made: leave n at 1")
    trained.data.play(trained.stream(seed=mine["seed"], **options), sys.stdout.buffer)
    return []


def make(trained: api.Trained, mine: dict, options: dict) -> list[Path]:
    samples = trained.sample_in_batches(mine["n"], batch_size=mine["batch_size"], seed=mine["seed"], **options)
    here = checkpoint.run_of(trained.path) or Path()
    folder = new_folder(Path(mine["out"] or here / "samples"), given=bool(mine["out"]))
    for i, x in enumerate(samples):
        if words := trained.data.describe(x):
            print(words if len(samples) == 1 else f"--- {i}\n{words}")
    files = trained.write(samples, folder)
    print(f"({len(files)} files in {folder})", file=sys.stderr)
    return files


def new_folder(base: Path, *, given: bool) -> Path:
    """`base` itself where the user named it and it is free; else the next free base/000, base/001 …"""
    if given:
        if base.exists() and (base.is_file() or any(base.iterdir())):
            raise UserError(f"out={base} is not empty: choose another out=")
        return base
    taken = [int(p.name) for p in base.glob("*") if p.name.isdigit()]
    return base / f"{max(taken, default=-1) + 1:03d}"
