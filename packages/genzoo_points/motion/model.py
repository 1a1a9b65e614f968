"""A flow of trajectories: how the parts of a body move together, and where the points lie on them.

Legend: B sequences, T frames, P past frames, N points, C cells, K points of a cell, R numbers of a cell at a time, L
labels and the one for none.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from genzoo.contract import Batch, GenerativeModel, Loss, Spec
from genzoo.draws import GeneratorNoise, Noise
from genzoo.families import Flow
from genzoo.families.solvers import Solver
from genzoo_points.cells import SUMMARY
from genzoo_points.motion.basis import STATE, order_of, own_places, placed, reordered, states, summary_of
from genzoo_points.motion.law import TrajectoryLaw


class MotionFlow(GenerativeModel):
    """Rectified flow on sequences of corresponding points [T, N, 3], in two steps. The points are cut into C cells by a
    balanced tree of the last given frame, or of the first one, which no permutation of the points changes; a cell moves
    and deforms evenly (`basis.states`): twelve numbers at a time. The first flow draws the motion of all cells
    together, as coefficients of time and of the tree (`basis.Basis`), from noise that moves as the data do
    (`law.TrajectoryLaw`). The second draws where the points lie in each cell, in the cell's own units, which holds for
    all times. What continues a past has its points, in its order.

    spec: x [T, N, 3]; `classes`; in `context`, "past" [P, N, 3], of which the last "known" [] frames are given.
    cells: C, a power of two that divides N.
    outline: makes the flow of the cells, from the spec [T, C, R]; its base is `TrajectoryLaw`.
    reader: makes the network that tells from the cells [B, C, 9] what the points of each are like.
    detail: makes the flow of the points of a cell, from the spec [K, 3] with the context "cell".
    shown: cells of a sequence whose points a training step looks at, drawn anew each time.
    label_dropout: share of labelled examples that are trained as if they had no label, from the law of all. The
        outline's own label dropout, for guidance, hides the label from its network alone.
    """

    pathwise = True
    estimates = True

    def __init__(
        self,
        spec: Spec,
        *,
        cells: int = 32,
        outline: Callable[[Spec], Flow],
        reader: Callable[[Spec], nn.Module],
        detail: Callable[[Spec], Flow],
        shown: int = 8,
        label_dropout: float = 0.15,
    ) -> None:
        super().__init__()
        frames, n, _ = spec.shape
        if cells < 1 or cells & (cells - 1) or n % cells:
            raise ValueError(f"model.cells={cells} must be a power of two that divides data.points={n}")
        if shown < 1:
            raise ValueError(f"model.shown must be at least 1, not {shown}")
        self.spec, self.cells, self.shown, self.label_dropout = spec, cells, min(shown, cells), label_dropout
        context = {"past": (spec.context["past"][0], cells, STATE), "known": ()}
        self.outline = outline(Spec((frames, cells, STATE), classes=spec.classes, context=context))
        if not isinstance(self.outline.base, TrajectoryLaw):
            raise ValueError("model.outline.base must be genzoo_points.TrajectoryLaw")
        self.reader = reader(Spec((cells, SUMMARY)))
        self.detail = detail(Spec((n // cells, 3), context={"cell": (self.reader.dim,)}))

    def _cells(self, x: Tensor, order: Tensor) -> Tensor:
        """[B, F, N, 3] -> [B, F, C, K, 3], in the order of the tree."""
        return reordered(x, order).unflatten(2, (self.cells, -1))

    def _told(self, cond: Mapping[str, Tensor], past: Tensor) -> dict[str, Tensor]:
        """Conditions for the outline: the states of the past [B, P, C, R], and the sizes of the coefficients."""
        told = {**cond, "past": past}
        return told | {"std": self.outline.base(told)[1]}

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """The two flows' losses, added; the second on the true cells. x_hat, in the order of the batch's points, has
        the true places of the points in their cells."""
        cond, base = dict(batch.cond), self.outline.base
        if self.spec.classes and self.training:
            dropped = torch.rand(len(batch), device=batch.x.device, generator=generator) < self.label_dropout
            cond["label"] = cond["label"].masked_fill(dropped, self.spec.classes)
        first = reference(batch.x, cond)
        order = order_of(first, self.cells)
        places, cells = own_places(self._cells(first[:, None], order)[:, 0])
        found, past = (states(self._cells(x, order), places, cells) for x in (batch.x, cond["past"]))
        told = self._told(cond, past)
        found = base.basis(found, cond["known"])
        white = GeneratorNoise(generator, batch.x.device)
        outline = self.outline.loss(Batch(found, told), generator, noise=base.noise(told, white))
        known = self.reader(base.scaled(cells))
        some = torch.randperm(self.cells, device=cells.device, generator=generator)[: self.shown]
        of_cell = {"cell": known[:, some].flatten(0, 1)}
        detail = self.detail.loss(Batch(places[:, some].flatten(0, 1), of_cell), generator)
        of_points = detail.value.view(len(batch), -1).mean(1)
        x_hat = placed(base.basis.inverse(outline.x_hat, cond["known"]), places).flatten(2, 3)
        logs = {"cells": outline.value.detach().mean(), "points": of_points.detach().mean()}
        return Loss(outline.value + of_points, x_hat=reordered(x_hat, order.argsort(dim=1)), logs=logs)

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
    ) -> Tensor:
        """[n, T, N, 3].

        steps, solver: of both flows. guidance, temperature: of the flow of the cells, as in `Flow.sample`.
        """
        goes_on = (cond["known"] > 0).view(-1, 1, 1, 1)
        order = order_of(cond["past"][:, -1], self.cells)
        before = self._cells(cond["past"], order)
        places, cells = own_places(before[:, -1])
        told = self._told(cond, states(before, places, cells))
        if temperature < 0:
            raise ValueError(f"temperature must not be negative, not {temperature:g}")
        start = temperature * self.outline.base.noise(told, noise)
        made = self.outline.sample(n, told, noise, steps=steps, solver=solver, guidance=guidance, start=start)
        made = self.outline.base.basis.inverse(made, cond["known"])
        if not goes_on.all():
            known = self.reader(self.outline.base.scaled(summary_of(made[:, 0]))).flatten(0, 1)
            drawn = self.detail.sample(n * self.cells, {"cell": known}, noise, steps=steps, solver=solver)
            places = torch.where(goes_on, places, drawn.view_as(places))
        x = placed(made, places).flatten(2, 3)
        return torch.where(goes_on, reordered(x, order.argsort(dim=1)), x)


def reference(x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
    """The frame [B, N, 3] that orders the points: the last given one, or the first."""
    return torch.where(cond["known"].view(-1, 1, 1) > 0, cond["past"][:, -1], x[:, 0])
