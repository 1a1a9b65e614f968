"""The reward objective: gradients and divergences against closed forms, the optimum, what ends a run, what is refused.

Legend: B batch, n samples.
"""

import csv
import itertools
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genzoo
from genzoo import checkpoint
from genzoo.config import compose_config, config_folder, plain
from genzoo.contract import Batch, Data, GenerativeModel, Loss, Request, Spec
from genzoo.draws import GeneratorNoise, Noise
from genzoo.errors import UserError
from genzoo.evaluation import frontier
from genzoo.families import Autoregressive, Flow
from genzoo.families.flow import recorded
from genzoo.families.stochastic import LAST
from genzoo.families.stochastic import Path as Walk
from genzoo.metrics.diversity import distinct, pair_distance
from genzoo.objectives import Reward
from genzoo.trainer import Hooks, Options, fit
from genzoo_text.tokenizers import fit_tokenizer

BITS = Spec((2,), vocab=2)
STRINGS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
LOGITS = torch.tensor([0.3, -1.0, 0.8, 0.0])
REWARDS = torch.tensor([1.0, -0.5, 0.25, 2.0])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int = 0) -> GeneratorNoise:
    return GeneratorNoise(seeded(seed))


def number_of(x: Tensor) -> Tensor:
    return 2 * x[:, 0] + x[:, 1]


def of_table(x: Tensor, data: Data, cond: Mapping[str, Tensor]) -> Tensor:
    return REWARDS[number_of(x)]


class Categorical(GenerativeModel):
    """A free probability for each of the four strings of two bits; `fixed`: strings that `sample` gives."""

    def __init__(self, logits: Tensor = LOGITS, *, fixed: Tensor | None = None) -> None:
        super().__init__()
        self.spec, self.logits, self.fixed = BITS, nn.Parameter(logits.clone()), fixed

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        return Loss(-self.log_prob(batch.x, batch.cond))

    def sample(self, n: int, cond: Mapping[str, Tensor], noise: Noise, **options: Any) -> Tensor:
        if self.fixed is not None:
            return self.fixed
        return STRINGS[noise.choose(self.logits.softmax(dim=0).expand(n, -1))]

    def log_prob(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return self.logits.log_softmax(dim=0)[number_of(x)]


class Nothing(Data):
    """Examples of zeros, without conditions."""

    spec = BITS

    def __init__(self, spec: Spec = BITS) -> None:
        self.spec = spec

    def prepare(self) -> None: ...

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        kind = torch.long if self.spec.vocab else torch.float32
        return Batch(torch.zeros(len(rows or range(size)), *self.spec.shape, dtype=kind))

    def sweep(self, split: str, size: int) -> Any:
        yield self.batch(0, size, split)

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        return path

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def begun(model: GenerativeModel, spec: Spec = BITS, function: Any = of_table, **options: Any) -> Reward:
    """The objective of a run that starts at this model."""
    objective = Reward(spec, function=function, **options)
    objective.check(model)
    objective.initialise(Nothing(spec))
    objective.begin(model)
    return objective


def gradient(objective: Reward, model: Categorical, n: int) -> Tensor:
    model.zero_grad()
    objective.loss("model", {"model": model}, Batch(torch.zeros(n, 2, dtype=torch.long)), seeded())[0].backward()
    return model.logits.grad.clone()


# Of a likelihood


@pytest.mark.parametrize("kl", [0.0, 0.7])
@pytest.mark.parametrize("n", [2, 3])
def test_policy_gradient_is_unbiased_exactly(n, kl):
    """Over all batches of n strings, each weighed by its probability: the gradient of -(sum p r - kl KL(p | start))."""
    start, now = Categorical(), Categorical(torch.tensor([0.0, 0.5, -0.5, 1.0]))
    objective, p = begun(start, kl=kl, scale=False), now.logits.detach().softmax(dim=0)
    mean = torch.zeros(4)
    for picked in itertools.product(range(4), repeat=n):
        now.fixed = STRINGS[list(picked)]
        mean += p[list(picked)].prod() * gradient(objective, now, n)
    now.zero_grad()
    law, known = now.logits.softmax(dim=0), LOGITS.softmax(dim=0)
    (-(law @ REWARDS) + kl * (law * (law / known).log()).sum()).backward()
    torch.testing.assert_close(mean, now.logits.grad, rtol=1e-5, atol=1e-6)


def test_samples_end_where_the_data_says():
    """What the model would have written behind the end is neither rewarded nor made likelier, and costs no nats."""

    class Row(nn.Module):
        """The same logits for every token."""

        context = 4

        def __init__(self, vocab: int) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([0.2, -0.3, 0.5]))

        def make_cache(self) -> None:
            return None

        def forward(self, tokens: Tensor, *, cond: Any = None, cache: Any = None, last: bool = False) -> Tensor:
            return self.logits.expand(*tokens.shape, 3)

    spec, seen = Spec((4,), vocab=3), []
    data, model = Nothing(spec), Autoregressive(spec, Row)
    data.stop = lambda tokens: tokens[:, -1] == 2
    objective = Reward(spec, function=lambda x, data, cond: seen.append(x) or (x == 0).sum(dim=1).float(), scale=False)
    objective.initialise(data)
    objective.begin(model)
    loss, _ = objective.loss("model", {"model": model}, Batch(torch.zeros(64, 4, dtype=torch.long)), seeded())
    loss.backward()
    [x] = seen
    over = (x == 2).cumsum(dim=1) - (x == 2).long() > 0
    assert over.any()
    assert torch.equal(x < 0, over)
    reward = (x == 0).sum(dim=1).float()
    advantage = (reward - reward.mean()) * 64 / 63
    p = model.net.logits.detach().softmax(dim=0)
    counts = torch.stack([(x == token).sum(dim=1).float() for token in range(3)], dim=1)
    exact = -(advantage[:, None] * (counts - counts.sum(dim=1, keepdim=True) * p)).mean(dim=0)
    torch.testing.assert_close(model.net.logits.grad, exact, rtol=1e-4, atol=1e-5)


