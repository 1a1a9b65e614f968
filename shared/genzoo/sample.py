"""`genzoo sample`: examples from a checkpoint, written as files, shown, or streamed."""

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from genzoo import api, checkpoint
from genzoo.config import compose_config, plain
from genzoo.contract import Request
from genzoo.errors import UserError, user_errors
from genzoo.reading import printable
from genzoo.run import claimed, held

JOURNAL = ".unfinished"
"""Folder of the pieces of a roll-out that is not done."""

if TYPE_CHECKING:
    from omegaconf import DictConfig


def sampling_config(overrides: Sequence[str], *, config_dir: str | None = None) -> "DictConfig":
    """sample.yaml with the options of the checkpoint's classes as further keys."""
    from genzoo.evaluation import checkpoint_path

    saved = checkpoint.config_of(checkpoint_path(overrides))
    return compose_config("sample", overrides, config_dir=config_dir, saved=saved)


def sample_config(config: "DictConfig") -> list[Path]:
    """Samples as sample.yaml says; returns the files written."""
    settings = plain(config)
    own = ("checkpoint", "n", "seed", "batch_size", "out", "rollout", "stream", "device", "trust")
    mine, options = {key: settings[key] for key in own}, {k: v for k, v in settings.items() if k not in own}
    for key in ("n", "batch_size", "rollout"):
        if mine[key] < 1:
            raise UserError(f"{key} must be at least 1, not {mine[key]}")
    model = api.load(mine["checkpoint"], device=mine["device"], trust=mine["trust"])
    if mine["rollout"] > 1 and not model.goes_on:
        raise UserError("rollout is for data that goes on in time, and this does not: leave it at 1")
    if mine["stream"]:
        return stream(model, mine, options)
    return roll_out(model, mine, options) if model.goes_on else make(model, mine, options)


def stream(model: api.Model, mine: dict, options: dict) -> list[Path]:
    if mine["n"] != 1:
        raise UserError("stream=true shows one sample while it is made: leave n at 1")
    request = model.request(1, **options)
    model.data.play(model.stream(request, seed=mine["seed"]), sys.stdout.buffer, request)
    return []


def make(model: api.Model, mine: dict, options: dict) -> list[Path]:
    samples = model.sample(mine["n"], batch_size=mine["batch_size"], seed=mine["seed"], **options)
    here = checkpoint.run_of(model.path) or Path()
    with claimed(Path(mine["out"] or here / "samples"), given=bool(mine["out"])) as folder:
        said = [printable(words) for words in samples.words]
        for i, words in enumerate(said):
            if words:
                print(words if len(samples) == 1 else f"--- {i}\n{words}")
        files = samples.write(folder)
    if not any(said):
        print(*files, sep="\n")
    print(f"({len(files)} files in {folder})", file=sys.stderr)
    return files


def roll_out(model: api.Model, mine: dict, options: dict) -> list[Path]:
    """Pieces one after another, written as they come. What was made is kept in a hidden folder until all is done: the
    same command after a break goes on from there, with the same result."""
    told = {**{key: mine[key] for key in ("n", "seed", "rollout", "batch_size")}, **options}
    told |= {"weights": str(model.path.resolve()), "step": model.step}
    named = [Path(value) for value in options.values() if isinstance(value, str) and Path(value).is_file()]
    told["files"] = [[file.stat().st_size, file.stat().st_mtime_ns] for file in named]
    base = Path(mine["out"] or (checkpoint.run_of(model.path) or Path()) / "samples")
    request = model.request(mine["n"], **options)  # a mistake in the wishes is said before a folder is made
    begun = [f for f in [base, *sorted(base.glob("*"))] if settings_of(f) == json.dumps(told)]
    with ExitStack() as stack:
        for folder in begun:
            try:
                stack.enter_context(held(folder / JOURNAL))
            except UserError:  # another process makes the same just now: this one makes its own
                continue
            print(f"(going on in {folder})", file=sys.stderr)
            return rolled(model, mine, request, folder)
        folder = stack.enter_context(claimed(base, given=bool(mine["out"])))
        (folder / JOURNAL).mkdir()
        stack.enter_context(held(folder / JOURNAL))
        checkpoint.replace_text(folder / JOURNAL / "settings.json", json.dumps(told))
        return rolled(model, mine, request, folder)


def rolled(model: api.Model, mine: dict, request: Request, folder: Path) -> list[Path]:
    """The files of a roll-out, in a folder that is this process's."""
    journal = folder / JOURNAL
    try:
        how = {"seed": mine["seed"], "batch_size": mine["batch_size"], "journal": journal}
        with user_errors():
            files = model.data.write_rollout(model.rollout(request, mine["rollout"], **how), folder, request)
    except UserError:
        if not any(journal.glob("*.safetensors")):  # a mistake in the wishes: nothing was made
            shutil.rmtree(journal)
        raise
    shutil.rmtree(journal)
    print(*files, sep="\n")
    return files


def settings_of(folder: Path) -> str | None:
    """What the unfinished roll-out in a folder was told, None where there is none."""
    file = folder / JOURNAL / "settings.json"
    return file.read_text(encoding="utf-8") if file.is_file() else None
