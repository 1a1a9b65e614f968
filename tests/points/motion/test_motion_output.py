"""Files of motions: read back by trimesh and, from the formats' own pages, by readers of a few lines."""

import json
import struct

import numpy as np
import pytest
from PIL import Image

from genzoo_points.motion.output import CORNERS, frame_sheet, write_motion
from genzoo_points.motion.sequences import load_sequences
from genzoo_points.pictures import turntable

trimesh = pytest.importorskip("trimesh", reason="the extra 'points' is not installed")


def motion(frames: int = 5, n: int = 20) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(frames, n, 3)).astype(np.float32)


def read_glb(path):
    """The tree of a binary glTF, and a function that gives the array of an accessor."""
    data = path.read_bytes()
    assert struct.unpack("<4sII", data[:12]) == (b"glTF", 2, len(data))
    length, kind = struct.unpack("<I4s", data[12:20])
    assert kind == b"JSON"
    tree, rest = json.loads(data[20 : 20 + length]), data[20 + length + 8 :]
    assert tree["buffers"] == [{"byteLength": len(rest)}]

    def array(index):
        about = tree["accessors"][index]
        view = tree["bufferViews"][about["bufferView"]]
        width, kind = {"VEC3": 3, "SCALAR": 1}[about["type"]], {5126: "<f4", 5125: "<u4"}[about["componentType"]]
        assert view["byteLength"] == 4 * width * about["count"]
        assert view["byteOffset"] % 4 == 0
        start = view["byteOffset"]
        found = np.frombuffer(rest[start : start + view["byteLength"]], dtype=kind).reshape(-1, width)
        for bound, least in (("min", found.min(0)), ("max", found.max(0))):
            assert bound not in about or np.array_equal(np.float32(about[bound]), least)
        return found, about

    return tree, array


def test_animated_glb(tmp_path):
    """Played by the letter of the format, the balls are where the points are at every frame, and midway in between."""
    x = motion()
    path = write_motion(x, tmp_path / "a", kind="glb", rate_hz=10.0, up="y")
    assert path == tmp_path / "a.glb"
    tree, array = read_glb(path)
    (primitive,) = tree["meshes"][0]["primitives"]
    base, about = array(primitive["attributes"]["POSITION"])
    assert {"min", "max"} <= set(about)
    assert array(primitive["attributes"]["COLOR_0"])[0].shape == base.shape
    targets = [array(target["POSITION"]) for target in primitive["targets"]]
    assert all({"min", "max"} <= set(about) for _, about in targets)
    assert tree["meshes"][0]["weights"] == [0.0] * len(targets)
    faces, _ = array(primitive["indices"])
    assert faces.max() == len(base) - 1
    (animation,) = tree["animations"]
    (channel,) = animation["channels"]
    assert channel["target"] == {"node": 0, "path": "weights"}
    sampler = animation["samplers"][channel["sampler"]]
    assert sampler["interpolation"] == "LINEAR"
    times, about = array(sampler["input"])
    np.testing.assert_allclose(times[:, 0], np.arange(5) / 10, atol=1e-7)
    assert {"min", "max"} <= set(about)
    weights = array(sampler["output"])[0].reshape(len(times), len(targets))

    def middles(weight):
        corners = base + sum(w * move for w, (move, _) in zip(weight, targets, strict=True))
        return corners.reshape(-1, len(CORNERS), 3).mean(axis=1)

    for frame, weight in zip(x, weights, strict=True):
        np.testing.assert_allclose(middles(weight), frame, atol=1e-5)
    between = middles((weights[2] + weights[3]) / 2)
    np.testing.assert_allclose(between, (x[2] + x[3]) / 2, atol=1e-5)


def test_glb_opens_elsewhere(tmp_path):
    """In trimesh: closed balls, upright."""
    x = motion()
    path = write_motion(x, tmp_path / "a", kind="glb", rate_hz=10.0, up="z")
    mesh = trimesh.load(path, force="mesh")
    assert len(mesh.faces) == 8 * 20
    assert mesh.is_watertight
    assert mesh.volume > 0
    middles = np.asarray(trimesh.load(path).to_geometry().vertices)
    assert middles[:, 1].max() == pytest.approx(x[0, :, 2].max(), abs=0.2)
    alone = write_motion(x[:1], tmp_path / "still", kind="glb", rate_hz=10.0)
    assert "animations" not in read_glb(alone)[0]


def test_ply_and_npz_are_read_back(tmp_path):
    """By our own readers, exactly, with the rate that an NPZ bears; each frame by trimesh."""
    x = motion(12)
    folder = write_motion(x, tmp_path / "a", kind="ply", rate_hz=10.0)
    assert sorted(file.name for file in folder.iterdir())[-1] == "frame_0011.ply"
    assert np.array_equal(np.asarray(trimesh.load(folder / "frame_0003.ply").vertices, np.float32), x[3])
    found = load_sequences(str(folder), points=20, dense=20, correspondence="given")
    assert np.array_equal(found.clips[0], x)
    file = write_motion(x, tmp_path / "b", kind="npz", rate_hz=10.0)
    found = load_sequences(str(file), points=20, dense=20)
    assert np.array_equal(found.clips[0], x)
    assert found.rates_hz == [10.0]


@pytest.mark.parametrize("x", [motion()[0], motion()[:0], np.full((2, 3, 3), np.nan)])
def test_refusals(tmp_path, x):
    with pytest.raises(ValueError, match="finite points"):
        write_motion(x, tmp_path / "a", kind="ply", rate_hz=10.0)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="kind='mp4' is none of"):
        write_motion(motion(), tmp_path / "a", kind="mp4", rate_hz=10.0)


def test_pictures(tmp_path):
    """A sheet has a row for each motion and something in each of its frames; a GIF plays at the rate."""
    x = np.stack([motion(9, 60), 0.5 * motion(9, 60)])
    sheet = np.asarray(Image.open(frame_sheet(x, tmp_path / "a.png", titles=["one", "two"], size=48)))
    assert sheet.shape[1] == 32 + 8 * 48
    dark = (sheet < 200).any(axis=2)
    assert all(dark[:, 32 + 48 * i : 80 + 48 * i].any() for i in range(8))
    with pytest.raises(ValueError, match="a title for each"):
        frame_sheet(x, tmp_path / "b.png", titles=["one"])
    file = turntable(x[0], tmp_path / "a.gif", size=48, sway=0.0, rate_hz=20.0)
    with Image.open(file) as opened:
        assert (opened.n_frames, opened.info["duration"]) == (9, 50)
