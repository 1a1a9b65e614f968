"""Clips of pictures as examples for a model, and samples as clips.

Legend: B batch, n samples, C channels, T frames of an example, H, W pixels; Z, F, R, S those of model space, the same
unless there is an autoencoder.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Batch, Data, Piece, Request, Spec
from genzoo.draws import items_in_epochs, numpy_generator
from genzoo.errors import UserError
from genzoo.folders import check_share, choosing, rows_of
from genzoo.page.items import Exhibit, film
from genzoo_video.latents import Latents, Pixels, load_space
from genzoo_video.state import VideoState

if TYPE_CHECKING:
    from genzoo_video.glyphs import Motion
    from genzoo_video.sources import Videos

PICTURED = 8
"""Clips in one preview."""

GLYPHS_FPS = 8.0
"""Frames a second that embedded clips are shown at."""

EMBEDDED = {"clips": 8000, "glyphs": 1}
"""Options of path=glyphs, and their defaults."""


@dataclass(frozen=True)
class Shown:
    """frames: kept of what is made, its first ones; all by default. fps: frames a second. format: of the files."""

    frames: int | None
    fps: float
    format: Literal["mp4", "gif", "both"]


class VideoData(Data):
    """Windows of T frames from clips, some of them with their first frames told.

    path: "glyphs" (embedded), "moving_mnist", or a file or folder of clips (see `sources.find_videos`, also for fit,
        val_match, val_frames, on_error, max_mb).
    size: rows and columns that all are resized to; default: the files' own. frames: of an example.
    stride: every so manieth frame of a file is used. colour: "gray" or "rgb".
    known: first frames that an example may be told, at most; default: half of them. continued: share of examples that
        are told some.
    turn: whether training clips are mirrored and turned by quarters at random, for clips that have no up: maps, cells.
    val_match, val_fraction, val_frames: what validates: names that match, a share of each label, or of a lone file its
        last frames.
    select_fraction: share of what is left to train on that chooses the weights, so that figures are of others; else the
        last weights are scored.
    autoencoder: a checkpoint of preset video_autoencoder, in whose latents the model then works; it travels inside this
        model's checkpoints. What is told is then a multiple of its frames.
    embedded: options of path=glyphs: clips (for training; a tenth as many validate), glyphs (1 or 2 in a clip).
    seed: of the split and the order of examples.
    """

    scores = "genzoo_video.scores.VideoScores"

    def __init__(
        self,
        *,
        path: str = "glyphs",
        size: Sequence[int] | None = None,
        frames: int = 16,
        stride: int = 1,
        colour: Literal["gray", "rgb"] = "gray",
        fit: Literal["crop", "pad", "stretch"] = "crop",
        known: int | None = None,
        continued: float = 0.5,
        turn: bool = False,
        val_match: str | None = None,
        val_fraction: float = 0.1,
        select_fraction: float = 0.0,
        val_frames: int | None = None,
        on_error: Literal["stop", "skip"] = "stop",
        max_mb: float = 500,
        autoencoder: str | None = None,
        embedded: dict[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        if frames < 2 or stride < 1:
            raise UserError(f"data.frames is at least 2 and data.stride at least 1, not {frames} and {stride}")
        known = frames // 2 if known is None else known
        if not 0 <= known <= frames or not 0 <= continued <= 1:
            raise UserError("data.known lies from 0 to data.frames, and data.continued from 0 to 1")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise UserError(f"data.size is rows and columns, as in [64, 64], not {list(size)}")
        if turn and size is not None and size[0] != size[1]:
            raise UserError(f"data.turn is for square pictures, and data.size is {list(size)}")
        if unknown := set(embedded or {}) - set(EMBEDDED):
            raise UserError(f"unknown key data.embedded.{min(unknown)}; there are: {', '.join(EMBEDDED)}")
        self.path, self.frames, self.known, self.continued = path, frames, known, continued
        check_share(select_fraction)
        self.turn, self.autoencoder, self.seed = turn, autoencoder, seed
        self.select_fraction = select_fraction
        self.embedded = EMBEDDED | (embedded or {})
        self.found = dict(
            size=None if size is None else tuple(size),
            stride=stride,
            colour=colour,
            fit=fit,
            val_match=val_match,
            val_fraction=val_fraction,
            val_frames=val_frames,
            on_error=on_error,
            max_mb=max_mb,
            seed=seed,
        )
        self.fitted: dict[str, Any] | None = None
        self.space: Pixels | Latents | None = None
        self.motion: Motion | None = None
        self.windows: dict[str, np.ndarray] = {}

    # ---- what is there

    def prepare(self) -> None:
        videos = self._open()
        begun = self.fitted is not None
        kinds = self.classes if begun else videos.classes
        if strange := sorted(set(videos.labels) - set(kinds)) if kinds else []:
            raise UserError(
                f"data.path={self.path}: the model has no class {strange[0] or '(no label)'}; there are: "
                f"{', '.join(kinds)}"
            )
        size = list(videos.frames.shape[1:])
        if not begun:
            if self.turn and size[0] != size[1]:
                raise UserError(f"data.turn is for square pictures, and these are {size[0]} x {size[1]}: set data.size")
            self.space = Latents.load(self.autoencoder) if self.autoencoder else Pixels()
            known = self.known // self.space.pace * self.space.pace
            self.fitted = {"size": size, "frames": self.frames, "classes": kinds, "fps": videos.fps, "known": known}
        elif size != self.fitted["size"]:
            raise UserError(f"data.path={self.path}: clips are {size}, and the model makes {self.fitted['size']}")
        self.videos = videos
        index = {name: i for i, name in enumerate(kinds)}
        self.label_of = np.array([index.get(name, 0) for name in videos.labels], dtype=np.int64)
        clips = choosing(rows_of(videos.split), self.select_fraction, self.seed)
        self.windows = {split: self._windows(mine) for split, mine in clips.items()}
        for split, windows in self.windows.items():
            if not len(windows) and not (begun and split == "train"):
                raise UserError(f"data.path={self.path} leaves no clip of {self.frames} frames for {split}")

    def _open(self) -> "Videos":
        from genzoo_video.sources import Videos, find_videos

        asked = dict(self.found)
        if self.fitted is not None:
            height, width, channels = self.fitted["size"]
            asked |= {"size": (height, width), "colour": "gray" if channels == 1 else "rgb"}
        if self.path != "glyphs":
            return find_videos(self.path, least=self.frames, **asked)
        from genzoo_video.glyphs import embedded_glyphs, kinds

        height, width = asked["size"] or (32, 32)
        if height != width or asked["colour"] != "gray":
            raise UserError("data.path=glyphs makes square pictures in gray: set data.size and data.colour")
        train, glyphs = self.embedded["clips"], self.embedded["glyphs"]
        clips = train + max(1, train // 10)
        x, labels, self.motion = embedded_glyphs(
            clips=clips, frames=self.frames, size=height, glyphs=glyphs, seed=self.seed
        )
        names = [f"glyphs[{i}]" for i in range(clips)]
        starts = np.arange(clips + 1) * self.frames
        frames, split = x.reshape(-1, height, width, 1), np.where(np.arange(clips) < train, "train", "val")
        return Videos(frames, starts, names, labels, kinds(glyphs), GLYPHS_FPS, split)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.windows)

    def _windows(self, mine: np.ndarray) -> np.ndarray:
        """(clip, first frame) of all windows of some clips, [M, 2]."""
        found = [
            np.stack(np.broadcast_arrays(clip, np.arange(count - self.frames + 1)), axis=1)
            for clip in mine
            if (count := self.videos.starts[clip + 1] - self.videos.starts[clip]) >= self.frames
        ]
        return np.concatenate(found) if found else np.zeros((0, 2), int)

    @property
    def classes(self) -> list[str]:
        return self.fitted["classes"]

    @property
    def spec(self) -> Spec:
        height, width, channels = self.fitted["size"]
        shape = self.space.shape((channels, self.fitted["frames"], height, width))
        return Spec(shape, classes=len(self.classes), context={"context": shape, "known": (shape[1],)})

    def state_dict(self) -> dict[str, Any]:
        return {**self.fitted, "space": self.space.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state, Mapping) or "fps" not in state:
            raise UserError("this checkpoint is not one of clips")
        if self.frames != state["frames"]:
            raise UserError(f"data.frames: this model was trained on {state['frames']} frames, not {self.frames}")
        self.fitted = VideoState.model_validate(state).model_dump()
        self.space = load_space(state["space"])

    # ---- examples

    def encode(self, frames: np.ndarray) -> Tensor:
        """uint8 [T, H, W, C] -> pixels [C, T, H, W], in [-1, 1]."""
        return torch.from_numpy(frames.astype(np.float32) / 127.5 - 1).permute(3, 0, 1, 2)

    def decode(self, pixels: Tensor) -> np.ndarray:
        """[C, T, H, W] -> uint8 [T, H, W, C]."""
        return pixels.float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(1, 2, 3, 0).numpy()

    def pixels(self, x: Tensor) -> Tensor:
        """Model space [n, Z, F, R, S] -> clips [n, C, T, H, W] in [-1, 1]."""
        return self.space.decode(x)

    def told(self, x: Tensor, known: Sequence[int]) -> dict[str, Tensor]:
        """Conditions of examples [B, Z, F, R, S] of which the first `known` frames of the clip are told."""
        mask = (torch.arange(x.shape[2]) < torch.as_tensor(known).view(-1, 1) // self.space.pace).float()
        return {"context": x * mask[:, None, :, None, None], "known": mask}

    def window(self, clip: int, first: int) -> Tensor:
        """[C, T, H, W]"""
        start = self.videos.starts[clip] + first
        return self.encode(np.asarray(self.videos.frames[start : start + self.frames]))

    def examples(self, windows: np.ndarray, known: Sequence[int], turns: Sequence[int] | None = None) -> Batch:
        clips = [self.window(clip, first) for clip, first in windows]
        if turns is not None:
            clips = [turned(x, by) for x, by in zip(clips, turns, strict=True)]
        x = self.space.encode(torch.stack(clips))
        cond = self.told(x, known)
        if self.classes:
            cond["label"] = torch.from_numpy(self.label_of[windows[:, 0]])
        return Batch(x, cond)

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        windows, rows = self._split(split), rows if rows is not None else range(size)
        drawn = range(step * size + rows.start, step * size + rows.stop, rows.step)
        chosen = windows[items_in_epochs(drawn, len(windows), self.seed, split)]
        draw = numpy_generator("known", self.seed, split, step)
        known = self._known(draw, size)[list(rows)]
        turns = draw.integers(8, size=size)[list(rows)] if self.turn and split == "train" else None
        return self.examples(chosen, known, turns)

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        windows = self._split(split)
        known = self._known(numpy_generator("sweep", self.seed), len(windows))
        for i in range(0, len(windows), size):
            yield self.examples(windows[i : i + size], known[i : i + size])

    def _known(self, draw: np.random.Generator, size: int) -> np.ndarray:
        """How many first frames each example is told."""
        pace, most = self.space.pace, self.fitted["known"] // self.space.pace
        some = pace * draw.integers(1, most + 1, size=size) if most else np.zeros(size, int)
        return np.where(draw.random(size) < self.continued, some, 0)

    def _split(self, split: str) -> np.ndarray:
        self.check_split(split)
        return self.windows[split]

    def fingerprint(self, split: str) -> str:
        digest = hashlib.sha256(repr([self.fitted, self._split(split).tolist()]).encode())
        for clip in np.unique(self._split(split)[:, 0]):
            digest.update(repr(self.videos.labels[clip]).encode() + self.videos.clip(clip).tobytes())
        return digest.hexdigest()

    def real(self, split: str, n: int) -> Batch:
        """At most n clips of a split, evenly from the whole, none of them told anything."""
        windows = self._split(split)
        places = np.unique(np.linspace(0, len(windows) - 1, min(n, len(windows))).astype(int))
        return self.examples(windows[places], np.zeros(len(places), int))

    # ---- wishes, files and pictures

    def request(
        self,
        n: int,
        *,
        label: str | int | None = None,
        context: str | None = None,
        context_frames: int | None = None,
        frames: int | None = None,
        fps: float | None = None,
        format: Literal["mp4", "gif", "both"] = "mp4",
    ) -> Request:
        """label: a class; without it each in turn, but none for a continuation. context: a clip or a picture whose last
        context_frames frames samples go on from (default: as many as the model was trained to be told).
        frames: kept of what is made, its first ones; fps: frames a second of the file; format: mp4, gif or both."""
        if format not in ("mp4", "gif", "both"):
            raise UserError(f"format is mp4, gif or both, not {format!r}")
        if fps is not None and not 0 < fps <= 240:
            raise UserError(f"fps lies above 0, up to 240, not {fps:g}")
        if frames is not None and frames < 1:
            raise UserError(f"frames must be at least 1, not {frames}")
        x, most, pace = torch.zeros(n, *self.spec.shape), self.fitted["known"], self.space.pace
        count = 0
        if context is not None:
            given = self._given(context)
            if not most:
                raise UserError("context: this model was trained with data.known=0, without first frames")
            count = min(given.shape[1], most) // pace * pace if context_frames is None else context_frames
            if count % pace or not 1 <= count <= min(given.shape[1], most):
                raise UserError(
                    f"context_frames={count}: {context} has {given.shape[1]}, and the model is told {pace} to {most}"
                    + (f", in steps of {pace}" if pace > 1 else "")
                )
            x[:, :, : count // pace] = self.space.encode(given[None, :, -count:])
        elif context_frames is not None:
            raise UserError("context_frames needs context=: a clip or a picture")
        cond, titles = self.told(x, [count] * n), ()
        if kinds := len(self.classes):
            if label is not None and str(label) not in self.classes:
                raise UserError(f"label={label}: the classes of this model are {', '.join(self.classes)}")
            labels = torch.arange(n) % kinds if context is None else torch.full((n,), kinds)
            if label is not None:
                labels = torch.full((n,), self.classes.index(str(label)))
            cond["label"] = labels
            titles = [[*self.classes, ""][i] for i in labels.tolist()]
        elif label is not None:
            raise UserError(f"label={label}: this model was trained without labels: leave label out")
        return Request(n, cond, titles=titles, show=Shown(frames, fps or self.fitted["fps"], format))

    def _given(self, file: str) -> Tensor:
        """A clip or picture that the user names, as pixels [C, T, H, W]."""
        from genzoo_video.files import read_video

        height, width, channels = self.fitted["size"]
        colour, size = "gray" if channels == 1 else "rgb", (height, width)
        options = {name: self.found[name] for name in ("fit", "stride", "max_mb")}
        return self.encode(read_video(os.path.expanduser(file), size=size, colour=colour, **options)[0])

    def follow(self, x: Tensor, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        """The last frames of x become the first of the next piece."""
        count = self.fitted["known"]
        if not 0 < count < self.frames:
            raise UserError(f"rollout: this model was trained with data.known={count}, and so cannot go on")
        later = torch.zeros(x.shape)
        last = self.space.encode(self.pixels(x.cpu())[:, :, -count:])  # latents know what came before: so anew
        later[:, :, : last.shape[2]] = last
        return cond | {name: value.to(x) for name, value in self.told(later, [count] * len(x)).items()}

    def joined(self, pieces: Iterable[Piece]) -> Tensor:
        """Pieces [n, Z, F, R, S] of a roll-out as clips [n, C, all frames, H, W]: of each but the first, the frames
        that it was not told."""
        new = []
        for i, (x, cond) in enumerate(pieces):
            told = self.space.pace * int(cond["known"][0].sum()) if i else 0
            new.append(self.pixels(x.cpu())[:, :, told:])
        return torch.cat(new, dim=2)

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        return self._write(self.pixels(x[None])[0], path, request.show)[0]

    def _write(self, x: Tensor, path: Path, show: Shown) -> list[Path]:
        """A clip of pixels [C, T, H, W]."""
        from genzoo_video.output import write_gif, write_mp4

        frames, writers = self.decode(x)[: show.frames], {"mp4": write_mp4, "gif": write_gif}
        asked = [show.format] if show.format in writers else list(writers)
        return [writers[kind](frames, path.with_suffix(f".{kind}"), show.fps) for kind in asked]

    def write_all(self, samples: Tensor, folder: Path, request: Request) -> list[Path]:
        return self._write_all(self.pixels(samples), folder, request)

    def _write_all(self, clips: Tensor, folder: Path, request: Request) -> list[Path]:
        return [file for i, x in enumerate(clips) for file in self._write(x, folder / f"{i:03d}", request.show)]

    def write_rollout(self, pieces: Iterator[Piece], folder: Path, request: Request) -> list[Path]:
        """A clip for each sample, and a contact sheet of the first."""
        clips = self.joined(pieces)
        return [*self._write_all(clips, folder, request), self._preview(clips, folder / "preview", request)]

    def preview(self, samples: Tensor, path: Path, request: Request) -> Path:
        return self._preview(self.pixels(samples[:PICTURED]), path, request)

    def _preview(self, samples: Tensor, path: Path, request: Request) -> Path:
        from genzoo_video.output import contact_sheet

        clips = [self.decode(x)[: request.show.frames] for x in samples[:PICTURED]]
        return contact_sheet(clips, path.with_suffix(".png"), titles=request.titles[: len(clips)] or None)

    def exhibits(self, pieces: Sequence[Piece], folder: Path, request: Request) -> list[Exhibit]:
        from genzoo_video.output import enlarged

        clips, show = [], request.show
        for i, x in enumerate(self.joined(pieces)):
            frames = enlarged(self.decode(x)[: show.frames], None)
            title = request.title(i)
            frames = np.broadcast_to(frames, (*frames.shape[:3], 3))
            clips.append(film(frames, show.fps, title=title, alt=f"clip {title}"))
        return clips

    # ---- scores


def turned(x: Tensor, by: int) -> Tensor:
    """One of the eight ways to mirror and turn pictures [..., H, W]."""
    x = x.transpose(-2, -1) if by & 4 else x
    return x.flip([axis for axis, bit in ((-1, 1), (-2, 2)) if by & bit])
