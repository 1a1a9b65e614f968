"""What is in one file: a mesh, a cloud, or many clouds.

Legend: S shapes, P points, F triangles. Coordinates are as in the files, in their unit.
"""

import io
import json
import re
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genzoo.errors import UserError
from genzoo.reading import Broken, breaking, judge, regular, unpacked_bytes
from genzoo_points.sources import GLTF, MESHES, TEXTS

if TYPE_CHECKING:
    import trimesh

MESH_POINTS = 2048
"""Points on a mesh where no number is asked for."""

FLAT = 1e-12
"""A mesh whose area is less than this part of its extent squared has none: the rounding of 64-bit numbers."""

MAX_MB = 500.0
"""What a file may hold, unpacked, where nothing else is asked for."""

LEAST_BYTES = 1000
"""What each shape of a file costs in memory, however few points it has."""

MAX_CLASSES = 100_000

ASCII = bytes(byte if byte < 128 else ord("?") for byte in range(256))
""""?" for letters of whatever encoding: they stand in names and comments only."""


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
        raise Broken("is empty")
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


def read_file(file: Path, up: str = "y", max_mb: float = MAX_MB) -> tuple[list[Raw], list[str]]:
    """The shapes in a file, and the classes that it lists; Broken where it cannot be read, or would hold more than
    max_mb. up: the axis that points up in what is returned; of files only glTF's say theirs, which is y."""
    suffix = file.suffix.lower()
    with breaking():
        size = file.stat().st_size
        if not size:
            raise Broken("is empty")
        judge(size, max_mb)
        if suffix in MESHES:
            raw = read_mesh(file, max_mb)
            return [turned(raw, up) if suffix in GLTF else raw], []
        return ([read_text(file)], []) if suffix in TEXTS else read_arrays(file, max_mb)


def turned(raw: Raw, up: str) -> Raw:
    """A shape whose y axis points up, with another one there."""
    turn = np.array(
        {"x": [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], "y": np.eye(3), "z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]]}[up]
    )
    fields = {name: getattr(raw, name) for name in ("triangles", "points", "normals")}
    return replace(raw, **{name: x @ turn.T for name, x in fields.items() if x is not None})


def read_mesh(file: Path, max_mb: float) -> Raw:
    """What trimesh makes of a file: the faces of all its objects, each in its place; without any, the points."""
    try:
        import trimesh
    except ModuleNotFoundError as error:
        raise UserError(f"{file} needs trimesh: pip install 'genzoo[points]'") from error
    suffix = file.suffix.lower()
    if suffix in GLTF:
        judge(claimed_by_gltf(file, max_mb), max_mb)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = {"process": False, "skip_materials": True}
        if suffix in GLTF:
            scene = trimesh.load_scene(file, **told)
        else:
            scene = trimesh.load_scene(io.BytesIO(readable(file.read_bytes(), suffix)), file_type=suffix[1:], **told)
        shown = [scene.geometry[scene.graph[node][1]] for node in scene.graph.nodes_geometry]
        judge(sum(map(bytes_of, shown)) - sum(map(bytes_of, scene.geometry.values())), max_mb)  # a part may stand often
        parts = scene.dump()
    if meshes := [part.triangles for part in parts if len(getattr(part, "faces", ()))]:
        return Raw(triangles=np.concatenate(meshes))
    clouds = [part for part in parts if len(getattr(part, "vertices", ()))]
    if not clouds:
        raise Broken("has no faces and no points")
    normals = [normals_of_ply(part) for part in clouds]
    return Raw(
        points=np.concatenate([part.vertices for part in clouds]),
        normals=None if any(n is None for n in normals) else np.concatenate(normals),
    )


def bytes_of(part: "trimesh.Geometry") -> int:
    """Of a mesh its triangles, of a cloud its points, in 64 bits."""
    return 8 * 3 * (3 * len(part.faces) if hasattr(part, "faces") else len(getattr(part, "vertices", ())))


def readable(content: bytes, suffix: str) -> bytes:
    """A mesh file whose text (of a PLY its header, of a binary STL nothing) is ASCII."""
    end = len(content)
    if suffix == ".ply":
        end = content.find(b"end_header")
    elif suffix == ".stl" and end == 84 + 50 * int.from_bytes(content[80:84], "little"):
        return content
    return content[:end].translate(ASCII) + content[end:]


def claimed_by_gltf(file: Path, max_mb: float) -> int:
    """Bytes of the numbers that a glTF file says it holds, which need not be there; Broken where its buffers are huge
    files, or none."""
    with open(file, "rb") as opened:
        head = opened.read(20)
        text = opened.read(int.from_bytes(head[12:16], "little")) if head[:4] == b"glTF" else file.read_bytes()
    tree = json.loads(text)
    for buffer in tree.get("buffers", ()):
        if not (uri := buffer.get("uri", "data:")).startswith("data:"):
            beside = (file.parent / uri.strip()).resolve()
            if not beside.is_relative_to(file.parent.resolve()):
                raise Broken(f"names a file outside of its folder, {uri!r}")
            regular(beside)
            judge(beside.stat().st_size, max_mb)
    axes = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
    return sum(4 * axes.get(part.get("type"), 16) * part.get("count", 0) for part in tree.get("accessors", ()))


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


def read_arrays(file: Path, max_mb: float) -> tuple[list[Raw], list[str]]:
    """NPY: points [P, 3 or 6] or [S, P, 3 or 6]. NPZ: that as `points`, or the only such array; and, if there are any,
    `normals`, `names` [S], `labels` or `label` [S] (numbers, or names of classes), `classes`."""
    arrays = arrays_of(file, max_mb)
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
        raise Broken("is empty")
    judge(LEAST_BYTES * len(points), max_mb)
    names = texts(arrays, "names", len(points)) or [""] * len(points)
    classes = texts(arrays, "classes") or []
    labels = labels_of(arrays, classes, len(points)) or [None] * len(points)
    raws = [
        Raw(points=points[i], normals=None if normals is None else normals[i], called=names[i], label=labels[i])
        for i in range(len(points))
    ]
    return raws, classes


def arrays_of(file: Path, max_mb: float = MAX_MB) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file by their names; that of an NPY file as `points`. Broken where they are of more than
    max_mb, which is asked before they are unpacked."""
    with breaking("cannot be read, and nothing is unpickled"):
        if not zipfile.is_zipfile(file):
            judge(file.stat().st_size, max_mb)
            return {"points": np.array(np.lib.format.open_memmap(file, mode="r"))}  # which holds what its header claims
        judge(unpacked_bytes(file), max_mb)
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}


def texts(arrays: dict[str, np.ndarray], name: str, count: int | None = None) -> list[str] | None:
    """An array of words, of `count` where that is known; None where there is none."""
    if name not in arrays:
        return None
    words = arrays[name].reshape(-1)
    odd = len(words) > MAX_CLASSES if count is None else len(words) != count
    if words.dtype.kind not in "USiu" or odd:
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