def test_scaled_advantages():
    """(r - mean of the group) / std from that over all groups, up to the n / (n - 1) of leaving one out: what is nearly
    alike stays so, and where all rewards are alike there is none."""
    rewards = torch.tensor([1.0, 2.0, 3.0, 10.0, 5.0, 5.0, 5.0, 5.001])
    objective = begun(Categorical(), group=4)
    found = objective._advantage(rewards, {"label": torch.zeros(8)})
    groups = rewards.view(2, 4).double().numpy()
    apart = groups - groups.mean(axis=1, keepdims=True)
    torch.testing.assert_close(found, torch.tensor(apart / apart.std() * 4 / 3).float().flatten(), rtol=1e-4, atol=1e-6)
    assert found[4:].abs().max() < 1e-3
    alike = torch.tensor([2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0])
    assert objective._advantage(alike, {"label": torch.zeros(8)}).eq(0).all()
    cond = objective._conditions({"label": torch.arange(8)}, 8, torch.device("cpu"))
    assert cond["label"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    with pytest.raises(UserError, match=r"objective\.group=4 must divide the 6"):
        objective._conditions({"label": torch.arange(6)}, 6, torch.device("cpu"))


def quick(**options: Any) -> Options:
    base = {"optimizer": "adamw", "precision": "float32", "device": "cpu", "ema": 0, "val_batches": 1, "save_every": 0}
    return Options(**base | {"warmup": 0, "val_every": 50, "log_every": 50, "clip": 0} | options)


def test_optimum():
    """Of the mean reward minus beta times the KL divergence: p proportional to p_start exp(r / beta)."""
    model, beta, rows = Categorical(), 0.8, []
    objective = Reward(BITS, function=of_table, kl=beta, scale=False, samples=4096)
    objective.initialise(Nothing())
    objective.begin(model)
    hooks = Hooks(log=lambda step, split, numbers: rows.append((step, split, dict(numbers))))
    fit(model, Nothing(), objective, quick(steps=300, batch_size=256, lr=0.03), hooks=hooks)
    want = (LOGITS + REWARDS / beta).softmax(dim=0)
    found = model.logits.detach().softmax(dim=0)
    assert (found - want).abs().max() < 0.02 < (LOGITS.softmax(dim=0) - want).abs().max()
    looks = [numbers for _, split, numbers in rows if split == "val"]
    assert [step for step, split, _ in rows if split == "val"] == [0, 50, 100, 150, 200, 250, 300]
    assert looks[0]["kl_exact"] == 0
    assert looks[-1]["kl_exact"] == pytest.approx(
        (found * (found / LOGITS.softmax(dim=0)).log()).sum().item(), abs=1e-5
    )
    assert looks[-1]["reward"] == pytest.approx((found @ REWARDS).item(), abs=4 * looks[-1]["reward_error"])


def test_exact_and_estimated_divergence():
    """Where all examples can be listed the KL divergence is their sum; the mean over samples agrees within noise."""
    model = Categorical()
    objective = begun(model, samples=20_000)
    model.logits.data = torch.tensor([2.0, 0.0, -1.0, 0.5])
    p, q = model.logits.detach().double().softmax(dim=0), LOGITS.double().softmax(dim=0)
    exact = (p * (p / q).log()).sum().item()
    assert objective.measure(model, seeded())["kl_exact"].item() == pytest.approx(exact, abs=1e-6)
    objective.spec = Spec((2,), vocab=2, context={"prefix": (-1,)})  # what depends on conditions is not listed
    numbers = objective.measure(model, seeded())
    assert "kl_exact" not in numbers
    assert numbers["kl_error"] < 0.05 * exact
    assert abs(numbers["kl_estimated"].item() - exact) < 4 * numbers["kl_error"]


# Of a flow


class Affine(nn.Module):
    """The velocity a x + b; with a = 0 a flow whose samples are its noise, moved by b."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.tensor([0.5, -0.25]))

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return self.a * x + self.b


class Widening(nn.Module):
    """The exact velocity of data N(0, 2^2): the flow of x_t = (1 - t) x_0 + t x_1 is E[x_1 - x_0 | x_t]."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        t = t[:, None]
        return x * (4 * t - (1 - t)) / ((1 - t) ** 2 + 4 * t**2) + self.nothing


def test_stochastic_solver_keeps_the_law():
    """Samples of the exact flow of a Gaussian have its standard deviation, up to an error of the first order."""
    model, errors = Flow(Spec((2,)), Widening), []
    for steps in (8, 32, 128):
        with torch.no_grad():
            x = model.sample(40_000, {}, drawn(), steps=steps, solver="stochastic")
        assert x.mean().abs() < 0.05
        errors.append(2 - x.std().item())
    assert errors[1] < 0.35 * errors[0]
    assert errors[2] < 0.35 * errors[1] < 0.05


@pytest.mark.parametrize("gradient", ["none", "sample", "score"])
def test_paths(gradient):
    """The start that follows a path sees the same states; the divergence is counted by hand, of a flow that differs in
    its drift alone: what a step holds of that, times the difference of 0.5 in length."""
    model, start = Flow(Spec((2,)), Affine), Flow(Spec((2,)), Affine)
    start.net.b.data -= torch.tensor([0.3, 0.4])
    with recorded(model, Walk(gradient, learned=8)) as path:
        x = model.sample(5, {}, drawn(), steps=3, solver="stochastic")
    with torch.no_grad(), recorded(start, Walk(given=path)) as theirs:
        y = start.sample(5, {}, drawn(9), steps=3, solver="stochastic")
    torch.testing.assert_close(y, x)
    assert model.path is None
    want = sum((0.5 * of_drift / (std or LAST)) ** 2 / 2 for _, of_drift, std in steps_of(3))
    torch.testing.assert_close(path.kl(theirs, 5), torch.full((5,), want))
    if gradient == "score":
        steps = list(zip(path.means[:-1], path.stds[:-1], path.states[:-1], strict=True))
        logs = sum(torch.distributions.Normal(m, s).log_prob(x_k) for m, s, x_k in steps).sum(1)
        constant = sum(2 * math.log(s * math.sqrt(2 * math.pi)) for _, s, _ in steps)
        torch.testing.assert_close(path.log_prob(5), logs + constant)


def test_gradient_through_the_sampler():
    """Samples of a drifting flow are noise + b, so that the mean of a linear reward has its slope as its gradient, and
    the penalty that of the divergence, counted above; both ways reach the same optimum's side."""
    slope = torch.tensor([0.7, -0.4])
    model = Flow(Spec((2,)), Affine)
    options = {"steps": 4, "learned": 4, "scale": False}
    objective = begun(model, Spec((2,)), lambda x, data, cond: x @ slope, **options)
    batch = Batch(torch.zeros(64, 2))
    objective.loss("model", {"model": model}, batch, seeded())[0].backward()
    assert objective.differentiable
    moved = sum_of_moves(4)
    torch.testing.assert_close(model.net.b.grad, -moved * slope)
    model.zero_grad()
    objective.learned = 2
    objective.loss("model", {"model": model}, batch, seeded())[0].backward()
    torch.testing.assert_close(model.net.b.grad, -sum_of_moves(4, 2) * slope)
    scored = begun(model, Spec((2,)), lambda x, data, cond: (x @ slope).tolist(), **options)
    found = []
    for seed in range(400):
        model.zero_grad()
        scored.loss("model", {"model": model}, batch, seeded(seed))[0].backward()
        found.append(model.net.b.grad.clone())
    assert not scored.differentiable
    found = torch.stack(found)
    want = -(moved - 0.25) * slope  # the last step draws nothing: it is not in the score
    error = found.std(dim=0) / len(found) ** 0.5
    assert error.max() < 0.1 * want.abs().max()
    assert ((found.mean(dim=0) - want).abs() < 4.5 * error).all()


def steps_of(steps: int) -> list[tuple[float, float, float]]:
    """Of each step of the stochastic solver, how much its mean holds of x and of the velocity, and its noise."""
    found = []
    for now, then in ((i / steps, (i + 1) / steps) for i in range(steps)):
        left = 1 - then if then < 1 else 0.0
        std = 0.7 * left * (1 - (left * now / ((1 - now) * then)) ** 2) ** 0.5
        kept = (left**2 - std**2) ** 0.5
        found.append((then + kept, then * (1 - now) - kept * now, std))
    return found


def sum_of_moves(steps: int, learned: int | None = None) -> float:
    """d sample / d drift of a flow whose velocity is its drift: what a step adds is carried on by the later ones."""
    total = 0.0
    for i, (of_x, of_drift, _) in enumerate(steps_of(steps)):
        total = total * of_x + (of_drift if i >= steps - (learned or steps) else 0.0)
    return total


# What ends a run


def judged(objective: Reward, *looks: tuple[float, float, float]) -> list[tuple[bool, bool]]:
    """(best, stopped) after looks at (kl, reward, gold)."""
    found = []
    for kl, reward, gold in looks:
        verdict = objective.judge({"kl_exact": kl, "reward": reward, "gold": gold, "gold_error": 0.01})
        found.append((verdict.best, verdict.stop is not None))
    return found


def test_what_ends_a_run():
    """Above the budget at once; where gold falls while the reward rises, after `patience` looks in a row, none of which
    is the best; not where both fall, nor within two standard errors."""
    good, bad = (True, False), (False, False)
    assert judged(begun(Categorical(), kl_budget=3), (0, 0, 0), (2.9, 1, 1), (3.1, 2, 2))[1:] == [good, (False, True)]
    looks = ((0, 0.0, 0.0), (1, 0.5, 0.5), (1, 0.6, 0.4), (1, 0.7, 0.3))
    assert judged(begun(Categorical()), *looks)[1:] == [good, bad, (False, True)]
    assert judged(begun(Categorical(), patience=3), *looks, (1, 0.7, 0.49), (1, 0.8, 0.1))[2:] == [bad, bad, good, bad]
    assert judged(begun(Categorical()), *looks[:2], (1, 0.4, 0.3), (1, 0.45, 0.2))[1:] == [good, good, good]
    assert judged(begun(Categorical()), *looks[:2], (1, 0.6, 0.48), (1, 0.7, 0.48))[1:] == [good, good, good]
    why = begun(Categorical(), kl_budget=3).judge({"kl_exact": 4, "reward": 1}).stop
    assert why == "4.0 nats a sample from the start, kl_budget is 3; lower trainer.lr and trainer.val_every"
    for name, budget in (("kl_exact", 20), ("kl_estimated", 20), ("kl_path_bound", 2000)):
        assert begun(Categorical()).judge({name: budget - 0.1, "kl_error": 1e9, "reward": 1}).stop is None
        assert f"kl_budget is {budget};" in begun(Categorical()).judge({name: budget + 0.1, "reward": 1}).stop


def test_fit_ends_where_the_objective_says_so():
    """The last state is saved, and the reason told."""
    model, saved, told = Categorical(), [], []
    objective = begun(model, kl_budget=0.2, scale=False)
    hooks = Hooks(
        save=lambda state, is_best: saved.append((state.step, is_best)),
        stopped=lambda step, why: told.append((step, why)),
    )
    state = fit(model, Nothing(), objective, quick(steps=500, batch_size=64, lr=0.02, val_every=5), hooks=hooks)
    assert state.step < 100
    assert told[0][0] == saved[-1][0] == state.step
    assert saved[-2:] == [(state.step - 5, True), (state.step, False)]
    assert told[0][1].endswith("kl_budget is 0.2; checkpoints/best is the one before")


# Diversity


def test_diversity():
    """Counted by hand."""
    x = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 0], [3, 1, 2, 0]])
    assert pair_distance(x, tokens=True).item() == pytest.approx((1 + 2 + 1) / 12)
    assert pair_distance(x[:1].repeat(3, 1), tokens=True) == 0
    y = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert pair_distance(y, tokens=False).item() == pytest.approx(5 / 2**0.5)
    assert distinct(torch.tensor([[1, 2, 1, 2, 1], [1, 2, 1, -1, -1]]), 2).item() == pytest.approx(2 / 6)


