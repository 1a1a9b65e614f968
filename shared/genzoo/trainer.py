"""fit(): steps and turns. Knows no modality and no loss.

For each step, the batch; for each turn of the objective, zero, loss, backward, clip, step.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from genzoo import contract
from genzoo.contract import Batch, Data, GenerativeModel, Objective, Verdict
from genzoo.draws import seed_of, torch_generator
from genzoo.errors import UserError
from genzoo.optimizers import lr_factor, make_optimizers, resolve_precision, set_lr
from genzoo.state import State
from genzoo.stopping import stop_requests


@contract.part
@dataclass(frozen=True)
class Options:
    """The keys of `trainer`.

    steps, batch_size: of the whole batch, over all processes. accumulate: parts it is computed in, to save memory.
    seed: of the first weights and of all randomness of the loss.
    optimizer: "muon" (with AdamW for what Muon is not for) or "adamw".
    lr, muon_lr: peak learning rates of AdamW and Muon. warmup: steps. decay: share of the run over which the rate
        falls, linearly, to `floor` of its peak.
    weight_decay: of matrices. clip: largest norm of the gradient, 0 for none.
    ema: decay of the running mean of the weights that is validated, saved and sampled; 0 for none.
    precision: auto, float32, bfloat16. compile: torch.compile the model.
    device: auto, cpu, cuda, mps.
    val_every, val_batches: how often, and on how many batches, to validate; 0 for never.
    save_every: steps between checkpoints, 0 for only the last; keep: how many to keep besides the best.
    log_every: steps between rows of log.csv.
    """

    steps: int = 1000
    batch_size: int = 16
    accumulate: int = 1
    seed: int = 0
    optimizer: Literal["muon", "adamw"] = "muon"
    lr: float = 0.004
    muon_lr: float = 0.02
    warmup: int = 20
    decay: float = 0.6
    floor: float = 0.0
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.99
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    val_every: int = 250
    val_batches: int = 8
    save_every: int = 500
    keep: int = 2
    log_every: int = 10

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise UserError(f"trainer.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("warmup", "val_every", "val_batches", "save_every", "lr", "muon_lr", "clip", "weight_decay"):
            if getattr(self, name) < 0:
                raise UserError(f"trainer.{name} must not be negative, got {getattr(self, name)}")
        for name in ("decay", "floor", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"trainer.{name} must lie between 0 and 1, not {getattr(self, name)}")
        if self.batch_size % self.accumulate:
            raise UserError("trainer.batch_size must be a multiple of trainer.accumulate")


@dataclass
class Hooks:
    """What happens around the steps. Only the main process calls them.

    ready() when all is prepared and loaded, before the first number; log(step, split, numbers), save(state, is_best),
    validated(step, averaged model), progress(step, numbers), stopped(step, why) where the objective ends the run.
    """

    ready: Callable[[], None] = lambda: None
    log: Callable[[int, str, Mapping[str, float]], None] = lambda step, split, numbers: None
    save: Callable[[State, bool], None] = lambda state, is_best: None
    validated: Callable[[int, GenerativeModel], None] = lambda step, model: None
    progress: Callable[[int, Mapping[str, float]], None] = lambda step, numbers: None
    stopped: Callable[[int, str], None] = lambda step, why: None


def fit(
    model: GenerativeModel,
    data: Data,
    objective: Objective,
    options: Options,
    *,
    hooks: Hooks | None = None,
    resume: tuple[Mapping[str, Any], Mapping[str, torch.Tensor]] | None = None,
) -> State:
    """Trains the model. Runs on one device, or, under `torchrun` or `accelerate launch`, on several.

    resume: (what `State.state_dict` gave, the averaged weights); the run then ends in the same bits as one that was
        never interrupted, on the same machine.
    Returns the last state, that of an earlier step where the objective ends the run. UserError where the loss is no
    longer a number; KeyboardInterrupt, after a checkpoint, where it was asked to stop by Ctrl-C or SIGTERM.
    """
    accelerator = make_accelerator(options, sum(p.numel() for p in model.parameters()))
    with random_state_kept(accelerator.device), stop_requests(accelerator.num_processes > 1) as stop_requested:
        state = prepare(model, objective, options, accelerator, resume)
        run = Training(state, data, options, hooks or Hooks(), accelerator)
        run.begin()
        with closing(batches(data, options, run.rows, state.step)) as coming:
            for batch in coming:
                numbers = run.learn(batch.to(accelerator.device))
                stop = stop_requested()  # once a step, so that every process does the same in it
                if run.report(numbers, stop):
                    break
                if stop and state.step < options.steps:
                    accelerator.wait_for_everyone()
                    raise KeyboardInterrupt(state.step)
        accelerator.wait_for_everyone()
    return state


def prepare(
    model: GenerativeModel,
    objective: Objective,
    options: Options,
    accelerator: Accelerator,
    resume: tuple[Mapping[str, Any], Mapping[str, torch.Tensor]] | None,
) -> State:
    """The state before the first step, on the device: with the averaged copy, the optimizers, and what was saved."""
    device, parts = accelerator.device, accelerator.num_processes * options.accumulate
    if options.batch_size % parts:
        raise UserError(
            f"trainer.batch_size={options.batch_size} cannot be shared by {accelerator.num_processes} processes x "
            f"trainer.accumulate={options.accumulate}: make it a multiple of {parts}"
        )
    model.to(device), objective.to(device)
    state = State(0, model, copy.deepcopy(model) if options.ema else model, objective, {})
    for turn, module in state.modules.items():
        rate = objective.rates.get(turn, 1.0)
        state.optimizers[turn] = make_optimizers(
            module,
            kind=options.optimizer,
            lr=rate * options.lr,
            muon_lr=rate * options.muon_lr,
            weight_decay=options.weight_decay,
            fused=device.type != "mps",
        )
    if resume is not None:
        state.load_state_dict(*resume)
    return state


class Training:
    """What `fit` does with a prepared state: `begin`, and in each step `learn` and `report`."""

    def __init__(self, state: State, data: Data, options: Options, hooks: Hooks, accelerator: Accelerator) -> None:
        self.state, self.data, self.options, self.accelerator = state, data, options, accelerator
        self.hooks = hooks if accelerator.is_main_process else Hooks()
        self.rank, self.share = accelerator.process_index, options.batch_size // accelerator.num_processes
        self.rows = range(self.rank * self.share, (self.rank + 1) * self.share)
        self.schedule = {key: getattr(options, key) for key in ("steps", "warmup", "decay", "floor")}
        if options.compile:
            state.model.compile()
        self.wrapped = {turn: accelerator.prepare(module) for turn, module in state.modules.items()}

    def begin(self) -> None:
        """All is prepared: what an objective that tunes starts from is validated."""
        self.hooks.ready()
        if self.state.objective.tunes and self.options.val_every and self.state.step == 0:
            numbers = self.validate()
            self.state.objective.judge(numbers)
            self.hooks.log(0, "val", numbers)
        self.seen_at, self.started = self.state.step, time.perf_counter()

    def learn(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One step, all turns; the numbers of this process."""
        state, options = self.state, self.options
        numbers: dict[str, torch.Tensor] = {}
        for turn, module in state.modules.items():
            set_lr(state.optimizers[turn], lr_factor(state.step, **self.schedule))
            seed_dropout(seed_of("dropout", options.seed, state.step, turn, self.rank), self.accelerator.device)
            self.gradient(turn, batch, numbers)
            if options.clip:
                norm = nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], options.clip)
                numbers["grad_norm" if turn == "model" else f"grad_norm_{turn}"] = norm
            for optimizer in state.optimizers[turn]:
                optimizer.step()
            for part in (state.model, state.objective):
                part.zero_grad(set_to_none=True)
        state.step += 1
        if options.ema:
            average(state.averaged, state.model, min(options.ema, state.step / (state.step + 10)))
        return numbers

    def gradient(self, turn: str, batch: Batch, numbers: dict[str, torch.Tensor]) -> None:
        """Of the whole batch, in `accumulate` parts; adds their means to the numbers."""
        parts, accelerator = self.options.accumulate, self.accelerator
        size = self.share // parts
        for i in range(parts):
            generator = torch_generator(
                "loss", self.options.seed, self.state.step, turn, self.rank, i, device=accelerator.device
            )
            with nullcontext() if i == parts - 1 else accelerator.no_sync(self.wrapped[turn]):
                part = batch[i * size : (i + 1) * size]
                loss, logs = self.state.objective.loss(turn, self.wrapped, part, generator)
                accelerator.backward(loss / parts)
            name = "loss" if turn == "model" else f"loss_{turn}"
            for key, value in {name: loss.detach(), **logs}.items():
                numbers[key] = numbers.get(key, 0) + value / parts

    def report(self, numbers: Mapping[str, torch.Tensor], stop: bool) -> bool:
        """Logs, validates and saves what is due after a step; before a stop it is logged and saved. Whether the
        objective ends the run."""
        state, options = self.state, self.options
        final = state.step == options.steps
        log, val, save = (
            bool(every) and (final or state.step % every == 0)
            for every in (options.log_every, options.val_every, options.save_every)
        )
        log, val, save = log or stop, val and (final or not stop), save or final or stop
        is_best, verdict = False, Verdict()
        if log or val or save:
            self.log_training(numbers)
        if val:
            numbers = self.validate()
            verdict = state.objective.judge(numbers)
            is_best = numbers["loss"] < state.best if verdict.best is None else verdict.best
            state.best = min(state.best, numbers["loss"])
            self.hooks.log(state.step, "val", numbers)
            self.hooks.progress(state.step, {"val_loss": numbers["loss"]})
            self.hooks.validated(state.step, state.averaged)
        if save or is_best or verdict.stop:
            self.hooks.save(state, is_best)
        if val or save:  # the rate counts training alone
            self.seen_at, self.started = state.step, time.perf_counter()
        if verdict.stop:
            self.hooks.stopped(state.step, verdict.stop)
        return bool(verdict.stop)

    def log_training(self, numbers: Mapping[str, torch.Tensor]) -> None:
        """The means over all processes; UserError where one is no number."""
        state, device = self.state, self.accelerator.device
        row = {
            key: float(self.accelerator.reduce(torch.as_tensor(value, device=device), "mean"))
            for key, value in numbers.items()
        }
        bad = ", ".join(f"{key} is {value}" for key, value in row.items() if not math.isfinite(value))
        if bad:
            raise UserError(
                f"training came apart at step {state.step} ({bad}): lower trainer.lr and trainer.muon_lr, or look for "
                "bad examples in the data; earlier checkpoints are whole"
            )
        row["lr_factor"] = lr_factor(state.step - 1, **self.schedule)
        seconds = time.perf_counter() - self.started
        row["examples_per_second"] = (state.step - self.seen_at) * self.options.batch_size / seconds
        self.hooks.progress(state.step, row)
        self.hooks.log(state.step, "train", row)

    def validate(self) -> dict[str, float]:
        return validate(self.state.averaged, self.data, self.state.objective, self.options, self.accelerator)


