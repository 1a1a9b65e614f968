"""Moving clouds as files that other programs open: a folder of PLY, an animated GLB, an NPZ; and sheets of frames.

They are written anew: whether something may be overwritten is the caller's care.

Legend: T frames, N points, V corners of a ball.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from genzoo_points.output import FLOAT, TO_Y_UP, VERTICES, Up, container, write_cloud
from genzoo_points.pictures import AZIMUTH_DEG, ELEVATION_DEG, by_height, fitting, render, spacing, upright, write_title

TRIANGLES, INDEX, INDICES = 4, 5125, 34963
"""glTF's words for a primitive of triangles, uint32 and a buffer of indices."""

CORNERS = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], dtype=np.float32)
FACES = np.array([(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)])
"""An octahedron, all faces outward: what stands for a point."""

SHEET_ROWS = 12
"""Sequences on one sheet, at most."""

SHEET_FRAMES = 8
"""Frames of each."""


def write_motion(
    points: np.ndarray, path: Path, *, kind: Literal["ply", "glb", "npz"], rate_hz: float, up: Up = "z"
) -> Path:
    """Writes points [T, N, 3], float32 in their own units and axes; path has no suffix yet. Returns the file or folder.

    ply: a folder with frame_0000.ply, … (binary, as `genzoo_points.output.write_cloud`). glb: binary glTF 2.0, whose
    readers take metres and y for up: a small ball for each point, and an animation that moves them (`animated`). npz:
    arrays `points` [T, N, 3] and `rate_hz`, as `data.path` and `context` read them.

    Raises ValueError for other shapes, no points, or values that are not finite.
    """
    values = np.ascontiguousarray(points, dtype="<f4")
    if values.ndim != 3 or values.shape[2] != 3 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"a motion is finite points [T, N, 3], not {list(values.shape)} or values like nan")
    if kind == "ply":
        path.mkdir(parents=True, exist_ok=True)
        for i, frame in enumerate(values):
            write_cloud(frame, path / f"frame_{i:04d}.ply", kind="ply")
        return path
    file = path.with_name(f"{path.name}.{kind}")
    if kind == "npz":
        with open(file, "wb") as opened:
            np.savez_compressed(opened, points=values, rate_hz=np.float32(rate_hz))
    elif kind == "glb":
        file.write_bytes(animated(values, rate_hz, up))
    else:
        raise ValueError(f"kind={kind!r} is none of ply, glb and npz")
    return file


def animated(values: np.ndarray, rate_hz: float, up: Up) -> bytes:
    """Points [T, N, 3] as an animated glTF 2.0 (Khronos 2021, sec. 3.7.2.2 and 3.11): a mesh with an octahedron for
    each point of the first frame, a morph target for each later one, and an animation of the targets' weights, which
    is linear between the frames. Balls are coloured by their height in the first frame."""
    frames, n, _ = values.shape
    ball = (values[0, :, None] + spacing(values[0]) * CORNERS).reshape(-1, 3).astype("<f4")
    faces = (FACES[None] + len(CORNERS) * np.arange(n)[:, None, None]).reshape(-1).astype("<u4")
    colours = np.repeat(by_height(upright(values[0], up)[:, 2]), len(CORNERS), axis=0).astype("<f4")
    moves = [np.repeat(frame - values[0], len(CORNERS), axis=0).astype("<f4") for frame in values[1:]]
    times = (np.arange(frames) / rate_hz).astype("<f4")
    weights = np.eye(frames, dtype="<f4")[:, 1:]
    parts = Parts()
    attributes = {"POSITION": parts.add(ball, "VEC3", bounds=True, target=VERTICES)}
    attributes["COLOR_0"] = parts.add(colours, "VEC3", target=VERTICES)
    targets = [{"POSITION": parts.add(move, "VEC3", bounds=True, target=VERTICES)} for move in moves]
    primitive: dict[str, Any] = {"mode": TRIANGLES, "attributes": attributes}
    primitive["indices"] = parts.add(faces, "SCALAR", kind=INDEX, target=INDICES)
    mesh: dict[str, Any] = {"name": "points", "primitives": [primitive]}
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "genzoo"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "points", "rotation": TO_Y_UP[up]}],
        "meshes": [mesh],
    }
    if targets:
        primitive["targets"] = targets
        mesh["weights"] = [0.0] * len(targets)
        sampler = {"input": parts.add(times, "SCALAR", bounds=True), "interpolation": "LINEAR"}
        sampler["output"] = parts.add(weights.reshape(-1), "SCALAR")
        channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
        tree["animations"] = [{"name": "motion", "samplers": [sampler], "channels": [channel]}]
    return container(tree | parts.tree(), b"".join(parts.chunks))


class Parts:
    """The arrays of a glTF file, one after the other in one buffer; all are of 4 bytes a number."""

    def __init__(self) -> None:
        self.accessors: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.chunks: list[bytes] = []
        self.size = 0

    def add(
        self, values: np.ndarray, of: str, *, kind: int = FLOAT, bounds: bool = False, target: int | None = None
    ) -> int:
        """The number of the accessor of an array [count, …] of `of` (SCALAR or VEC3)."""
        self.views.append({"buffer": 0, "byteOffset": self.size, "byteLength": values.nbytes})
        if target:
            self.views[-1]["target"] = target
        about = {"bufferView": len(self.views) - 1, "componentType": kind, "count": len(values), "type": of}
        if bounds:
            rows = values.reshape(len(values), -1)
            about |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        self.accessors.append(about)
        self.chunks.append(values.tobytes())
        self.size += values.nbytes
        return len(self.accessors) - 1

    def tree(self) -> dict[str, Any]:
        return {"accessors": self.accessors, "bufferViews": self.views, "buffers": [{"byteLength": self.size}]}


def frame_sheet(
    motions: np.ndarray, path: Path, *, titles: list[str] | None = None, size: int = 128, up: Up = "z"
) -> Path:
    """A PNG of the first 12 motions [n, T, N, 3], a row each, with up to 8 frames spread evenly over its time from left
    to right, in one frame that all of them fit; its title at the left.

    Raises ValueError where there is no motion, or not a title for each.
    """
    from PIL import Image, ImageDraw

    if not len(motions) or (titles is not None and len(titles) != len(motions)):
        raise ValueError(f"a sheet needs motions and a title for each: {len(motions)} and {len(titles or ())}")
    shown = [np.asarray(x, dtype=np.float64) for x in motions[:SHEET_ROWS]]
    times = np.linspace(0, len(shown[0]) - 1, min(SHEET_FRAMES, len(shown[0]))).round().astype(int)
    rows = []
    for x in shown:
        frame, ball = fitting(x.reshape(-1, 3), AZIMUTH_DEG, ELEVATION_DEG, up), spacing(x[0])
        pictures = [render(cloud, size=size, up=up, frame=frame, radius=ball) for cloud in x[times]]
        row = np.concatenate(pictures, axis=1)
        used = np.flatnonzero((row < 255).any(axis=(1, 2)))
        rows.append(row[used.min() : used.max() + 1] if len(used) else row)
    gap, left = size // 12, (size * 2 // 3 if titles else 0)
    sheet = Image.new("RGB", (left + rows[0].shape[1], gap + sum(len(row) + gap for row in rows)), "white")
    pen, y = ImageDraw.Draw(sheet), gap
    for i, row in enumerate(rows):
        sheet.paste(Image.fromarray(row), (left, y))
        if titles:
            write_title(pen, titles[i], (left / 2, y + len(row) / 2), left)
        y += len(row) + gap
    sheet.save(path, format="PNG", optimize=True)
    return path
