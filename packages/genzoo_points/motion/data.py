"""Moving clouds as examples for a model: windows of trajectories, and what came before them.

Legend: S sequences, B batch, n samples, T frames of an example, P frames of its past, N points, F frames of a file.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from genzoo.folders import check_share, choosing, rows_of, splits_of
from genzoo.page.items import Exhibit
from genzoo_points.motion.sequences import Correspondence, Sequences, at_rate, load_sequences
from genzoo_points.state import MotionState

DEFAULT_HZ = 12.0
"""Frames a second where neither the files nor the config say."""


@dataclass(frozen=True)
class Shown:
    """format: of the files. gif: a moving picture of each as well. length: most frames that are written, rate_hz of
    them a second. place, given: where the context is, centre and radius in the data's units, and its frames [F, N, 3]
    in model space, which stand before a sample."""

    format: Literal["ply", "glb", "npz"]
    gif: bool
    length: int | None
    rate_hz: float
    place: tuple[Tensor, float] | None = None
    given: Tensor | None = None


class MotionData(Data):
    """Trajectories of N corresponding points in T frames, in windows that begin anywhere in a sequence.

    path: "bodies" (embedded), or a file or a folder (see `sequences.load_sequences`, also for correspondence, on_error
        and max_mb).
    frames: T. past: P, frames before the example that it may be told. points: N; dense: points that are kept of a
        sequence where it has so many, from which N are drawn.
    rate_hz: frames a second of the model; sequences whose files say another rate are brought to it. Default: theirs.
    unconditional: share of examples without a past; the others are told their last 1 … P frames, as many of each.
    normalise: what is the unit sphere to the model: the training data ("global"), or each sequence by its own first
        frame ("sequence"), or "none" where the data fit it already.
    val_fraction: share of each class that validates, where the folders have no train/ and val/; 1 to score all. A lone
        sequence is cut in time: its end validates.
    select_fraction: share of what is left to train on that chooses the weights, so that figures are of others; else the
        last weights are scored.
    up: the axis that points up, for pictures and GLB.
    embedded: options of `bodies.embedded_bodies`: sequences (of each body), frames, seed.
    seed: of the split, the windows, the points and the order of examples.
    """

    scores = "genzoo_points.motion.scores.MotionScores"
    unit = "coordinate"

    def __init__(
        self,
        *,
        path: str = "bodies",
        frames: int = 16,
        past: int = 4,
        points: int = 512,
        dense: int = 640,
        rate_hz: float | None = None,
        correspondence: Correspondence = "auto",
        unconditional: float = 0.5,
        normalise: Literal["global", "sequence", "none"] = "global",
        on_error: Literal["stop", "skip"] = "stop",
        max_mb: float = 500,
        val_fraction: float = 0.1,
        select_fraction: float = 0.0,
        up: Literal["x", "y", "z"] = "z",
        embedded: dict[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        if frames < 3 or past < 1 or points < 2:
            raise UserError("data.frames must be at least 3, data.past 1 and data.points 2")
        if rate_hz is not None and not rate_hz > 0:
            raise UserError(f"data.rate_hz must be above 0, not {rate_hz:g}")
        if normalise not in ("global", "sequence", "none"):
            raise UserError(f"data.normalise is global, sequence or none, not {normalise!r}")
        if not 0 < val_fraction <= 1 or not 0 <= unconditional <= 1:
            raise UserError("data.val_fraction must lie above 0, up to 1, and data.unconditional from 0 to 1")
        if up not in ("x", "y", "z"):
            raise UserError(f"data.up is x, y or z, not {up!r}")
        self.path, self.frames, self.past, self.points, self.dense = path, frames, past, points, max(dense, points)
        self.rate_hz, self.unconditional, self.mode = rate_hz, unconditional, normalise
        self.correspondence, self.on_error, self.max_mb = correspondence, on_error, max_mb
        check_share(select_fraction)
        self.val_fraction, self.select_fraction, self.up, self.seed = val_fraction, select_fraction, up, seed
        self.embedded = dict(embedded or {})
        self.fitted: dict[str, Any] | None = None
        self.rows: dict[str, np.ndarray] = {}

    # ---- what is there

    def prepare(self) -> None:
        found = self._open()
        begun = self.fitted is not None
        kinds = self.fitted["classes"] if begun else found.classes
        if unknown := set(found.classes) - set(kinds):
            raise UserError(f"data.path={self.path} has classes the model does not know: {', '.join(sorted(unknown))}")
        if kinds and not found.labels:
            names = ", ".join(kinds)
            raise UserError(
                f"data.path={self.path} has no classes; put sequences into folders named as the model's: {names}"
            )
        rates = sorted({rate for rate in found.rates_hz if rate})
        rate_hz = self.fitted["rate_hz"] if begun else self.rate_hz or (rates[0] if rates else DEFAULT_HZ)
        clips = [at_rate(x, r or rate_hz, rate_hz) for x, r in zip(found.clips, found.rates_hz, strict=True)]
        labels = found.labels or [0] * len(clips)
        clips, labels, split = self._split(clips, labels, found)
        least = self.frames + self.past
        for x, name in zip(clips, found.names, strict=False):
            if len(x) < least:
                what = f"{len(x)} frames at {rate_hz:g} a second, and {least} are needed"
                raise UserError(f"data.path={self.path}: {name} has {what}: lower data.frames or data.past")
        self.labels = np.array([kinds.index(found.classes[i]) for i in labels] if kinds else labels, dtype=np.int64)
        self.rows = choosing(rows_of(split), self.select_fraction, self.seed)
        if not begun:
            train = np.concatenate([clips[i].reshape(-1, 3) for i in self.rows["train"]])
            centre, scale = fit(train) if self.mode == "global" else (np.zeros(3), 1.0)
            if self.mode == "sequence":
                each = [fit(clips[i][0]) for i in self.rows["train"]]
                centre, scale = np.median([c for c, _ in each], axis=0), float(np.median([s for _, s in each]))
            self.load_state_dict(
                {
                    "frames": self.frames,
                    "past": self.past,
                    "points": self.points,
                    "rate_hz": float(rate_hz),
                    "classes": kinds,
                    "normalise": self.mode,
                    "centre": centre.tolist(),
                    "scale": scale,
                    "up": self.up,
                }
            )
        self.clips = [torch.from_numpy(x) for x in clips]
        self.clips = [self.encode(x, self.place_of(x)).contiguous() for x in self.clips]

    def _open(self) -> Sequences:
        if self.path == "bodies":
            from genzoo.config import check_options, keywords
            from genzoo_points.motion.bodies import embedded_bodies

            known = {name: kind for name, kind in keywords(embedded_bodies).items() if name != "points"}
            check_options(self.embedded, known, "data.embedded")
            return embedded_bodies(points=self.dense, **self.embedded)
        return load_sequences(
            self.path,
            points=self.points,
            dense=self.dense,
            correspondence=self.correspondence,
            on_error=self.on_error,
            seed=self.seed,
            max_mb=self.max_mb,
            up=self.up,
        )

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.rows)

    def _split(
        self, clips: list[np.ndarray], labels: list[int], found: Sequences
    ) -> tuple[list[np.ndarray], list[int], np.ndarray]:
        """Clips, their labels, and the split of each. Of a lone one the end validates."""
        if len(clips) == 1 and self.val_fraction < 1:
            least = self.frames + self.past
            cut = min(round(len(clips[0]) * (1 - self.val_fraction)), len(clips[0]) - least)
            if cut < least:
                raise UserError(
                    f"data.path={self.path}: of one sequence at least {2 * least} frames are needed, to train on the "
                    f"first and validate on the last; it has {len(clips[0])}: give more, or lower data.frames"
                )
            return [clips[0][:cut], clips[0][cut:]], labels * 2, np.array(["train", "val"])
        names = [str(label) for label in labels]
        how = {"val_match": None, "val_fraction": self.val_fraction, "seed": self.seed}
        return clips, labels, splits_of(self.path, found.names, names, found.splits, **how)

    # ---- model space and the data's units

    def place_of(self, x: Tensor) -> tuple[Tensor, float]:
        """Centre [3] and scale of a sequence [F, N, 3] of the data, to the model the unit sphere."""
        if self.fitted["normalise"] == "sequence":
            centre, scale = fit(x[0].double().numpy())
            return torch.from_numpy(centre), scale
        return torch.tensor(self.fitted["centre"], dtype=torch.float64), self.fitted["scale"]

    def encode(self, x: Tensor, place: tuple[Tensor, float]) -> Tensor:
        """The data's units [..., 3] -> model space."""
        return ((x - place[0]) / place[1]).to(torch.float32)

    def decode(self, x: Tensor, place: tuple[Tensor, float] | None = None) -> Tensor:
        """Model space [..., 3] -> the data's units; by default in the place and size of the data, or of a middling
        sequence of them."""
        centre, scale = place or (torch.tensor(self.fitted["centre"]), self.fitted["scale"])
        return x * scale + centre.to(x)

    @property
    def classes(self) -> list[str]:
        return self.fitted["classes"]

    @property
    def spec(self) -> Spec:
        frames, past, points = (self.fitted[key] for key in ("frames", "past", "points"))
        context = {"past": (past, points, 3), "known": ()}
        return Spec(shape=(frames, points, 3), classes=len(self.classes), context=context)

    def state_dict(self) -> dict[str, Any]:
        return self.fitted

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state, Mapping) or not {"past", "points", "rate_hz"} <= set(state):
            raise UserError("this checkpoint is not one of motion")
        for key in ("frames", "past", "points"):
            if getattr(self, key) != state.get(key):
                raise UserError(f"data.{key}: this model was trained with {state.get(key)}, not {getattr(self, key)}")
        self.fitted = MotionState.model_validate(state).model_dump()

    # ---- examples

    def example(self, place: int, *purpose: int | str) -> tuple[Tensor, Tensor]:
        """T frames [T, N, 3] of a sequence and the P before them, drawn for a purpose."""
        generator = numpy_generator("motion", self.seed, *purpose)
        x = self.clips[place]
        first = int(generator.integers(len(x) - self.frames - self.past + 1))
        window = x[first : first + self.past + self.frames]
        if x.shape[1] > self.points:
            window = window[:, torch.from_numpy(generator.permutation(x.shape[1])[: self.points])]
        return window[self.past :], window[: self.past]

    def told(self, past: Tensor, known: Tensor) -> dict[str, Tensor]:
        """What the model is told of pasts [B, P, N, 3], of which the last `known` [B] frames are given."""
        ages = torch.arange(past.shape[1], 0, -1)
        there = (ages <= known[:, None]).view(*past.shape[:2], 1, 1)
        return {"past": past.masked_fill(~there, 0.0), "known": known.float()}

    def _batch(self, places: np.ndarray, found: list[tuple[Tensor, Tensor]], known: np.ndarray) -> Batch:
        cond = self.told(torch.stack([past for _, past in found]), torch.from_numpy(known))
        if self.classes:
            cond["label"] = torch.from_numpy(self.labels[places])
        return Batch(torch.stack([x for x, _ in found]), cond)

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        mine, rows = self._rows(split), rows if rows is not None else range(size)
        drawn = range(step * size + rows.start, step * size + rows.stop, rows.step)
        places = mine[items_in_epochs(drawn, len(mine), self.seed, split)]
        generator = numpy_generator("known", self.seed, split, step)
        known = np.where(generator.random(size) < self.unconditional, 0, generator.integers(1, self.past + 1, size))
        found = [self.example(at, split, step, row) for at, row in zip(places, rows, strict=True)]
        return self._batch(places, found, known[list(rows)])

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        mine = self._rows(split)
        for i in range(0, len(mine), size):
            places = mine[i : i + size]
            known = np.arange(i, i + len(places)) % (self.past + 1)
            yield self._batch(places, [self.example(at, split, "sweep", int(at)) for at in places], known)

    def _rows(self, split: str) -> np.ndarray:
        self.check_split(split)
        return self.rows[split]

    def fingerprint(self, split: str) -> str:
        rows = self._rows(split)
        shapes = [tuple(self.clips[row].shape) for row in rows]
        told = [self.classes, self.labels[rows].tolist() if self.classes else []]
        digest = sha256(repr(told if self.classes and len({*shapes}) == 1 else [*told, shapes]).encode())
        for row in rows:
            digest.update(self.clips[row].numpy())
        return digest.hexdigest()

    # ---- wishes

    def request(
        self,
        n: int,
        *,
        label: str | int | None = None,
        context: str | None = None,
        context_frames: int | None = None,
        length: int | None = None,
        rate_hz: float | None = None,
        format: Literal["ply", "glb", "npz"] = "ply",
        gif: bool = True,
    ) -> Request:
        """label: a class; without it each in turn, but none for what continues a context. context: a file or a folder
        with the first frames of a sequence; context_frames: how many of them, by default all; samples begin with them
        and go on, from the last P of them. length: frames of a sample that are written, at most. rate_hz: frames a
        second that are written, between those of the model by cubic splines. format: of the files, a folder of PLY, an
        animated GLB or an NPZ for each sample; gif: a moving picture of each as well."""
        if format not in ("ply", "glb", "npz"):
            raise UserError(f"format is ply, glb or npz, not {format!r}")
        for key, value in (("length", length), ("context_frames", context_frames), ("rate_hz", rate_hz)):
            if value is not None and not value > 0:
                raise UserError(f"{key} must be above 0, not {value:g}")
        if context_frames is not None and context is None:
            raise UserError("context_frames is of a context: give context= a file or a folder too")
        label = None if label is None else str(label)
        if label is not None and label not in self.classes:
            known = ", ".join(self.classes) or "none, it was trained without"
            raise UserError(f"label={label}: the classes of this model are {known}")
        state, place, given = self.fitted, None, None
        past, known = torch.zeros(state["past"], state["points"], 3), 0
        if context is not None:
            x = self._context(context, context_frames)
            place = self.place_of(x)
            given = self.encode(x, place)
            known = min(len(given), state["past"])
            past[state["past"] - known :] = given[-known:]
        cond = self.told(past.expand(n, -1, -1, -1), torch.full((n,), known))
        count, titles = len(self.classes), ()
        if count:
            labels = torch.arange(n) % count if context is None else torch.full((n,), count)
            if label is not None:
                labels = torch.full((n,), self.classes.index(label))
            cond["label"] = labels
            titles = [[*self.classes, ""][i] for i in labels.tolist()]
        show = Shown(format, gif, length, rate_hz or state["rate_hz"], place, given)
        return Request(n, cond, titles=titles, show=show)

    def _context(self, context: str, frames: int | None) -> Tensor:
        """The first frames [F, N, 3] of the one sequence in a file or a folder, at the model's rate."""
        points, rate_hz = self.fitted["points"], self.fitted["rate_hz"]
        how = {"least": 1, "seed": self.seed, "up": self.fitted["up"], "max_mb": self.max_mb}
        try:
            found = load_sequences(context, points=points, dense=points, **how)
        except UserError as error:
            raise UserError(str(error).replace("data.path=", "context=")) from error
        if len(found.clips) > 1:
            raise UserError(f"context={context} holds {len(found.clips)} sequences: give one")
        x = at_rate(found.clips[0], found.rates_hz[0] or rate_hz, rate_hz)
        if frames is not None and len(x) < frames:
            raise UserError(f"context_frames={frames}, and {context} has {len(x)} frames: lower it")
        return torch.from_numpy(x[:frames])

    def follow(self, x: Tensor, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        past = torch.cat((cond["past"].to(x), x), dim=1)[:, -cond["past"].shape[1] :]
        known = (cond["known"] + x.shape[1]).clamp(max=past.shape[1])
        return {**cond, "past": past, "known": known.to(cond["known"])}

    # ---- files and pictures

    def shown(self, x: Tensor, show: Shown) -> np.ndarray:
        """A sample [F, N, 3] in the data's units, as long and at as many frames a second as is wished."""
        points = self.decode(x.double(), show.place).numpy()
        return at_rate(points, self.fitted["rate_hz"], show.rate_hz)[: show.length]

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        from genzoo_points.motion.output import write_motion

        show = request.show
        return write_motion(self.shown(x, show), path, kind=show.format, rate_hz=show.rate_hz, up=self.fitted["up"])

    def write_all(self, samples: Tensor, folder: Path, request: Request) -> list[Path]:
        from genzoo_points.pictures import turntable

        files, show = super().write_all(samples, folder, request), request.show
        if show.gif:
            for i, x in enumerate(samples):
                file, how = folder / f"{i:03d}.gif", {"up": self.fitted["up"], "rate_hz": show.rate_hz}
                files.append(turntable(self.shown(x, show), file, sway=0.0, **how))
        return files

    def write_rollout(self, pieces: Iterator[Piece], folder: Path, request: Request) -> list[Path]:
        """Sequences as long as all pieces together, after the frames that were given, and a sheet of them."""
        whole = self.joined(pieces, request.show.given)
        return [*self.write_all(whole, folder, request), self.preview(whole, folder / "preview", request)]

    @staticmethod
    def joined(pieces: Iterable[Piece], given: Tensor | None) -> Tensor:
        """Pieces [n, T, N, 3] of a roll-out in one, after the frames [F, N, 3] that were given."""
        made = [x for x, _ in pieces]
        before = [] if given is None else [given.expand(len(made[0]), *given.shape)]
        return torch.cat((*before, *made), dim=1)

    def preview(self, samples: Tensor, path: Path, request: Request) -> Path:
        from genzoo_points.motion.output import frame_sheet

        motions = np.stack([self.shown(x, request.show) for x in samples])
        return frame_sheet(motions, path.with_suffix(".png"), titles=request.titles or None, up=self.fitted["up"])

    def exhibits(self, pieces: Sequence[Piece], folder: Path, request: Request) -> list[Exhibit]:
        from genzoo_points.pictures import shown

        show = request.show
        told = {"rate_hz": show.rate_hz, "up": self.fitted["up"]}
        whole = self.joined(pieces, show.given)
        return [shown(self.shown(x, show), title=request.title(i), **told) for i, x in enumerate(whole)]

    # ---- scores

    def reference(self, n: int, split: str, *, turn: int = 0) -> tuple[Tensor, Tensor]:
        """At most n sequences of a split [n, T, N, 3] and their labels [n]: each class in turn, as samples are drawn;
        those of another `turn` are others of the same labels, as long as there are any."""
        mine = self._rows(split)
        kinds = [mine[self.labels[mine] == kind] for kind in np.unique(self.labels[mine])]
        kinds = [np.roll(rows, -turn * -(-n // len(kinds))) for rows in kinds]
        rounds = [rows[i] for i in range(max(map(len, kinds))) for rows in kinds if i < len(rows)]
        places = np.array(rounds[:n])
        x = torch.stack([self.example(at, split, "reference", turn, int(at))[0] for at in places])
        return x, torch.from_numpy(self.labels[places])


def fit(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of points [P, 3] about it: the middle of their bounding box, and their reach."""
    centre = (x.min(axis=0).astype(np.float64) + x.max(axis=0)) / 2
    return centre, float(np.linalg.norm(x - centre, axis=1).max()) or 1.0
