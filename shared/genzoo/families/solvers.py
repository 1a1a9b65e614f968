"""Fixed-step solvers of dx/dt = velocity(x, t). Plain functions over any callable.

`steps` is the number of intervals; midpoint and heun look at the velocity twice in each.
"""

import itertools
from collections.abc import Callable
from typing import Literal

from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]


def euler(velocity: Velocity, x: Tensor, times: list[float]) -> Tensor:
    """First order: x + h v(x, t)."""
    for start, end in itertools.pairwise(times):
        x = x + (end - start) * velocity(x, start)
    return x


def midpoint(velocity: Velocity, x: Tensor, times: list[float]) -> Tensor:
    """Second order: the velocity half a step ahead (explicit midpoint rule)."""
    for start, end in itertools.pairwise(times):
        h = end - start
        x = x + h * velocity(x + h / 2 * velocity(x, start), start + h / 2)
    return x


def heun(velocity: Velocity, x: Tensor, times: list[float]) -> Tensor:
    """Second order: the mean of the velocities at both ends (explicit trapezoidal rule; Karras et al. 2022, alg. 1)."""
    for start, end in itertools.pairwise(times):
        h = end - start
        first = velocity(x, start)
        x = x + h / 2 * (first + velocity(x + h * first, end))
    return x


SOLVERS: dict[str, Callable[[Velocity, Tensor, list[float]], Tensor]] = {
    "euler": euler,
    "midpoint": midpoint,
    "heun": heun,
}
Solver = Literal["euler", "midpoint", "heun", "stochastic"]
"""The last one needs random numbers: see `families.stochastic`."""


def solve(solver: Solver, velocity: Velocity, x: Tensor, times: list[float]) -> Tensor:
    """By the solver of that name; ValueError where there is none."""
    if solver not in SOLVERS:
        raise ValueError(f"solver is one of {', '.join(SOLVERS)}, not {solver!r}")
    return SOLVERS[solver](velocity, x, times)
