"""Where videos lie: a user's files, public sets; and what their names say of labels and splits.

Legend: N clips, F frames of all clips, T frames of one, H x W pixels, C channels: 1 is gray, 3 is red, green, blue.
"""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from genzoo.download import cache_folder, download
from genzoo.errors import UserError
from genzoo.folders import SPLITS, files_below, official, refuse, splits_first, splits_of
from genzoo.reading import reading
from genzoo_video.files import (
    FILMS,
    MAX_FRAMES,
    MAX_MB,
    MOVING,
    PICTURES,
    STILL_FPS,
    Colour,
    Fit,
    check_options,
    natural,
)
from genzoo_video.scan import ARRAYS, Asked, scan

SUFFIXES = (*FILMS, *MOVING, *PICTURES, *ARRAYS)

MOVING_MNIST = (
    "https://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy",
    "c2a3e8d3939c001ab77bf543f130157424efa486bb4d0974d2cebb773b13f8b3",
)
"""10,000 videos of 20 frames, 64 x 64: two digits that bounce (Srivastava et al. 2015). 819 MB. The hash as TensorFlow
Datasets publishes it. Published models are scored on all of it."""


@dataclass
class Videos:
    """Clips, in the order of their names.

    frames: uint8 [F, H, W, C], of all clips one after another (a np.memmap in the cache folder); starts: int64 [N + 1],
    where each begins, and the end. names: the files, relative to the folder. labels: "" where there are none; classes:
    all labels, numbers by their value. fps: frames a second, what most of them have.
    split: [N], train, val or test.
    """

    frames: np.ndarray
    starts: np.ndarray
    names: list[str]
    labels: list[str]
    classes: list[str]
    fps: float
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def clip(self, i: int) -> np.ndarray:
        """uint8 [T, H, W, C]."""
        return self.frames[self.starts[i] : self.starts[i + 1]]


@dataclass(frozen=True)
class Found:
    """A file, or a folder of pictures. name: its path below the folder. label: of the folders; split: train or val,
    where folders say. broken: why it is of no use."""

    file: Path
    name: str
    label: str = ""
    split: str | None = None
    broken: str = ""


def find_videos(
    path: str,
    *,
    size: Sequence[int] | None = None,
    colour: Colour = "gray",
    fit: Fit = "crop",
    stride: int = 1,
    least: int = 2,
    val_match: str | None = None,
    val_fraction: float = 0.1,
    val_frames: int | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    seed: int = 0,
    max_frames: int = MAX_FRAMES,
    max_mb: float = MAX_MB,
) -> Videos:
    """The clips of "moving_mnist" (public), a file, or a folder with all below it.

    A clip is a film, a moving picture, a folder of pictures without films beside or below them (its frames), or a video
    in a NumPy file of uint8 [N, T, H, W] or [N, T, H, W, 3].
    size: (H, W) of all frames; None: that of most files, both sides rounded down to a multiple of 8.
    colour, fit, stride, max_frames, max_mb: see `files.read_video`. A rate that is not that of most is kept, and told
        on stderr; what has none takes theirs, or `files.STILL_FPS`.
    least: shorter clips, in frames, are broken.
    Labels are the first folders, where there are any (the second, where the first are splits), or `labels` of an NPZ.
    The split is that of folders train/, val/ and test/, where there are any; else val are the files whose name
    val_match matches ("*_0?.mp4"); else val_fraction of each label, drawn by the seed. A lone clip is cut in time: its
    last val_fraction, or its last val_frames frames, are val. val_fraction=1: everything is val.
    on_error: what is done at a broken clip: "stop" raises a UserError that names it, "skip" says so on stderr.
    UserError also where no clip is left on one side of the split.
    """
    if on_error not in ("stop", "skip"):
        raise UserError(f"data.on_error is stop or skip, not {on_error!r}")
    if not 0 < val_fraction <= 1:
        raise UserError(f"data.val_fraction lies above 0, up to 1, not {val_fraction}")
    if val_frames is not None and val_frames < 1:
        raise UserError(f"data.val_frames is at least 1, not {val_frames}")
    check_options(size, colour, fit, stride)
    files = find(path)
    usable = [found for found in files if not found.broken]
    refuse(path, [(found.name, found.broken) for found in files if found.broken], len(files), on_error, bool(usable))
    frames_first = path.lower() == "moving_mnist"
    asked = Asked(tuple(size) if size else None, colour, fit, stride, least, max_frames, max_mb, frames_first)
    read = scan([(found.name, found.file) for found in usable], asked)
    refuse(path, [*read.broken.items()], len(files), on_error, bool(read.names))
    of = [usable[source] for source in read.sources]
    names, starts = read.names, np.array([0, *read.ends], np.int64)
    labels = [own or found.label for own, found in zip(read.labels, of, strict=True)]
    splits = [found.split for found in of]
    fps = common_rate(path, read.rates)
    if len(names) == 1 and val_fraction < 1:
        last = val_frames or max(1, round(starts[1] * val_fraction))
        names, starts = cut(path, names[0], int(starts[1]), last, least)
        labels, splits = labels * 2, ["train", "val"]
        val_match = None
    elif val_frames is not None and len(names) > 1:
        raise UserError(
            f"data.val_frames={val_frames} cuts a lone clip, and data.path={path} holds {len(names)}: drop it"
        )
    options = {"val_match": val_match, "val_fraction": val_fraction, "seed": seed}
    split = splits_of(path, names, labels, splits, **options)
    classes = sorted(set(labels) - {""}, key=natural)
    return Videos(read.frames, starts, names, labels, classes, fps, split)