def make_accelerator(options: Options, parameters: int) -> Accelerator:
    """Accelerate for the device, the precision and the processes there are."""
    if options.device not in ("auto", "cpu", "cuda", "mps"):
        raise UserError(f"trainer.device is auto, cpu, cuda or mps, not {options.device!r}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("trainer.device=cuda, and torch sees no GPU here: leave it at auto")
    if options.device == "mps" and not torch.backends.mps.is_available():
        raise UserError("trainer.device=mps, and torch sees no Apple GPU here: leave it at auto")
    on_cpu = options.device == "cpu" or (options.device == "auto" and not torch.cuda.is_available())
    if options.device == "auto" and torch.backends.mps.is_available():
        on_cpu = False
    device = torch.device("cpu" if on_cpu else "cuda" if torch.cuda.is_available() else "mps")
    precision = resolve_precision(options.precision, device, parameters)
    AcceleratorState._reset_state()  # else a second run in one process could not have another precision
    return Accelerator(cpu=on_cpu, mixed_precision="bf16" if precision == "bfloat16" else "no")


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """averaged <- decay averaged + (1 - decay) model, in place; buffers are copied."""
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
    for mean, now in zip(averaged.buffers(), model.buffers(), strict=True):
        mean.copy_(now)


@torch.no_grad()
def validate(
    model: GenerativeModel, data: Data, objective: Objective, options: Options, accelerator: Accelerator
) -> dict[str, float]:
    """Mean loss on the first batches of the validation split, the same ones and the same noise every time, and what the
    objective measures."""
    share = options.batch_size // accelerator.num_processes
    first = accelerator.process_index * share
    model.eval()
    total = torch.zeros((), device=accelerator.device)
    for i in range(options.val_batches):
        batch = data.batch(i, options.batch_size, "val", range(first, first + share)).to(accelerator.device)
        generator = torch_generator("val", i, accelerator.process_index, device=accelerator.device)
        with accelerator.autocast():
            total += model.loss(batch, generator).value.float().mean()
    generator = torch_generator("measure", accelerator.process_index, device=accelerator.device)
    measured = objective.measure(model, generator)
    model.train()
    loss = float(accelerator.reduce(total, "mean")) / max(1, options.val_batches)
    return {"loss": loss, **{name: float(accelerator.reduce(value, "mean")) for name, value in measured.items()}}


def batches(data: Data, options: Options, rows: range, first: int) -> Iterator[Batch]:
    """Those of the steps from `first`; the next one is made in a thread while this one is learned from."""

    def make(step: int) -> Batch | None:
        return data.batch(step, options.batch_size, "train", rows) if step < options.steps else None

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
        coming = pool.submit(make, first)
        for step in range(first, options.steps):
            batch = coming.result()
            coming = pool.submit(make, step + 1)
            yield batch


def seed_dropout(seed: int, device: torch.device) -> None:
    """Dropout draws from torch's own generators: the CPU's and the device's."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """When this closes, torch's own generators stand where they stood before."""
    places = [torch.random] if device.type == "cpu" else [torch.random, torch.get_device_module(device)]
    before = [place.get_rng_state() for place in places]
    try:
        yield
    finally:
        for place, state in zip(places, before, strict=True):
            place.set_rng_state(state)
