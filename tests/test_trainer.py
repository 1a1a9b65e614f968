"""fit(): resuming, accumulation, averaging, schedules, stopping."""

import copy
import itertools
import math
import os
import random
import signal
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from genzoo.contract import Batch, Data, GenerativeModel, Loss, Spec
from genzoo.draws import torch_generator
from genzoo.errors import UserError
from genzoo.objectives import Native
from genzoo.optimizers import lr_factor, make_optimizers, resolve_precision
from genzoo.state import load_optimizer
from genzoo.trainer import Hooks, Options, average, fit


class Numbers(Data):
    """Eight random numbers an example; y = x A for a fixed A is what the model must find."""

    def prepare(self):
        pass

    spec = Spec(shape=(8,))

    def batch(self, step, size, split, rows=None):
        x = torch.randn(size, 8, generator=torch_generator("numbers", split, step))
        return Batch(x if rows is None else x[rows.start : rows.stop])

    def sweep(self, split, size):
        yield self.batch(0, size, split)

    def write(self, x, path, request):
        return path

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Regression(GenerativeModel):
    """A small network with blocks, dropout and noise in its loss."""

    def __init__(self, noise=0.1, dropout=0.1):
        super().__init__()
        self.spec, self.noise = Numbers.spec, noise
        self.first = nn.Linear(8, 16)
        self.blocks = nn.ModuleList([nn.Linear(16, 16), nn.Linear(16, 16)])
        self.last = nn.Linear(16, 8)
        self.dropout = nn.Dropout(dropout)

    def predict(self, x):
        h = self.first(x)
        for block in self.blocks:
            h = h + self.dropout(torch.relu(block(h)))
        return self.last(h)

    def loss(self, batch, generator=None):
        noise = torch.randn(batch.x.shape, generator=generator) * self.noise
        return Loss((self.predict(batch.x + noise) - batch.x.flip(-1)).square().mean(dim=1))

    def sample(self, n, cond, noise):
        return torch.zeros(n, 8)


def new_model(**options):
    torch.manual_seed(0)
    return Regression(**options)


def quick(**options):
    defaults = dict(steps=12, batch_size=8, val_every=0, save_every=0, log_every=3, device="cpu", precision="float32")
    return Options(**{**defaults, **options})