# From the command line

QUICK = ("samples=0", "objective.samples=128")


def rows_of(run: Path, split: str = "val") -> list[dict[str, float]]:
    with open(run / "log.csv", newline="") as file:
        return [
            {k: float(v) for k, v in row.items() if v and k != "split"}
            for row in csv.DictReader(file)
            if row["split"] == split
        ]


def rewarded(start: Path, preset: str, out: Path, *words: str) -> Path:
    return genzoo.train(f"{preset}_smoke", [*QUICK, "objective=reward", f"init={start}", f"out={out}", *words])


def assert_raised(run: Path) -> list[dict[str, float]]:
    """The reward is up beyond noise, the divergence finite and of a known name; returns the validations."""
    looks = rows_of(run)
    first, last = looks[0], looks[-1]
    assert first["gain"] == 0
    assert last["gain"] == pytest.approx(last["reward"] - first["reward"], rel=1e-3, abs=1e-4)
    assert last["gain"] > 1.5 * last["gain_error"] > 0
    kl = next(key for key in last if key.startswith("kl_") and key != "kl_error")
    assert first[kl] == pytest.approx(0, abs=1e-5)
    assert 0 < last[kl] < math.inf
    assert last.keys() >= {"reward", "gold", "diversity", "loss"}
    return looks


