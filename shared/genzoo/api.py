"""The verbs in Python: `train`, `sample`, `evaluate`, `gallery`, `load`.

>>> import genzoo
>>> run = genzoo.train("text_smoke", ["out=/tmp/example"])              # doctest: +SKIP
>>> genzoo.load(run).sample(4, prompt="The ")                           # doctest: +SKIP
"""

import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genzoo import checkpoint
from genzoo.config import assignments, build, check_options, check_type, compose_config, did_you_mean, flat, plain
from genzoo.contract import Data, GenerativeModel, Objective, Spec
from genzoo.draws import seed_of, torch_generator
from genzoo.errors import UserError, user_errors

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass
class Trained:
    """A model with its data's words for it, ready to sample; made by `load`."""

    model: GenerativeModel
    data: Data
    config: dict[str, Any]
    step: int
    path: Path

    @property
    def goes_on(self) -> bool:
        """Whether examples go on in time, so that there are roll-outs."""
        return type(self.data).follow is not Data.follow

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def sample(self, n: int = 1, *, seed: int = 0, **options: Any) -> Tensor:
        """n examples [n, *shape] in model space. Options are those of `genzoo sample`: the data's words (`prompt`,
        `label`) and the sampler's (`temperature`, `steps`); the preset's `sampling` gives their defaults."""
        if n < 1:
            raise UserError(f"n must be at least 1, not {n}")
        cond, more = self._request(n, options)
        return self._sample(n, cond, more, seed)

    def _sample(self, n: int, cond: Mapping[str, Tensor], options: Mapping[str, Any], *seed: int) -> Tensor:
        with user_errors(), torch.inference_mode():
            return self.model.sample(n, cond, torch_generator("sample", *seed, device=self.device), **options)

    def sample_given(self, cond: Mapping[str, Tensor], *seed: int, batch_size: int = 64, **options: Any) -> Tensor:
        """An example for each row of the conditions, at most `batch_size` at once, on the CPU. Options are the
        sampler's."""
        n = len(next(iter(cond.values())))
        more = split_options(self.model, self.data, {**self.config.get("sampling", {}), **options})[1]
        parts = []
        for first in range(0, n, batch_size):
            part = {name: value[first : first + batch_size].to(self.device) for name, value in cond.items()}
            parts.append(self._sample(min(batch_size, n - first), part, more, *seed, first).cpu())
        return torch.cat(parts)

    def rollout(
        self, n: int, pieces: int, *, seed: int = 0, batch_size: int = 64, journal: Path | None = None, **options: Any
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """`pieces` times n examples [n, *shape] with their conditions, each piece from the one before.

        journal: a folder where every piece is kept as soon as it is made; pieces that are there already are not made
        again, and the rest comes out as if there had been no break.
        """
        if not self.goes_on:
            raise UserError("rollout is for data that goes on in time, and this does not: leave it at 1")
        words, more = split_options(self.model, self.data, {**self.config.get("sampling", {}), **options})
        first, extra = self.data.condition(n, **words)

        def made() -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
            cond = first
            for i in range(pieces):
                file = journal / f"{i:04d}.safetensors" if journal else None
                x = checkpoint.read_tensor(file) if file and file.exists() else None
                if x is None:
                    x = self.sample_given(cond, seed, i, batch_size=batch_size, **{**more, **extra})
                    if file:
                        checkpoint.write_tensor(file, x)
                yield x, cond
                if i + 1 < pieces:
                    cond = self.data.follow(x, cond)

        return made()

    def sample_in_batches(self, n: int, *, batch_size: int, seed: int = 0, **options: Any) -> Tensor:
        """n examples, at most `batch_size` at once, gathered on the CPU; each batch's seed is `seed` plus its first."""
        cond, more = self._request(n, options)
        parts = []
        for i in range(0, n, batch_size):
            part = {name: value[i : i + batch_size] for name, value in cond.items()}
            parts.append(self._sample(min(batch_size, n - i), part, more, seed + i).cpu())
        return torch.cat(parts)

    def stream(self, *, seed: int = 0, **options: Any) -> Iterator[Tensor]:
        """One example in pieces along its first axis, while it is being made."""
        if not hasattr(self.model, "stream"):
            raise UserError("this model makes its samples in one piece: leave stream out")
        cond, more = self._request(1, options)
        pieces = self.model.stream(1, cond, torch_generator("sample", seed, device=self.device), **more)

        def checked() -> Iterator[Tensor]:
            with user_errors():
                yield from pieces

        return checked()

    def write(self, samples: Tensor, folder: str | Path) -> list[Path]:
        """Writes each sample as a file that other programs open, and a preview of all where the data draws one."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = self.data.write_all(samples.cpu(), folder)
        preview = self.data.preview(samples.cpu(), folder / "preview")
        return files + ([preview] if preview else [])

    def _request(self, n: int, options: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        words, more = split_options(self.model, self.data, {**self.config.get("sampling", {}), **options})
        cond, extra = self.data.condition(n, **words)
        return {name: value.to(self.device) for name, value in cond.items()}, {**more, **extra}


def split_options(model: GenerativeModel, data: Data, options: Mapping[str, Any]) -> tuple[dict, dict]:
    """Sorts sampling options into those of `data.condition` and those of `model.sample`, and checks their types."""
    owners = [keywords(data.condition), keywords(model.sample)]
    found: tuple[dict, dict] = ({}, {})
    for key, value in options.items():
        for owner, mine in zip(owners, found, strict=True):
            if key in owner:
                check_type(value, owner[key], key)
                mine[key] = value
                break
        else:
            known = [*owners[0], *owners[1]]
            raise UserError(f"unknown option {key}{did_you_mean(key, known)}; there are: {', '.join(known)}")
    return found


def keywords(method: Any) -> dict[str, Any]:
    """Keyword-only arguments of a method with their annotations."""
    parameters = inspect.signature(method).parameters.values()
    return {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}


def load(path: str | Path, *, device: str = "auto", trust: Sequence[str] = ()) -> Trained:
    """The model of a run folder, a checkpoint folder or a lone model.safetensors, ready to sample; of weights that come
    with genzoo by their name (`load("video")`), or on the Hugging Face hub (`load("hf://USER/REPOSITORY")`).

    trust: packages besides genzoo whose classes the checkpoint's configuration may name.
    """
    found = checkpoint.load(path)
    data = build(found.config["data"], "data", allow=trust)
    data.load_state_dict(found.data_state)
    model = build_model(found.config, found.spec, trust)
    model.load_state_dict(found.weights)
    for_decoding(model.requires_grad_(False).eval().to(pick_device(device)))
    return Trained(model, data, found.config, found.step, found.path)


def for_decoding(model: torch.nn.Module) -> None:
    """Lays the weights of linear layers out input by input. Their values stay; a single row then meets them in the
    order they lie in memory, which decoding on a CPU gains a fifth from."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data = layer.weight.data.t().contiguous().t()


def pick_device(device: str) -> str:
    """The device that is meant; UserError where it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        raise UserError(f"device={device}, and torch sees none here: leave it at auto")
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def build_model(config: Mapping[str, Any], spec: Spec, trust: Sequence[str] = ()) -> GenerativeModel:
    """The model that `config.model` describes for this spec. Its first weights come from trainer.seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("weights", config["trainer"]["seed"]))
        return build(config["model"], "model", spec, allow=trust)


