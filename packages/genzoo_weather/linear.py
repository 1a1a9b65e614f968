"""The forecasts that a model must beat, and starts from: climatology, persistence, damped persistence, linear modes.

Legend: B batch, N maps, C channels, H latitudes, W longitudes, D = C H W, K past maps, M modes.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from genzoo.contract import Batch, Data, Spec

MINUTES_A_DAY = 24 * 60
MINUTES_A_YEAR = round(365.2425 * MINUTES_A_DAY)
SEASONAL = 300
"""Days that maps must span before a season is made of them."""

SAMPLE = 6000
"""Maps of the training split that the fit looks at, at most."""


def clock(minutes: Tensor, *, year: int, day: int) -> Tensor:
    """Cosines and sines of the season (`year` harmonics) and of the hour in UTC (`day` harmonics): minutes since 2000
    [B] -> [B, 2 (year + day)]."""
    phases = [
        2 * math.pi * k * (minutes % period).float() / period
        for period, harmonics in ((MINUTES_A_YEAR, year), (MINUTES_A_DAY, day))
        for k in range(1, harmonics + 1)
    ]
    if not phases:
        return torch.zeros(len(minutes), 0, device=minutes.device)
    return torch.stack([wave for phase in phases for wave in (phase.cos(), phase.sin())], dim=-1)


class LinearForecast(nn.Module):
    """The next map as a Gaussian: climatology, plus a regression on the leading modes of the last K maps (empirical
    orthogonal functions, Lorenz 1956), plus what lies outside the modes, damped point by point. Of no past
    (cond["known"] = 0): the climatology. The spread is that of the errors, at each point.

    spec: of `WeatherData`. modes: 0 leaves the damped persistence (an autoregression of order one at each point).
    year, day: harmonics of the climatology, of the season and of the hour. ridge: added to the regression, over the
    mean variance of the coefficients.

    The constants are fitted by `initialise` and travel with the weights.
    """

    def __init__(self, spec: Spec, *, modes: int = 60, year: int = 2, day: int = 0, ridge: float = 1e-3) -> None:
        super().__init__()
        if min(modes, year, day, ridge) < 0:
            raise ValueError("modes, year, day and ridge must not be negative")
        self.past, size = spec.context["past"][0], math.prod(spec.shape)
        self.modes, self.year, self.day, self.ridge = min(modes, size), year, day, ridge
        self.register_buffer("climatology", torch.zeros(1 + 2 * (year + day), *spec.shape))
        self.register_buffer("modes_md", torch.zeros(self.modes, size))
        self.register_buffer("analyse_dm", torch.zeros(size, self.modes))
        self.register_buffer("regression", torch.zeros(self.past * self.modes, self.modes))
        self.register_buffer("damping", torch.zeros(spec.shape))
        self.register_buffer("spread", torch.ones(2, *spec.shape))
        self.register_buffer("weight", torch.ones(1, spec.shape[1], 1))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("lead", torch.ones((), dtype=torch.int64))

    def climate(self, minutes: Tensor) -> Tensor:
        """The mean map of a time of the year and of the day: [B] -> [B, C, H, W]."""
        parts = clock(minutes, year=self.year, day=self.day)
        return self.climatology[0] + torch.tensordot(parts.to(self.climatology), self.climatology[1:], dims=1)

    def forward(self, cond: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """cond: past [B, K, C, H, W], known [B], minutes [B] (of the map that is forecast). Returns mean and standard
        deviation, [B, C, H, W] each."""
        minutes, known = cond["minutes"], cond["known"].view(-1, 1, 1, 1)
        with torch.autocast(known.device.type, enabled=False):  # what is learned is measured from here
            mean = self.climate(minutes) + known * self._anomaly(cond["past"], minutes)
        return mean, torch.where(known > 0, self.spread[1], self.spread[0])

    def _past(self, past: Tensor, minutes: Tensor) -> tuple[Tensor, Tensor]:
        """What the forecast is made of: mode coefficients of the past [B, K M], anomaly of the last map [B, D]."""
        ages = [(self.lead + age) * self.step for age in reversed(range(self.past))]
        climate = torch.stack([self.climate(minutes - age) for age in ages], dim=1)
        anomaly = (past - climate).flatten(2)
        return (anomaly @ self.analyse_dm).flatten(1), anomaly[:, -1]

    def _anomaly(self, past: Tensor, minutes: Tensor) -> Tensor:
        """The forecast's distance from the climatology, [B, C, H, W]."""
        coefficients, last = self._past(past, minutes)
        outside = last - (last @ self.analyse_dm) @ self.modes_md
        return self.damping * outside.view_as(past[:, -1]) + (coefficients @ self.regression @ self.modes_md).view_as(
            past[:, -1]
        )

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        """Fits all of it to the training split of `WeatherData`."""
        self.fit(data.examples("train", most=SAMPLE), area=data.grid.area, step_minutes=data.step_minutes)

    @torch.no_grad()
    def fit(self, batch: Batch, *, area: Tensor, step_minutes: int, lead: int = 1) -> None:
        """area: weights of the latitudes [H], of mean 1. lead: steps from the last map of the past to the one that is
        forecast."""
        self.step.fill_(step_minutes)
        self.lead.fill_(lead)
        self.weight.copy_(area.float().view(1, -1, 1))
        minutes, x = batch.cond["minutes"], batch.x
        parts = torch.cat((torch.ones(len(x), 1), clock(minutes, year=self.year, day=self.day)), dim=1).double()
        if minutes.max() - minutes.min() < SEASONAL * MINUTES_A_DAY:  # of a part of the year a season cannot be learned
            parts[:, 1 : 1 + 2 * self.year] = 0
        solution = torch.linalg.lstsq(parts, x.flatten(1).double(), driver="gelsd").solution
        self.climatology.copy_(solution.view_as(self.climatology))
        anomaly = (x - self.climate(minutes)).flatten(1)
        root = self.weight.expand(x.shape[1:]).flatten().sqrt()
        if self.modes:
            basis = leading_modes(anomaly * root, self.modes)
            basis = nn.functional.pad(basis, (0, 0, 0, self.modes - len(basis)))  # fewer maps than modes
            self.modes_md.copy_(basis / root)
            self.analyse_dm.copy_((basis * root).T)
        coefficients, last = self._past(batch.cond["past"], minutes)
        now = anomaly @ self.analyse_dm
        if self.modes:
            a = coefficients.double()
            gram = a.T @ a
            gram.diagonal().add_(self.ridge * gram.diagonal().mean() + 1e-9)
            self.regression.copy_(torch.linalg.solve(gram, a.T @ now.double()))
        last, outside = last - (last @ self.analyse_dm) @ self.modes_md, anomaly - now @ self.modes_md
        damping = (last * outside).mean(0) / last.square().mean(0).clamp(min=1e-12)
        self.damping.copy_(damping.clamp(0, 1).view_as(self.damping))
        error = x - self.climate(minutes) - self._anomaly(batch.cond["past"], minutes)
        for row, part in enumerate((anomaly.view_as(x), error)):
            spread = part.square().mean(0).sqrt()
            self.spread[row].copy_(spread.clamp(min=0.05 * float(spread.mean())))


def leading_modes(rows: Tensor, count: int) -> Tensor:
    """The `count` orthonormal directions [count, D] along which rows [N, D] vary most (Halko et al. 2011)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.svd_lowrank(rows, q=min(count + 20, *rows.shape), niter=4)[2][:, :count].T
