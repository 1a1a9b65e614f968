"""Clouds and meshes as files that other programs open: PLY, GLB, NPZ, OBJ, STL.

They are written anew: whether something may be overwritten is the caller's care.

Legend: N points.
"""

import importlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genzoo.errors import UserError

if TYPE_CHECKING:
    from trimesh import Trimesh

Up = Literal["x", "y", "z"]

TO_Y_UP = {"x": (0.0, 0.0, 0.5**0.5, 0.5**0.5), "y": (0.0, 0.0, 0.0, 1.0), "z": (-(0.5**0.5), 0.0, 0.0, 0.5**0.5)}
"""Quaternions (x, y, z, w) that turn an axis to y, which is up in glTF."""

POINTS, FLOAT, VERTICES = 0, 5126, 34962
"""glTF's words for a primitive of points, float32 and a buffer of vertices."""


def needed(name: str) -> Any:
    """A module of the extra "points"; UserError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        line = f"{error.name} is not installed, and surfaces and meshes need it: pip install 'genzoo[points]'"
        raise UserError(line) from error


def write_cloud(points: np.ndarray, path: Path, *, kind: Literal["ply", "glb", "npz"], up: Up = "z") -> Path:
    """Writes points [N, 3], or with unit normals [N, 6], in float32 and the cloud's own units and axes.

    ply: binary, little-endian, with x y z and nx ny nz. glb: binary glTF 2.0, whose readers take metres and y for up;
    a rotation of the node turns `up` there, the numbers stay. npz: arrays `points` and, if there, `normals`.

    Raises ValueError for other shapes, no points, or values that are not finite.
    """
    values = np.ascontiguousarray(points, dtype="<f4")
    if values.ndim != 2 or values.shape[1] not in (3, 6) or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a cloud is finite points [N, 3] or [N, 6], not {list(values.shape)} or values like nan")
    parts = dict(zip(("points", "normals"), np.split(values, range(3, values.shape[1], 3), axis=1), strict=False))
    if kind == "npz":
        with open(path, "wb") as file:
            np.savez_compressed(file, **parts)
    elif kind in ("ply", "glb"):
        path.write_bytes(ply(values) if kind == "ply" else glb(parts, up))
    else:
        raise ValueError(f"kind={kind!r} is none of ply, glb and npz")
    return path


def ply(values: np.ndarray) -> bytes:
    """[N, 3] or [N, 6] as binary PLY 1.0 (Turk 1994)."""
    names = ("x", "y", "z", "nx", "ny", "nz")[: values.shape[1]]
    lines = ("ply", "format binary_little_endian 1.0", "comment genzoo", f"element vertex {len(values)}")
    lines += (*(f"property float {name}" for name in names), "end_header\n")
    return "\n".join(lines).encode() + values.tobytes()


def glb(parts: dict[str, np.ndarray], up: Up) -> bytes:
    """Arrays `points` and perhaps `normals`, [N, 3] each, as the one primitive of a binary glTF 2.0 (Khronos, 2021).
    Written here because trimesh leaves out the normals of points."""
    names = {"points": "POSITION", "normals": "NORMAL"}
    size = parts["points"].nbytes
    whole = b"".join(np.ascontiguousarray(part).tobytes() for part in parts.values())
    accessors = [
        {"bufferView": i, "componentType": FLOAT, "count": len(part), "type": "VEC3"}
        for i, part in enumerate(parts.values())
    ]
    accessors[0] |= {"min": parts["points"].min(axis=0).tolist(), "max": parts["points"].max(axis=0).tolist()}
    tree = {
        "asset": {"version": "2.0", "generator": "genzoo"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "points", "rotation": TO_Y_UP[up]}],
        "meshes": [{"primitives": [{"mode": POINTS, "attributes": {names[k]: i for i, k in enumerate(parts)}}]}],
        "accessors": accessors,
        "bufferViews": [
            {"buffer": 0, "byteOffset": i * size, "byteLength": size, "target": VERTICES} for i in range(len(parts))
        ],
        "buffers": [{"byteLength": len(whole)}],
    }
    return container(tree, whole)


def container(tree: dict[str, Any], whole: bytes) -> bytes:
    """A glTF tree and its buffer as one binary file; the buffer is a multiple of 4 bytes long."""
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return b"".join(
        (
            struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(whole)),
            struct.pack("<I4s", len(text), b"JSON") + text,
            struct.pack("<I4s", len(whole), b"BIN\0") + whole,
        )
    )


def write_mesh(mesh: "Trimesh", path: Path, kind: Literal["ply", "glb", "obj", "stl"], *, up: Up = "z") -> Path:
    """Writes a mesh in its own units and axes: binary PLY and STL, OBJ as text, GLB with y up (see `write_cloud`).

    Raises ValueError for another kind or an empty mesh, UserError where trimesh is not installed.
    """
    trimesh = needed("trimesh")
    if kind not in ("ply", "glb", "obj", "stl"):
        raise ValueError(f"kind={kind!r} is none of ply, glb, obj and stl")
    if not len(mesh.faces):
        raise ValueError("the mesh has no faces")
    if kind == "glb":
        x, y, z, w = TO_Y_UP[up]
        turned = trimesh.transformations.quaternion_matrix((w, x, y, z))
        scene = trimesh.Scene()
        scene.add_geometry(mesh, node_name="mesh", geom_name="mesh", transform=turned)
        written = scene.export(file_type="glb")
    else:
        written = mesh.export(file_type=kind)
    path.write_bytes(written.encode() if isinstance(written, str) else written)
    return path
