"""Objectives: the arithmetic of the native one, and turns that each train their own module."""

import copy
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genzoo
from genzoo import checkpoint
from genzoo.contract import Batch, Data, GenerativeModel, Loss, Objective, Request, Spec
from genzoo.draws import Noise
from genzoo.errors import UserError
from genzoo.families import Autoregressive, Flow
from genzoo.model import build_objective
from genzoo.objectives import Adversarial, Native
from genzoo.trainer import Hooks, Options, fit


class Point(GenerativeModel):
    """One weight w: it says that every example is w, and loses (x - w)^2."""

    spec = Spec((1,))

    def __init__(self, weight: float = 0.5, *, knows: bool = True) -> None:
        super().__init__()
        self.weight, self.knows = nn.Parameter(torch.tensor(weight)), knows

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        x_hat = self.weight.expand(len(batch), 1)
        value = (batch.x - x_hat).square().flatten(1).sum(dim=1)
        return Loss(value, x_hat if self.knows else None, {"guess": self.weight.detach()})

    def sample(self, n: int, cond: Mapping[str, Tensor], noise: Noise, **options: Any) -> Tensor:
        return self.weight.expand(n, 1)


class Fives(Data):
    """Every example is 5."""

    spec = Spec((1,))

    def prepare(self) -> None:
        pass

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        return Batch(torch.full((len(rows or range(size)), 1), 5.0))

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        yield self.batch(0, size, split)

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


BATCH = Batch(torch.tensor([[1.0], [2.0], [6.0]]))


def loss_of(objective: Native, model: Callable, batch: Batch = BATCH) -> tuple[Tensor, dict[str, Tensor]]:
    return objective.loss("model", {"model": model}, batch, torch.Generator().manual_seed(0))


# The native objective


def test_native_is_the_mean():
    """Without penalties: the mean of the model's own losses, and its own numbers to write down."""
    total, logs = loss_of(Native(), Point(2.0))
    assert total.item() == pytest.approx((1 + 0 + 16) / 3)
    assert {name: value.item() for name, value in logs.items()} == {"guess": 2.0}
    assert Native.turns == ("model",)


def test_penalties_and_weights():
    """The weighted means of the penalties are added; what is written down is each penalty before its weight."""
    penalties = {
        "size": lambda x_hat, batch: x_hat.square().flatten(1).sum(dim=1),  # 4 each
        "above": lambda x_hat, batch: (x_hat - batch.x).clamp(min=0).flatten(1).sum(dim=1),  # 1, 0, 0
    }
    total, logs = loss_of(Native(penalties=penalties, weights={"above": 30.0}), Point(2.0))
    assert total.item() == pytest.approx(17 / 3 + 1 * 4 + 30 * 1 / 3)
    assert {name: value.item() for name, value in logs.items()} == {
        "guess": 2.0,
        "size": pytest.approx(4),
        "above": pytest.approx(1 / 3),
    }
    assert not any(value.requires_grad for value in logs.values())
    free, logs = loss_of(Native(penalties=penalties, weights={"above": 0.0, "size": 0.0}), Point(2.0))
    assert free.item() == pytest.approx(17 / 3)
    assert logs["size"].item() == 4


def test_gradient_of_a_penalty():
    """d/dw of mean (x - w)^2 + 3 w^2 at w = 2, x = 1, 2, 6: -2 (3 - 2) + 12."""
    model = Point(2.0)
    objective = Native(penalties={"size": lambda x_hat, batch: x_hat.square()[:, 0]}, weights={"size": 3.0})
    loss_of(objective, model)[0].backward()
    assert model.weight.grad.item() == pytest.approx(-2 * (3 - 2) + 12)


def test_penalties_act_through_a_flow():
    """x_hat of a real family carries the gradient of a penalty to the weights of the network."""

    class Net(nn.Module):
        def __init__(self, spec: Spec) -> None:
            super().__init__()
            self.speed = nn.Parameter(torch.zeros(2))

        def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
            return self.speed + 0 * x

    def gradient(**options: Any) -> Tensor:
        model = Flow(Spec((2,)), Net)
        loss_of(Native(**options), model, Batch(torch.zeros(100, 2)))[0].backward()
        return model.net.speed.grad

    first = {"first": lambda x_hat, batch: x_hat[:, 0]}
    more = gradient(penalties=first) - gradient()
    assert 0.3 < more[0] < 0.7, "the mean of 1 - t"
    assert more[1] == 0
    torch.testing.assert_close(gradient(penalties=first, weights={"first": -2.0}) - gradient(), -2 * more)


def test_penalties_need_an_estimate():
    """A model without x_hat is refused where there are penalties, and only there; so is a real one."""
    native = Native(penalties={"size": lambda x_hat, batch: x_hat})
    with pytest.raises(ValueError, match="penalties act on x_hat, and this model has none"):
        loss_of(native, Point(knows=False))
    assert loss_of(Native(), Point(2.0, knows=False))[0].item() == pytest.approx(17 / 3)

    class Net(nn.Module):
        def forward(self, tokens: Tensor, *, cond: Tensor | None = None) -> Tensor:
            return torch.zeros(*tokens.shape, 3)

    words = Autoregressive(Spec((4,), vocab=3), lambda vocab: Net())
    with pytest.raises(ValueError, match="leave objective.penalties empty"):
        loss_of(native, words, Batch(torch.zeros(2, 4, dtype=torch.long)))


