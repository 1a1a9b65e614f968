"""Moving clouds from files: arrays of sequences, and folders with a cloud or a mesh for each frame.

Legend: S sequences, T frames, P points. Coordinates are as in the files, in their unit.
"""

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.interpolate import CubicSpline

from genzoo.draws import numpy_generator
from genzoo.errors import UserError
from genzoo.folders import SPLITS, files_below, official, refuse, splits_first
from genzoo.progress import shown
from genzoo.reading import Broken, breaking, judge
from genzoo_points.motion.tracks import on_faces, same_faces, same_order, tracked
from genzoo_points.readers import LEAST_BYTES, MAX_MB, Raw, arrays_of, draw, labels_of, read_file, texts
from genzoo_points.sources import ARRAYS, SUFFIXES, given

Correspondence = Literal["auto", "given", "matched"]


@dataclass(frozen=True)
class Sequences:
    """Trajectories of points, in the order of their names.

    clips: float32 [T, P, 3] each, T and P of its own; point i of a frame is point i of all. names: one each. labels:
    places in classes; None where there are no classes. splits: "train", "val" or None. rates_hz: frames a second, None
    where the file does not say. matched: names of those whose points were matched from frame to frame.
    """

    clips: list[np.ndarray]
    names: list[str]
    labels: list[int] | None
    classes: list[str]
    splits: list[str | None]
    rates_hz: list[float | None]
    matched: list[str]


@dataclass(frozen=True)
class Found:
    """Where a sequence, or a file of several, lies. files: its frames in order, or the one file of arrays. seed: what
    its points are drawn by: its place below `data.path`."""

    files: tuple[Path, ...]
    name: str
    label: str | None = None
    split: str | None = None
    seed: str = ""


@dataclass
class Clip:
    """A sequence as it was read. which: its place in its file."""

    x: np.ndarray
    name: str
    label: str | None = None
    rate_hz: float | None = None
    was_matched: bool = False
    which: int = 0


def load_sequences(
    path: str,
    *,
    points: int,
    dense: int,
    least: int = 2,
    correspondence: Correspondence = "auto",
    on_error: Literal["skip", "stop"] = "stop",
    seed: int = 0,
    max_mb: float = MAX_MB,
    up: str = "z",
) -> Sequences:
    """All sequences of a file or a folder (`find` says which forms).

    points, dense: at least and at most so many points are kept of each, the same of all its frames; a mesh is given
    `dense`. least: frames that a sequence must have.
    correspondence: of arrays, and of meshes whose faces stay the same, points correspond. Of a folder of other frames
    "given" takes the points of each frame in their order, "matched" matches them (`tracks.tracked` says what follows),
    "auto" takes the order where as many points lie near their places from frame to frame, else matches them.
    on_error, max_mb, up: as in `genzoo_points.files.load_shapes`. UserError for a broken sequence, or for none.
    """
    for key, value, known in (
        ("on_error", on_error, ("skip", "stop")),
        ("correspondence", correspondence, ("auto", "given", "matched")),
    ):
        if value not in known:
            raise UserError(f"data.{key} is {', '.join(known[:-1])} or {known[-1]}, not {value!r}")
    clips: list[Clip] = []
    splits: list[str | None] = []
    classes: dict[str, None] = {}
    broken: list[tuple[str, str]] = []
    everything = find(path, max_mb)
    for found in shown(everything, "sequences"):
        try:
            with breaking():
                if is_array(found.files[0]) and len(found.files) == 1:
                    read, listed = read_array(found.files[0], found.name, max_mb)
                    classes |= dict.fromkeys(listed)
                else:
                    generator = numpy_generator("sequence", seed, found.seed)
                    x, was_matched = read_frames(found.files, points, dense, correspondence, generator, up, max_mb)
                    read = [Clip(x, found.name, was_matched=was_matched)]
        except Broken as reason:
            broken.append((found.name, str(reason)))
            continue
        for clip in read:
            try:
                generator = numpy_generator("points", seed, found.seed, clip.which)
                clip.x = checked(clip.x, points, dense, least, generator)
            except Broken as reason:
                broken.append((clip.name, str(reason)))
                continue
            clip.label = clip.label or found.label
            clips.append(clip)
            splits.append(found.split)
    refuse(path, broken, len(broken) + len(clips), on_error, bool(clips))
    labels = [clip.label for clip in clips]
    if None in labels and any(labels):
        bare, other = clips[labels.index(None)].name, clips[[label is not None for label in labels].index(True)].name
        raise UserError(f"data.path={path}: {bare} has no class, and {other} has one: give all one, or none")
    kinds = [*classes] if set(labels) <= set(classes) else sorted(set(labels) - {None}, key=natural)
    matched = [clip.name for clip in clips if clip.was_matched]
    if matched:
        print(
            f"{matched[0]} and {len(matched) - 1} more have no correspondence: their points are matched from frame to "
            "frame, and their accelerations are those of the sampling too",
            file=sys.stderr,
        )
    return Sequences(
        clips=[clip.x for clip in clips],
        names=[clip.name for clip in clips],
        labels=[kinds.index(label) for label in labels] if kinds else None,
        classes=kinds,
        splits=splits,
        rates_hz=[clip.rate_hz for clip in clips],
        matched=matched,
    )


