"""Sequences from files: arrays, folders of clouds and meshes; broken ones are named."""

import re

import numpy as np
import pytest

from genzoo.errors import UserError
from genzoo_points.motion.sequences import Sequences, at_rate, find, load_sequences
from genzoo_points.output import write_cloud

POINTS = 40


def clip(frames: int = 6, points: int = POINTS, seed: int = 0) -> np.ndarray:
    """Points that drift along x, a little each frame."""
    x = np.random.default_rng(seed).normal(size=(points, 3))
    return (x + 0.02 * np.arange(frames)[:, None, None] * (1, 0, 0)).astype(np.float32)


def load(path, **options) -> Sequences:
    return load_sequences(str(path), **{"points": 32, "dense": 64, "seed": 0, **options})


def write_frames(folder, x, order=None) -> None:
    folder.mkdir(parents=True)
    for i, frame in enumerate(x):
        write_cloud(frame if order is None else frame[order[i]], folder / f"frame{i}.ply", kind="ply")


@pytest.fixture
def orders() -> list[np.ndarray]:
    return [np.random.default_rng(i).permutation(POINTS) for i in range(20)]


def test_arrays(tmp_path):
    """One sequence or many, with what is said of them; more points than are wanted are thinned, the same in all
    frames."""
    np.save(tmp_path / "one.npy", clip())
    found = load(tmp_path / "one.npy")
    assert (found.names, found.labels, found.rates_hz, found.matched) == (["one.npy"], None, [None], [])
    assert np.array_equal(found.clips[0], clip())
    few = load(tmp_path / "one.npy", dense=32).clips[0]
    rows = [int(np.flatnonzero((clip()[0] == point).all(axis=1))[0]) for point in few[0]]
    assert np.array_equal(few, clip()[:, rows])
    many = {"points": np.stack([clip(seed=i) for i in range(3)]), "labels": [1, 0, 1], "classes": ["run", "walk"]}
    np.savez(tmp_path / "many.npz", **many, lengths=[6, 3, 4], rate_hz=25.0, names=["a", "b", "c"])
    found = load(tmp_path / "many.npz")
    assert [len(x) for x in found.clips] == [6, 3, 4]
    assert (found.names, found.labels, found.classes) == (["a", "b", "c"], [1, 0, 1], ["run", "walk"])
    assert found.rates_hz == [25.0] * 3


def test_folders_of_frames(tmp_path):
    """In natural order, with the first folder as the class, and folders that are splits."""
    for split, kind, name in (("train", "walk", "a"), ("train", "run", "a"), ("test", "walk", "b")):
        write_frames(tmp_path / split / kind / name, clip(11))
    found = load(tmp_path)
    assert found.names == ["test/walk/b", "train/run/a", "train/walk/a"]
    assert [found.classes[i] for i in found.labels] == ["walk", "run", "walk"]
    assert found.splits == ["val", "train", "train"]
    assert found.matched == []
    for x in found.clips:  # frame10 is the last, not the third
        np.testing.assert_allclose(x, clip(11), atol=1e-6)
    assert [len(found.files) for found in find(str(tmp_path))] == [11] * 3


def test_frames_as_arrays(tmp_path):
    """A folder of [N, 3] is one sequence, a folder of [T, N, 3] is many."""
    (tmp_path / "frames").mkdir()
    (tmp_path / "clips").mkdir()
    for i in range(6):
        np.save(tmp_path / "frames" / f"{i}.npy", clip()[i])
        np.save(tmp_path / "clips" / f"{i}.npy", clip(seed=i))
    assert np.array_equal(load(tmp_path / "frames").clips[0], clip())
    assert [x.shape for x in load(tmp_path / "clips").clips] == [(6, POINTS, 3)] * 6


