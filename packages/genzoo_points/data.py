"""Shapes as sets of points: the embedded ones, or those of a user's files.

Legend: S shapes, B batch, n samples, N points of an example, P points of a part of one, F channels (x, y, z and, where
asked, the unit normal).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Batch, Data, Piece, Request, Spec
from genzoo.draws import items_in_epochs, numpy_generator
from genzoo.errors import UserError
from genzoo.folders import check_share, choosing, rows_of
from genzoo.page.items import Exhibit
from genzoo_points.files import Shapes, load_shapes, normalise, read_cloud
from genzoo_points.partial import random_part, resampled
from genzoo_points.state import PointsState

AXES = "xyz"

REACH = 2.0
"""Farthest that a part may lie from the middle of the unit sphere."""


@dataclass(frozen=True)
class Shown:
    """format: of the files. mesh: closed surfaces in place of points. turntable: a turning picture of each as well."""

    format: Literal["ply", "glb", "npz"]
    mesh: bool
    turntable: bool


class PointsData(Data):
    """Clouds of N points, drawn anew from each shape at every step.

    path: "shapes" (embedded), "modelnet10", "modelnet40", or a file or a folder (see `files.load_shapes`, also for
        on_error and max_mb).
    points: N. dense: points that are kept of a shape where it has so many, from which N are drawn.
    normals: whether examples have unit normals as further channels.
    normalise: what is the unit sphere to the model: each "shape", all together ("global"), or "none" where the data
        fit it already. Samples come back in the data's units; of "shape", in a middling size and place.
    val_fraction: share of each class that validates, where the files have no official split; 1 to score all of them.
    val_last: in its place, so many shapes, the last in the order of the files.
    select_fraction: share of what is left to train on that chooses the weights, so that figures are of others; else the
        last weights are scored.
    mirror: axes along which examples are mirrored at random: "x", say, for aeroplanes.
    partial: share of examples that are told a part of themselves, of which completion is learned; seen: its points P.
    up: the axis that points up, for pictures.
    embedded: options of `shapes.embedded_shapes`: shapes (of each class), seed.
    seed: of the split, the points and the order of examples.
    """

    scores = "genzoo_points.scores.PointsScores"
    unit = "coordinate"

    def __init__(
        self,
        *,
        path: str = "shapes",
        points: int = 2048,
        dense: int = 8192,
        normals: bool = False,
        normalise: Literal["shape", "global", "none"] = "shape",
        on_error: Literal["stop", "skip"] = "stop",
        max_mb: float = 500,
        val_fraction: float = 0.1,
        select_fraction: float = 0.0,
        val_last: int | None = None,
        mirror: str = "",
        partial: float = 0.0,
        seen: int = 512,
        up: Literal["x", "y", "z"] = "z",
        embedded: dict[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        if points < 1 or seen < 1:
            raise UserError("data.points and data.seen must be at least 1")
        if normalise not in ("shape", "global", "none"):
            raise UserError(f"data.normalise is shape, global or none, not {normalise!r}")
        if not 0 < val_fraction <= 1 or not 0 <= partial <= 1:
            raise UserError("data.val_fraction must lie above 0, up to 1, and data.partial from 0 to 1")
        if not set(mirror) <= set(AXES) or up not in AXES:
            raise UserError(f"data.mirror is of x, y and z, and data.up is one of them, not {mirror!r} and {up!r}")
        self.path, self.points, self.dense, self.normals = path, points, max(dense, points), normals
        self.mode, self.on_error, self.max_mb = normalise, on_error, max_mb
        check_share(select_fraction)
        self.val_fraction, self.val_last, self.select_fraction = val_fraction, val_last, select_fraction
        self.mirror = [AXES.index(axis) for axis in mirror]
        self.partial, self.seen, self.up, self.seed = partial, seen, up, seed
        self.embedded = dict(embedded or {})
        self.fitted: dict[str, Any] | None = None
        self.rows: dict[str, np.ndarray] = {}

    # ---- what is there

    def prepare(self) -> None:
        shapes = self._open()
        begun = self.fitted is not None
        kinds = self.fitted["classes"] if begun else shapes.classes
        if unknown := set(shapes.classes) - set(kinds):
            raise UserError(f"data.path={self.path} has classes the model does not know: {', '.join(sorted(unknown))}")
        if kinds and not shapes.labels:
            names = ", ".join(kinds)
            raise UserError(
                f"data.path={self.path} has no classes; put the files into folders named as the model's: {names}"
            )
        self.labels = np.array([kinds.index(shapes.classes[i]) for i in shapes.labels or []], dtype=np.int64)
        if begun and self.mode != "shape":  # in the model's own units
            self.x = self.encode(shapes.points)
        else:
            self.x, centre, scale = normalise(shapes.points, self.mode)
        if not begun:
            self.load_state_dict(
                {
                    "points": self.points,
                    "channels": self.x.shape[2],
                    "classes": kinds,
                    "centre": centre.view(-1, 3).median(dim=0).values.tolist(),
                    "scale": scale.view(-1).median().item(),
                    "seen": self.seen if self.partial else 0,
                    "up": self.up,
                }
            )
        self.rows = choosing(rows_of(self._split(shapes)), self.select_fraction, self.seed)
        for split, rows in self.rows.items():
            if not len(rows) and not (begun and split == "train"):  # to score a model, no training shapes are needed
                raise UserError(f"data.path={self.path}: of {len(self.x)} shapes none is left for {split}")

    def _open(self) -> Shapes:
        if self.path == "shapes":
            from genzoo.config import check_options, keywords
            from genzoo_points.shapes import embedded_shapes

            known = {name: kind for name, kind in keywords(embedded_shapes).items() if name in ("shapes", "seed")}
            check_options(self.embedded, known, "data.embedded")
            return embedded_shapes(points=self.dense, normals=self.normals, **self.embedded)
        return load_shapes(
            self.path,
            points=self.points,
            dense=self.dense,
            normals=self.normals,
            on_error=self.on_error,
            seed=self.seed,
            max_mb=self.max_mb,
            up=self.up,
        )

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.rows)

    def _split(self, shapes: Shapes) -> np.ndarray:
        """The split of each shape, [M]."""
        if self.val_last is not None:
            return np.where(np.arange(len(self.x)) < len(self.x) - self.val_last, "train", "val")
        if shapes.splits is not None:
            return np.array(shapes.splits)
        kinds = self.labels if len(self.labels) else np.zeros(len(self.x), int)
        found = np.full(len(kinds), "train")
        for kind in np.unique(kinds):
            mine = numpy_generator("split", self.seed, int(kind)).permutation(np.flatnonzero(kinds == kind))
            count = max(1, round(len(mine) * self.val_fraction))
            found[mine[: count if self.val_fraction == 1 else min(count, len(mine) - 1)]] = "val"  # a lone one trains
        return found

    # ---- model space and the data's units

    def encode(self, x: Tensor) -> Tensor:
        """The data's units [..., F] -> model space."""
        centre = torch.tensor(self.fitted["centre"]).to(x)
        return torch.cat(((x[..., :3] - centre) / self.fitted["scale"], x[..., 3:]), dim=-1)

    def decode(self, x: Tensor) -> Tensor:
        """Model space [..., F] -> the data's units; normals of unit length."""
        centre = torch.tensor(self.fitted["centre"]).to(x)
        normals = torch.nn.functional.normalize(x[..., 3:], dim=-1)
        return torch.cat((x[..., :3] * self.fitted["scale"] + centre, normals), dim=-1)

    @property
    def classes(self) -> list[str]:
        return self.fitted["classes"]

    @property
    def spec(self) -> Spec:
        seen = self.fitted["seen"]
        return Spec(
            shape=(self.fitted["points"], self.fitted["channels"]),
            classes=len(self.classes),
            context={"partial": (seen, 3), "known": ()} if seen else {},
        )

    def state_dict(self) -> dict[str, Any]:
        return self.fitted

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state, Mapping) or "channels" not in state:
            raise UserError("this checkpoint is not one of points")
        asked = {"points": self.points, "channels": 6 if self.normals else 3, "seen": self.seen if self.partial else 0}
        for key, name in (("points", "points"), ("channels", "normals"), ("seen", "seen")):
            if asked[key] != state[key] and (key != "seen" or self.partial):
                raise UserError(f"data.{name}: this model was trained with {key}={state[key]}, not {asked[key]}")
        self.fitted = PointsState.model_validate(state).model_dump()

    # ---- examples

    def example(
        self, place: int, *purpose: int | str, mirror: bool = False, parts: float = 0.0
    ) -> tuple[Tensor, Tensor | None]:
        """N points of a shape, drawn for a purpose, and with probability `parts` a part of them, else None."""
        generator = numpy_generator("points", self.seed, *purpose)
        x = self.x[place]
        if len(x) > self.points:
            x = x[torch.from_numpy(generator.choice(len(x), self.points, replace=False))]
        if mirror and self.mirror:
            signs = torch.ones(3)
            signs[[axis for axis in self.mirror if generator.random() < 0.5]] = -1.0
            x = x * signs.repeat(x.shape[1] // 3)
        if parts and generator.random() < parts:
            return x, torch.from_numpy(random_part(x[:, :3].numpy(), self.fitted["seen"], generator))
        return x, None

    def _batch(self, places: np.ndarray, found: Sequence[tuple[Tensor, Tensor | None]]) -> Batch:
        cond = self.told([part for _, part in found])
        if self.classes:
            cond["label"] = torch.from_numpy(self.labels[places])
        return Batch(torch.stack([x for x, _ in found]), cond)

    def told(self, parts: Sequence[Tensor | None]) -> dict[str, Tensor]:
        """What the model is told of parts [P, 3], one an example, or None."""
        if not self.fitted["seen"]:
            return {}
        nothing = torch.zeros(self.fitted["seen"], 3)
        known = torch.tensor([part is not None for part in parts], dtype=torch.float32)
        return {"partial": torch.stack([nothing if part is None else part for part in parts]), "known": known}

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        mine, rows = self._rows(split), rows if rows is not None else range(size)
        drawn = range(step * size + rows.start, step * size + rows.stop, rows.step)
        places = mine[items_in_epochs(drawn, len(mine), self.seed, split)]
        how = {"mirror": split == "train", "parts": self.partial}
        found = [self.example(at, split, step, row, **how) for at, row in zip(places, rows, strict=True)]
        return self._batch(places, found)

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        mine = self._rows(split)
        for i in range(0, len(mine), size):
            places = mine[i : i + size]
            yield self._batch(places, [self.example(at, split, "sweep", int(at), parts=self.partial) for at in places])

    def _rows(self, split: str) -> np.ndarray:
        self.check_split(split)
        return self.rows[split]

    def fingerprint(self, split: str) -> str:
        rows = self._rows(split)
        told = self.labels[rows].tolist() if self.classes else [len(rows), *self.x.shape[1:]]
        digest = sha256(repr([self.classes, told]).encode())
        for row in rows:
            digest.update(self.x[row].numpy())
        return digest.hexdigest()

    # ---- wishes, files and pictures

    def request(
        self,
        n: int,
        *,
        label: str | int | None = None,
        partial: str | None = None,
        between: list[str] | None = None,
        format: Literal["ply", "glb", "npz"] = "ply",
        mesh: bool = False,
        turntable: bool = False,
    ) -> Request:
        """label: a class; without it, each in turn, but none for a completion or a way. partial: a file with the seen
        part of a shape, in the data's units and place, which samples complete; of normalise=shape, those of a middling
        shape. between: two files with shapes, from one of which samples lead to the other.
        format: of the files; mesh: closed surfaces in place of points; turntable: a turning picture of each sample."""
        if format not in ("ply", "glb", "npz"):
            raise UserError(f"format is ply, glb or npz, not {format!r}")
        if mesh and format == "npz":
            raise UserError("a mesh is written as ply or glb: choose format=glb")
        label = None if label is None else str(label)
        if label is not None and label not in self.classes:
            known = ", ".join(self.classes) or "none, it was trained without"
            raise UserError(f"label={label}: the classes of this model are {known}")
        part, more = None, {}
        if partial is not None:
            if not self.fitted["seen"]:
                raise UserError("partial: this model was trained without parts: train one with data.partial=0.3")
            part = self.encode(self._read("partial", partial, None)).numpy()
            if self.mode != "none" and (reach := np.linalg.norm(part, axis=1).max()) > REACH:
                where = ", ".join(f"{x:.3g}" for x in self.fitted["centre"])
                raise UserError(
                    f"partial={partial} reaches {reach:.3g} times as far as the model's shapes, which lie within "
                    f"{self.fitted['scale']:.3g} of ({where}): scale and move it there"
                )
            part = torch.from_numpy(resampled(part, self.fitted["seen"], numpy_generator("part", self.seed)))
        cond = self.told([part] * n)
        if between is not None:
            if len(between) != 2:
                raise UserError(f"between is two files, as in between=[a.ply,b.ply], not {len(between)}")
            more["between"] = tuple(self.ends(between))
            cond["way"] = torch.linspace(0, 1, n)
        count, titles = len(self.classes), ()
        if count:
            labels = torch.arange(n) % count if partial is None and between is None else torch.full((n,), count)
            if label is not None:
                labels = torch.full((n,), self.classes.index(label))
            cond["label"] = labels
            titles = [[*self.classes, ""][i] for i in labels.tolist()]
        return Request(n, cond, more, titles, Shown(format, mesh, turntable))

    def _read(self, key: str, file: str, points: int | None) -> Tensor:
        """One shape [P, 3] from a file, in the data's units."""
        how = {"points": points, "normals": False, "seed": self.seed, "up": self.fitted["up"], "max_mb": self.max_mb}
        try:
            return read_cloud(Path(os.path.expanduser(file)), key, **how)
        except UserError as error:
            raise UserError(str(error).replace("lower data.points", "give a mesh, or a denser cloud")) from error

    def ends(self, files: Sequence[str]) -> Tensor:
        """Whole shapes from files, in model space [n, N, 3]."""
        x = torch.stack([self._read("between", file, self.points) for file in files])
        return normalise(x, "shape")[0] if self.mode == "shape" else self.encode(x)

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        from genzoo_points.output import write_cloud, write_mesh

        points, kind, up = self.decode(x).numpy(), request.show.format, self.fitted["up"]
        file = path.with_name(f"{path.name}.{kind}")
        if not request.show.mesh:
            return write_cloud(points, file, kind=kind, up=up)
        from genzoo_points.surface import surface

        return write_mesh(surface(points[:, :3]), file, kind, up=up)

    def write_all(self, samples: Tensor, folder: Path, request: Request) -> list[Path]:
        from genzoo_points.pictures import turntable

        files = super().write_all(samples, folder, request)
        if request.show.turntable:
            for i, x in enumerate(samples):
                files.append(turntable(x[:, :3].numpy(), folder / f"{i:03d}.gif", up=self.fitted["up"]))
        return files

    def preview(self, samples: Tensor, path: Path, request: Request) -> Path:
        from genzoo_points.pictures import contact_sheet

        told = {"titles": request.titles or None, "up": self.fitted["up"]}
        return contact_sheet(samples[..., :3].numpy(), path.with_suffix(".png"), **told)

    def exhibits(self, pieces: Sequence[Piece], folder: Path, request: Request) -> list[Exhibit]:
        """Clouds, or closed surfaces where those are wished for."""
        from genzoo_points.pictures import shown

        clouds = [self.decode(x).numpy()[None, :, :3] for x in pieces[0][0]]
        told = {"mesh": request.show.mesh, "up": self.fitted["up"]}
        return [shown(x, title=request.title(i), **told) for i, x in enumerate(clouds)]

    # ---- scores

    def reference(self, n: int, split: str) -> Tensor:
        """At most n shapes of a split [n, N, 3]: of labelled data each class in turn, as samples are drawn."""
        mine = self._rows(split)
        if self.classes:
            kinds = self.labels[mine]
            turn = np.concatenate([np.arange(np.count_nonzero(kinds == kind)) for kind in np.unique(kinds)])
            by_kind = np.concatenate([np.flatnonzero(kinds == kind) for kind in np.unique(kinds)])
            mine = mine[by_kind[np.lexsort((kinds[by_kind], turn))]]
        places = mine[:n]
        return torch.stack([self.example(at, split, "sweep", int(at))[0][:, :3] for at in places])
