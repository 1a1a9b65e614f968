"""`genzoo check`: does what a preset describes keep the contract?"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from genzoo.config import build, compose_config, keywords, plain, presets
from genzoo.contract import Data
from genzoo.download import no_fetching
from genzoo.model import build_model
from genzoo.run import RunFolder
from genzoo.testing import data_clauses, model_clauses
from genzoo.verbs.train import ONE_AT_A_TIME, Run, begun, named_by

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check(preset_words: list[str], config_dir: str | None = None) -> None:
    """Builds the data and the model of a preset as `genzoo train` does, and shows each clause of the contract that they
    keep; the first that is broken is an error of one line. Nothing is trained or written.

    preset_words: those of `genzoo train`, as in ["preset=text_smoke", "data.context=64"]."""
    config = compose_config("train", preset_words, config_dir=config_dir)
    foreign = config_dir and not named_by(preset_words, "preset") <= set(presets())
    ours = not foreign or named_by(preset_words, "data.path")
    fetching = nullcontext() if ours else no_fetching("only a file asks for it: give data.path= yourself")
    with ONE_AT_A_TIME, torch.random.fork_rng(devices=[]), fetching:
        run = made(config)
        for line in run.data.report():
            print(line)
        for subject, held in (("data", of_data(run)), ("model", of_model(run))):
            print(f"{subject}: {type(getattr(run, subject)).__name__}")
            for clause in held:
                print(f"  {clause:{WIDTH}}  ok", flush=True)


WIDTH = 40
"""Of a clause, in characters."""


def made(config: "DictConfig") -> Run:
    """All that `genzoo train` has before its first step."""
    from genzoo.trainer import Options

    settings = plain(config)
    return begun(RunFolder(settings["out"]), settings, build(settings["trainer"], Options, "trainer"), resume=False)[0]


def of_data(run: Run) -> Iterator[str]:
    """The clauses that the data of a run keep."""
    settings, known = run.settings, keywords(run.data.request)
    wishes = {key: value for key, value in settings["sampling"].items() if key in known}
    return data_clauses(
        run.data, wishes=wishes, make=lambda: build(settings["data"], Data, "data", trust=settings["trust"])
    )


def of_model(run: Run) -> Iterator[str]:
    """The clauses that its model keeps."""
    settings = run.settings
    return model_clauses(
        run.model,
        run.data,
        sampling=settings["sampling"],
        make=lambda: build_model(settings, run.data.spec, settings["trust"]),
    )
