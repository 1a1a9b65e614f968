"""The stochastic solver of a flow: each step draws from a Gaussian, so that the probability of a path is known.

Legend: n samples, R rows of a flow's batch (some for each sample, of models that are made of several flows).
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, Optional

import torch
from torch import Tensor

from genzoo.draws import Noise
from genzoo.families.solvers import Velocity

SHARE = 0.7
"""Standard deviation of the noise of a step, over that of ancestral sampling; 0 would draw none (DDIM's eta)."""

LAST = 0.05
"""Standard deviation by which two samples' last steps are told apart, in units of the noise that paths start from."""


@dataclass
class Path:
    """What the stochastic solver did, flow after flow and step after step.

    gradient: "none"; "sample": from a sample back through the last `learned` steps of each flow; "score": of the mean
        of each step, at states that count as numbers.
    given: a path to follow: its states are taken in place of fresh ones, so that the means are those of this model.
    starts: x of each flow [R, *shape]; means, states [R, *shape] and stds of the steps. The last step of a flow draws
        nothing, its state is its mean, and its standard deviation is `LAST`.
    """

    gradient: Literal["none", "sample", "score"] = "none"
    learned: int = 1
    given: Optional["Path"] = None
    starts: list[Tensor] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    stds: list[float] = field(default_factory=list)
    final: list[bool] = field(default_factory=list)

    def begin(self, x: Tensor) -> Tensor:
        x = x if self.given is None else self.given.starts[len(self.starts)]
        self.starts.append(x)
        return x

    def step(self, mean: Tensor, std: float, state: Tensor, final: bool) -> Tensor:
        if self.given is not None:
            state = self.given.states[len(self.states)].detach()
        if self.gradient != "sample":
            state = state.detach()
        for kept, value in ((self.means, mean), (self.stds, std), (self.states, state), (self.final, final)):
            kept.append(value)
        return state

    def log_prob(self, n: int) -> Tensor:
        """Of the states of each of n samples given where the path starts, [n], without the last steps, which draw
        nothing, and up to a constant."""
        found = [
            -of_samples((state.detach() - mean) / std, n) / 2
            for mean, std, state, final in zip(self.means, self.stds, self.states, self.final, strict=True)
            if not final
        ]
        return sum(found)

    def kl(self, other: "Path", n: int) -> Tensor:
        """Of each of n samples [n], in nats: the KL divergence of this model's paths from those of the model that
        followed them, step by step |mean - mean'|^2 / 2 std^2, whose mean is no less than the KL divergence of the
        samples (data processing), each with `LAST` of noise upon it."""
        pairs = zip(self.means, other.means, self.stds, strict=True)
        return sum(of_samples((mean - theirs) / std, n) / 2 for mean, theirs, std in pairs)


def of_samples(x: Tensor, n: int) -> Tensor:
    """Sums of squares [n] of rows [R, *shape] that belong to n samples one after another."""
    return x.square().reshape(n, -1).sum(dim=1)


def stochastic(velocity: Velocity, x: Tensor, times: list[float], noise: Noise, path: Path | None = None) -> Tensor:
    """From noise x at times[0] = 0 to a sample at times[-1] = 1. Of what a state x_t is made of by the estimate,
    t x_1 + (1 - t) x_0, the next one keeps x_1, and of x_0 so much that with the new noise its variance is right: what
    is distributed as the flow's states stays so, up to the error of the steps (Song et al. 2021, DDIM, eq. 12 and 16,
    with t^2 / (1 - t)^2 for the ratio of signal to noise; to the same end as Liu et al. 2025, Flow-GRPO, eq. 8)."""
    path = path or Path()
    x, count = path.begin(x), len(times) - 1
    for i, (now, then) in enumerate(pairwise(times)):
        final = i == count - 1
        learns = path.gradient == "score" or (path.gradient == "sample" and i >= count - path.learned)
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            v = velocity(x, now)
            clean, start = x + (1 - now) * v, x - now * v
            if final:
                x = path.step(clean, LAST, clean, final)
                continue
            left = 1 - then
            std = SHARE * left * (1 - (left * now / ((1 - now) * then)) ** 2) ** 0.5
            mean = then * clean + (left**2 - std**2) ** 0.5 * start
            x = path.step(mean, std, mean + std * noise.normal(*x.shape, dtype=x.dtype), final)
    return x