def test_a_resumed_run_ends_in_the_same_bits(smoke_run_of, tmp_path):
    """Model, start, peak and optimizer; the start is that of the first run, not of what was resumed."""
    start, words = smoke_run_of("born"), ["reward=maxcut", "trainer.steps=8", "trainer.val_every=2", "trainer.keep=5"]
    whole = rewarded(start, "born", tmp_path / "whole", *words)
    half = shutil.copytree(whole, tmp_path / "half", symlinks=True)
    for step in checkpoint.steps_saved(half / "checkpoints"):
        if step.name > "step_000004":
            shutil.rmtree(step)
    rewarded(start, "born", half, *words, "resume=true")
    states = [checkpoint.load_train_state(run / "checkpoints" / "last") for run in (whole, half)]
    assert states[0]["step"] == states[1]["step"] == 8
    for part in ("model", "objective"):
        assert states[0][part].keys() == states[1][part].keys()
        for key, value in states[0][part].items():
            assert torch.equal(value, states[1][part][key]), key
    begun_at = checkpoint.load(start).weights["theta"]
    assert torch.equal(states[1]["objective"]["start.theta"], begun_at)
    assert not torch.equal(states[1]["model"]["theta"], begun_at)
    assert rows_of(whole) == rows_of(half)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("reward=line_length",), "this objective goes on from a trained model: give init= its run folder"),
        (("init=RUN",), "no reward: give reward=NAME of configs/reward, or reward.function=my_module:my_function"),
        (("init=RUN", "reward=line_length", "trainer.val_every=0"), "give trainer.val_every"),
        (("init=RUN", "reward=line_length", "objective.group=1"), "objective: group must be at least 2, not 1"),
        (("init=RUN", "reward=line_length", "objective.through=sample"), "objective.through=sample is for flows"),
        (("init=RUN", "reward=own", "reward.function=my_rewards:short"), "allow it by trust=[my_rewards]"),
        (("init=RUN", "reward=short"), "there is no reward 'short'"),
    ],
)
def test_refusals(refused, smoke_run_of, words, line):
    """One line each."""
    words = [word.replace("RUN", str(smoke_run_of("text"))) for word in words]
    assert line in refused("train", "text_smoke", "objective=reward", *words)


