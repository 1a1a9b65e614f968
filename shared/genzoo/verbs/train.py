"""`genzoo train`: compose, read the data, build the model, take the run folder, fit, close."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genzoo import checkpoint
from genzoo.config import (
    assignments,
    build,
    check_options,
    flat,
    keywords,
    plain,
    present_names,
    presets,
    scores_of,
    split_options,
)
from genzoo.contract import Data, GenerativeModel, Objective
from genzoo.download import no_fetching
from genzoo.errors import UserError, user_errors
from genzoo.model import Model, build_model, build_objective, load_data_state, pick_device
from genzoo.reading import printable, reason
from genzoo.run import CsvLog, Logger, RunFolder
from genzoo.testing import cheap_checks

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from genzoo.trainer import Options, State

ONE_AT_A_TIME = threading.RLock()
"""Trainings in threads of one process wait for one another: torch's random numbers, threads of a process and Accelerate
are one for all of them."""

MAY_CHANGE = (
    *("out", "resume", "samples", "trust", "logger", "sampling", "scoring"),
    *("data.path", "data.val_path", "data.codec", "data.autoencoder", "data.on_error", "data.max_mb"),
    *("trainer.steps", "trainer.lr", "trainer.muon_lr", "trainer.warmup", "trainer.decay", "trainer.floor"),
    *(
        "trainer.clip",
        "trainer.weight_decay",
        "trainer.ema",
        "trainer.precision",
        "trainer.compile",
        "trainer.device",
        "trainer.keep",
    ),
    *("trainer.val_every", "trainer.save_every", "trainer.log_every"),
)
"""Keys, and groups of keys, that may be other ones when a run goes on. Paths: the data may have moved; that it is the
same is seen by its hash."""


@dataclass
class Run:
    """What is known before the first step. resume: the checkpoint that training goes on from, and its state."""

    settings: dict[str, Any]
    folder: RunFolder
    options: "Options"
    data: Data
    model: GenerativeModel
    objective: Objective
    fingerprints: dict[str, str]
    resume: tuple[checkpoint.Checkpoint, dict[str, Any]] | None = None

    @property
    def first(self) -> int:
        return self.resume[0].step if self.resume else 0


def train_config(config: "DictConfig", overrides: Sequence[str] = (), *, config_dir: str | None = None) -> Path:
    """Trains what a composed configuration describes; returns the run folder. overrides: the words of the command line,
    which say what of a run that goes on is to change. config_dir: where presets come from that are not genzoo's own;
    like the configuration of a run that goes on, they may not have anything fetched that no word names."""
    foreign = config.resume or (config_dir and not named_by(overrides, "preset") <= set(presets()))
    ours = not foreign or named_by(overrides, "data.path")
    fetching = nullcontext() if ours else no_fetching("only a file asks for it: give data.path= or init= yourself")
    with ONE_AT_A_TIME, torch.random.fork_rng(devices=[]), fetching:
        return _train(config, overrides)


def named_by(overrides: Sequence[str], key: str) -> set[str]:
    """What a command line says of a key."""
    return {value for name, _, value in (word.partition("=") for word in overrides) if name == key}


def _train(config: "DictConfig", overrides: Sequence[str]) -> Path:
    from accelerate import PartialState  # training alone needs it

    from genzoo.trainer import Options

    folder, settings = RunFolder(config.out), present_names(plain(config))
    if config.resume:
        settings = resumed(present_names(folder.config()), settings, overrides)
    else:
        folder.check_free()
    options = build(settings["trainer"], Options, "trainer")
    pick_device(options.device)
    check_wishes(settings)
    processes = PartialState(cpu=options.device == "cpu" or not torch.cuda.is_available())
    with processes.main_process_first():
        run, damage = begun(folder, settings, options, resume=config.resume)
    if not processes.is_main_process:
        fit_run(run, [], processes.num_processes)
        return folder.path
    loggers: list[Logger] = [CsvLog(folder.path / "log.csv", from_step=run.first)]
    if settings["logger"]:
        node = {"_partial_": True, **settings["logger"]}
        loggers.append(build(node, Logger, "logger", str(folder.path), trust=settings["trust"]))
    with taken(folder, new=not config.resume):
        for line in damage:
            print(f"{line}; the run goes on from step {run.first}", flush=True)
        fit_run(run, loggers, processes.num_processes)
    return folder.path


def check_wishes(settings: Mapping[str, Any]) -> None:
    """UserError for wishes that do not go together."""
    if settings.get("reward", {}).get("function") and "function" not in settings["objective"]:
        raise UserError("a reward is raised by objective=reward: give that, or leave reward out")
    if settings["samples"] < 0:
        raise UserError(f"samples must be at least 0, not {settings['samples']}")


@contextmanager
def taken(folder: RunFolder, *, new: bool) -> Iterator[None]:
    """Holds the folder of a run. One that fails before its first checkpoint leaves nothing."""
    failed = True
    try:
        folder.start() if new else folder.go_on()
        yield
        failed = False
    except OSError as error:  # it is read-only, the disk is full, somebody deleted it meanwhile
        raise UserError(f"out={folder.path} cannot be written ({reason(error)}): mend that, then go on") from error
    finally:
        folder.close(forget=new and failed)


def begun(folder: RunFolder, settings: dict[str, Any], options: "Options", *, resume: bool) -> tuple[Run, list[str]]:
    """Everything that is built and checked before anything is written, and what is wrong with checkpoints that were
    passed over."""
    trust = settings["trust"]
    newest = folder.newest() if resume else None
    found, state, damage = newest or (None, None, [])
    init = checkpoint.load(settings["init"]) if settings["init"] and not found else None
    data = build(settings["data"], Data, "data", trust=trust)
    if from_ := found or init:
        load_data_state(data, from_)
    data.prepare()
    fingerprints = {split: data.fingerprint(split) for split in data.splits}
    if found:
        check_same_data(found, fingerprints, settings)
    model = build_model(settings, data.spec, trust)
    if init:
        load_weights(model, init, settings["model"])
    elif not found:
        with user_errors("model: "):
            model.initialise(data)
    if not found:
        cheap_checks(data, model)
    objective = build_objective(settings, data.spec, trust)
    if objective.tunes and not (found or init):
        raise UserError("this objective goes on from a trained model: give init= its run folder")
    if objective.tunes and not options.val_every:
        raise UserError("this objective is watched at validations: give trainer.val_every")
    with user_errors():
        objective.check(model)
        objective.initialise(data)
        objective.begin(model)
    split_options(model, data, settings.get("sampling") or {})
    scorer = scores_of(data)
    check_options(
        settings.get("scoring") or {}, keywords(scorer.metrics) | keywords(scorer.conditional_metrics), "scoring"
    )
    resume_from = (found, state) if found else None
    return Run(settings, folder, options, data, model, objective, fingerprints, resume_from), damage


def check_same_data(found: checkpoint.Checkpoint, now: Mapping[str, str], settings: Mapping[str, Any]) -> None:
    """UserError where the data is not what the run learned from; wherever it lies, it is the same if its hash is."""
    other = [split for split, sum_ in now.items() if found.fingerprints.get(split, sum_) != sum_]
    if other:
        where = f"data.path={settings['data']['path']}" if settings["data"].get("path") else "data"
        raise UserError(
            f"{where} is not what {found.path.parent} learned from ({' and '.join(other)} differ, by SHA-256): give "
            "the same data, or begin a new run with init="
        )


def fit_run(run: Run, loggers: Sequence[Logger], processes: int) -> None:
    """Trains, with what is shown, logged and saved around it; the run's folder is the caller's."""
    from genzoo.pictures import training_curve
    from genzoo.progress import TrainingProgress
    from genzoo.trainer import Hooks, fit

    folder, options, data = run.folder, run.options, run.data
    parameters = sum(p.numel() for p in run.model.parameters())
    config_yaml = ""
    main = bool(loggers)

    with TrainingProgress(options.steps, first=run.first, quiet=not main) as progress:

        def ready() -> None:
            nonlocal config_yaml
            config_yaml = folder.write_config(run.settings)
            folder.set_aside(run.first)

        def log(step: int, split: str, numbers: Mapping[str, float]) -> None:
            for logger in loggers:
                logger(step, split, numbers)

        def save(now: "State", is_best: bool) -> None:
            folder.save(
                f"step_{now.step:06d}",
                is_best=is_best,
                keep=options.keep,
                step=now.step,
                weights=now.averaged.state_dict(),
                config=run.settings,
                config_yaml=config_yaml,
                spec=data.spec,
                data_state=data.state_dict(),
                fingerprints=run.fingerprints,
                train_state=now.state_dict(),
            )

        def validated(step: int, averaged: GenerativeModel) -> None:
            if not run.settings["samples"]:
                return
            shown = Model(averaged.eval(), data, run.settings, step, folder.path)
            made = shown.sample(run.settings["samples"], seed=0)
            averaged.train()
            made.write(folder.samples / f"step_{step:06d}")
            if made[0].words[0]:
                progress.say(f"\n--- sample at step {step} ---\n{printable(made[0].words[0])}\n---")

        def stopped(step: int, why: str) -> None:
            progress.say(f"stopped at step {step}: {why}")

        for line in data.report():
            progress.say(line)
        progress.say(
            f"{parameters:,} parameters, {options.steps} steps of {options.batch_size} examples "
            f"{tuple(data.spec.shape)}, {processes} process{'es' if processes > 1 else ''}, run folder {folder.path}"
            + (f", resumed at step {run.first}" if run.resume else "")
        )
        began = time.perf_counter()
        hooks = Hooks(ready=ready, log=log, save=save, validated=validated, progress=progress.update, stopped=stopped)
        resume = (run.resume[1], run.resume[0].weights) if run.resume else None
        final = fit(run.model, data, run.objective, options, hooks=hooks, resume=resume)
        if main and final.step > run.first:
            progress.say(f"done in {time.perf_counter() - began:.0f} s: {folder.path}/checkpoints/last")
    if main:
        training_curve(folder.path / "log.csv", folder.path / "curve.png")
        folder.write_metrics({"steps": final.step, "best_val_loss": final.best, "parameters": parameters})


def resumed(begun_with: dict[str, Any], asked: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a run that goes on: as it was begun, with the changes that this command line names.

    begun_with: of the run. asked: what the command line composes to. UserError for a change that is not in
    `MAY_CHANGE`: it would be another run."""
    settings = {**begun_with, "resume": True, "out": asked["out"], "trust": asked["trust"]}
    settings["logger"] = {k: v for k, v in (begun_with.get("logger") or {}).items() if k != "folder"}
    theirs, ours = dict(flat(begun_with)), dict(flat(asked))
    for key, value in sorted(assignments(overrides), key=lambda word: word[0] == "preset"):
        if key in ("resume", "out", "trust", "local"):
            continue
        if key == "logger" or (isinstance(begun_with.get(key), dict) and key in MAY_CHANGE):
            settings[key] = asked[key]
            continue
        if key == "preset" or isinstance(begun_with.get(key), dict) or key == "constraints":  # a group: all it brings
            group = ("model", "objective") if key == "constraints" else (key,)
            same = ("data._target_", "model._target_") if key == "preset" else group
            changed = {k for k in theirs.keys() & ours.keys() if within(k, same) and theirs[k] != ours[k]}
            changed = {k for k in changed if not within(k, MAY_CHANGE)}
        else:
            changed = {key} if value != get(begun_with, key) and not within(key, MAY_CHANGE) else set()
            put(settings, key, value)
        if changed:
            name = min(changed)
            of = (
                f" ({key}={value} brings {name}={ours.get(name)}, the run has {theirs.get(name)})"
                if name != key
                else ""
            )
            raise UserError(
                f"{key}={value} cannot change in a resumed run{of}: leave it out, or start a new one, with "
                f"init={asked['out']}"
            )
    return settings


def within(key: str, groups: Sequence[str]) -> bool:
    """Whether a dotted key is one of these, or below one of them."""
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def get(node: Any, key: str) -> Any:
    """The value at a dotted key, None where there is none."""
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def put(node: dict[str, Any], key: str, value: Any) -> None:
    """Sets the value at a dotted key; what is on the way is copied."""
    *way, last = key.split(".")
    for name in way:
        node[name] = dict(node[name]) if isinstance(node.get(name), dict) else {}
        node = node[name]
    node[last] = value


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