def common_rate(path: str, rates: Sequence[float | None]) -> float:
    """Frames a second of most clips, of several the highest; others are told on stderr."""
    told = Counter(round(rate, 3) for rate in rates if rate)
    most = max(told, key=lambda rate: (told[rate], rate), default=STILL_FPS)
    others = sorted(set(told) - {most})
    if others:
        count = sum(told[rate] for rate in others)
        rest = ", ".join(f"{rate:g}" for rate in others[:3]) + (", …" if len(others) > 3 else "")
        line = f"{count} of {len(rates)} clips do not have {most:g} frames a second but {rest}: taken frame by frame"
        print(f"data.path={path}: {line}", file=sys.stderr)
    return float(most)


def cut(path: str, name: str, count: int, last: int, least: int) -> tuple[list[str], np.ndarray]:
    """A lone clip of so many frames, in two: names and starts."""
    first = count - last
    if min(first, last) < least:
        raise UserError(
            f"data.path={path} is one clip of {count} frames, cut into {first} to train and {last} to validate, and "
            f"{least} of each are needed: give a longer clip or a folder of several, or set data.val_frames"
        )
    return [f"{name}[0:{first}]", f"{name}[{first}:{count}]"], np.array([0, first, count], np.int64)


# ---- files


def find(path: str) -> list[Found]:
    """The clips of a file or a folder in the order of their names, with what the folders say of them."""
    if path.lower() == "moving_mnist":
        if not (cache_folder() / "moving_mnist.npy").is_file():
            print(f"moving_mnist: 819 MB from {MOVING_MNIST[0]}", file=sys.stderr)
        file = download(*MOVING_MNIST, name="moving_mnist.npy")
        return [Found(file, "moving_mnist")]
    if not path:
        raise UserError("data.path is empty: give a file, a folder, or moving_mnist")
    place = Path(os.path.expanduser(path))
    if not os.path.exists(place):
        raise UserError(f"data.path={path}: there is no such file or folder (known sets: moving_mnist)")
    with reading(place):  # no pipe, no device
        folder = place.is_dir()
    if not folder:
        if place.suffix.lower() not in SUFFIXES:
            raise UserError(f"data.path={path}: known endings are {', '.join(SUFFIXES)}")
        return [Found(place, place.name)]
    parts = clips_below(path, place)
    if () in parts:
        return [Found(place, place.resolve().name)]
    by_split = splits_first([(*names, "") for names in parts])
    files = []
    for names in parts:
        above = names if by_split and len(names) == 1 else names[:-1]
        first, second = [*above, "", ""][:2]
        label, kind = (second, first) if by_split else (first, second)
        files.append(Found(place.joinpath(*names), "/".join(names), label, SPLITS.get(kind.lower())))
    if any(found.label for found in files):
        bare = "lies in no folder, and others do, which is a label"
        files = [found if found.label else replace(found, broken=bare) for found in files]
    return official(files)


def clips_below(path: str, place: Path) -> list[tuple[str, ...]]:
    """Films, arrays and folders of pictures, as parts of their paths below a folder, in order; () is the folder itself.
    Pictures beside or above other clips are none, which is told on stderr."""
    below = files_below(place, SUFFIXES)
    if not below:
        raise UserError(f"data.path={path}: the folder holds no {', '.join(SUFFIXES)} file")
    pictures = {parts for parts in below if Path(parts[-1]).suffix.lower() in PICTURES}
    folders = {parts[:-1] for parts in below}
    mixed = {parts[:i] for parts in below if parts not in pictures for i in range(len(parts))}
    mixed |= {folder[:i] for folder in folders for i in range(len(folder))}
    passed = sorted(parts for parts in pictures if parts[:-1] in mixed)
    if passed:
        print(
            f"data.path={path}: {len(passed)} pictures beside clips are passed over; the first: {'/'.join(passed[0])}",
            file=sys.stderr,
        )
    return sorted({parts[:-1] for parts in pictures} - mixed | {parts for parts in below if parts not in pictures})
