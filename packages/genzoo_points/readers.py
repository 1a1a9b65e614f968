"""What is in one file: a mesh, a cloud, or many clouds.

Legend: S shapes, P points, F triangles. Coordinates are as in the files, in their unit.
"""

import re
import warnings
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genzoo.errors import UserError
from genzoo_points.sources import MESHES, TEXTS

if TYPE_CHECKING:
    import trimesh

MESH_POINTS = 2048
"""Points on a mesh where no number is asked for."""

FLAT = 1e-12
"""A mesh whose area is less than this part of its extent squared has none: the rounding of 64-bit numbers."""


DAMAGED = (OSError, ValueError, EOFError, KeyError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for files that are none of its own."""


class Broken(Exception):
    """Why a file, or one shape of it, is of no use; whoever knows its name tells the user."""


class Note(Broken):
    """A text file that holds no points at all, as a README."""


@dataclass(frozen=True)
class Raw:
    """A shape as its file has it: triangles [F, 3, 3], or points [P, 3] and, where there are any, their normals
    [P, 3]. called: its name in the file. label: its class, if the file says."""

    triangles: np.ndarray | None = None
    points: np.ndarray | None = None
    normals: np.ndarray | None = None
    called: str = ""
    label: str | None = None


def draw(
    raw: Raw, count: int | None, normals: bool, generator: np.random.Generator, *, most: int | None = None
) -> np.ndarray:
    """float32 [P, 3 or 6] of one shape, in random order: by area of a mesh, without replacement of a cloud. P is
    `most`, or what a cloud has, but at least `count`; without `most`, `count`, or all."""
    there = raw.points if raw.triangles is None else raw.triangles.reshape(-1, 3)
    if not len(there):
        raise Broken("empty")
    with np.errstate(over="ignore"):
        there = np.asarray(there, np.float32)
    if not np.isfinite(there).all():
        raise Broken("has coordinates that are NaN, infinite or beyond 32 bits")
    if not np.ptp(there, axis=0).any():
        raise Broken("has no extent: all its points are the same")
    if raw.triangles is not None:
        cloud, directions = draw_mesh(raw.triangles, most or count or MESH_POINTS, generator)
    else:
        if count is not None and len(there) < count:
            raise Broken(f"has {len(there)} points and data.points asks for {count}: lower data.points")
        if normals and raw.normals is None:
            raise Broken("has no normals, which data.normals asks for: set data.normals=false")
        whole = count in (None, len(there))
        some = slice(None) if whole else generator.permutation(len(there))[: most or count]
        cloud, directions = there[some], raw.normals[some] if normals else None
    if not normals:
        return np.ascontiguousarray(cloud, np.float32)
    length = np.linalg.norm(directions.astype(np.float64), axis=1, keepdims=True)
    if not (abs(length - 1) < 0.1).all():  # nor NaN; files round, but colours are no normals
        raise Broken("has normals that are not of unit length: mend them, or set data.normals=false")
    return np.concatenate((cloud, directions / length), axis=1, dtype=np.float32, casting="same_kind")


def draw_mesh(triangles: np.ndarray, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points and unit normals [count, 3] of the triangles [F, 3, 3]."""
    import trimesh

    corners = triangles.reshape(-1, 3)
    mesh = trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3), process=False)
    if mesh.area <= FLAT * np.ptp(corners, axis=0).max() ** 2:
        raise Broken("has no area: all its faces are degenerate")
    cloud, face = trimesh.sample.sample_surface(mesh, count, seed=generator)
    a, b, c = triangles[face].swapaxes(0, 1)
    normal = np.cross(b - a, c - a)
    return np.asarray(cloud), normal / np.linalg.norm(normal, axis=1, keepdims=True)


def read_file(file: Path, up: str = "y") -> tuple[list[Raw], list[str]]:
    """The shapes in a file, and the classes that it lists. up: the axis that points up in what is returned; of files
    only glTF's say theirs, which is y."""
    suffix = file.suffix.lower()
    if suffix in MESHES:
        raw = read_mesh(file)
        return [turned(raw, up) if suffix in (".glb", ".gltf") else raw], []
    try:
        if not file.stat().st_size:
            raise Broken("empty")
        return ([read_text(file)], []) if suffix in TEXTS else read_arrays(file)
    except DAMAGED as error:
        raise Broken(because(error)) from error


def turned(raw: Raw, up: str) -> Raw:
    """A shape whose y axis points up, with another one there."""
    turn = np.array(
        {"x": [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], "y": np.eye(3), "z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]]}[up]
    )
    fields = {name: getattr(raw, name) for name in ("triangles", "points", "normals")}
    return replace(raw, **{name: x @ turn.T for name, x in fields.items() if x is not None})


def because(error: Exception) -> str:
    return f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:160]})"


