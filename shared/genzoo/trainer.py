"""fit(): steps and turns. Knows no modality and no loss.

For each step, the batch; for each turn of the objective, zero, loss, backward, clip, step.
"""

import copy
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from genzoo.contract import Batch, Data, GenerativeModel, Objective, Verdict
from genzoo.draws import seed_of, torch_generator
from genzoo.errors import UserError
from genzoo.optimizers import lr_factor, make_optimizers, resolve_precision, set_lr


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
class State:
    """What a run is made of at one moment; `weights` are those to sample with."""

    step: int
    model: GenerativeModel
    averaged: GenerativeModel
    objective: Objective
    optimizers: dict[str, list[torch.optim.Optimizer]]
    best: float = math.inf

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {
            "step": self.step,
            "best": self.best,
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizers": {turn: [o.state_dict() for o in group] for turn, group in self.optimizers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], averaged: Mapping[str, torch.Tensor]) -> None:
        self.step, self.best = state["step"], state["best"]
        self.model.load_state_dict(state["model"])
        if self.averaged is not self.model:
            self.averaged.load_state_dict(averaged)
        self.objective.load_state_dict(state["objective"])
        for turn, group in self.optimizers.items():
            for optimizer, saved in zip(group, state["optimizers"][turn], strict=True):
                peaks = [g["peak_lr"] for g in optimizer.param_groups]
                optimizer.load_state_dict(saved)
                for param_group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    param_group["peak_lr"] = peak


@dataclass
class Hooks:
    """What happens around the steps. Only the main process calls them.

    log(step, split, numbers), save(state, is_best), validated(step, averaged model), progress(step, numbers),
    stopped(step, why) where the objective ends the run.
    """

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
    hooks = hooks or Hooks()
    accelerator = make_accelerator(options, sum(p.numel() for p in model.parameters()))
    device, world, rank = accelerator.device, accelerator.num_processes, accelerator.process_index
    if options.batch_size % (world * options.accumulate):
        raise UserError(
            f"trainer.batch_size={options.batch_size} cannot be shared by {world} processes x "
            f"trainer.accumulate={options.accumulate}: make it a multiple of {world * options.accumulate}"
        )
    model.to(device), objective.to(device)
    state = State(0, model, copy.deepcopy(model) if options.ema else model, objective, {})
    modules = {turn: model if turn == "model" else getattr(objective, turn) for turn in objective.turns}
    for turn, module in modules.items():
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
    if options.compile:
        model.compile()
    wrapped = {turn: accelerator.prepare(module) for turn, module in modules.items()}
    share = options.batch_size // world
    rows = range(rank * share, (rank + 1) * share)
    part = share // options.accumulate
    schedule = {key: getattr(options, key) for key in ("steps", "warmup", "decay", "floor")}
    logged, seen_at, started = state.step, state.step, time.perf_counter()
    if objective.tunes and options.val_every and state.step == 0:
        numbers = validate(state.averaged, data, objective, options, accelerator)
        objective.judge(numbers)
        if accelerator.is_main_process:
            hooks.log(0, "val", numbers)
    with stop_requests() as stop_requested, Prefetch(data, options, rows, state.step) as batches:
        for step in range(state.step, options.steps):
            batch = next(batches).to(device)
            numbers: dict[str, torch.Tensor] = {}
            for turn in objective.turns:
                set_lr(state.optimizers[turn], lr_factor(step, **schedule))
                torch.manual_seed(seed_of("dropout", options.seed, step, turn, rank))
                for i in range(options.accumulate):
                    last = i == options.accumulate - 1
                    generator = torch_generator("loss", options.seed, step, turn, rank, i, device=device)
                    with nullcontext() if last else accelerator.no_sync(wrapped[turn]):
                        loss, logs = objective.loss(turn, wrapped, batch[i * part : (i + 1) * part], generator)
                        accelerator.backward(loss / options.accumulate)
                    name = "loss" if turn == "model" else f"loss_{turn}"
                    for key, value in {name: loss.detach(), **logs}.items():
                        numbers[key] = numbers.get(key, 0) + value / options.accumulate
                parameters = [p for p in modules[turn].parameters() if p.grad is not None]
                if options.clip:
                    norm = nn.utils.clip_grad_norm_(parameters, options.clip)
                    numbers["grad_norm" if turn == "model" else f"grad_norm_{turn}"] = norm
                for optimizer in state.optimizers[turn]:
                    optimizer.step()
                for module in (model, objective):
                    module.zero_grad(set_to_none=True)
            state.step = step + 1
            if options.ema:
                average(state.averaged, model, min(options.ema, state.step / (state.step + 10)))

            due = {name: every and state.step % every == 0 for name, every in intervals(options).items()}
            if state.step == options.steps or stop_requested():
                due = {name: True for name in due}
                due["val"] = bool(options.val_every) and state.step == options.steps
            if due["log"] or due["val"] or due["save"]:
                row = {
                    key: float(accelerator.reduce(torch.as_tensor(v, device=device), "mean"))
                    for key, v in numbers.items()
                }
                if not all(math.isfinite(value) for value in row.values()):
                    bad = ", ".join(f"{key} is {value}" for key, value in row.items() if not math.isfinite(value))
                    raise UserError(
                        f"training came apart at step {state.step} ({bad}): lower trainer.lr and trainer.muon_lr, or "
                        "look for bad examples in the data; earlier checkpoints are whole"
                    )
                now = time.perf_counter()
                row["lr_factor"] = lr_factor(step, **schedule)
                row["examples_per_second"] = (state.step - seen_at) * options.batch_size / (now - started)
                if accelerator.is_main_process:
                    hooks.progress(state.step, row)
                    if state.step != logged:
                        hooks.log(state.step, "train", row)
                        logged = state.step
            is_best, verdict = False, Verdict()
            if due["val"]:
                numbers = validate(state.averaged, data, objective, options, accelerator)
                verdict = objective.judge(numbers)
                is_best = numbers["loss"] < state.best if verdict.best is None else verdict.best
                state.best = min(state.best, numbers["loss"])
                if accelerator.is_main_process:
                    hooks.log(state.step, "val", numbers)
                    hooks.progress(state.step, {"val_loss": numbers["loss"]})
                    hooks.validated(state.step, state.averaged)
            if (due["save"] or is_best or verdict.stop) and accelerator.is_main_process:
                hooks.save(state, is_best)
            if due["val"] or due["save"]:  # the rate counts training alone
                seen_at, started = state.step, time.perf_counter()
            if verdict.stop:
                if accelerator.is_main_process:
                    hooks.stopped(state.step, verdict.stop)
                break
            if stop_requested() and state.step < options.steps:
                raise KeyboardInterrupt(state.step)
    accelerator.wait_for_everyone()
    return state


def intervals(options: Options) -> dict[str, int]:
    return {"log": options.log_every, "val": options.val_every, "save": options.save_every}


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


class Prefetch:
    """The next batch is made in a thread while this one is learned from."""

    def __init__(self, data: Data, options: Options, rows: range, first: int) -> None:
        self.make = lambda step: data.batch(step, options.batch_size, "train", rows)
        self.step, self.steps = first, options.steps
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")

    def __enter__(self) -> Iterator[Batch]:
        self.coming = self.pool.submit(self.make, self.step)
        return self

    def __exit__(self, *exception: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = self.coming.result()
        self.step += 1
        if self.step < self.steps:
            self.coming = self.pool.submit(self.make, self.step)
        return batch


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """While open, the first Ctrl-C or SIGTERM only sets a flag, so that the step is finished and saved; the second
    one stops at once."""
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
