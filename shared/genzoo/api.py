"""The verbs in Python: `train`, `sample`, `evaluate`, `gallery`, `load`.

>>> import genzoo
>>> run = genzoo.train("text_smoke", ["out=/tmp/example"])              # doctest: +SKIP
>>> genzoo.load(run).sample(4, prompt="The ")                           # doctest: +SKIP
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genzoo.config import compose_config
from genzoo.model import Model, Samples, load

__all__ = ["Model", "Samples", "evaluate", "gallery", "load", "train"]


def train(preset: str, overrides: Sequence[str] = (), *, config_dir: str | None = None) -> Path:
    """`genzoo train PRESET key=value …`; returns the run folder."""
    from genzoo.verbs.train import train_config

    words = [f"preset={preset}", *overrides]
    return train_config(compose_config("train", words, config_dir=config_dir), words, config_dir=config_dir)


def evaluate(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """`genzoo evaluate`: the scores of a checkpoint, each with its protocol."""
    from genzoo.evaluation import evaluate_config, evaluation_config

    return evaluate_config(evaluation_config([f"checkpoint={path}", *overrides]), overrides)


def gallery(overrides: Sequence[str] = (), *, config_dir: str | None = None) -> Path:
    """`genzoo gallery key=value …`; returns the page."""
    from genzoo.exhibition import gallery_config

    return gallery_config(compose_config("gallery", overrides, config_dir=config_dir))
