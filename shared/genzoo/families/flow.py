"""Rectified flow: straight paths from noise to data, learned as a velocity field.

Legend: B batch, n samples; x_0 is noise, x_1 is data, t runs from 0 to 1.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from genzoo.contract import Batch, GenerativeModel, Loss, Spec
from genzoo.draws import Noise
from genzoo.families.solvers import Solver, solve
from genzoo.families.stochastic import Path, stochastic

LEAST_REST = 1e-3
"""Of the time left, for a projected velocity: heun asks for one at the very end."""

LEAST_TRAINED = 0.05
"""Of the time left, by which training divides the error of an estimate of clean data (Li & He 2025, table 9)."""


class Flow(GenerativeModel):
    """Rectified flow matching (Liu et al. 2023, eq. 1; Lipman et al. 2023): x_t = (1 - t) x_0 + t x_1, and the network
    learns the velocity x_1 - x_0.

    spec: continuous data; `classes` labels, or none.
    net: makes the network from the spec, and is then called with (x_t [B, *shape], t [B], cond) and returns the
        velocity [B, *shape]. cond holds `label` [B] (the value `classes` means: no label) and whatever the data gives.
    times: how training draws t: "uniform", or "logit_normal" (more of the middle; Esser et al. 2024, sec. 3.1).
    shift: above 1, training and sampling spend more of their time in noise: t becomes t / (t + shift (1 - t)), which is
        what data shift times smaller would do (Esser et al. 2024, eq. 23). The more numbers say the same thing (large
        pictures, clips), the less noise leaves it open what they say.
    coupling: "independent", or "optimal_transport": noise and data of a batch are matched so that the sum of their
        squared distances is least (Tong et al. 2024), which straightens the paths. Unconditional data only: matching
        across different conditions would tie the noise to the condition.
    label_dropout: share of examples trained without their label, for guidance.
    estimate: what the network gives: the "velocity", or clean "data", of which the velocity (data - x_t) / (1 - t) is
        made, in the loss as well (Li & He 2025, JiT, table 1). Data that lie on few dimensions of many (patches of
        pictures) are easier to say than the noise in them. What the network knows for certain, samples have exactly.
    base: makes the Gaussian that the paths start from, in place of the standard one, from the spec: a module that is
        called with cond and gives mean and standard deviation, which broadcast to [B, *shape]. The flow then runs in
        its units, (x - mean) / std, and learns only what the base does not know (a forecast from a simpler one:
        Price et al. 2025, GenCast, with persistence). The network finds the mean in cond["base"]. If it has a `weight`
        that broadcasts to [*shape], with mean 1, the loss is weighted by it.
    project: makes a projection onto what samples must keep to (conserved mass, a divergence of zero), from the spec: a
        module called with (x [B, *shape], cond) that gives x again. It acts on the estimate of clean data in every
        step of the sampler, and on the sample.
    """

    pathwise = True
    estimates = True
    path: Path | None = None
    """Where the steps of solver=stochastic are written down."""

    def __init__(
        self,
        spec: Spec,
        net: Callable[[Spec], nn.Module],
        *,
        times: Literal["uniform", "logit_normal"] = "uniform",
        shift: float = 1.0,
        coupling: Literal["independent", "optimal_transport"] = "independent",
        label_dropout: float = 0.1,
        estimate: Literal["velocity", "data"] = "velocity",
        base: Callable[[Spec], nn.Module] | None = None,
        project: Callable[[Spec], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if spec.vocab:
            raise ValueError("a flow needs continuous data, and this data is tokens: choose model=autoregressive")
        if times not in ("uniform", "logit_normal"):
            raise ValueError(f"times is uniform or logit_normal, not {times!r}")
        if not shift > 0:
            raise ValueError(f"shift must be more than 0, not {shift:g}")
        if coupling not in ("independent", "optimal_transport"):
            raise ValueError(f"coupling is independent or optimal_transport, not {coupling!r}")
        if estimate not in ("velocity", "data"):
            raise ValueError(f"estimate is velocity or data, not {estimate!r}")
        if coupling == "optimal_transport" and (spec.classes or spec.context):
            raise ValueError("coupling=optimal_transport is for data without labels and context: choose independent")
        self.spec, self.net = spec, net(spec)
        self.base = base(spec) if base else None
        self.project = project(spec) if project else None
        self.times, self.shift, self.coupling = times, shift, coupling
        self.label_dropout, self.estimate = label_dropout, estimate

    def loss(self, batch: Batch, generator: torch.Generator | None = None, *, noise: Tensor | None = None) -> Loss:
        """Mean over an example of (net(x_t, t) - (x_1 - x_0))^2; x_hat = x_t + (1 - t) net(x_t, t). With
        estimate=data: of (net(x_t, t) - x_1)^2 / (1 - t)^2; x_hat = net(x_t, t).

        noise: this x_0 [B, *shape], in the base's units, in place of white noise; `sample` is then to be given such
        noise too.
        """
        mean, std, known = self._base(batch.cond, len(batch))
        x_1 = (batch.x - mean) / std
        x_0 = noise
        if x_0 is None:
            x_0 = torch.randn(x_1.shape, device=x_1.device, dtype=x_1.dtype, generator=generator)
        if self.coupling == "optimal_transport":
            x_0 = x_0[match(x_0, x_1)]
        t = torch.rand(len(x_1), device=x_1.device, dtype=x_1.dtype, generator=generator)
        if self.times == "logit_normal":
            t = torch.randn(len(x_1), device=x_1.device, dtype=x_1.dtype, generator=generator).sigmoid()
        t = self.shifted(t)
        t_full = t.view(-1, *[1] * (x_1.ndim - 1))
        x_t = torch.lerp(x_0, x_1, t_full)
        cond = dict(batch.cond) | known
        if self.spec.classes:
            label = cond["label"]
            if self.training:
                dropped = torch.rand(len(x_1), device=x_1.device, generator=generator) < self.label_dropout
                label = label.masked_fill(dropped, self.spec.classes)
            cond["label"] = label
        found = self.net(x_t, t, cond)
        if self.estimate == "data":
            estimate, error = found, ((found - x_1) / (1 - t_full).clamp(min=LEAST_TRAINED)).square()
        else:
            estimate, error = x_t + (1 - t_full) * found, (found - (x_1 - x_0)).square()
        weight = getattr(self.base, "weight", None)
        value = (error if weight is None else error * weight).flatten(1).mean(dim=1)
        return Loss(value, x_hat=mean + std * estimate)

    def shifted(self, t: Any) -> Any:
        """Times from 0 to 1, a number or a tensor, as `shift` moves them."""
        return t / (t + self.shift * (1 - t)) if self.shift != 1 else t

    def _base(self, cond: Mapping[str, Tensor], rows: int) -> tuple[Tensor | float, Tensor | float, dict[str, Tensor]]:
        """Mean and standard deviation of the noise, and what the network is told of them."""
        if self.base is None:
            return 0.0, 1.0, {}
        mean, std = self.base(cond)
        return mean, std, {"base": mean.expand(rows, *self.spec.shape)}

    def sample(
        self,
        n: int,
        cond: Mapping[str, Tensor],
        noise: Noise,
        *,
        steps: int = 20,
        solver: Solver = "midpoint",
        guidance: float = 1.0,
        temperature: float = 1.0,
        start: Tensor | None = None,
        project: bool = True,
    ) -> Tensor:
        """[n, *shape], by solving dx/dt = velocity from t = 0 to 1. Differentiable.

        steps: intervals of the solver; midpoint and heun call the network twice in each.
        solver: "stochastic" draws new noise on the way (`families.stochastic`), which needs more steps.
        guidance: velocity = unlabelled + guidance (labelled - unlabelled); 1 is plain sampling (Ho & Salimans 2022).
        temperature: of the noise the paths start from, times its standard deviation; above 1 samples spread wider.
        start: this x_0 [n, *shape], in the base's units, in place of a fresh one (interpolation).
        project: false samples without the projection, as if the model had none: it takes no part in the training.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        if temperature < 0:
            raise ValueError(f"temperature must not be negative, not {temperature:g}")
        if self.estimate == "data" and solver == "heun":
            raise ValueError(
                "solver=heun asks how data move when they are there, which estimate=data cannot say: choose midpoint"
            )
        shape = (n, *self.spec.shape)
        if start is not None and start.shape != shape:
            raise ValueError(f"start must have the shape {shape}, not {tuple(start.shape)}")
        x = temperature * noise.normal(*shape) if start is None else start
        mean, std, known = self._base(cond, n)
        cond, projection = {**cond, **known}, self.project if project else None
        plain_velocity = self._field(cond, guidance)

        def velocity(x: Tensor, t: float) -> Tensor:
            v = plain_velocity(x, t)
            if projection is None:
                return v
            rest = max(1 - t, LEAST_REST)
            x_hat = projection(mean + std * (x + rest * v), cond)
            return ((x_hat - mean) / std - x) / rest

        times = [self.shifted(i / steps) for i in range(steps + 1)]
        if solver == "stochastic":
            x = mean + std * stochastic(velocity, x, times, noise, self.path)
        else:
            x = mean + std * solve(solver, velocity, x, times)
        return projection(x, cond) if projection else x

    def noise_of(
        self, x: Tensor, cond: Mapping[str, Tensor], *, steps: int = 20, solver: Solver = "midpoint"
    ) -> Tensor:
        """The noise [n, *shape] whose path ends in x [n, *shape]: the same equation, from t = 1 to 0. Between the
        noises of two examples lie the noises of what is between them (Song et al. 2021, sec. 4.3)."""
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        if self.estimate == "data":
            raise ValueError("estimate=data cannot say how data move when they are there: train with estimate=velocity")
        mean, std, known = self._base(cond, len(x))
        field = self._field({**cond, **known}, 1.0)
        return solve(solver, field, (x - mean) / std, [self.shifted(1 - i / steps) for i in range(steps + 1)])

    def _field(self, cond: Mapping[str, Tensor], guidance: float) -> Callable[[Tensor, float], Tensor]:
        """The velocity at (x [n, *shape], t), with guidance where there are labels."""

        def velocity(x: Tensor, t: float) -> Tensor:
            t_n = torch.full((len(x),), t, device=x.device, dtype=x.dtype)
            if not self.spec.classes:
                return self._velocity(x, t_n, dict(cond))
            none = torch.full((len(x),), self.spec.classes, device=x.device)
            told = {"label": none, **cond}
            if guidance == 1.0:
                return self._velocity(x, t_n, told)
            twice = {name: torch.cat((value, none if name == "label" else value)) for name, value in told.items()}
            labelled, unlabelled = self._velocity(torch.cat((x, x)), torch.cat((t_n, t_n)), twice).chunk(2)
            return unlabelled + guidance * (labelled - unlabelled)

        return velocity

    def _velocity(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        found = self.net(x, t, cond)
        return found if self.estimate == "velocity" else (found - x) / (1 - t).view(-1, *[1] * (x.ndim - 1))


def match(noise: Tensor, data: Tensor) -> Tensor:
    """The order of `noise` [B, ...] that brings it nearest to `data` [B, ...] row by row: int64 [B].

    Exact assignment by squared Euclidean distance (Jonker-Volgenant, in SciPy). Of |x - y|^2 only -2 x y depends on the
    order; in float64, so that data far from the origin lose nothing.
    """
    cost = -data.flatten(1).double() @ noise.flatten(1).double().T
    return torch.as_tensor(linear_sum_assignment(cost.cpu().numpy())[1], device=noise.device)


@contextmanager
def recorded(model: nn.Module, path: Path) -> Iterator[Path]:
    """While open, the flows in the model write down what solver=stochastic does, one after another."""
    flows = [module for module in model.modules() if isinstance(module, Flow)]
    for flow in flows:
        flow.path = path
    try:
        yield path
    finally:
        for flow in flows:
            flow.path = None
