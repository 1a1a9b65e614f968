"""`genzoo evaluate`: scores of a checkpoint, each with its protocol, printed and written to metrics.json."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genzoo import __version__, checkpoint
from genzoo.config import build, check_options, compose_config, keywords, plain, scores_of
from genzoo.contract import Data
from genzoo.download import no_fetching
from genzoo.errors import UserError, user_errors
from genzoo.metrics import likelihood, mean_loss
from genzoo.model import Model, load

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluation_config(overrides: Sequence[str], *, config_dir: str | None = None) -> "DictConfig":
    """evaluate.yaml with the checkpoint's own data, sampling options and scoring options as defaults."""
    saved = checkpoint.config_of(checkpoint_path(overrides))
    return compose_config("evaluate", overrides, config_dir=config_dir, saved=saved)


def checkpoint_path(overrides: Sequence[str]) -> str:
    """What `checkpoint=` says."""
    for override in overrides:
        if override.startswith("checkpoint="):
            return override.partition("=")[2].strip("'\"")
    raise UserError("which checkpoint? give checkpoint= a run folder, a checkpoint folder or a .safetensors file")


def evaluate_config(config: "DictConfig", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Runs the scores that evaluate.yaml asks for and returns them. overrides: the words of the command line. Data that
    must be fetched is fetched only where one of these names it, not where the checkpoint does."""
    settings = plain(config)
    if settings["n"] < 0 or settings["batch_size"] < 1:
        raise UserError("n must be at least 0, and batch_size at least 1")
    loaded = load(settings["checkpoint"], device=settings["device"], trust=settings["trust"])
    data = build(settings["data"], Data, "data", trust=settings["trust"])
    data.load_state_dict(loaded.data.state_dict())
    model = replace(loaded, data=data, config={**loaded.config, "sampling": settings["sampling"]})
    options = settings["scoring"]
    if options.get("features") and not any(word.startswith("scoring.features=") for word in overrides):
        raise UserError("scoring.features is a program that only the checkpoint names: give scoring.features= yourself")
    scorer = scores_of(data)
    own = [keywords(scorer.metrics), keywords(scorer.conditional_metrics)]
    check_options(options, own[0] | own[1], "scoring")
    chosen, given = ({k: v for k, v in options.items() if k in keys} for keys in own)
    named = any(word.startswith("data.path=") for word in overrides)
    with nullcontext() if named else no_fetching("only its checkpoint asks for it: give data.path= yourself"):
        data.prepare()
    split = settings["split"] or ("test" if "test" in data.splits else "val")
    data.check_split(split)
    model, chosen_on = weights_for(split, model, settings)
    with user_errors():
        scores = likelihood(model.model, data, split, batch_size=settings["batch_size"])
        if scores:
            scores |= law_scores(model, split)
        else:
            scores = mean_loss(model.model, data, split, batch_size=settings["batch_size"])
        if settings["n"]:
            samples = model.sample(settings["n"], batch_size=settings["batch_size"], seed=settings["seed"])
            scores |= scorer.metrics(samples.x, split, samples.request, **chosen)

        def sample(cond: Mapping[str, Tensor], seed: int) -> Tensor:
            return model.sample_given(cond, settings["seed"], seed, batch_size=settings["batch_size"])

        scores |= scorer.conditional_metrics(sample, split, **given)
    report = {
        **scores,
        "protocol": {
            **scores.get("protocol", {}),
            "genzoo": __version__,
            "checkpoint": str(model.path),
            "step": model.step,
            "split": split,
            "weights_chosen_on": chosen_on,
            "reference_sha256": data.fingerprint(split),
            "n": settings["n"],
            "seed": settings["seed"],
            "sampling": settings["sampling"],
            "scoring": settings["scoring"],
            "data": settings["data"],
        },
    }
    report |= frontier(model.path)
    write_report(model.path, split, report)
    return report


def weights_for(split: str, model: Model, settings: Mapping[str, Any]) -> tuple[Model, str | None]:
    """What is scored on a split, and the split that chose these weights, None where none did: of a run's folder the
    last weights, where the best ones were chosen on this very split."""
    run, name = checkpoint.run_of(model.path), f"step_{model.step:06d}"
    chosen = checkpoint.best_named(model.path) == name
    if not chosen or run is None or run.resolve() != Path(settings["checkpoint"]).resolve():
        return model, "val" if chosen else None
    newest = checkpoint.newest_of(run / "checkpoints")
    if newest is None or newest.name == name:
        return model, None
    if split != "val":
        return model, "val"
    last = load(newest, device=settings["device"], trust=settings["trust"])
    print(f"scored: the last weights (step {last.step}), for val chose the best (step {model.step})", file=sys.stderr)
    return replace(last, data=model.data, config=model.config), None


def frontier(weights: Path) -> dict[str, Any]:
    """Of a run of objective=reward: what each validation's reward cost, {"frontier": rows by rising KL divergence}, and
    a picture of it, frontier.png beside metrics.json."""
    from genzoo.pictures import frontier as picture
    from genzoo.run import read_log

    run = checkpoint.run_of(weights)
    if run is None or not (run / "log.csv").is_file():
        return {}
    looks = [row for row in read_log(run / "log.csv")[1] if row["split"] == "val" and row.get("reward")]
    kl = next((key for key in looks[0] if key.startswith("kl_") and key != "kl_error"), None) if looks else None
    if kl is None:
        return {}
    names = (
        "step",
        kl,
        "kl_error",
        "reward",
        "reward_error",
        "gain",
        "gain_error",
        "gold",
        "gold_error",
        "diversity",
        "distinct_4",
        "loss",
    )
    rows = [{name: float(row[name]) for name in names if row.get(name)} for row in looks]
    for row in rows:
        row["step"] = int(row["step"])
    rows.sort(key=lambda row: row[kl])
    best = checkpoint.best_of(run / "checkpoints")
    picture(rows, kl, run / "frontier.png", best=checkpoint.step_of(best.resolve()) if best else None)
    return {"frontier": rows}


@torch.inference_mode()
def law_scores(model: Model, split: str) -> dict[str, Any]:
    """Scores of the likelihood itself, where the data's law is known."""

    def log_prob(x: Tensor) -> Tensor:
        return model.model.log_prob(x.to(model.device), {})

    return scores_of(model.data).law_metrics(log_prob, split)


def write_report(weights: Path, split: str, report: dict[str, Any]) -> None:
    """Adds the report to metrics.json of the run the weights belong to, where they belong to one."""
    from genzoo.run import RunFolder

    run = checkpoint.run_of(weights)
    if run:
        RunFolder(run).add_report(split, report)
