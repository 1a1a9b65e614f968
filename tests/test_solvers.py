"""Solvers of differential equations: their order, measured on equations with a closed form."""

import math
import random

import pytest
import torch
from torch import Tensor

from genzoo.families.solvers import SOLVERS

ORDER = {"euler": 1, "midpoint": 2, "heun": 2}
CALLS = {"euler": 1, "midpoint": 2, "heun": 2}


def grid(steps: int, end: float = 1.0) -> list[float]:
    return [end * i / steps for i in range(steps + 1)]


def velocity(x: Tensor, t: float) -> Tensor:
    return -x + math.sin(t)


def exact(x: Tensor, t: float) -> Tensor:
    """dx/dt = -x + sin t from x at 0: (x + 1/2) exp(-t) + (sin t - cos t) / 2."""
    return (x + 0.5) * math.exp(-t) + (math.sin(t) - math.cos(t)) / 2


def slope(xs: list[float], ys: list[float]) -> float:
    """Of the straight line through the logarithms (least squares)."""
    xs, ys = [math.log(x) for x in xs], [math.log(y) for y in ys]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / sum((x - x_mean) ** 2 for x in xs)


def test_every_solver_is_measured():
    """A new solver must come with its order."""
    assert set(SOLVERS) == set(ORDER)


@pytest.mark.parametrize("name", SOLVERS)
def test_order_of_convergence(name):
    """The error falls as the step to the power of the order."""
    start = torch.tensor([1.0, -0.3, 2.0], dtype=torch.float64)
    sizes = [1 / n for n in (16, 32, 64, 128, 256)]
    errors = [(SOLVERS[name](velocity, start, grid(round(1 / h))) - exact(start, 1.0)).abs().max() for h in sizes]
    assert slope(sizes, [error.item() for error in errors]) == pytest.approx(ORDER[name], abs=0.1)
    assert errors[-1] < (0.01 if ORDER[name] == 1 else 1e-5)


@pytest.mark.parametrize("name", SOLVERS)
def test_order_on_uneven_steps(name):
    """The same where each step has another length, and where time does not begin at 0."""
    start, sizes, errors = torch.tensor([1.0, -0.3], dtype=torch.float64), [], []
    for steps in (32, 64, 128, 256):
        numbers = random.Random(0)
        times = [0.5 + (i + (numbers.uniform(-0.4, 0.4) if 0 < i < steps else 0)) / steps for i in range(steps + 1)]
        end = SOLVERS[name](velocity, exact(start, 0.5), times)
        sizes.append(1 / steps)
        errors.append((end - exact(start, 1.5)).abs().max().item())
    assert slope(sizes, errors) == pytest.approx(ORDER[name], abs=0.2)


@pytest.mark.parametrize("name", SOLVERS)
def test_backwards_in_time(name):
    """Falling times lead from the end to the start."""
    start = torch.tensor([1.0], dtype=torch.float64)
    back = SOLVERS[name](velocity, exact(start, 1.0), grid(500)[::-1])
    torch.testing.assert_close(back, start, rtol=0, atol=0.01 if ORDER[name] == 1 else 1e-5)


@pytest.mark.parametrize("name", SOLVERS)
def test_degree_of_exactness(name):
    """A velocity that is a polynomial in time, of a degree below the order, is integrated without error in one step."""
    start, degree = torch.zeros(2, dtype=torch.float64), ORDER[name] - 1

    def polynomial(x: Tensor, t: float) -> Tensor:
        return torch.full_like(x, (degree + 1) * t**degree)

    end = SOLVERS[name](polynomial, start, [0.0, 0.7])
    torch.testing.assert_close(end, torch.full_like(end, 0.7 ** (degree + 1)), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        # by hand, from x = 1 with h = 1/2 and dx/dt = t x^2, t from 1:
        ("euler", 1 + 0.5 * 1),
        ("midpoint", 1 + 0.5 * 1.25 * (1 + 0.25 * 1) ** 2),
        ("heun", 1 + 0.25 * (1 + 1.5 * (1 + 0.5 * 1) ** 2)),
    ],
)
def test_one_step_by_hand(name, want):
    """The two solvers of second order are the ones they are named after."""
    end = SOLVERS[name](lambda x, t: t * x**2, torch.ones(1, dtype=torch.float64), [1.0, 1.5])
    assert end.item() == pytest.approx(want, abs=1e-15)


@pytest.mark.parametrize("name", SOLVERS)
def test_calls_of_the_velocity(name):
    """As often as the solver says, at times inside the interval, in plain floats; the start is left as it was."""
    start, asked = torch.ones(3), []

    def note(x: Tensor, t: float) -> Tensor:
        asked.append(t)
        return x

    SOLVERS[name](note, start, grid(5))
    assert len(asked) == 5 * CALLS[name]
    assert all(type(t) is float and 0 <= t <= 1 for t in asked)
    assert torch.equal(start, torch.ones(3))