def find(path: str, max_mb: float = MAX_MB) -> list[Found]:
    """The sequences that `data.path` names; UserError where there is none.

    A file: NPZ or NPY with `points` [T, P, 3] or [S, T, P, 3]. A folder: such files below it, and folders whose own
    files are frames (meshes, clouds, or arrays [P, 3]), in natural order: frame2 before frame10. The first folder above
    a sequence is its class, or the second where the first are `train/`, `val/`, `test/`.
    """
    place = given(path, "the embedded ones are data.path=bodies")
    if not place.is_dir():
        if not is_array(place):
            raise UserError(f"data.path={path}: one file of a motion is NPZ or NPY; frames are files in a folder")
        return [Found((place,), place.name)]
    files = files_below(place, SUFFIXES)
    folders: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for parts in files:
        folders.setdefault(parts[:-1], []).append(parts)
    groups: list[tuple[tuple[str, ...], tuple[Path, ...]]] = []
    for folder, mine in folders.items():
        frames = tuple(place.joinpath(*parts) for parts in sorted(mine, key=lambda parts: natural(parts[-1])))
        if all(map(is_array, frames)) and not is_frame(frames[0], max_mb):
            groups += [(parts, (place.joinpath(*parts),)) for parts in mine]
        else:
            groups.append((folder, frames))
    if not groups:
        raise UserError(f"data.path={path}: the folder holds no {', '.join(SUFFIXES)} file")
    split_first = splits_first([parts for parts, _ in groups])
    found = []
    for parts, frames in sorted(groups, key=lambda group: [natural(part) for part in group[0]]):
        first, second = ([*parts[:-1], None, None])[:2]
        label, split = (second, SPLITS.get(first.lower())) if split_first and first else (first, None)
        found.append(Found(frames, "/".join(parts) or place.name, label, split, "/".join(parts)))
    return official(found)


def natural(name: str) -> list[tuple[int, str]]:
    """A key by which frame2 comes before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name) if part]


def is_array(file: Path) -> bool:
    return file.suffix.lower() in ARRAYS


def is_frame(file: Path, max_mb: float) -> bool:
    """Whether a file of arrays holds one cloud [P, 3]."""
    with suppress(Broken):
        return points_of(arrays_of(file, max_mb)).ndim == 2
    return False


def points_of(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The array `points`, or the only one that could be."""
    if "points" in arrays:
        return arrays["points"]
    fit = [name for name, array in arrays.items() if array.ndim in (2, 3, 4) and array.shape[-1] == 3]
    if len(fit) != 1:
        raise Broken(f"has no array `points` (there is: {', '.join(arrays) or 'nothing'})")
    return arrays[fit[0]]


def read_array(file: Path, name: str, max_mb: float) -> tuple[list[Clip], list[str]]:
    """`points` [T, P, 3] or [S, T, P, 3]; and, if there are any, `lengths` [S] (frames of each, where they are padded),
    `names` [S], `labels` or `label` [S], `classes`, `rate_hz` (frames a second). And the classes that it lists."""
    arrays = arrays_of(file, max_mb)
    x = points_of(arrays)
    if x.ndim not in (3, 4) or x.shape[-1] != 3 or x.dtype.kind not in "fiu" or not x.size:
        raise Broken(f"has points {list(x.shape)} of {x.dtype}: [T, N, 3] or [S, T, N, 3] numbers are needed")
    x = x if x.ndim == 4 else x[None]
    judge(LEAST_BYTES * len(x), max_mb)
    names = texts(arrays, "names", len(x)) or ([name] if len(x) == 1 else [f"{name}[{i}]" for i in range(len(x))])
    classes = texts(arrays, "classes") or []
    labels = labels_of(arrays, classes, len(x)) or [None] * len(x)
    lengths = np.full(len(x), x.shape[1])
    if "lengths" in arrays:
        lengths = arrays["lengths"].reshape(-1)
        if lengths.dtype.kind not in "iu" or len(lengths) != len(x) or lengths.min() < 1 or lengths.max() > x.shape[1]:
            raise Broken(f"has `lengths` that are not {len(x)} numbers of frames, 1 to {x.shape[1]}")
    rate_hz = None
    if "rate_hz" in arrays:
        rate_hz = float(arrays["rate_hz"].reshape(-1)[0]) if arrays["rate_hz"].dtype.kind in "fiu" else 0.0
        if not rate_hz > 0:
            raise Broken(f"has rate_hz={arrays['rate_hz']}: frames a second, above 0, are needed")
    parts = zip(x, lengths.tolist(), names, labels, strict=True)
    clips = [Clip(one[:length], *told, rate_hz, which=i) for i, (one, length, *told) in enumerate(parts)]
    return clips, classes


