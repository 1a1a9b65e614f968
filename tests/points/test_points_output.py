"""Files of clouds and meshes: read back by trimesh and, from the formats' own pages, by readers of a few lines."""

import json
import struct
import sys

import numpy as np
import pytest

from genzoo.errors import UserError
from genzoo_points.output import write_cloud, write_mesh

trimesh = pytest.importorskip("trimesh", reason="the extra 'points' is not installed")

TO_Y = {"x": (0, 1, 0), "y": (-1, 0, 0), "z": (1, 0, 0)}
"""Where the x axis ends when an axis is turned up to y."""


def cloud(columns=6, n=37):
    values = np.random.default_rng(0).normal(size=(n, 6))
    values[:, 3:] /= np.linalg.norm(values[:, 3:], axis=1, keepdims=True)
    return values[:, :columns].astype(np.float32)


def read_ply(path):
    """Names and values [N, F] of a PLY of floats."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    words = [line.split() for line in lines[2:] if not line.startswith("comment")]
    assert words[0][:2] == ["element", "vertex"]
    assert all(word[:2] == ["property", "float"] for word in words[1:])
    n, names = int(words[0][2]), [word[2] for word in words[1:]]
    assert len(body) == 4 * n * len(names)
    return names, np.array(struct.unpack(f"<{n * len(names)}f", body), dtype=np.float32).reshape(n, -1)


def read_glb(path):
    """The tree and the bytes of a binary glTF."""
    data = path.read_bytes()
    assert struct.unpack("<4sII", data[:12]) == (b"glTF", 2, len(data))
    length, kind = struct.unpack("<I4s", data[12:20])
    assert kind == b"JSON"
    tree, rest = json.loads(data[20 : 20 + length]), data[20 + length :]
    size, kind = struct.unpack("<I4s", rest[:8])
    assert kind == b"BIN\0"
    assert length % 4 == size % 4 == 0
    assert len(rest) == 8 + size
    return tree, rest[8:]


def accessor(tree, data, index):
    """[N, 3] float32, and what the accessor says of it."""
    about = tree["accessors"][index]
    view = tree["bufferViews"][about["bufferView"]]
    assert (about["componentType"], about["type"]) == (5126, "VEC3")
    assert view["byteLength"] == 12 * about["count"]
    start = view["byteOffset"]
    return np.frombuffer(data[start : start + view["byteLength"]], dtype="<f4").reshape(-1, 3), about


@pytest.mark.parametrize("columns", [3, 6])
def test_ply(columns, tmp_path):
    points = cloud(columns)
    path = write_cloud(points, tmp_path / "a.ply", kind="ply")
    names, values = read_ply(path)
    assert names == ["x", "y", "z", "nx", "ny", "nz"][:columns]
    assert np.array_equal(values, points)
    assert np.array_equal(trimesh.load(path).vertices.astype(np.float32), points[:, :3])


@pytest.mark.parametrize("columns", [3, 6])
@pytest.mark.parametrize("n", [1, 37])
def test_glb(columns, n, tmp_path):
    """One primitive of points; positions have their bounds, as the format demands, and normals are there."""
    points = cloud(columns, n)
    path = write_cloud(points, tmp_path / "a.glb", kind="glb")
    tree, data = read_glb(path)
    assert tree["asset"]["version"] == "2.0"
    assert tree["buffers"] == [{"byteLength": len(data)}]
    (primitive,) = tree["meshes"][0]["primitives"]
    assert primitive["mode"] == 0
    assert set(primitive["attributes"]) == ({"POSITION", "NORMAL"} if columns == 6 else {"POSITION"})
    positions, about = accessor(tree, data, primitive["attributes"]["POSITION"])
    assert np.array_equal(positions, points[:, :3])
    assert np.array_equal(np.float32((about["min"], about["max"])), (points[:, :3].min(0), points[:, :3].max(0)))
    if columns == 6:
        assert np.array_equal(accessor(tree, data, primitive["attributes"]["NORMAL"])[0], points[:, 3:])
    assert tree["scenes"][tree["scene"]]["nodes"] == [0]
    (loaded,) = trimesh.load(path).geometry.values()
    assert np.array_equal(loaded.vertices.astype(np.float32), points[:, :3])


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_up_is_y_in_gltf(up, tmp_path):
    """Read with its node, a cloud stands upright; PLY keeps its numbers."""
    path = write_cloud(np.eye(3), tmp_path / "a.glb", kind="glb", up=up)
    seen = trimesh.load(path).to_geometry().vertices
    np.testing.assert_allclose(seen["xyz".index(up)], (0, 1, 0), atol=1e-6)
    np.testing.assert_allclose(seen[0], TO_Y[up] if up != "y" else (1, 0, 0), atol=1e-6)
    mesh = write_mesh(trimesh.creation.box(bounds=((0, 0, 0), (1, 2, 3))), tmp_path / "b.glb", "glb", up=up)
    assert trimesh.load(mesh).extents[1] == pytest.approx({"x": 1, "y": 2, "z": 3}[up])
    assert trimesh.load(mesh).bounds[0, 1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("columns", [3, 6])
def test_npz(columns, tmp_path):
    points = cloud(columns)
    path = write_cloud(points.astype(np.float64), tmp_path / "a.npz", kind="npz")
    with np.load(path) as file:
        assert set(file) == ({"points", "normals"} if columns == 6 else {"points"})
        assert file["points"].dtype == np.float32
        assert np.array_equal(np.concatenate([file[k] for k in ("points", "normals") if k in file], axis=1), points)


def test_name_is_kept(tmp_path):
    """Whatever the suffix, that file and no other is written."""
    for kind in ("ply", "glb", "npz"):
        assert write_cloud(cloud(), tmp_path / f"{kind}.part", kind=kind) == tmp_path / f"{kind}.part"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["glb.part", "npz.part", "ply.part"]


@pytest.mark.parametrize("kind", ["ply", "glb", "obj", "stl"])
def test_mesh(kind, tmp_path):
    """A closed mesh is closed again, of the same volume; GLB has y up."""
    mesh = trimesh.creation.icosphere(2).apply_scale((1, 2, 3))
    path = write_mesh(mesh, tmp_path / f"a.{kind}", kind)
    back = trimesh.load(path, force="mesh")
    assert back.is_watertight
    assert back.volume == pytest.approx(mesh.volume, rel=1e-4)
    np.testing.assert_allclose(back.extents, (2, 6, 4) if kind == "glb" else (2, 4, 6), atol=1e-4)


def test_binary_meshes(tmp_path):
    """PLY and STL are the small kind; an STL has 84 bytes and 50 for each triangle."""
    mesh = trimesh.creation.icosphere(1)
    assert b"binary_little_endian" in write_mesh(mesh, tmp_path / "a.ply", "ply").read_bytes()[:60]
    assert write_mesh(mesh, tmp_path / "a.stl", "stl").stat().st_size == 84 + 50 * len(mesh.faces)


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros((4, 5)), np.zeros(3), np.full((4, 3), np.inf)])
@pytest.mark.parametrize("kind", ["ply", "glb", "npz"])
def test_refused_clouds(points, kind, tmp_path):
    with pytest.raises(ValueError, match="finite points"):
        write_cloud(points, tmp_path / "a", kind=kind)
    assert not list(tmp_path.iterdir())


def test_refused_kinds(tmp_path):
    with pytest.raises(ValueError, match="kind='xyz' is none of"):
        write_cloud(cloud(), tmp_path / "a", kind="xyz")
    with pytest.raises(ValueError, match="kind='npz' is none of"):
        write_mesh(trimesh.creation.box(), tmp_path / "a", "npz")
    with pytest.raises(ValueError, match="no faces"):
        write_mesh(trimesh.Trimesh(), tmp_path / "a", "stl")
    assert not list(tmp_path.iterdir())


def test_missing_library(tmp_path, monkeypatch):
    """Clouds need no library; meshes name it."""
    mesh = trimesh.creation.box()
    monkeypatch.setitem(sys.modules, "trimesh", None)
    write_cloud(cloud(), tmp_path / "a.glb", kind="glb")
    with pytest.raises(UserError, match=r"trimesh.*pip install 'genzoo\[points\]'"):
        write_mesh(mesh, tmp_path / "a.ply", "ply")
