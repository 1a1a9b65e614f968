"""Where a flow of motions starts: noise that moves as the data do.

Legend: B sequences, T frames, P past frames, C cells, R numbers of a cell at a time, L labels and the one for none.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from genzoo.contract import Data, Spec
from genzoo.draws import Noise
from genzoo_points.cells import SUMMARY
from genzoo_points.motion.basis import Basis, order_of, own_places, reordered, states

FITTED = 512
"""Training examples that the law of trajectories is fitted to, and `A_CLASS` more for each class."""

A_CLASS = 256

LEAST = 0.1
"""Of a class's standard deviations, over those of all."""

SMALLEST = 1e-4
"""Standard deviation of a coefficient that never changes, in model space."""

STILL = 0.002
"""Least speed that the noise of a continuation is measured in: model lengths a frame."""

PASTS = 4
"""Sorts of a past: none, one frame, two (with a velocity), three or more (with an acceleration)."""


AXES = 32
"""Directions in which the coefficients of a label are let vary together."""


class TrajectoryLaw(nn.Module):
    """Where the flow starts: a Gaussian whose samples move as smoothly, and whose parts keep together, as the data's do
    on average: noise that is correlated in time (Ge et al. 2023, PYoCo) and in space. Fitted by `initialise` for each
    label and each sort of past: mean and standard deviation of every coefficient and, of those in units of these, the
    probabilistic principal components (Tipping & Bishop 1999): the way a bird's wings go up together is one of them.
    Were the data Gaussian too, the velocity would be (2 t - 1) / (t^2 + (1 - t)^2) x_t, whatever goes together.

    Without a past the mean is that of the label. After one it is the last frame and, from two and three frames on, so
    many times its velocity and its acceleration as is best at each later frame (least squares over the training
    split); the standard deviation is in units of how fast the points of this past move.

    weighting: the loss of a coefficient is weighted by its standard deviation to this power: 0 counts all alike, 2
        counts errors in the data's units. axes: principal components.
    """

    def __init__(self, spec: Spec, *, weighting: float = 1.0, axes: int = AXES) -> None:
        super().__init__()
        labels, shape = spec.classes + 1, tuple(spec.shape)
        self.classes, self.weighting = spec.classes, weighting
        self.basis = Basis(*shape[:2])
        self.register_buffer("mean", torch.zeros(labels, *shape))
        self.register_buffer("std", torch.ones(labels, PASTS, *shape))
        self.register_buffer("gain", torch.zeros(labels, PASTS, shape[0], 2))
        # without a past, and with one; in whole numbers, of which `size` is one: they are most of what is kept
        self.register_buffer("axes", torch.zeros(labels, 2, math.prod(shape), axes, dtype=torch.int8))
        self.register_buffer("size", torch.ones(labels, 2, 1, axes))
        self.register_buffer("stretch", torch.ones(labels, 2, axes))
        self.register_buffer("rest", torch.ones(labels, 2))
        self.register_buffer("weight", torch.ones(shape))
        self.register_buffer("cells", torch.stack((torch.zeros(shape[1], SUMMARY), torch.ones(shape[1], SUMMARY))))

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        batch = data.batch(0, FITTED + A_CLASS * self.classes, "train")
        known, past = batch.cond["known"], batch.cond["past"]
        first = torch.where(known.view(-1, 1, 1) > 0, past[:, -1], batch.x[:, 0])
        order = order_of(first, self.mean.shape[2])
        of_cells = [reordered(x, order).unflatten(2, (self.mean.shape[2], -1)) for x in (first[:, None], batch.x, past)]
        places, cells = own_places(of_cells[0][:, 0])
        self.cells[:] = torch.stack((cells.mean(0), cells.std(0).clamp(min=1e-3)))
        x, past = (states(part, places, cells) for part in of_cells[1:])
        label = batch.cond.get("label", torch.zeros_like(known, dtype=torch.long))
        for row in (self.classes, *range(self.classes)):
            mine = torch.ones_like(known, dtype=torch.bool) if row == self.classes else label == row
            if mine.sum() > 1:
                found = self.basis(x[mine], torch.zeros(int(mine.sum())))
                self.mean[row] = found.mean(0)
                self._components(row, 0, self._spread(row, 0, found - self.mean[row]))
            going_on = []
            for sort in range(1, PASTS):  # a longer past serves as a shorter one too
                seen = mine & (known >= sort)
                if seen.sum() > 1:
                    going_on.append(self._spread(row, sort, self._continue(row, sort, x[seen], past[seen])))
            if going_on:
                self._components(row, 1, torch.cat(going_on))
        weight = self.std[-1, 0] ** self.weighting
        self.weight[:] = weight / weight.mean()

    def _continue(self, row: int, sort: int, x: Tensor, past: Tensor) -> Tensor:
        """Fits how a past goes on; returns the coefficients of what is left of x, in units of its speed."""
        known = torch.full((len(x),), sort)
        moves, speed = motion_of(past, known)
        gone = x - past[:, -1:]
        if sort > 1:
            a = moves[:, : sort - 1].transpose(0, 1).flatten(1).T.double()
            b = gone.transpose(0, 1).flatten(1).T.double()
            ridge = 1e-6 * a.square().sum().clamp(min=1e-12) * torch.eye(a.shape[1], dtype=torch.float64)
            self.gain[row, sort, :, : sort - 1] = torch.linalg.solve(a.T @ a + ridge, a.T @ b).T.float()
        return self.basis((gone - torch.einsum("tm,bmcr->btcr", self.gain[row, sort], moves)) / speed, known)

    def _spread(self, row: int, sort: int, rest: Tensor) -> Tensor:
        """Fits the standard deviation of coefficients of mean 0; returns them in its units."""
        found = rest.square().mean(0).sqrt().clamp(min=SMALLEST)
        self.std[row, sort] = found if row == self.classes else torch.maximum(found, LEAST * self.std[-1, sort])
        return rest / self.std[row, sort]

    def _components(self, row: int, sort: int, y: Tensor) -> None:
        """Fits the principal components of y [n, T, C, R], and how far it reaches along them and elsewhere: the first
        on half of the examples, the second on the others, which do not lie along them by chance."""
        one, other = y.flatten(1)[::2], y.flatten(1)[1::2]
        count = min(self.axes.shape[-1], len(one) - 1)
        if count < 1 or not len(other):
            return
        axes = torch.linalg.svd(one, full_matrices=False)[2][:count].T
        variance = (other @ axes).square().mean(0)
        rest = (other.square().mean(0).sum() - variance.sum()) / (len(axes) - count)
        size = axes.abs().amax(dim=0, keepdim=True) / 127
        self.axes[row, sort, :, :count] = (axes / size).round().to(torch.int8)
        self.size[row, sort, :, :count] = size
        self.rest[row, sort] = rest.clamp(min=LEAST**2).sqrt()
        self.stretch[row, sort] = self.rest[row, sort]
        self.stretch[row, sort, :count] = torch.maximum(variance.sqrt(), self.rest[row, sort])

    def forward(self, cond: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the coefficients [B, T, C, R] under cond: `past` [B, P, C, R], `known` [B],
        and `label` [B] of labelled data."""
        past, known = cond["past"], cond["known"]
        label = cond.get("label", torch.zeros_like(known, dtype=torch.long))
        sort = known.long().clamp(max=PASTS - 1)
        moves, speed = motion_of(past, known)
        gone = torch.einsum("btm,bmcr->btcr", self.gain[label, sort], moves)
        goes_on = known.view(-1, 1, 1, 1) > 0
        mean = torch.where(goes_on, self.basis(past[:, -1:] + gone, known), self.mean[label])
        return mean, self.std[label, sort] * torch.where(goes_on, speed, 1.0)

    def noise(self, cond: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """[B, T, C, R] in units of the standard deviations: rest e + sum over axes a of (stretch - rest) a (a e) for
        white noise e."""
        known = cond["known"]
        label = cond.get("label", torch.zeros_like(known, dtype=torch.long))
        white = noise.normal(len(known), *self.weight.shape, dtype=self.weight.dtype)
        with torch.autocast(known.device.type, enabled=False):
            which = label, (known > 0).long()
            axes, rest = self.axes[which] * self.size[which], self.rest[which]
            part = (white.flatten(1)[:, None] @ axes)[:, 0] * (self.stretch[which] - rest[:, None])
            return rest.view(-1, 1, 1, 1) * white + (axes @ part[..., None]).view_as(white)

    def scaled(self, cells: Tensor) -> Tensor:
        """The `summary` of cells [B, C, 9] in units of all shapes."""
        return (cells - self.cells[0]) / self.cells[1]


def motion_of(past: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Velocity and acceleration of the last given state, [B, 2, C, R], 0 where too few are given; and the largest root
    mean square of the points' steps between two given ones, [B, 1, 1, 1], or 1 where only one is."""
    past = torch.cat((torch.zeros_like(past[:, :1]),) * max(0, 3 - past.shape[1]) + (past,), dim=1)
    steps = past.diff(dim=1)
    ages = torch.arange(steps.shape[1], 0, -1, device=past.device)
    there = ages < known[:, None]  # a step of age 1 has a velocity if two frames are given
    steps = steps * there.view(*there.shape, 1, 1)
    twice = (known > 2).view(-1, 1, 1)
    moves = torch.stack((steps[:, -1], (steps[:, -1] - steps[:, -2]) * twice), dim=1)
    speed = steps.square().sum(-1).mean(2).sqrt().amax(dim=1).clamp(min=STILL)
    return moves, torch.where(known > 1, speed, 1.0).view(-1, 1, 1, 1)