def read_frames(
    files: Sequence[Path],
    points: int,
    dense: int,
    correspondence: Correspondence,
    generator: np.random.Generator,
    up: str,
    max_mb: float,
) -> tuple[np.ndarray, bool]:
    """[T, P, 3] of a folder of frames, and whether its points had to be matched."""
    raws = [read_frame(file, up, max_mb) for file in files]
    if correspondence != "matched":
        if all(raw.triangles is not None for raw in raws) and same_faces([raw.triangles for raw in raws]):
            return on_faces([raw.triangles for raw in raws], dense, generator), False
        clouds = [raw.points for raw in raws]
        if all(x is not None for x in clouds):
            if correspondence == "given" and len({len(x) for x in clouds}) > 1:
                raise Broken("has frames of unequal numbers of points: set data.correspondence=matched")
            if correspondence == "given" or same_order(clouds):
                return np.stack(clouds), False
        elif correspondence == "given":
            raise Broken("has meshes whose faces change: set data.correspondence=matched")
    clouds = []
    for file, raw in zip(files, raws, strict=True):
        try:
            clouds.append(draw(raw, points, False, generator, most=dense))
        except Broken as reason:
            raise Broken(f"has a frame, {file.name}, which {reason}") from reason
    return tracked([x.astype(np.float64) for x in clouds], points, generator), True


def read_frame(file: Path, up: str, max_mb: float) -> Raw:
    """The one cloud or mesh of a file."""
    try:
        raws, _ = read_file(file, up, max_mb)
    except Broken as reason:
        raise Broken(f"has a frame, {file.name}, which {reason}") from reason
    if len(raws) > 1:
        raise Broken(f"has a frame, {file.name}, which holds {len(raws)} shapes, and one is needed in each frame")
    return raws[0]


def checked(x: np.ndarray, points: int, dense: int, least: int, generator: np.random.Generator) -> np.ndarray:
    """float32, with at most `dense` points; Broken where frames, points or numbers are missing."""
    with np.errstate(over="ignore"):
        x = np.asarray(x, np.float32)
    if len(x) < least:
        raise Broken(f"has {len(x)} frames, and {least} are needed: lower data.frames or data.past")
    if x.shape[1] < points:
        raise Broken(f"has {x.shape[1]} points, and data.points asks for {points}: lower data.points")
    bad = ~np.isfinite(x).all(axis=(1, 2))
    if bad.any():
        raise Broken(f"has coordinates in frame {bad.argmax()} that are NaN, infinite or beyond 32 bits")
    if not np.ptp(x, axis=1).any(axis=1).all():
        raise Broken("has no extent: in one of its frames all points are the same")
    return x if x.shape[1] <= dense else x[:, np.sort(generator.permutation(x.shape[1])[:dense])]


def at_rate(x: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Trajectories [T, P, 3] at another number of frames a second, over the same time: cubic splines. UserError where
    these are of more than `MAX_MB`."""
    if from_hz == to_hz or len(x) < 2:
        return x
    if (megabytes := x.nbytes * to_hz / from_hz / 1e6) > MAX_MB:
        raise UserError(
            f"a sequence of {len(x)} frames, {from_hz:g} a second, would fill {megabytes:,.0f} MB at "
            f"rate_hz={to_hz:g}, and the most is {MAX_MB:g}: choose another rate_hz"
        )
    times = np.arange(len(x)) / from_hz
    wanted = np.arange(int(times[-1] * to_hz + 1e-6) + 1) / to_hz
    return CubicSpline(times, x, axis=0)(wanted.clip(max=times[-1])).astype(x.dtype)