def test_clouds_without_correspondence(tmp_path, orders, capsys):
    """Points in another order in each frame are matched, and that is said; the tracks are those of the points."""
    write_frames(tmp_path / "a", clip(), orders)
    found = load(tmp_path, points=POINTS)
    assert found.matched == ["a"]
    assert "matched from frame to frame" in capsys.readouterr().err
    x = found.clips[0]
    np.testing.assert_allclose(np.diff(x, axis=0), np.broadcast_to((0.02, 0, 0), (5, POINTS, 3)), atol=1e-5)
    given = load(tmp_path, correspondence="given").clips[0]
    assert np.abs(np.diff(given, axis=0)).max() > 1
    write_frames(tmp_path / "b", [clip()[0], clip()[1][:35]])
    assert load(tmp_path, on_error="skip").clips[1].shape == (2, 32, 3)


def test_meshes(tmp_path):
    """Meshes of the same faces carry their points; others are sampled anew and matched."""
    trimesh = pytest.importorskip("trimesh", reason="the extra 'points' is not installed")
    for i in range(3):
        for name, made in (("same", trimesh.creation.box()), ("other", trimesh.creation.icosphere(1 + i % 2))):
            (tmp_path / name).mkdir(exist_ok=True)
            made.apply_translation((0.1 * i, 0, 0)).export(tmp_path / name / f"{i}.off")
    found = load(tmp_path)
    assert found.matched == ["other"]
    same = found.clips[found.names.index("same")]
    assert same.shape == (3, 64, 3)
    np.testing.assert_allclose(np.diff(same, axis=0), np.broadcast_to((0.1, 0, 0), (2, 64, 3)), atol=1e-5)
    assert np.isclose(np.abs(same[0]).max(axis=1), 0.5, atol=1e-5).all()


def test_rates():
    """A parabola is met exactly by cubic splines at any rate, over the same time."""
    times = np.arange(9) / 8
    x = (times**2)[:, None, None] * np.ones((1, 2, 3))
    for rate_hz, frames in ((16.0, 17), (4.0, 5), (6.0, 7)):
        found = at_rate(x, 8.0, rate_hz)
        np.testing.assert_allclose(found[:, 0, 0], (np.arange(frames) / rate_hz) ** 2, atol=1e-12)


def nan() -> np.ndarray:
    x = clip()
    x[3, 0, 0] = np.nan
    return x


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"points": nan()}, r"frame 3 that are NaN"),
        ({"points": clip(points=8)}, r"8 points, and data\.points asks for 32: lower data\.points"),
        ({"points": clip()[0]}, r"points \[40, 3\] of float32: \[T, N, 3\]"),
        ({"points": clip(), "rate_hz": np.array(0.0)}, r"rate_hz=0\.0"),
        ({"points": clip()[None], "lengths": np.array([7])}, r"`lengths` that are not 1 numbers of frames, 1 to 6"),
        ({"points": np.ones((6, 40, 3))}, r"no extent"),
        ({"points": clip(2)}, r"2 frames, and 4 are needed: lower data\.frames or data\.past"),
        ({"a": clip(), "b": clip()}, r"no array `points` \(there is: a, b\)"),
    ],
)
def test_broken_arrays(tmp_path, arrays, said):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=said) as error:
        load(tmp_path / "bad.npz", least=4)
    assert re.search(r"bad\.npz", str(error.value))
    assert "\n" not in str(error.value)


def test_broken_frames(tmp_path, capsys):
    """The file is named; what is left is used where that is wished."""
    write_frames(tmp_path / "good", clip())
    write_frames(tmp_path / "bad", clip())
    (tmp_path / "bad" / "frame3.ply").write_bytes(b"ply\nrubbish")
    with pytest.raises(UserError, match=r"data\.path=.*bad has a frame, frame3\.ply, which cannot be read"):
        load(tmp_path)
    assert load(tmp_path, on_error="skip").names == ["good"]
    assert "skipped: bad has a frame, frame3.ply" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("nowhere", {}, r"no such file or folder .*data\.path=bodies"),
        ("notes.txt", {}, r"one file of a motion is NPZ or NPY"),
        (".", {"correspondence": "yes"}, r"data\.correspondence is auto, given or matched"),
        (".", {}, r"the folder holds no \.off"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, path, options, said):
    monkeypatch.chdir(tmp_path)
    if path == "notes.txt":
        (tmp_path / path).write_text("1 2 3")
    with pytest.raises(UserError, match=said):
        load(path, **options)
