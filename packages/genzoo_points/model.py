"""A shape as cells and points: one flow draws the cells, another the points within each.

Legend: B clouds, N points, C cells, K points of a cell, F channels (x, y, z and what follows), R the nine numbers of a
cell, D width of what is known of a cell.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from genzoo.contract import Batch, Data, GenerativeModel, Loss, Spec
from genzoo.draws import GeneratorNoise, Noise
from genzoo.families import Flow
from genzoo.families.solvers import Solver
from genzoo_points.cells import SUMMARY, from_cells, split, summary, to_cells

FITTED = 1024
"""Training examples that the law of the cells is fitted to, and `A_CLASS` more for each class."""

A_CLASS = 64

LEAST = 0.1
"""Of a class's standard deviations, over those of all."""


class CellLaw(nn.Module):
    """Where the flow of the cells starts: each cell's mean and spread as they are on average over the training shapes
    of the label (the value `classes` means: of all), with the standard deviation that they have there. Fitted by
    `initialise`. Legend: L labels and the one for none."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.classes = spec.classes
        self.register_buffer("mean_lcr", torch.zeros(spec.classes + 1, *spec.shape))
        self.register_buffer("std_lcr", torch.ones(spec.classes + 1, *spec.shape))

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        batch = data.batch(0, FITTED + A_CLASS * self.classes, "train")
        law = summary(split(batch.x[..., :3], self.mean_lcr.shape[1]))
        self.mean_lcr[:] = law.mean(0)
        self.std_lcr[:] = law.std(0, correction=0).clamp(min=1e-3)
        for label in range(self.classes):
            own = law[batch.cond["label"] == label]
            if len(own) > 1:
                self.mean_lcr[label] = own.mean(0)
                self.std_lcr[label] = torch.maximum(own.std(0, correction=0), LEAST * self.std_lcr[-1])

    def forward(self, cond: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        label = cond.get("label", -1)
        return self.mean_lcr[label], self.std_lcr[label]

    def scaled(self, cells: Tensor) -> Tensor:
        """[B, C, R] in the units of all shapes."""
        return (cells - self.mean_lcr[-1]) / self.std_lcr[-1]


class CellFlow(GenerativeModel):
    """Rectified flow on sets of points, in two steps. A cloud is cut into C cells of equally many points by a balanced
    k-d tree (`cells.split`), which gives the set an order; a cell is a Gaussian, its mean and its spread. The first
    flow draws all cells together, C tokens whatever the number of points. The second draws the points of a cell, in
    the cell's own units, independently of each other given all the cells: as many as are wanted.

    spec: x [N, F], the first three channels being x, y, z; `classes`; in `context`, "partial" [P, 3] and "known" [] for
        the completion of a part.
    cells: C, a power of two that divides N.
    outline: makes the flow of the cells, from the spec [C, R].
    reader: makes the network that tells from the cells [B, C, R] what the points of each are like, [B, C, D].
    detail: makes the flow of the points of a cell, from the spec [K, F] with the context "cell" [D].
    shown: cells of a shape whose points a training step looks at, drawn anew each time.
    label_dropout: share of labelled examples that are trained as if they had no label, from the law of all shapes. The
        outline's own label dropout, for guidance, hides the label from its network alone.
    """

    pathwise = True

    def __init__(
        self,
        spec: Spec,
        *,
        cells: int = 64,
        outline: Callable[[Spec], Flow],
        reader: Callable[[Spec], nn.Module],
        detail: Callable[[Spec], Flow],
        shown: int = 16,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        n, channels = spec.shape
        if cells < 1 or cells & (cells - 1) or n % cells:
            raise ValueError(f"model.cells={cells} must be a power of two that divides data.points={n}")
        if shown < 1:
            raise ValueError(f"model.shown must be at least 1, not {shown}")
        self.spec, self.cells, self.shown, self.label_dropout = spec, cells, min(shown, cells), label_dropout
        self.outline = outline(Spec((cells, SUMMARY), classes=spec.classes, context=spec.context))
        if not isinstance(self.outline.base, CellLaw):
            raise ValueError("model.outline.base must be genzoo_points.CellLaw: its units are those of the cells")
        self.reader = reader(Spec((cells, SUMMARY)))
        self.detail = detail(Spec((n // cells, channels), context={"cell": (self.reader.dim,)}))

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """The two flows' losses, added; the second on the true cells."""
        points = split(batch.x, self.cells)
        cells = summary(points[..., :3])
        cond = dict(batch.cond)
        if self.spec.classes and self.training:
            dropped = torch.rand(len(batch), device=cells.device, generator=generator) < self.label_dropout
            cond["label"] = cond["label"].masked_fill(dropped, self.spec.classes)
        outline = self.outline.loss(Batch(cells, cond), generator)
        known = self.reader(self.outline.base.scaled(cells))
        some = torch.randperm(self.cells, device=cells.device, generator=generator)[: self.shown]
        u = to_cells(points[:, some], cells[:, some])
        detail = self.detail.loss(Batch(u.flatten(0, 1), {"cell": known[:, some].flatten(0, 1)}), generator)
        of_points = detail.value.view(len(batch), -1).mean(1)
        logs = {"cells": outline.value.detach().mean(), "points": of_points.detach().mean()}
        return Loss(outline.value + of_points, logs=logs)

    def sample(
        self,
        n: int,
        cond: Mapping[str, Tensor],
        noise: Noise,
        *,
        steps: int = 10,
        solver: Solver = "midpoint",
        guidance: float = 1.0,
        temperature: float = 1.0,
        points: int | None = None,
        between: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """[n, N, F], or as many points as `points` says.

        steps, solver: of both flows. guidance, temperature: of the flow of the cells, as in `Flow.sample`.
        between: two clouds [N, 3]: the samples lead from the first to the second, through the noises between theirs
            (`Flow.noise_of`, without guidance and at temperature 1), each at its place cond["way"] [n] from 0 to 1, by
            default evenly. Their points keep their places in their cells.
        """
        cond = dict(cond)
        way = cond.pop("way", torch.linspace(0, 1, n, device=noise.device))
        if points is not None and points < 1:
            raise ValueError(f"points must be at least 1, not {points}")
        wanted, start = points or self.spec.shape[0], None
        if between is not None:
            start, guidance = self._between([x.to(way) for x in between], way, cond, steps=steps, solver=solver), 1.0
        cells = self.outline.sample(
            n, cond, noise, steps=steps, solver=solver, guidance=guidance, temperature=temperature, start=start
        )
        known = {"cell": self.reader(self.outline.base.scaled(cells)).flatten(0, 1)}
        rounds, of_points = [], noise
        if between is not None:  # the same points for all on the way, whatever batch they are in
            of_points = GeneratorNoise(torch.Generator(noise.device).manual_seed(0))
        rows, size = n if between is None else 1, (self.cells, *self.detail.spec.shape)
        for _ in range(-(-wanted // self.spec.shape[0])):
            first = of_points.normal(rows, *size).expand(n, *size).flatten(0, 1)
            u = self.detail.sample(n * self.cells, known, noise, steps=steps, solver=solver, start=first)
            rounds.append(u.unflatten(0, (n, -1)))
        x = from_cells(torch.cat(rounds, dim=2), cells).flatten(1, 2)
        if points is not None:  # mixed, so that the first of them are no piece of the shape
            order = of_points.uniform(rows, x.shape[1]).argsort(dim=1)[:, :wanted]
            x = x.gather(1, order[..., None].expand(n, -1, x.shape[2]))
        return x

    def _between(
        self, ends: Sequence[Tensor], way: Tensor, cond: Mapping[str, Tensor], *, steps: int, solver: Solver
    ) -> Tensor:
        """The noises of shapes on the way [n] between two clouds [N, 3], along a great circle (Shoemake 1985)."""
        if len(ends) != 2:
            raise ValueError(f"samples lie between two shapes, not {len(ends)}")
        told = {name: value[:1].expand(2, *value.shape[1:]) for name, value in cond.items()}
        cells = summary(split(torch.stack(list(ends))[..., :3], self.cells))
        first, last = self.outline.noise_of(cells, told, steps=2 * steps, solver=solver)
        cosine = torch.nn.functional.cosine_similarity(first.flatten(), last.flatten(), dim=0)
        angle, way = torch.arccos(cosine.clamp(-1 + 1e-6, 1 - 1e-6)), way.view(-1, 1, 1)
        return (((1 - way) * angle).sin() * first + (way * angle).sin() * last) / angle.sin()