def read_mesh(file: Path) -> Raw:
    """What trimesh makes of a file: the faces of all its objects, each in its place; without any, the points."""
    try:
        import trimesh
    except ModuleNotFoundError as error:
        raise UserError(f"{file} needs trimesh: pip install 'genzoo[points]'") from error
    try:
        if not file.stat().st_size:
            raise Broken("empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parts = trimesh.load_scene(file, process=False, skip_materials=True).dump()
            if meshes := [part.triangles for part in parts if len(getattr(part, "faces", ()))]:
                return Raw(triangles=np.concatenate(meshes))
            clouds = [part for part in parts if len(getattr(part, "vertices", ()))]
            normals = [normals_of_ply(part) for part in clouds]
    except Broken:
        raise
    except Exception as error:  # every format has errors of its own
        raise Broken(because(error)) from error
    if not clouds:
        raise Broken("has no faces and no points")
    return Raw(
        points=np.concatenate([part.vertices for part in clouds]),
        normals=None if any(n is None for n in normals) else np.concatenate(normals),
    )


def normals_of_ply(cloud: "trimesh.PointCloud") -> np.ndarray | None:
    """[P, 3] of a PLY file without faces, which trimesh keeps as it read them."""
    raw = cloud.metadata.get("_ply_raw", {}).get("vertex", {})
    if {"nx", "ny", "nz"} <= set(raw.get("properties", ())):
        return np.column_stack([raw["data"][axis] for axis in ("nx", "ny", "nz")])
    return None


def read_text(file: Path) -> Raw:
    """Rows of x y z, or x y z and a normal, by blanks, commas or semicolons. What stands before the first row is a
    header, what follows # or // a comment."""
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    lines = re.sub("[,;]", " ", re.sub("(#|//).*", "", text)).splitlines()
    first = next((i for i, line in enumerate(lines[:100]) if is_row(line)), None)
    if first is None:
        raise (Note if file.suffix.lower() == ".txt" else Broken)("holds no rows of numbers x y z")
    rows = np.loadtxt(lines[first:], comments=None, ndmin=2)
    if rows.shape[1] not in (3, 6):
        raise Broken(f"has {rows.shape[1]} columns: 3 (x y z) or 6 (with normals) are read")
    return Raw(points=rows[:, :3], normals=rows[:, 3:] if rows.shape[1] == 6 else None)


def is_row(line: str) -> bool:
    """Whether a line is of three numbers or more."""
    try:
        return len([float(word) for word in line.split()]) >= 3
    except ValueError:
        return False


def read_arrays(file: Path) -> tuple[list[Raw], list[str]]:
    """NPY: points [P, 3 or 6] or [S, P, 3 or 6]. NPZ: that as `points`, or the only such array; and, if there are any,
    `normals`, `names` [S], `labels` or `label` [S] (numbers, or names of classes), `classes`."""
    try:
        arrays = arrays_of(file)
    except ValueError as error:
        if "pickle" in str(error):
            raise Broken("holds Python objects or no arrays at all: nothing is unpickled") from error
        raise
    if "points" not in arrays:
        fit = [name for name, a in arrays.items() if a.ndim in (2, 3) and a.shape[-1] in (3, 6) and name != "normals"]
        if len(fit) != 1:
            raise Broken(f"has no array `points` (there is: {', '.join(arrays) or 'nothing'})")
        arrays["points"] = arrays[fit[0]]
    points, normals = arrays["points"], arrays.get("normals")
    if points.ndim not in (2, 3) or points.shape[-1] not in (3, 6) or points.dtype.kind not in "fiu":
        raise Broken(f"has points {list(points.shape)} of {points.dtype}: [P, 3] or [S, P, 3] numbers are needed, or 6")
    if points.shape[-1] == 6:
        points, normals = points[..., :3], points[..., 3:]
    if normals is not None and (normals.shape != points.shape or normals.dtype.kind not in "fiu"):
        raise Broken(f"has normals {list(normals.shape)} for points {list(points.shape)}")
    if points.ndim == 2:
        points, normals = points[None], None if normals is None else normals[None]
    if not points.size:
        raise Broken("empty")
    names = texts(arrays, "names", len(points)) or [""] * len(points)
    classes = texts(arrays, "classes") or []
    labels = labels_of(arrays, classes, len(points)) or [None] * len(points)
    raws = [
        Raw(points=points[i], normals=None if normals is None else normals[i], called=names[i], label=labels[i])
        for i in range(len(points))
    ]
    return raws, classes


def arrays_of(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file by their names; that of an NPY file as `points`."""
    with open(file, "rb") as opened:
        loaded = np.load(opened, allow_pickle=False)
        return {"points": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}


def texts(arrays: dict[str, np.ndarray], name: str, count: int | None = None) -> list[str] | None:
    """An array of words, of `count` where that is known; None where there is none."""
    if name not in arrays:
        return None
    words = arrays[name].reshape(-1)
    if words.dtype.kind not in "USiu" or len(words) != (len(words) if count is None else count):
        raise Broken(f"has `{name}` {list(arrays[name].shape)} of {words.dtype}: a word for each is needed")
    return [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in words.tolist()]


def labels_of(arrays: dict[str, np.ndarray], classes: list[str], count: int) -> list[str] | None:
    """The name of each shape's class; the number itself where it has no name. None where there are no labels."""
    key = "labels" if "labels" in arrays else "label"
    labels = texts(arrays, key, count)
    if not labels or not classes:
        return labels
    if arrays[key].dtype.kind in "iu":
        if odd := [label for label in labels if not 0 <= int(label) < len(classes)]:
            raise Broken(f"has a label {odd[0]}, and {len(classes)} classes")
        return [classes[int(label)] for label in labels]
    if odd := sorted(set(labels) - set(classes)):
        raise Broken(f"has a label {odd[0]!r}, which is none of its classes")
    return labels
