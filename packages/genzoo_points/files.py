"""Shapes from files: meshes, sampled by area, and clouds of points.

Legend: S shapes, P points, F triangles. Coordinates are as in the files, in their unit.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from genzoo.download import cache_folder
from genzoo.draws import numpy_generator
from genzoo.errors import UserError
from genzoo.keeping import keep_file
from genzoo.progress import shown
from genzoo.reading import Broken, breaking, reading
from genzoo_points.readers import MAX_MB, Note, arrays_of, draw, read_file
from genzoo_points.sources import ARRAYS, SUFFIXES, Found, find

VERSION = 2
"""Of what is kept of files: raise it where the same files would give other points."""

WORTH_KEEPING = 8
"""Files that must be parsed, from which on the points are kept for the next time."""


@dataclass(frozen=True)
class Shapes:
    """Clouds of one size, in the order of their names.

    points: float32 [S, P, 3], or [S, P, 6] with unit normals. names: one a shape: its path below `data.path`,
    "file.npz[12]", or what the file itself calls it. labels: places in classes; None where there are no classes.
    splits: "train", "val" or "test", where the folders have an official split; else None. skipped: "file: reason".
    """

    points: Tensor
    names: list[str]
    labels: list[int] | None
    classes: list[str]
    splits: list[str] | None
    skipped: list[str]


def load_shapes(
    path: str,
    *,
    points: int,
    dense: int | None = None,
    normals: bool = False,
    on_error: Literal["skip", "stop"] = "stop",
    seed: int = 0,
    max_mb: float = MAX_MB,
    up: str = "y",
) -> Shapes:
    """All shapes of a file, a folder (`genzoo_points.sources.find` says which forms), or "modelnet10", "modelnet40".

    points: P. Of a mesh so many are sampled by area; of a cloud, a random part. dense: P may be as large as this, where
    all shapes give so many: then examples can be drawn from P. What is drawn depends on the seed and the shape's place
    below `path`, wherever that is and whatever else lies there. normals: with unit normals, of faces or as in the file.
    on_error: where a shape is broken (cannot be read, is empty, has no extent, NaN, fewer than P points, no normals
    where they are asked for, or a file of more than max_mb megabytes, unpacked) "stop" raises a UserError that names
    it, "skip" says so on stderr and in `skipped`. UserError also where no shape is left, where only some shapes have a
    class or an official split, and where trimesh is needed and not installed. In a folder, a .txt without a row of
    numbers is a note, and passed over.

    up: the axis that points up; GLB and glTF, which are y up, are turned to it.

    The points of many meshes are kept in the cache folder, until the files or what is asked for change.
    """
    if on_error not in ("skip", "stop"):
        raise UserError(f"data.on_error is skip or stop, not {on_error!r}")
    if points < 1:
        raise UserError(f"data.points is at least 1, not {points}")
    files = find(path)
    kept, suffixes = None, [found.file.suffix.lower() for found in files]
    if sum(suffix not in ARRAYS for suffix in suffixes) >= WORTH_KEEPING and ".gltf" not in suffixes:  # of many files
        told = [(f.name, f.label, f.split, f.seed, *state_of(f.file)) for f in files]
        key = repr((VERSION, points, dense, normals, on_error, seed, max_mb, up, told)).encode()
        kept = cache_folder() / f"shapes-{hashlib.blake2b(key, digest_size=16).hexdigest()}.npz"
    shapes = read_kept(kept) if kept else None
    if shapes is None:
        shapes = read_all(files, path, points, dense or points, normals, on_error, seed, max_mb, up)
        if kept:
            keep(shapes, kept)
    for line in shapes.skipped:
        print(f"skipped {line}", file=sys.stderr)
    return shapes


def state_of(file: Path) -> tuple[int, ...]:
    """What changes where a file is written anew, whatever its name and time say, and stays where it is moved."""
    state = file.stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def read_cloud(
    file: Path,
    key: str = "partial",
    *,
    points: int | None,
    normals: bool,
    seed: int,
    up: str = "y",
    max_mb: float = MAX_MB,
) -> Tensor:
    """The one shape in a file, float32 [P, 3], or [P, 6] with unit normals. points: P; None: all points of a cloud, or
    2048 on a mesh. UserError, with the key and the file's name, where it cannot be read, is broken, or holds several
    shapes."""
    with reading(file, key):
        if file.suffix.lower() not in SUFFIXES:
            raise Broken(f"is none of {', '.join(SUFFIXES)}")
        raws, _ = read_file(file, up, max_mb)
        if len(raws) > 1:
            raise Broken(f"holds {len(raws)} shapes: give a file of one")
        return torch.from_numpy(draw(raws[0], points, normals, numpy_generator("cloud", seed)))


def normalise(points: Tensor, mode: Literal["shape", "global", "none"]) -> tuple[Tensor, Tensor, Tensor]:
    """Brings [S, P, 3 or more] (channels beyond three are left alone) into the unit sphere. Returns the new points, and
    what they were moved and divided by, so that xyz * scale + centre, broadcast over P, gives the old ones back.

    "shape": each by its own centre [S, 3], the middle of its bounding box, and scale [S], the largest distance from it.
    "global": all by one centre [3], the mean of all points, and one scale []. "none": 0 and 1, and nothing is changed.
    Where all points are the same the scale is 1. UserError for other modes.
    """
    xyz = points[..., :3]
    if mode == "none":
        return points, points.new_zeros(3), points.new_ones(())
    if mode == "shape":
        centre = (xyz.amin(dim=1) + xyz.amax(dim=1)) / 2
        moved = xyz - centre[:, None]
        scale = moved.norm(dim=-1).amax(dim=1)
    elif mode == "global":
        centre = xyz.mean(dim=(0, 1), dtype=torch.float64).to(xyz.dtype)
        moved = xyz - centre
        scale = moved.norm(dim=-1).amax()
    else:
        raise UserError(f"data.normalise is shape, global or none, not {mode!r}")
    scale = torch.where(scale > 0, scale, 1.0)
    return torch.cat((moved / scale[..., None, None], points[..., 3:]), dim=-1), centre, scale


def read_all(
    files: Sequence[Found],
    path: str,
    points: int,
    dense: int,
    normals: bool,
    on_error: str,
    seed: int,
    max_mb: float,
    up: str,
) -> Shapes:
    """The shapes of some files, one after the other."""
    clouds: list[np.ndarray] = []
    names: list[str] = []
    labels: list[str | None] = []
    splits: list[str | None] = []
    skipped: list[str] = []
    order: dict[str, None] = {}

    def refuse(name: str, reason: Broken) -> None:
        if on_error == "stop":
            raise UserError(f"data.path={path}: {name} {reason} (data.on_error=skip leaves it out)") from reason
        skipped.append(f"{name} {reason}")

    for found in shown(files, "shapes"):
        try:
            raws, classes = read_file(found.file, up, max_mb)
        except Note as reason:
            if len(files) == 1:
                refuse(found.name, reason)
            continue
        except Broken as reason:
            refuse(found.name, reason)
            continue
        order |= dict.fromkeys(classes)
        for i, raw in enumerate(raws):
            which = "" if len(raws) == 1 else f"[{i}]"
            name = found.name + which
            try:
                with breaking():
                    cloud = draw(raw, points, normals, numpy_generator("shape", seed, found.seed + which), most=dense)
            except Broken as reason:
                refuse(name, reason)
                continue
            clouds.append(cloud)
            names.append(raw.called or name)
            labels.append(raw.label or found.label)
            splits.append(found.split)
    if not clouds:
        why = f"{len(skipped)} are broken; the first: {skipped[0]}" if skipped else "there are only notes"
        raise UserError(f"data.path={path}: no shape can be used, {why}")
    for values, what in ((labels, "class"), (splits, "train/, val/ or test/ folder")):
        if None in values and any(values):
            bare, other = names[values.index(None)], names[[value is not None for value in values].index(True)]
            raise UserError(f"data.path={path}: {bare} has no {what}, and {other} has one: give all one, or none")
    classes = [*order] if set(labels) <= set(order) else sorted(set(labels) - {None}, key=in_order)
    place = {label: i for i, label in enumerate(classes)}
    count = min(map(len, clouds))
    return Shapes(
        points=torch.from_numpy(np.stack([cloud[:count] for cloud in clouds])),
        names=names,
        labels=[place[label] for label in labels] if classes else None,
        classes=classes,
        splits=splits if {"train", "val"} <= set(splits) else None,
        skipped=skipped,
    )


def in_order(name: str) -> tuple[bool, int, str]:
    """Classes in the order of their numbers, or of the alphabet."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def keep(shapes: Shapes, file: Path) -> None:
    """For the next time; where the cache folder cannot be written, there is none."""
    arrays = {"points": shapes.points.numpy()}
    for name in ("names", "labels", "classes", "splits", "skipped"):
        values = getattr(shapes, name)
        if values is not None:
            arrays[name] = np.array(values, dtype=np.int64 if name == "labels" else np.str_)
    keep_file(file, lambda opened: np.savez(opened, **arrays))


def read_kept(file: Path) -> Shapes | None:
    """What `keep` wrote; None where there is nothing, or it is damaged."""
    try:
        arrays = arrays_of(file)
        lists = {name: arrays[name].tolist() if name in arrays else None for name in ("labels", "splits")}
        lists |= {name: arrays[name].tolist() for name in ("names", "classes", "skipped")}
        return Shapes(points=torch.from_numpy(arrays["points"]), **lists)
    except Exception:  # a damaged ZIP file raises all sorts
        return None