def test_a_reward_without_its_objective(refused, smoke_run_of):
    assert "give that, or leave reward out" in refused(
        "train", "text_smoke", "reward=line_length", f"init={smoke_run_of('text')}"
    )


def test_a_reward_of_ones_own(smoke_run_of, tmp_path, monkeypatch):
    """A function in a module of the user's, named and trusted; what it must give is said where it gives another."""
    (tmp_path / "my_rewards.py").write_text(
        "def spaces(x, data, cond):\n    return [data.text_of(row).count(' ') for row in x]\n"
        "def one(x, data, cond):\n    return 1.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["reward=own", "trust=[my_rewards]", "trainer.steps=30", "trainer.val_every=15", "trainer.lr=0.003"]
    start = smoke_run_of("text")
    run = rewarded(
        start, "text", tmp_path / "run", *words, "reward.function=my_rewards:spaces", "trainer.batch_size=32"
    )
    looks = rows_of(run)
    assert looks[-1]["reward"] > looks[0]["reward"] + 3 * math.hypot(
        looks[0]["reward_error"], looks[-1]["reward_error"]
    )
    assert "gold" not in looks[-1]
    with pytest.raises(UserError, match=r"one finite number for each of 64 samples, and not shape \(\)"):
        rewarded(start, "text", tmp_path / "other", *words, "reward.function=my_rewards:one")


@pytest.mark.parametrize("name", sorted(f.stem for f in (config_folder() / "reward").glob("*.yaml")))
def test_rewards_compose(name):
    """Every shipped reward names a function and one that is watched."""
    config = plain(compose_config("train", ["preset=text", "objective=reward", f"reward={name}"]))
    assert config["objective"]["function"] == config["reward"]["function"]
    if name not in ("none", "own"):
        assert config["reward"]["function"] != config["reward"]["gold"]


# Every modality


def test_born(smoke_run_of, tmp_path):
    words = ("reward=maxcut", "trainer.steps=40")
    looks = assert_raised(rewarded(smoke_run_of("born"), "born", tmp_path / "run", *words))
    assert "kl_exact" in looks[-1]
    assert genzoo.load(tmp_path / "run").sample(20).x.unique().tolist() == [0, 1]


def test_evaluate_shows_the_frontier(smoke_run_of, tmp_path, capsys):
    """The rows of the log by rising divergence, in metrics.json, on the terminal and as a picture; of another run,
    none."""
    from genzoo.cli import main

    run = rewarded(smoke_run_of("born"), "born", tmp_path / "run", "reward=runs", "trainer.steps=40")
    capsys.readouterr()
    main(["evaluate", f"checkpoint={run}", "n=0"])
    said = capsys.readouterr().out
    kept = json.loads((run / "metrics.json").read_text())["evaluate_val"]["frontier"]
    assert [row["step"] for row in kept] == [
        row["step"] for row in sorted(rows_of(run), key=lambda row: row["kl_exact"])
    ]
    assert kept[0] == {key: value for key, value in rows_of(run)[0].items() if key in kept[0]}
    assert said.count("\n") > len(kept)
    assert "kl_exact" in said
    assert f"{kept[-1]['reward']:.5g}" in said
    assert (run / "frontier.png").stat().st_size > 5000
    assert frontier(checkpoint.resolve(smoke_run_of("born"))) == {}


def test_rewards_of_text():
    """By hand, on texts that a tokenizer of bytes gives back."""
    from genzoo_text import rewards
    from genzoo_text.data import TextData

    data = TextData(tokenizer="byte")
    data.text = {"train": "the cat sat on a mat"}
    data.load_state_dict({"tokenizer": fit_tokenizer("byte", "", 0).state})

    def of(function: Any, *texts: str, **options: Any) -> list[float]:
        return [function(torch.from_numpy(data.tokenizer.encode(t))[None], data, {}, **options)[0] for t in texts]

    whole, broken, empty = "x = 1\ny = f(x)\nif x", "x = 1\ny = f(x\nz = 3\n", "# nothing\n\n"
    assert of(rewards.parses, whole, broken, empty, "y = 2") == [1, 0, 0, 0]
    assert of(rewards.parses, whole, "y = 2", whole=True) == [0, 1]
    assert of(rewards.part_that_parses, whole, broken, empty) == [15 / 19, 6 / 20, 0]
    assert of(rewards.kinds_of_code, "x = 1\n", whole, broken)[0] == 5  # Module, Assign, Name, Store, Constant
    assert of(rewards.kinds_of_code, whole, broken)[0] > 5
    assert of(rewards.kinds_of_code, broken) == [0]
    assert of(rewards.line_length, "ab\nabcd\nabcdef\nx", width=4) == [-0.25]
    assert of(rewards.rhyme, "a tall tree\nwill be free\nand the sky\nend", letters=2) == [pytest.approx(2 / 3)]
    assert of(rewards.rhyme, "the sea\nthe sea\n", letters=2) == [0]
    assert of(rewards.known_words, "xx cat dog mat sat y") == [0.75]


def test_rewards_of_bits():
    """MaxCut of a square and of a random regular graph against counting; a cut that moving one node betters."""
    from genzoo_born import rewards

    square = {"edges": [[0, 1], [1, 2], [2, 3], [0, 3]]}
    x = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
    assert rewards.cut(x, None, {}, **square).tolist() == [1, 0.5, 0, 0.5]
    assert rewards.no_better_neighbour(x, None, {}, **square).tolist() == [1, 1, 0, 0]
    edges = rewards.regular_graph(12, 3, 0)
    degree = torch.bincount(torch.tensor(edges).flatten())
    assert len(set(edges)) == 18
    assert degree.tolist() == [3] * 12
    y = torch.randint(2, (200, 12), generator=seeded())
    counted = torch.tensor([sum(int(row[a] != row[b]) for a, b in edges) / 18 for row in y])
    torch.testing.assert_close(rewards.cut(y, None, {}), counted)
    flipped = torch.stack([rewards.cut(y ^ (torch.arange(12) == i), None, {}) for i in range(12)]).amax(0)
    assert torch.equal(rewards.no_better_neighbour(y, None, {}) > 0, flipped <= counted + 1e-6)
    assert rewards.changes(x, None, {}).tolist() == pytest.approx([1, 1 / 3, 0, 1 / 3])
    with pytest.raises(UserError, match=r"degree=3: there is no such graph of 3 nodes"):
        rewards.cut(x[:, :3], None, {})
    with pytest.raises(UserError, match="pairs of different nodes from 0 to 3"):
        rewards.cut(x, None, {}, edges=[[0, 4]])


def test_text(smoke_run_of, tmp_path):
    words = (
        "reward=line_length",
        "reward.function.width=8",
        "trainer.steps=40",
        "trainer.lr=0.003",
        "trainer.batch_size=32",
    )
    looks = assert_raised(rewarded(smoke_run_of("text"), "text", tmp_path / "run", *words))
    assert looks[-1]["kl_estimated"] > 4 * looks[-1]["kl_error"]
    assert len(genzoo.load(tmp_path / "run").sample(1).words[0]) == 40


FAST = (
    "trainer.steps=30",
    "trainer.val_every=15",
    "trainer.lr=0.002",
    "trainer.batch_size=16",
    "objective.samples=64",
    "objective.steps=3",
    "objective.learned=1",
    "objective.kl_budget=100000",
)


@pytest.mark.parametrize(
    ("preset", "reward", "words"),
    [
        ("points", "symmetric", ()),
        ("points", "standing", ("objective.kl=0",)),
        ("video", "motion", ()),
        ("video", "centred", ("trainer.lr=0.001",)),
        ("motion", "speed", ()),
        ("motion", "rise", ()),
        ("weather", "low", ()),
        ("weather", "wind", ()),
    ],
)
def test_flows(smoke_run_of, tmp_path, preset, reward, words):
    """Through the sampler; samples are finite, and nothing but what the reward is of changes much."""
    looks = assert_raised(rewarded(smoke_run_of(preset), preset, tmp_path / "run", *FAST, f"reward={reward}", *words))
    assert looks[-1]["kl_path_bound"] > 0
    trained = genzoo.load(tmp_path / "run")
    x = trained.sample(2).x
    assert x.shape == (2, *trained.data.spec.shape)
    assert x.isfinite().all()


@pytest.mark.parametrize(
    ("preset", "reward", "words"),
    [
        ("audio", "bright", ("trainer.lr=0.01", "trainer.batch_size=96", "trainer.ema=0.5", "objective.samples=256")),
        pytest.param("music", "voice_leading", (), marks=pytest.mark.slow),
        pytest.param("music", "clear_key", (), marks=pytest.mark.slow),
    ],
)
def test_tokens(smoke_run_of, tmp_path, preset, reward, words):
    """By the likelihood; samples are tokens still."""
    looks = assert_raised(rewarded(smoke_run_of(preset), preset, tmp_path / "run", *FAST, f"reward={reward}", *words))
    assert looks[-1]["kl_estimated"] > 0
    trained = genzoo.load(tmp_path / "run")
    assert 0 <= trained.sample(2).x.max() < trained.data.spec.vocab


def test_a_prompt_shortens_the_samples(smoke_run, tmp_path):
    """Prompt and sample share the context of 32 characters; one that fills it is refused."""
    words = ["trainer.steps=1", "trainer.val_every=1", "objective.samples=4", "reward=line_length"]
    run = rewarded(smoke_run, "text", tmp_path / "run", *words, "reward.ask={prompt: 'Once there was'}")
    assert rows_of(run)[-1]["kl_estimated"] < math.inf
    with pytest.raises(UserError, match="a prompt that fills the model's context"):
        rewarded(smoke_run, "text", tmp_path / "no", *words, f"reward.ask={{prompt: '{'a' * 40}'}}")