def test_weights_without_a_penalty():
    """A misspelt name is refused, and named."""
    with pytest.raises(ValueError, match="penalties that are not there: mass, siez"):
        Native(penalties={"size": lambda x_hat, batch: x_hat}, weights={"size": 1.0, "siez": 1.0, "mass": 2.0})


# Through fit()

OPTIONS = Options(
    steps=300,
    batch_size=4,
    optimizer="adamw",
    lr=0.1,
    warmup=0,
    ema=0.0,
    device="cpu",
    precision="float32",
    val_every=0,
    save_every=0,
    log_every=100,
)


def test_fit_finds_the_minimum_with_penalty():
    """The minimum of (5 - w)^2 + 3 w^2 lies at 5 / 4."""
    objective = Native(penalties={"size": lambda x_hat, batch: x_hat.square()[:, 0]}, weights={"size": 3.0})
    state = fit(Point(), Fives(), objective, OPTIONS)
    assert state.model.weight.item() == pytest.approx(5 / 4, abs=1e-3)


class Duel(Objective):
    """Two turns on purpose entangled: each one's loss also pulls, a thousand times harder, at the other's weight.

    The model alone goes to the data, 5, and the critic's weight alone to 3. What one turn leaves behind on the other's
    weight, as a step or as a gradient, would drive it far away.
    """

    turns = ("critic", "model")

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.critic.weight, 1.0)
        self.seen: list[tuple[str, float, float]] = []

    def loss(
        self, turn: str, modules: Mapping[str, Callable], batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        out = modules["model"](batch, generator)
        weight = self.critic.weight.sum()
        self.seen.append((turn, out.x_hat[0].item(), weight.item()))
        if turn == "critic":
            return (weight - 3).square() + 1000 * out.x_hat.mean(), {"critic_weight": weight.detach()}
        return out.value.mean() - 1000 * weight, dict(out.logs)


def test_each_turn_trains_its_own_module():
    """Between two turns only the weight of the first moves, bit for bit, and both arrive where they want to go."""
    model, objective, rows = Point(), Duel(), []
    hooks = Hooks(log=lambda step, split, numbers: rows.append((step, dict(numbers))))
    state = fit(model, Fives(), objective, OPTIONS, hooks=hooks)

    assert [turn for turn, _, _ in objective.seen] == ["critic", "model"] * 300
    end = ("end", model.weight.item(), objective.critic.weight.item())
    moved = {"critic": 0, "model": 0}
    for (turn, w, c), (_, w_next, c_next) in zip(objective.seen, [*objective.seen[1:], end], strict=True):
        if turn == "critic":
            assert w_next == w
            moved[turn] += c_next != c
        else:
            assert c_next == c
            moved[turn] += w_next != w
    assert min(moved.values()) > 100, "and each does move"
    assert model.weight.item() == pytest.approx(5, abs=1e-2)
    assert objective.critic.weight.item() == pytest.approx(3, abs=1e-2)

    assert set(state.optimizers) == {"critic", "model"}
    assert [step for step, _ in rows] == [100, 200, 300]
    for _, numbers in rows:
        assert {"loss", "loss_critic", "grad_norm", "grad_norm_critic", "guess", "critic_weight"} <= set(numbers)
    last = rows[-1][1]
    assert last["loss_critic"] == pytest.approx(1000 * last["guess"], rel=1e-3)
    assert last["loss"] == pytest.approx(-1000 * last["critic_weight"], rel=1e-3)


def test_a_duel_goes_on_as_if_never_interrupted():
    """The critic, its optimizer and its turns are part of the state: halves make up the whole, bit for bit."""
    whole = fit(Point(), Fives(), Duel(), OPTIONS)
    kept = []
    half = Options(**{**vars(OPTIONS), "save_every": 150})
    fit(
        Point(),
        Fives(),
        Duel(),
        half,
        hooks=Hooks(save=lambda state, is_best: kept.append(copy.deepcopy(state.state_dict()))),
    )
    assert [state["step"] for state in kept] == [150, 300]
    resumed = fit(Point(9.0), Fives(), Duel(), OPTIONS, resume=(kept[0], {}))
    for name, value in whole.state_dict()["model"].items():
        assert torch.equal(resumed.state_dict()["model"][name], value)
    assert torch.equal(resumed.objective.critic.weight, whole.objective.critic.weight)


# From a configuration


def of_config(spec: Spec, *, seed: int = 0, **objective: Any) -> Objective:
    return build_objective({"objective": objective, "trainer": {"seed": seed}}, spec)


ADVERSARIAL = {
    "_target_": "genzoo.objectives.Adversarial",
    "_partial_": True,
    "critic": {"_target_": "genzoo.objectives.TransformerCritic", "_partial_": True, "dim": 16, "depth": 1},
}


def test_a_partial_objective_gets_the_spec():
    """`_partial_: true` stands for an objective that is made from what one example looks like; others are made as
    they are."""
    objective = of_config(Spec((6,), vocab=11, classes=3), weight=0.25, **ADVERSARIAL)
    assert isinstance(objective, Adversarial)
    assert objective.weight == 0.25
    assert objective.critic.embed.weight.shape == (12, 16), "-1 is one more"
    assert objective.critic.label.weight.shape == (3, 16)
    assert isinstance(of_config(Spec((6,)), _target_="genzoo.objectives.Native"), Native)


def test_first_weights_of_an_objective():
    """They come from trainer.seed alone: neither read from nor left in the world's generator."""
    spec = Spec((6, 2))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = of_config(spec, **ADVERSARIAL).critic.embed.weight
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(of_config(spec, **ADVERSARIAL).critic.embed.weight, first)
    assert not torch.equal(of_config(spec, seed=1, **ADVERSARIAL).critic.embed.weight, first)


def test_wrong_objectives_are_refused():
    """As a UserError that names the key."""
    with pytest.raises(UserError, match=r"objective\.through=smaple"):
        of_config(Spec((6,)), **ADVERSARIAL, through="smaple")
    with pytest.raises(UserError, match=r"unknown key objective\.wieght"):
        of_config(Spec((6,)), **ADVERSARIAL, wieght=1.0)
    critic = {**ADVERSARIAL["critic"], "dim": 15}
    with pytest.raises(UserError, match="objective: .*heads"):
        of_config(Spec((6,)), **{**ADVERSARIAL, "critic": critic})


# First weights that depend on the data


def test_initialise_and_start_from(tmp_path, text_file, tiny, monkeypatch):
    """`initialise` is called once, with the prepared data and before the first step, for a new run alone: not where a
    run goes on, not after `init=`, which calls `start_from`; and where a run ended before its first checkpoint, the
    run is new."""
    called: list[tuple[str, Any]] = []

    def initialise(self: Autoregressive, data: Data) -> None:
        called.append(("initialise", data.batch(0, 3, "train").x.shape))
        with torch.no_grad():
            self.net.mix_i2.fill_(0.125)

    start_from = Autoregressive.start_from

    def watched(self: Autoregressive, weights: Mapping[str, Tensor]) -> None:
        called.append(("start_from", weights["net.mix_i2"].clone()))
        start_from(self, weights)

    monkeypatch.setattr(Autoregressive, "initialise", initialise)
    monkeypatch.setattr(Autoregressive, "start_from", watched)
    words = [*tiny, "trainer.lr=0", "trainer.muon_lr=0", "data.context=12", f"data.path={text_file}"]

    def mix(run: Path) -> Tensor:
        return checkpoint.load(run / "checkpoints" / "last").weights["net.mix_i2"]

    run = genzoo.train("text_smoke", [*words, f"out={tmp_path / 'run'}"])
    assert called == [("initialise", (3, 12))]
    assert mix(run).eq(0.125).all()

    genzoo.train("text_smoke", [*words, f"out={run}", "resume=true", "trainer.steps=4"])
    assert len(called) == 1
    assert mix(run).eq(0.125).all()

    fine = genzoo.train("text_smoke", [*words, f"out={tmp_path / 'fine'}", f"init={run}"])
    assert [name for name, _ in called[1:]] == ["start_from"]
    assert called[1][1].eq(0.125).all()
    assert mix(fine).eq(0.125).all()

    for folder in (run / "checkpoints").iterdir():
        folder.unlink() if folder.is_file() else shutil.rmtree(folder)  # the names `last` and `best` are files
    genzoo.train("text_smoke", [*words, f"out={run}", "resume=true"])
    assert called[2:] == [("initialise", (3, 12))]


def test_initialise_can_refuse(tmp_path, text_file, tiny, monkeypatch):
    """What the data does not allow is a UserError, and no run folder is left."""

    def initialise(self: Autoregressive, data: Data) -> None:
        raise ValueError("start=marginals needs bits")

    monkeypatch.setattr(Autoregressive, "initialise", initialise)
    with pytest.raises(UserError, match="model: start=marginals needs bits"):
        genzoo.train("text_smoke", [*tiny, f"data.path={text_file}", f"out={tmp_path / 'run'}"])
    assert not (tmp_path / "run").exists()


def test_init_that_does_not_fit(tmp_path, smoke_run, tiny):
    """What `start_from` cannot take is one line that says what to give, and with that it goes."""
    words = [*tiny, f"init={smoke_run}", "model.net.dim=16", "model.net.depth=3", f"out={tmp_path / 'run'}"]
    with pytest.raises(UserError, match="does not fit this model .*same model options") as error:
        genzoo.train("text_smoke", words)
    theirs = genzoo.load(smoke_run).config["model"]["net"]
    mend = f"model.net.dim={theirs['dim']} model.net.depth={theirs['depth']}"
    assert str(error.value).endswith(f": {mend}")
    assert not (tmp_path / "run").exists()