def build_objective(config: Mapping[str, Any], spec: Spec, trust: Sequence[str] = ()) -> Objective:
    """The objective that `config.objective` describes; its own weights come from trainer.seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("objective", config["trainer"]["seed"]))
        node = dict(config["objective"])
        parts = [spec] if node.get("_partial_") else []
        for key in ("function", "gold"):  # my_module:my_function
            if isinstance(node.get(key), str):
                node[key] = {"_target_": node[key].replace(":", "."), "_partial_": True}
        return build(node, "objective", *parts, allow=trust)


def train(preset: str, overrides: Sequence[str] = (), *, config_dir: str | None = None) -> Path:
    """`genzoo train PRESET key=value …`; returns the run folder."""
    return train_config(compose_config("train", [f"preset={preset}", *overrides], config_dir=config_dir), overrides)


def train_config(config: "DictConfig", overrides: Sequence[str] = ()) -> Path:
    """Trains what a composed configuration describes."""
    from accelerate import PartialState  # training alone needs it
    from omegaconf import OmegaConf

    from genzoo.pictures import training_curve
    from genzoo.progress import TrainingProgress
    from genzoo.run import CsvLog, RunFolder
    from genzoo.trainer import Hooks, State, fit

    run = RunFolder(config.out)
    settings = plain(config)
    trust = settings["trust"]
    if config.resume:
        begun = run.config()
        settings = resumed_config(begun, overrides)
    resume_from = run.last_checkpoint() if config.resume else None
    options = build(settings["trainer"], "trainer", allow=trust)
    pick_device(options.device)
    if settings.get("reward", {}).get("function") and "function" not in settings["objective"]:
        raise UserError("a reward is raised by objective=reward: give that, or leave reward out")
    if settings["samples"] < 0:
        raise UserError(f"samples must be at least 0, not {settings['samples']}")
    processes = PartialState(cpu=options.device == "cpu" or not torch.cuda.is_available())
    data = build(settings["data"], "data", allow=trust)
    weights = state = None
    if resume_from is not None:
        found = checkpoint.load(resume_from)
        state, weights = checkpoint.load_train_state(resume_from), found.weights
        data.load_state_dict(found.data_state)
    elif settings["init"]:
        found = checkpoint.load(settings["init"])
        data.load_state_dict(found.data_state)
    with processes.main_process_first():
        data.prepare()
    model = build_model(settings, data.spec, trust)
    if resume_from is None and settings["init"]:
        load_weights(model, found, settings["model"])
    elif resume_from is None:
        with user_errors("model: "):
            model.initialise(data)
    objective = build_objective(settings, data.spec, trust)
    if objective.tunes and resume_from is None and not settings["init"]:
        raise UserError("this objective goes on from a trained model: give init= its run folder")
    if objective.tunes and not options.val_every:
        raise UserError("this objective is watched at validations: give trainer.val_every")
    with user_errors():
        objective.check(model)
        objective.initialise(data)
        objective.begin(model)
    first = state["step"] if state else 0
    yaml = OmegaConf.to_yaml(OmegaConf.create(settings))
    main = processes.is_main_process
    split_options(model, data, settings["sampling"])
    check_options(settings["scoring"], keywords(data.metrics) | keywords(data.conditional_metrics), "scoring")
    loggers = [build(settings["logger"], "logger", allow=trust)] if main and settings["logger"] else []
    if main and not config.resume:
        run.start(yaml)
    elif main:
        checkpoint.replace_text(run.path / "config.yaml", yaml)
    if main:
        loggers.append(CsvLog(run.path / "log.csv", from_step=first))
    trained = Trained(model, data, settings, first, run.path)

    with TrainingProgress(options.steps, first=first, quiet=not main) as progress:

        def log(step: int, split: str, numbers: Mapping[str, float]) -> None:
            for logger in loggers:
                logger(step, split, numbers)

        def save(now: State, is_best: bool) -> None:
            run.save(
                f"step_{now.step:06d}",
                is_best=is_best,
                keep=options.keep,
                step=now.step,
                weights=now.averaged.state_dict(),
                config=settings,
                config_yaml=yaml,
                spec=data.spec,
                data_state=data.state_dict(),
                train_state=now.state_dict(),
            )

        def validated(step: int, averaged: GenerativeModel) -> None:
            if not settings["samples"]:
                return
            trained.model = averaged.eval()
            made = trained.sample(settings["samples"], seed=0)
            averaged.train()
            trained.write(made, run.samples / f"step_{step:06d}")
            words = data.describe(made[0].cpu())
            if words:
                progress.say(f"\n--- sample at step {step} ---\n{words}\n---")

        def stopped(step: int, why: str) -> None:
            progress.say(f"stopped at step {step}: {why}")

        parameters = sum(p.numel() for p in model.parameters())
        progress.say(
            f"{parameters:,} parameters, {options.steps} steps of {options.batch_size} examples "
            f"{tuple(data.spec.shape)}, run folder {run.path}"
            + (f", resumed at step {first}" if resume_from is not None else "")
        )
        began = time.perf_counter()
        hooks = Hooks(log=log, save=save, validated=validated, progress=progress.update, stopped=stopped)
        resume = (state, weights) if state else None
        final = fit(model, data, objective, options, hooks=hooks, resume=resume)
        if main and final.step > first:
            progress.say(f"done in {time.perf_counter() - began:.0f} s: {run.path}/checkpoints/last")
    if main:
        training_curve(run.path / "log.csv", run.path / "curve.png")
        run.write_metrics({"steps": final.step, "best_val_loss": final.best, "parameters": parameters})
    return run.path


def resumed_config(begun: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a run that goes on: as it was begun, with the changes that this command line names.

    What shapes the weights, the data or the loss may be named, but not changed."""
    from omegaconf import OmegaConf

    merged = OmegaConf.create(dict(begun))
    for key, value in assignments(overrides):
        if isinstance(begun.get(key), dict) or key in ("resume", "out", "preset", "constraints"):
            continue  # a group's choice: the run has its own already
        if key.startswith(("data.", "model.", "objective.", "reward.", "trainer.seed")) and value != OmegaConf.select(
            merged, key
        ):
            raise UserError(f"{key}={value} cannot change in a resumed run: start a new one, with init={begun['out']}")
        OmegaConf.update(merged, key, value)
    return plain(merged)


def load_weights(model: GenerativeModel, found: checkpoint.Checkpoint, options: Mapping[str, Any]) -> None:
    """Gives a model that was made with these options the weights of a checkpoint; UserError where they do not fit."""
    try:
        model.start_from(found.weights)
    except RuntimeError as error:
        theirs, ours = (dict(flat(node, "model.")) for node in (found.config["model"], options))
        other = [f"{key}={value}" for key, value in theirs.items() if ours.get(key) != value]
        mend = "give the same model options as it was trained with" + (f": {' '.join(other)}" if other else "")
        why = str(error).splitlines()[-1].strip()
        raise UserError(f"init={found.path} does not fit this model ({why}): {mend}") from error


def evaluate(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """`genzoo evaluate`: the scores of a checkpoint, each with its protocol."""
    from genzoo.evaluation import evaluate_config, evaluation_config

    return evaluate_config(evaluation_config([f"checkpoint={path}", *overrides]))


def gallery(overrides: Sequence[str] = (), *, config_dir: str | None = None) -> Path:
    """`genzoo gallery key=value …`; returns the page."""
    from genzoo.exhibition import gallery_config

    return gallery_config(compose_config("gallery", overrides, config_dir=config_dir))
