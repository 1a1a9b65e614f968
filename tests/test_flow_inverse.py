"""The noise that a sample came from: the flow's equation solved backwards."""

import itertools
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from genzoo.contract import Spec
from genzoo.families import Flow


class Field(nn.Module):
    """A velocity given as a function of (x, t, cond)."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return self.function(x, t[:, None], cond)


class Where(nn.Module):
    """A base of this mean and standard deviation."""

    def forward(self, cond: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.tensor([5.0, -1.0]).double(), torch.tensor([2.0, 0.5]).double()


def wavy(x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
    """Neither linear nor the same at all times."""
    return torch.sin(2 * x) * (1 + t) + torch.cos(3 * t) + x.flip(-1) / 2


def examples(n: int = 6) -> Tensor:
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def model(function=wavy, *, based: bool = False, classes: int = 0) -> Flow:
    base = (lambda spec: Where()) if based else None
    return Flow(Spec((2,), classes=classes), lambda spec: Field(function), base=base).eval()


@pytest.mark.parametrize("based", [False, True])
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_a_sample_of_its_own_noise(solver, order, based):
    """sample(noise_of(x)) is x, to an error that falls with the steps at the solver's order."""
    flow, x = model(based=based), examples()
    generator = torch.Generator()
    errors = []
    for steps in (32, 64, 128):
        noise = flow.noise_of(x, {}, steps=steps, solver=solver)
        errors.append((flow.sample(6, {}, generator, start=noise, steps=steps, solver=solver) - x).abs().max().item())
    assert errors[-1] < (0.3 if order == 1 else 3e-3)
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine > 0.75 * 2**order
    assert (noise - x).abs().max() > 0.3, "and it is not x itself"


def test_known_noise():
    """Where dx/dt = x in the base's units, the noise is (x - mean) / std / e."""
    flow, x = model(lambda x, t, cond: x, based=True), examples()
    mean, std = Where()({})
    torch.testing.assert_close(flow.noise_of(x, {}, steps=200), (x - mean) / std / math.e, rtol=0, atol=1e-4)


def test_conditions_count():
    """The label says which velocity is followed back, and without one the unlabelled is."""
    flow = model(lambda x, t, cond: cond["label"][:, None].to(x).expand_as(x), classes=2)
    x = examples(3)
    told = flow.noise_of(x, {"label": torch.tensor([0, 1, 1])}, steps=3)
    torch.testing.assert_close(told, x - torch.tensor([[0.0], [1.0], [1.0]]).double())
    torch.testing.assert_close(flow.noise_of(x, {}, steps=3), x - 2)


@pytest.mark.parametrize("steps", [0, -3])
def test_too_few_steps(steps):
    with pytest.raises(ValueError, match=f"steps must be at least 1, not {steps}"):
        model().noise_of(examples(), {}, steps=steps)


def test_unknown_solver():
    with pytest.raises(ValueError, match="solver is one of .*'rk4'"):
        model().noise_of(examples(), {}, solver="rk4")