def same(first, second):
    """Whether two nested structures are equal to the bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("stop", [1, 5, 11])
def test_resuming_gives_the_bits_of_an_uninterrupted_run(optimizer, stop):
    """Weights, averaged weights, optimizer states and the best value so far, with dropout, noise and accumulation."""
    options = quick(optimizer=optimizer, accumulate=2, val_every=4, save_every=1, val_batches=1)
    saved = {}

    def save(state, is_best):
        saved[state.step] = copy.deepcopy((state.state_dict(), state.averaged.state_dict()))

    whole = fit(new_model(), Numbers(), Native(), options, hooks=Hooks(save=save))
    resumed = fit(Regression(), Numbers(), Native(), options, resume=saved[stop])
    assert same(resumed.state_dict(), whole.state_dict())
    assert same(resumed.averaged.state_dict(), whole.averaged.state_dict())
    assert not same(saved[stop][0]["model"], whole.model.state_dict())


def test_the_state_to_resume_from_is_tensors_and_plain_values(tmp_path):
    """So that it can be read without unpickling anything."""
    state = fit(new_model(), Numbers(), Native(), quick())
    torch.save(state.state_dict(), tmp_path / "state.pt")
    assert same(torch.load(tmp_path / "state.pt", weights_only=True), state.state_dict())


def test_accumulation_gives_the_same_gradient():
    """Four parts of two examples are one batch of eight, up to rounding."""
    runs = [
        fit(new_model(noise=0.0, dropout=0.0), Numbers(), Native(), quick(steps=3, accumulate=n, optimizer="adamw"))
        for n in (1, 4)
    ]
    for first, second in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_it_learns():
    """The loss falls to a small part of what it was."""
    losses = []
    hooks = Hooks(log=lambda step, split, numbers: losses.append(numbers["loss"]))
    fit(new_model(noise=0.0, dropout=0.0), Numbers(), Native(), quick(steps=200, batch_size=64, lr=0.01), hooks=hooks)
    assert losses[-1] < 0.1 * losses[0]


def test_average_is_the_recursion():
    """averaged <- decay averaged + (1 - decay) weights."""
    first, second = new_model(), Regression()
    expected = [0.9 * a + 0.1 * b for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    average(first, second, 0.9)
    for got, want in zip(first.parameters(), expected, strict=True):
        torch.testing.assert_close(got, want.detach())


def test_without_averaging_the_model_itself_is_kept():
    """ema=0 means the last weights."""
    state = fit(new_model(), Numbers(), Native(), quick(ema=0.0))
    assert state.averaged is state.model


def test_schedule():
    """Linear warm-up, plateau, linear decay to the floor; never zero before the end."""
    factors = [lr_factor(s, steps=100, warmup=10, decay=0.5, floor=0.1) for s in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == 1.0
    assert factors[10:51] == [1.0] * 41
    assert factors[75] == pytest.approx(0.1 + 0.9 * 0.5)
    assert all(a > b for a, b in itertools.pairwise(factors[51:]))
    assert lr_factor(0, steps=10, warmup=0, decay=0.0, floor=0.0) == 1.0
    assert lr_factor(9, steps=10, warmup=0, decay=0.0, floor=0.0) == 1.0


def test_every_parameter_has_one_optimizer_and_muon_only_hidden_matrices():
    """First and last layers and biases learn by AdamW, the matrices of blocks by Muon."""
    model = new_model()
    adamw, muon = make_optimizers(model, kind="muon", lr=0.1, muon_lr=0.2, weight_decay=0.0)
    hidden = {id(p) for group in muon.param_groups for p in group["params"]}
    rest = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert hidden == {id(block.weight) for block in model.blocks}
    assert hidden | rest == {id(p) for p in model.parameters()}
    assert not hidden & rest


def test_vectors_are_not_decayed():
    """Weight decay pulls matrices to zero, never gains and biases."""
    [adamw] = make_optimizers(new_model(), kind="adamw", lr=0.1, muon_lr=0.0, weight_decay=0.3)
    for group in adamw.param_groups:
        assert group["weight_decay"] == (0.3 if group["params"][0].ndim >= 2 else 0.0)
        assert len({p.ndim >= 2 for p in group["params"]}) == 1


def test_a_loss_that_is_no_number_stops_the_run_and_saves_nothing():
    """The message says what to lower; the checkpoints before it stay good."""
    saved = []
    hooks = Hooks(save=lambda state, is_best: saved.append(state.step))
    data = Numbers()
    plain = data.batch
    data.batch = lambda step, size, split, rows=None: (
        plain(step, size, split, rows) if step < 7 else Batch(torch.full((size, 8), math.nan))
    )
    with pytest.raises(UserError, match=r"came apart at step 9 .*lower trainer\.lr"):
        fit(new_model(), data, Native(), quick(save_every=3), hooks=hooks)
    assert saved == [3, 6]


@pytest.mark.parametrize("step", [1000, 7])
def test_the_random_state_of_the_caller_stays(step):
    """Dropout is seeded in every step, and yet torch, NumPy and Python draw on as if there had been no training,
    whether it ends well or not."""
    data = Numbers()
    plain = data.batch
    data.batch = lambda at, size, split, rows=None: (
        plain(at, size, split, rows) if at < step else Batch(torch.full((size, 8), math.nan))
    )
    model = new_model()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(UserError) if step < 12 else nullcontext():
        fit(model, data, Native(), quick(val_every=4))
    assert same((torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()), before)


def spoiled(state, *, inside=("optimizers", "model", 0, "state", 0), **changes):
    """A copy in which what lies at `inside` is changed; None takes a key away."""
    state = copy.deepcopy(state)
    node = state
    for key in inside:
        node = node[key]
    node.update(changes)
    for key in [key for key, value in changes.items() if value is None]:
        del node[key]
    return state


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda state: spoiled(state, inside=(), optimizers={}), "'model'"),
        (lambda state: spoiled(state, inside=(), optimizers=None), "'optimizers'"),
        (lambda state: spoiled(state, inside=(), step="last"), "'last'"),
        (lambda state: spoiled(state, inside=(), model={"first.weight": torch.zeros(2, 2)}), "first.bias"),
        (
            lambda state: spoiled(state, inside=("model",), **{"last.bias": torch.zeros(9)}),
            "size mismatch for last.bias",
        ),
        (lambda state: spoiled(state, exp_avg=torch.zeros(3)), "other shapes"),
        (lambda state: spoiled(state, exp_avg=None), "another optimizer than AdamW"),
        (lambda state: spoiled(state, exp_avg=1.0), "shape"),
        (lambda state: spoiled(state, inside=("optimizers", "model", 0), param_groups=[]), "other parameters"),
        (lambda state: [], "list"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_before_anything_is_written(change, why):
    """One line, for whatever a file may hold; no hook was called."""
    saved = fit(new_model(), Numbers(), Native(), quick(steps=2))
    resume = (change(saved.state_dict()), saved.averaged.state_dict())
    called = []
    hooks = Hooks(ready=lambda: called.append("ready"), save=lambda *what: called.append("save"))
    with pytest.raises(UserError, match=r"cannot go on .*trainer\.optimizer") as refused:
        fit(new_model(), Numbers(), Native(), quick(), hooks=hooks, resume=resume)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
    assert called == []


@pytest.mark.parametrize(("begun", "goes_on"), [("muon", "adamw"), ("adamw", "muon")])
def test_a_run_cannot_go_on_with_another_optimizer(begun, goes_on):
    """Nor can one that has as many."""
    saved = fit(new_model(), Numbers(), Native(), quick(steps=2, optimizer=begun))
    resume = (saved.state_dict(), saved.averaged.state_dict())
    with pytest.raises(UserError, match=r"resume it with .*trainer\.optimizer"):
        fit(new_model(), Numbers(), Native(), quick(optimizer=goes_on), resume=resume)
    [_, muon] = make_optimizers(new_model(), kind="muon", lr=0.1, muon_lr=0.2, weight_decay=0.0)
    state = fit(new_model(), Numbers(), Native(), quick(steps=2)).state_dict()["optimizers"]["model"]
    state[0]["param_groups"] = muon.state_dict()["param_groups"]
    with pytest.raises(ValueError, match="another optimizer than Muon"):
        load_optimizer(muon, state[0])


def test_rates_and_decay_of_a_run_that_goes_on_are_those_it_is_given():
    """What was saved brings what the optimizers remember, no option."""
    saved = fit(new_model(), Numbers(), Native(), quick(steps=2, weight_decay=0.1))
    options = quick(steps=3, weight_decay=0.3, warmup=0, decay=0.0)
    state = fit(new_model(), Numbers(), Native(), options, resume=(saved.state_dict(), saved.averaged.state_dict()))
    adamw, muon = state.optimizers["model"]
    assert adamw.param_groups[0]["weight_decay"] == muon.param_groups[0]["weight_decay"] == 0.3
    assert (adamw.param_groups[0]["lr"], muon.param_groups[0]["lr"]) == (options.lr, options.muon_lr)


def test_ready_comes_when_all_is_loaded_and_before_the_first_number():
    """Also before the validation with which an objective that tunes begins."""
    objective = Native()
    objective.tunes = True
    model, seen = new_model(), []
    hooks = Hooks(ready=lambda: seen.append("ready"), log=lambda *row: seen.append(row[:2]))
    fit(model, Numbers(), objective, quick(steps=1, val_every=1), hooks=hooks)
    assert seen == ["ready", (0, "val"), (1, "train"), (1, "val")]
    saved = fit(new_model(), Numbers(), Native(), quick(steps=2))
    again = Regression()
    hooks = Hooks(ready=lambda: seen.append(same(again.state_dict(), saved.model.state_dict())))
    resume = (copy.deepcopy(saved.state_dict()), saved.averaged.state_dict())
    fit(again, Numbers(), Native(), quick(), hooks=hooks, resume=resume)
    assert seen[4:] == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_finishes_the_step_and_saves(number):
    """Ctrl-C and SIGTERM lose nothing, and the old signal handlers come back."""
    saved = []
    before = signal.getsignal(number)
    data = Numbers()
    plain = data.batch

    def batch(step, size, split, rows=None):
        if step == 5:
            os.kill(os.getpid(), number)
        return plain(step, size, split, rows)

    data.batch = batch
    hooks = Hooks(save=lambda state, is_best: saved.append(state.step))
    with pytest.raises(KeyboardInterrupt):
        fit(new_model(), data, Native(), quick(steps=1000), hooks=hooks)
    assert len(saved) == 1
    assert saved[0] < 1000
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("where", ["ready", "log", "validated", "progress", "save"])
def test_wherever_the_request_comes_the_step_that_is_named_was_saved(where):
    """Before the first step, in a validation, while samples are drawn, in the middle of a save."""
    saved, hooks = [], Hooks(save=lambda state, is_best: saved.append(state.step))
    plain, asked = getattr(hooks, where), []

    def ask(*what):
        if not asked:
            os.kill(os.getpid(), signal.SIGTERM)
            asked.append(saved[-1:])
        plain(*what)

    setattr(hooks, where, ask)
    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(new_model(), Numbers(), Native(), quick(steps=1000, val_every=3, save_every=3, val_batches=1), hooks=hooks)
    assert asked
    assert stopped.value.args == (saved[-1],)
    assert saved[-1] < 7


@pytest.mark.parametrize("at", [10, 11])
def test_a_request_in_the_last_steps_lets_the_run_end(at):
    """In the last one, and in the last but one, which is then the one that is saved."""
    model, saved = new_model(), []
    plain = model.loss

    def loss(batch, generator=None):
        loss.calls += 1
        if loss.calls == at + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(batch, generator)

    loss.calls = 0
    model.loss = loss
    hooks = Hooks(save=lambda state, is_best: saved.append(state.step))
    with pytest.raises(KeyboardInterrupt) if at < 11 else nullcontext():
        fit(model, Numbers(), Native(), quick(ema=0.0), hooks=hooks)
    assert saved == [at + 1]


def test_validation_is_the_same_every_time_and_finds_the_best():
    """Same batches, same noise: a model that does not change has one validation loss."""
    values, best = [], []
    hooks = Hooks(
        log=lambda step, split, numbers: values.append(numbers["loss"]) if split == "val" else None,
        save=lambda state, is_best: best.append((state.step, is_best)),
    )
    options = quick(lr=0.0, muon_lr=0.0, val_every=4, val_batches=2)
    state = fit(new_model(), Numbers(), Native(), options, hooks=hooks)
    assert state.best == values[0]
    assert len(values) == 3
    assert len(set(values)) == 1
    assert best == [(4, True), (12, False)]


def test_wrong_options_are_refused():
    """Each message names the key."""
    for key, value in dict(steps=0, batch_size=0, lr=-1.0, decay=1.5, ema=2.0, log_every=0).items():
        with pytest.raises(UserError, match=f"trainer.{key}"):
            Options(**{key: value})
    with pytest.raises(UserError, match="multiple of trainer.accumulate"):
        Options(batch_size=8, accumulate=3)
    with pytest.raises(UserError, match="muon or adamw"):
        fit(new_model(), Numbers(), Native(), quick(optimizer="sgd"))
    with pytest.raises(UserError, match="trainer.device"):
        fit(new_model(), Numbers(), Native(), quick(device="tpu"))
    with pytest.raises(UserError, match="trainer.precision"):
        resolve_precision("half", torch.device("cpu"), 1)


def test_bfloat16_trains_close_to_float32():
    """The weights stay float32, and a few steps end near each other."""
    runs = [
        fit(new_model(noise=0.0, dropout=0.0), Numbers(), Native(), quick(precision=p)) for p in ("float32", "bfloat16")
    ]
    for first, second in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        assert second.dtype == torch.float32
        torch.testing.assert_close(first, second, rtol=0.1, atol=0.02)
    assert not same(runs[0].model.state_dict(), runs[1].model.state_dict())
