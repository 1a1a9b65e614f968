"""The adversarial objective: gradients against closed forms, turns, laws that are learned; and its critic.

Legend: B batch, T elements of an example, D numbers of an element.
"""

import csv
import itertools
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import genzoo
from attention_core import TokenTransformer
from genzoo import checkpoint
from genzoo.contract import Batch, Data, GenerativeModel, Loss, Request, Spec
from genzoo.draws import GeneratorNoise, Noise, torch_generator
from genzoo.errors import UserError
from genzoo.families import Autoregressive, Flow
from genzoo.objectives import Adversarial, TransformerCritic
from genzoo.trainer import Hooks, Options, fit

BITS = Spec((2,), vocab=2)
STRINGS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
SCORES = torch.tensor([1.5, -0.5, 0.25, -2.0])
LOGITS = torch.tensor([0.3, -1.0, 0.8, 0.0])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int = 0) -> GeneratorNoise:
    return GeneratorNoise(seeded(seed))


def number_of(x: Tensor) -> Tensor:
    """Strings [B, 2] as numbers [B]."""
    return 2 * x[:, 0] + x[:, 1]


class Categorical(GenerativeModel):
    """A free probability for each of the four strings of two bits.

    fixed: strings that `sample` gives in place of random ones. It counts how often its own loss is asked for.
    """

    def __init__(self, logits: Tensor = LOGITS, *, fixed: Tensor | None = None, known: bool = True) -> None:
        super().__init__()
        self.spec, self.logits = BITS, nn.Parameter(logits.clone())
        self.fixed, self.known, self.losses, self.asked = fixed, known, 0, []

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        self.losses += 1
        value = -self.logits.log_softmax(dim=0)[number_of(batch.x)]
        return Loss(value, logs={"own_number": torch.tensor(7.0)})

    def sample(self, n: int, cond: Mapping[str, Tensor], noise: Noise, **options: Any) -> Tensor:
        self.asked.append((n, dict(cond)))
        if self.fixed is not None:
            return self.fixed
        return STRINGS[noise.choose(self.logits.softmax(dim=0).expand(n, -1))]

    def log_prob(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor | None:
        return self.logits.log_softmax(dim=0)[number_of(x)] if self.known else None


class Table(nn.Module):
    """A critic with a number for each string; it writes down what it sees."""

    def __init__(self, scores: Tensor = SCORES) -> None:
        super().__init__()
        self.scores, self.seen = nn.Parameter(scores.clone()), []

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        self.seen.append((x, label))
        return self.scores[number_of(x)]


class Plane(nn.Module):
    """The critic a x, for continuous examples [B, 2]."""

    def __init__(self, slope: tuple[float, float] = (0.7, -0.4)) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return x @ self.slope


class Drift(nn.Module):
    """The same velocity everywhere: a flow with this network moves its noise by `speed`."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.speed = nn.Parameter(torch.tensor([0.5, 0.25]))

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return self.speed + 0 * x


def table(scores: Tensor = SCORES, **options: Any) -> Adversarial:
    """The objective on two bits, with a critic that is a table."""
    return Adversarial(BITS, critic=lambda spec: Table(scores), **options)


def loss_of(
    objective: Adversarial, turn: str, model: GenerativeModel, batch: Batch, seed: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    return objective.loss(turn, {"model": model, "critic": objective.critic}, batch, seeded(seed))


def gradient(objective: Adversarial, model: Categorical, n: int, seed: int = 0) -> Tensor:
    """Of the model's turn, on its logits."""
    model.zero_grad()
    loss_of(objective, "model", model, Batch(torch.zeros(n, 2, dtype=torch.long)), seed)[0].backward()
    return model.logits.grad.clone()


def exact_gradient(scores: Tensor = SCORES) -> Tensor:
    """Of -sum_x p(x) score(x) on the logits: -p(x) (score(x) - its mean)."""
    p = LOGITS.softmax(dim=0)
    return -p * (scores - p @ scores)


# The score function


@pytest.mark.parametrize("n", [1, 2, 3])
def test_score_gradient_is_unbiased_exactly(n):
    """Over all batches of n strings, each weighed by its probability: the gradient of -sum p(x) critic(x)."""
    objective, p = table(native=0.0, weight=2.5), LOGITS.softmax(dim=0)
    mean = torch.zeros(4)
    for picked in itertools.product(range(4), repeat=n):
        mean += p[list(picked)].prod() * gradient(objective, Categorical(fixed=STRINGS[list(picked)]), n)
    torch.testing.assert_close(mean, 2.5 * exact_gradient(), rtol=1e-5, atol=1e-6)


def test_score_gradient_of_random_batches():
    """What is drawn is what is scored: the mean over 1500 generators is the exact gradient within 4.5 sigma."""
    objective, model = table(native=0.0), Categorical()
    found = torch.stack([gradient(objective, model, 8, seed) for seed in range(1500)])
    error = found.std(dim=0) / 1500**0.5
    assert error.max() < 0.05 * exact_gradient().abs().max(), "the test has the power to see a bias"
    assert ((found.mean(dim=0) - exact_gradient()).abs() < 4.5 * error).all()


def test_baseline_takes_noise_away():
    """A number added to all scores changes no gradient, and a critic without an opinion gives none at all."""
    plain, lifted = table(native=0.0), table(SCORES + 100, native=0.0)
    torch.testing.assert_close(
        gradient(lifted, Categorical(), 16), gradient(plain, Categorical(), 16), atol=1e-4, rtol=0
    )
    assert gradient(table(torch.full((4,), 3.0), native=0.0), Categorical(), 16).eq(0).all()


def test_score_leaves_the_critic_alone():
    """The gradient of the model's turn is the model's: the critic's scores count as numbers."""
    objective = table(native=1.0)
    gradient(objective, Categorical(), 16)
    assert objective.critic.scores.grad is None


# The critic's turn


def test_critic_loss_and_gradient():
    """softplus(fake - real), pair by pair, counted by hand; the model gets no gradient."""
    model, objective = Categorical(fixed=STRINGS[[1, 3, 3]]), table(penalty=0.0)
    batch = Batch(STRINGS[[0, 0, 2]])
    total, logs = loss_of(objective, "critic", model, batch)
    behind = SCORES[[1, 3, 3]] - SCORES[[0, 0, 2]]
    assert total.item() == pytest.approx(sum(math.log1p(math.exp(d)) for d in behind.tolist()) / 3, rel=1e-5)
    assert logs["critic_right"].item() == 1.0
    total.backward()
    assert model.logits.grad is None
    pull = behind.sigmoid() / 3
    want_grad = torch.tensor([-pull[0] - pull[1], pull[0], -pull[2], pull[1] + pull[2]])
    torch.testing.assert_close(objective.critic.scores.grad, want_grad)
    wrong = loss_of(table(-SCORES), "critic", model, batch)[1]["critic_right"]
    assert wrong.item() == 0.0
    half = loss_of(table(), "critic", Categorical(fixed=STRINGS[[2, 0, 3]]), batch)[1]["critic_right"]
    assert half.item() == pytest.approx(2 / 3), "the pair of two equal strings is not ahead"


def test_penalty_is_the_slope():
    """Of tokens: the squared change of the critic when one token is replaced. Of continuous examples: the squared
    gradient, here of a plane, whatever the noise."""
    model, batch = Categorical(fixed=STRINGS[[1, 3, 3]]), Batch(STRINGS[[0, 0, 2]])
    bare = loss_of(table(penalty=0.0), "critic", model, batch)[0].item()
    objective = table(penalty=3.0)
    total, logs = loss_of(objective, "critic", model, batch)
    assert total.item() == pytest.approx(bare + 3 * logs["critic_slope"].item(), rel=1e-5)
    seen = objective.critic.seen[0][0]
    first, near = number_of(seen[:6]), number_of(seen[6:])
    assert (seen[:6] != seen[6:]).sum(1).tolist() == [1] * 6
    assert logs["critic_slope"].item() == pytest.approx((SCORES[first] - SCORES[near]).square().mean().item(), rel=1e-5)
    plane = Adversarial(Spec((2,)), critic=lambda spec: Plane(), through="x_hat")
    many = Batch(3 * torch.randn(20000, 2, generator=seeded()))
    slope = loss_of(plane, "critic", Flow(Spec((2,)), Drift), many)[1]["critic_slope"]
    assert slope.item() == pytest.approx(0.7**2 + 0.4**2, rel=0.03)


@pytest.mark.parametrize("through", ["x_hat", "sample"])
def test_critic_turn_of_a_flow_leaves_no_gradient(through):
    """Nothing of the fakes' making is remembered in the critic's turn, where samples are differentiable too."""
    objective = Adversarial(Spec((2,)), critic=lambda spec: Plane(), through=through)
    model = Flow(Spec((2,)), Drift)
    loss_of(objective, "critic", model, Batch(torch.randn(8, 2, generator=seeded())))[0].backward()
    assert model.net.speed.grad is None
    assert objective.critic.slope.grad.abs().min() > 0


# Differentiable samples


def test_gradient_through_samples():
    """Samples of a drifting flow are noise + c: d/dc of the mean of softplus(-a x) is -a times the mean of
    sigmoid(-a x)."""
    objective = Adversarial(Spec((2,)), critic=lambda spec: Plane(), through="sample", native=0.0, weight=3.0)
    model = Flow(Spec((2,)), Drift)
    total, logs = loss_of(objective, "model", model, Batch(torch.zeros(500, 2)), seed=1)
    total.backward()
    x = torch.randn(500, 2, generator=seeded(1)) + model.net.speed.detach()
    score = x @ objective.critic.slope.detach()
    assert total.item() == pytest.approx(3 * F.softplus(-score).mean().item(), rel=1e-4)
    torch.testing.assert_close(
        model.net.speed.grad, -3 * (-score).sigmoid().mean() * objective.critic.slope.detach(), rtol=1e-4, atol=1e-6
    )
    assert logs["fooled"].item() == pytest.approx((score > 0).float().mean().item())


def test_options_of_the_sampler():
    """Samples are made as asked: those of a flow whose velocity is x grow by 1 + 1 / steps in each of Euler's steps."""

    class Growth(Drift):
        def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
            return x + 0 * self.speed

    options = {"steps": 3, "solver": "euler"}
    objective = Adversarial(Spec((2,)), critic=lambda spec: Plane(), through="sample", native=0.0, sampler=options)
    model = Flow(Spec((2,)), Growth)
    objective.check(model)
    total, _ = loss_of(objective, "model", model, Batch(torch.zeros(50, 2)), seed=1)
    x = torch.randn(50, 2, generator=seeded(1)) * (4 / 3) ** 3
    assert total.item() == pytest.approx(F.softplus(-x @ objective.critic.slope).mean().item(), rel=1e-5)


def test_distillation():
    """Samples of a drifting flow are noise + c: of the same noise they lie c - c_start from those of the start,
    in however many steps. The start stays as it was."""
    words = {"through": "sample", "native": 0.0, "weight": 0.0, "distil": 5.0, "sampler": {"steps": 1}}
    objective = Adversarial(Spec((2,)), critic=lambda spec: Plane(), teacher={"steps": 7}, **words)
    model = Flow(Spec((2,)), Drift)
    objective.check(model)
    objective.begin(model)
    moved = torch.tensor([0.5, -1.5])
    with torch.no_grad():
        model.net.speed += moved
    total, logs = loss_of(objective, "model", model, Batch(torch.zeros(300, 2)), seed=1)
    total.backward()
    variance = (torch.randn(300, 2, generator=seeded(1)) + model.net.speed.detach() - moved).var()
    assert logs["apart"].item() == pytest.approx((moved.square().mean() / variance).item(), rel=1e-4)
    assert total.item() == pytest.approx(5 * logs["apart"].item(), rel=1e-5)
    torch.testing.assert_close(model.net.speed.grad, 5 * moved / variance, rtol=1e-4, atol=1e-6)
    assert objective.tunes
    assert objective.start.net.speed.grad is None


@pytest.mark.parametrize("through", ["auto", "x_hat"])
def test_gradient_through_x_hat(through):
    """x_hat of a drifting flow at (x_t, t) is x_t + (1 - t) c; one call of the model gives both parts of the loss."""
    objective = Adversarial(Spec((2,)), critic=lambda spec: Plane(), through=through, weight=2.0, native=0.5)
    model, calls = Flow(Spec((2,)), Drift), []
    batch = Batch(torch.randn(300, 2, generator=seeded(5)) + 1)
    asked = model.net.register_forward_hook(lambda *_: calls.append(1))
    total, logs = loss_of(objective, "model", model, batch, seed=2)
    total.backward()
    assert len(calls) == 1
    asked.remove()
    found = model.net.speed.grad.clone()

    model.zero_grad()
    own = model.loss(batch, seeded(2))
    ahead = (own.x_hat - batch.x) @ objective.critic.slope.detach()
    want = 2 * F.softplus(-ahead).mean() + 0.5 * own.value.mean()
    want.backward()
    assert total.item() == pytest.approx(want.item(), rel=1e-5)
    torch.testing.assert_close(found, model.net.speed.grad)
    assert logs["native"].item() == pytest.approx(own.value.mean().item(), rel=1e-5)
    assert not logs["native"].requires_grad


def test_auto_is_score_for_discrete_models():
    """Without differentiable samples `auto` and `score` are the same."""
    auto, score = (gradient(table(native=0.0, through=t), Categorical(), 16) for t in ("auto", "score"))
    assert torch.equal(auto, score)
    assert auto.abs().max() > 0


# Weights, numbers to write down, conditions


def test_native_weight():
    """The loss is weight * adversarial + native * own, and its gradient too; own numbers are written down."""
    model, batch = Categorical(fixed=STRINGS[[0, 1, 3]]), Batch(STRINGS[[0, 0, 2]])

    def turn(weight: float, native: float) -> tuple[float, Tensor, dict[str, Tensor]]:
        model.zero_grad()
        total, logs = loss_of(table(weight=weight, native=native), "model", model, batch)
        total.backward()
        return total.item(), model.logits.grad.clone(), logs

    adversarial, own, both = turn(1, 0), turn(0, 1), turn(2, 3)
    assert own[0] == pytest.approx(model.loss(batch).value.mean().item())
    assert both[0] == pytest.approx(2 * adversarial[0] + 3 * own[0], rel=1e-5)
    torch.testing.assert_close(both[1], 2 * adversarial[1] + 3 * own[1])
    assert set(adversarial[2]) == {"fooled"}
    assert set(both[2]) == {"fooled", "native", "own_number"}
    ahead = SCORES[[0, 1, 3]] > SCORES[[0, 0, 2]]
    assert both[2]["fooled"].item() == pytest.approx(ahead.float().mean().item())
    assert both[2]["native"].item() == pytest.approx(own[0])
    assert both[2]["own_number"] == 7
    assert not any(value.requires_grad for value in both[2].values())


def test_without_native_the_own_loss_is_not_computed():
    """native=0 costs nothing, in either turn."""
    model, batch = Categorical(), Batch(STRINGS)
    for turn in Adversarial.turns:
        loss_of(table(native=0.0), turn, model, batch)
    assert model.losses == 0
    assert Adversarial.turns == ("critic", "model")


def test_conditions_reach_critic_and_sampler():
    """The critic sees data and samples each with its label, the sampler is asked for as many under the same
    conditions."""
    model, objective, label = Categorical(), table(), torch.tensor([5, 6, 7])
    batch = Batch(STRINGS[[0, 1, 2]], {"label": label, "other": torch.zeros(3, 4)})
    loss_of(objective, "critic", model, batch)
    loss_of(objective, "model", model, batch)
    (both, labels), (fake, labels_of_fake), (real, labels_of_real) = objective.critic.seen
    assert torch.equal(both[:3], batch.x)
    assert torch.equal(real, batch.x)
    assert labels.tolist() == [5, 6, 7] * 4, "data, fakes, and a step away from both"
    assert labels_of_real.tolist() == [5, 6, 7]
    assert (len(fake), labels_of_fake.tolist()) == (3, [5, 6, 7])
    assert [n for n, _ in model.asked] == [3, 3]
    assert all(cond.keys() == {"label", "other"} and cond["label"] is label for _, cond in model.asked)
    loss_of(objective, "critic", model, Batch(batch.x))
    assert objective.critic.seen[-1][1] is None


class Ending(Categorical):
    """Writes down the options it is asked with, and gives strings that end after the first bit."""

    def sample(self, n: int, cond: Mapping[str, Tensor], noise: Noise, **options: Any) -> Tensor:
        self.asked.append(options)
        x = super().sample(n, cond, noise).clone()
        x[options["stop"](x[:, :1]), 1] = -1
        return x

    def log_prob(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return super().log_prob(x.clamp(min=0), cond)


def test_examples_that_end():
    """Samples end where the data says that tokens do; data that is shorter than its shape is filled up with -1, and a
    step away from both, no token stands behind an end."""
    spec, seen = Spec((2,), vocab=3), []

    class Notes(nn.Module):
        def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
            seen.append(x)
            return 0.1 * x.sum(dim=1)

    data = Drawn(spec, lambda n, g: Batch(torch.ones(n, 1, dtype=torch.long)))
    data.stop = lambda tokens: tokens[:, -1] == 1
    objective, model = Adversarial(spec, critic=lambda spec: Notes(), native=0.0), Ending()
    objective.initialise(data)
    for turn in objective.turns:
        loss, _ = loss_of(objective, turn, model, data.batch(0, 500, "train"))
        assert loss.isfinite()
    assert all(options["stop"] is data.stop for options in model.asked[::2])
    real, fake, near = seen[0][:500], seen[0][500:1000], seen[0][1000:]
    assert real.eq(torch.tensor([1, -1])).all()
    assert torch.equal(fake[:, 1] == -1, fake[:, 0] == 1)
    both = torch.cat((real, fake))
    assert torch.equal(near < 0, both < 0)
    assert 0.4 < ((near != both).sum(dim=1) == 1).float().mean() < 0.9, "the place is an end in some"
    assert (near != both).sum(dim=1).max() == 1


# What cannot be


def test_refusals():
    """Each says what to choose instead."""
    with pytest.raises(ValueError, match="through is auto, x_hat, sample or score, not 'smaple'"):
        table(through="smaple")
    bits, flow = Categorical(), Flow(Spec((2,)), Drift)
    for way in ("x_hat", "sample"):
        with pytest.raises(ValueError, match=f"objective.through={way} cannot reach this model: choose score"):
            table(through=way).check(bits)
        for turn in Adversarial.turns:
            with pytest.raises(ValueError, match="choose score"):
                loss_of(table(through=way), turn, bits, Batch(STRINGS))
    with pytest.raises(ValueError, match="objective.through=score cannot reach this model: choose x_hat or sample"):
        Adversarial(Spec((2,)), critic=lambda spec: Plane(), through="score").check(flow)
    with pytest.raises(ValueError, match=r"objective\.sampler is for samples that are judged"):
        Adversarial(Spec((2,)), critic=lambda spec: Plane(), sampler={"steps": 2}).check(flow)
    with pytest.raises(ValueError, match=r"unknown key objective\.sampler\.step; there are: steps, solver"):
        Adversarial(Spec((2,)), critic=lambda spec: Plane(), through="sample", sampler={"step": 2}).check(flow)
    with pytest.raises(ValueError, match=r"unknown key objective\.teacher\.step; there are: steps, solver"):
        Adversarial(Spec((2,)), critic=lambda spec: Plane(), through="sample", teacher={"step": 2}).check(flow)
    with pytest.raises(ValueError, match=r"objective\.distil needs samples that a gradient flows through"):
        Adversarial(Spec((2,)), critic=lambda spec: Plane(), distil=1.0).check(flow)


# Through fit()


class Drawn(Data):
    """Fresh examples from a function of (n, generator)."""

    def __init__(self, spec: Spec, draw: Callable[[int, torch.Generator], Batch]) -> None:
        self._spec, self.draw = spec, draw

    def prepare(self) -> None:
        pass

    @property
    def spec(self) -> Spec:
        return self._spec

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        return self.draw(size, torch_generator("drawn", split, step))

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        yield self.batch(0, size, split)

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


LAW = torch.tensor([0.1, 0.5, 0.05, 0.35])
TWO_BITS = Drawn(BITS, lambda n, g: Batch(STRINGS[torch.multinomial(LAW, n, replacement=True, generator=g)]))
GAUSSIAN = Drawn(Spec((2,)), lambda n, g: Batch(torch.randn(n, 2, generator=g) * 0.5 + torch.tensor([2.0, -1.0])))


def quick(**options: Any) -> Options:
    defaults = {"optimizer": "adamw", "lr": 0.02, "warmup": 0, "ema": 0.0, "device": "cpu", "precision": "float32"}
    return Options(**{**defaults, "val_every": 0, "save_every": 0, "log_every": 1, **options})


def distance(model: Categorical) -> float:
    """Total variation from the data's law."""
    return (model.logits.softmax(dim=0) - LAW).abs().sum().item() / 2


def test_the_law_is_learned_from_the_critic_alone():
    """Without its own loss the model goes from far away to the data's law, and the critic ends at a loss."""
    torch.manual_seed(0)
    objective = Adversarial(BITS, critic=lambda spec: TransformerCritic(spec, dim=16, depth=1, heads=2), native=0.0)
    model, rows = Categorical(torch.tensor([1.0, -1.5, 1.5, -1.0])), []
    assert distance(model) > 0.6
    hooks = Hooks(log=lambda step, split, numbers: rows.append(dict(numbers)))
    fit(model, TWO_BITS, objective, quick(steps=200, batch_size=256), hooks=hooks)
    assert distance(model) < 0.12
    assert model.losses == 0
    assert rows[0].keys() >= {"loss", "loss_critic", "critic_right", "fooled", "grad_norm", "grad_norm_critic"}
    assert min(row["loss_critic"] for row in rows) < 0.6
    assert rows[-1]["loss_critic"] == pytest.approx(math.log(2), abs=0.06)


def test_a_flow_is_learned_through_its_samples():
    """A drifting flow finds the mean of the data from what the critic says about its samples."""
    torch.manual_seed(0)
    model = Flow(Spec((2,)), Drift)
    data = Drawn(Spec((2,)), lambda n, g: Batch(torch.randn(n, 2, generator=g) + torch.tensor([2.0, -1.0])))
    objective = Adversarial(
        Spec((2,)),
        critic=lambda spec: TransformerCritic(spec, dim=16, depth=1, heads=2),
        native=0.0,
        through="sample",
    )
    fit(model, data, objective, quick(steps=120, batch_size=128, lr=0.03))
    assert (model.net.speed - torch.tensor([2.0, -1.0])).norm() < 0.3


def test_rate_of_the_critic():
    """Its rates are so many times the model's, of both optimizers, at every step."""
    objective = Adversarial(
        BITS, critic=lambda spec: TransformerCritic(spec, dim=16, depth=1, heads=2), native=0.0, rate=5.0
    )
    state = fit(
        Categorical(), TWO_BITS, objective, quick(optimizer="muon", steps=1, batch_size=4, lr=0.01, muon_lr=0.02)
    )
    peaks = {turn: [o.param_groups[0]["peak_lr"] for o in group] for turn, group in state.optimizers.items()}
    assert peaks == {"critic": pytest.approx([0.05, 0.1]), "model": pytest.approx([0.01])}
    with pytest.raises(ValueError, match="rate must be above 0, not 0"):
        table(rate=0.0)


@pytest.mark.parametrize("native", [0.0, 1.0])
def test_which_weights_are_the_best(native):
    """From the data's own law on, where the likelihood can only fall: the latest, where it is not what is raised."""
    torch.manual_seed(0)
    objective = Adversarial(BITS, critic=lambda spec: TransformerCritic(spec, dim=16, depth=1, heads=2), native=native)
    losses, best = [], []
    hooks = Hooks(
        log=lambda step, split, numbers: losses.append(numbers["loss"]) if split == "val" else None,
        save=lambda state, is_best: best.append(is_best),
    )
    options = quick(steps=60, batch_size=64, val_every=10, val_batches=1, lr=0.2)
    fit(Categorical(LAW.log()), TWO_BITS, objective, options, hooks=hooks)
    least = [loss == min(losses[: i + 1]) for i, loss in enumerate(losses)]
    assert not all(least)
    assert best == ([True] * 6 if not native else [*(x for x in least[:-1] if x), least[-1]])


class Net(nn.Module):
    """A small velocity field."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 2))

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return self.layers(torch.cat((x, t[:, None]), dim=1))


def test_a_flow_still_learns_beside_a_critic():
    """through=x_hat with native=1: the model's own loss falls to near its floor, and its samples are the data's."""
    torch.manual_seed(0)
    model, rows = Flow(Spec((2,)), Net), []
    objective = Adversarial(
        Spec((2,)), critic=lambda spec: TransformerCritic(spec, dim=16, depth=1, heads=2), weight=0.1, through="x_hat"
    )
    hooks = Hooks(log=lambda step, split, numbers: rows.append(dict(numbers)))
    fit(model, GAUSSIAN, objective, quick(steps=200, batch_size=128, lr=0.01), hooks=hooks)
    native = [row["native"] for row in rows]
    assert native[0] > 3
    assert sum(native[-20:]) / 20 < 1.1, "the least is the mean of 0.25 / ((1 - t)^2 + 0.25 t^2) over t: 0.79"
    with torch.no_grad():
        x = model.sample(2000, {}, drawn())
    assert (x.mean(dim=0) - torch.tensor([2.0, -1.0])).abs().max() < 0.15
    assert (x.std(dim=0) - 0.5).abs().max() < 0.15


class Watched(Adversarial):
    """Writes down, at the beginning of each turn, the weights of both sides and whether gradients are left over."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[tuple[str, Tensor, Tensor]] = []

    def loss(
        self, turn: str, modules: Mapping[str, Callable[..., Any]], batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        parts = [list(modules[name].parameters()) for name in ("critic", "model")]
        assert all(p.grad is None for part in parts for p in part)
        self.seen.append((turn, *(nn.utils.parameters_to_vector(part).detach().clone() for part in parts)))
        return super().loss(turn, modules, batch, generator)


@pytest.mark.parametrize("through", ["x_hat", "sample"])
def test_turns(through):
    """Each turn moves its own side alone, bit for bit: the critic's gradient from the model's turn is thrown away."""
    torch.manual_seed(0)
    objective = Watched(Spec((2,)), critic=lambda spec: TransformerCritic(spec, dim=16, depth=1), through=through)
    fit(Flow(Spec((2,)), Net), GAUSSIAN, objective, quick(steps=6, batch_size=8))
    assert [turn for turn, _, _ in objective.seen] == ["critic", "model"] * 6
    for (turn, *before), (_, *after) in itertools.pairwise(objective.seen):
        moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert moved == [turn == "critic", turn == "model"]


def test_model_turn_leaves_the_critic_alone():
    """Outside `fit` too, the model's turn leaves no gradient on the critic, which can learn again afterwards."""
    objective = Adversarial(Spec((2,)), critic=lambda spec: Plane(), through="x_hat")
    model, batch = Flow(Spec((2,)), Net), Batch(torch.ones(8, 2))
    loss_of(objective, "model", model, batch)[0].backward()
    assert objective.critic.slope.grad is None
    loss_of(objective, "critic", model, batch)[0].backward()
    assert objective.critic.slope.grad.abs().max() > 0


# Autoregressive models

WORDS = Spec((5,), vocab=7, context={"prefix": (-1,)})


def draw_words(n: int, generator: torch.Generator) -> Batch:
    tokens = torch.randint(7, (n, 7), generator=generator)
    return Batch(tokens[:, 2:], {"prefix": tokens[:, :2]})


@pytest.mark.parametrize("net", [{}, {"window": 2, "depth": 3, "dropout": 0.1}], ids=["plain", "window and dropout"])
def test_autoregressive_with_a_prefix(net):
    """Samples are made in inference mode, and still both sides learn: no gradient is missing, none is no number."""
    torch.manual_seed(0)
    options = {"depth": 1, "heads": 2, "context": 8, **net}
    model = Autoregressive(WORDS, lambda vocab: TokenTransformer(vocab, 16, **options))
    objective = Watched(WORDS, critic=lambda spec: TransformerCritic(spec, dim=16, depth=1))
    rows = []
    hooks = Hooks(log=lambda step, split, numbers: rows.append(dict(numbers)))
    fit(model, Drawn(WORDS, draw_words), objective, quick(steps=3, batch_size=6), hooks=hooks)
    assert len(rows) == 3
    assert all(row["grad_norm"] > 0 and row["grad_norm_critic"] > 0 for row in rows)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert not torch.equal(objective.seen[0][1], objective.seen[-1][1])
    assert not torch.equal(objective.seen[0][2], objective.seen[-1][2])
    model.zero_grad()
    loss_of(Adversarial(WORDS, critic=lambda spec: objective.critic), "model", model, draw_words(6, seeded()))[
        0
    ].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_score_gradient_follows_the_prefix():
    """Strings are scored under the conditions they were drawn under: one token, a network that copies the prefix's
    last token as its bias, a critic that wants token 2."""

    class Copy(nn.Module):
        context = 8

        def __init__(self, vocab: int) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocab + 1, vocab)  # logits by the last token

        def make_cache(self) -> None:
            return None

        def forward(self, tokens: Tensor, *, cond: object = None, cache: object = None, last: bool = False) -> Tensor:
            return self.embedding(tokens)

    class Wants(nn.Module):
        def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
            return 3.0 * (x[:, 0] == 2)

    torch.manual_seed(0)
    spec = Spec((1,), vocab=3)
    model = Autoregressive(spec, Copy)
    objective = Adversarial(spec, critic=lambda spec: Wants(), native=0.0)
    batch = Batch(torch.zeros(4000, 1, dtype=torch.long), {"prefix": torch.tensor([[0], [1]]).repeat(2000, 1)})
    loss_of(objective, "model", model, batch)[0].backward()
    found, p = model.net.embedding.weight.grad, model.net.embedding.weight.detach().softmax(dim=1)
    wanted = 3.0 * torch.tensor([0.0, 0.0, 1.0])
    exact = -p * (wanted - (p @ wanted)[:, None]) / 2  # each prefix is half of the batch
    exact[2:] = 0
    assert found[2:].eq(0).all()
    torch.testing.assert_close(found, exact, rtol=0, atol=0.03)
    assert exact.abs().max() > 0.1


# From the command line

WORDS_OF_RUN = (
    "objective=adversarial",
    "objective.critic.dim=16",
    "objective.critic.depth=1",
    "objective.critic.heads=2",
    "data.context=12",
    "model.net.dropout=0.1",
    "trainer.steps=6",
    "trainer.val_every=0",
    "trainer.save_every=3",
    "trainer.log_every=1",
    "samples=0",
)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for name, item in items for key, leaf in flat(item, f"{prefix}.{name}").items()}
    return {prefix: value}


def test_a_resumed_run_ends_in_the_same_bits(tmp_path, text_file):
    """A run by configuration alone, gone on with from its middle: model, critic and both optimizers, to the bit."""
    words = [*WORDS_OF_RUN, f"data.path={text_file}"]
    whole = genzoo.train("text_smoke", [*words, f"out={tmp_path / 'whole'}"])
    half = shutil.copytree(whole, tmp_path / "half", symlinks=True)
    shutil.rmtree(half / "checkpoints" / "step_000006")
    genzoo.train("text_smoke", [*words, f"out={half}", "resume=true"])

    first, second = (checkpoint.load(run / "checkpoints" / "last") for run in (whole, half))
    assert first.step == second.step == 6
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    begun = flat(checkpoint.load_train_state(whole / "checkpoints" / "step_000003"))
    states = [flat(checkpoint.load_train_state(run / "checkpoints" / "step_000006")) for run in (whole, half)]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        other = states[1][key]
        assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, key
    for part in (".objective.critic.embed.weight", ".optimizers.critic.0.state.0.exp_avg", ".model.net.mix_i2"):
        assert not torch.equal(begun[part], states[0][part]), part
    rows = [list(csv.DictReader((run / "log.csv").read_text().splitlines())) for run in (whole, half)]
    for row in (*rows[0], *rows[1]):
        assert float(row.pop("examples_per_second")) > 0
    assert rows[0] == rows[1]
    assert rows[0][-1].keys() >= {"loss", "loss_critic", "critic_right", "fooled", "native"}
    assert genzoo.load(half).sample(1, length=5).x.shape == (1, 5)


@pytest.mark.parametrize("through", ["smaple", "sample", "x_hat"])
def test_wrong_ways_are_one_line(tmp_path, text_file, tiny, through):
    """What cannot be asked of a text model is a UserError that names the key."""
    words = [*tiny, "objective=adversarial", f"objective.through={through}", f"data.path={text_file}"]
    with pytest.raises(UserError, match=r"objective\.through"):
        genzoo.train("text_smoke", [*words, f"out={tmp_path / 'run'}"])


def test_a_critic_of_places():
    """A critic that gives several scores an example plays the game at each place: the loss is the mean over all."""

    class Places(nn.Module):
        def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
            return torch.stack((x.sum(1), -2 * x[:, 0], x[:, 1]), dim=1)

    class Copy(GenerativeModel):
        estimates = True

        def __init__(self) -> None:
            super().__init__()
            self.spec, self.shift = Spec((2,)), nn.Parameter(torch.tensor([0.5, -1.0]))

        def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
            return Loss(torch.zeros(len(batch)), x_hat=batch.x + self.shift)

        def sample(self, n: int, cond: Mapping[str, Tensor], noise: Noise, **options: Any) -> Tensor:
            raise NotImplementedError

    model, x = Copy(), torch.randn(5, 2, generator=seeded())
    objective = Adversarial(model.spec, critic=lambda _: Places(), penalty=0.0, native=0.0)
    modules = {"model": model, "critic": objective.critic}
    ahead = torch.tensor([-0.5, -1.0, -1.0])  # of the shifted examples, at each place
    total, logs = objective.loss("model", modules, Batch(x), seeded())
    assert total.item() == pytest.approx(F.softplus(-ahead).mean().item())
    assert logs["fooled"].item() == 0
    total, logs = objective.loss("critic", modules, Batch(x), seeded())
    assert total.item() == pytest.approx(F.softplus(ahead).mean().item())
    assert logs["critic_right"].item() == 1


TWO_STEPS = (
    "objective.through=sample",
    "objective.native=0",
    "+objective.sampler={steps: 2, solver: euler}",
    "objective.distil=1",
    "init=RUN",
)
"""A flow that was trained becomes a generator of two steps."""


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("text", ()),
        ("audio", ("data.seconds=4", "model.net.context=512")),
        ("music", ("data.ticks=256",)),
        ("points", ("objective=adversarial_shapes", "init=RUN")),
        ("motion", ()),
        ("motion", TWO_STEPS),
        ("video", ("objective=adversarial_clips", "init=RUN")),
        ("weather", ()),
        ("weather", TWO_STEPS),
        ("born", ()),
    ],
)
def test_cells(smoke_run_of, tmp_path, preset, words):
    """The game is played with every kind of data, from nothing or from a trained model on: both sides learn, and
    samples are what samples are. Sound and music end before an example does: what is missing is no token."""
    words = ["objective=adversarial", *(word.replace("RUN", str(smoke_run_of(preset))) for word in words)]
    if preset == "audio":
        words.append(f"data.codec={smoke_run_of('audio_codec')}")
    words += ["trainer.steps=2", "trainer.val_every=2", "trainer.log_every=1", "trainer.save_every=1", "samples=0"]
    run = genzoo.train(f"{preset}_smoke", [*words, f"out={tmp_path / 'run'}"])
    rows = list(csv.DictReader((run / "log.csv").read_text().splitlines()))
    played = [row for row in rows if row["split"] == "train"]
    assert len(played) == 2
    assert all(math.isfinite(float(row[name])) for row in played for name in ("loss", "loss_critic"))
    states = [checkpoint.load_train_state(run / "checkpoints" / f"step_00000{step}") for step in (1, 2)]
    for side in ("objective", "model"):
        first, second = (flat({name: v for name, v in state[side].items()}) for state in states)
        assert any(not torch.equal(value, second[name]) for name, value in first.items() if isinstance(value, Tensor))
    trained = genzoo.load(run)
    x = trained.sample(2).x
    assert x.isfinite().all() if not trained.data.spec.vocab else -1 <= x.min() <= x.max() < trained.data.spec.vocab
    if preset in ("audio", "music"):
        trained.data.prepare()
        real = trained.data.batch(0, 4, "train").x
        assert (real < 0).any() or real[0].numel() < math.prod(trained.data.spec.shape)
