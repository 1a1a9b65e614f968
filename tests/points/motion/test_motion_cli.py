"""Motion on the command line: what the words make, as files; mistakes are one line and touch nothing."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genzoo import cli
from genzoo_points.motion.sequences import load_sequences

pytest.importorskip("trimesh", reason="the extra 'points' is not installed")


@pytest.fixture
def run(smoke_run_of, tmp_path, monkeypatch) -> Path:
    """A copy of the trained run, in the folder where commands are given."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(smoke_run_of("motion"), "run", symlinks=True)


def read(path: str) -> np.ndarray:
    """[T, N, 3] of a file or folder of ours."""
    return load_sequences(path, points=64, dense=64, correspondence="given").clips[0]


def names(folder: str) -> list[str]:
    return sorted(file.name for file in Path(folder).iterdir())


def walk(frames: int = 6, points: int = 80) -> np.ndarray:
    x = 0.3 * np.random.default_rng(0).normal(size=(points, 3)) + (0, 0, 0.5)
    return (x + 0.02 * np.arange(frames)[:, None, None] * (0, -1, 0)).astype(np.float32)


def test_sampling(run, capsys):
    """Motions of one class as folders of PLY with a sheet and moving pictures; the same again for the same seed."""
    cli.main(["sample", "checkpoint=run", "n=2", "label=bird", "out=birds"])
    assert names("birds") == ["000", "000.gif", "001", "001.gif", "preview.png"]
    assert len(names("birds/000")) == 8
    with Image.open("birds/000.gif") as opened:
        assert (opened.n_frames, opened.info["duration"]) == (8, 80)
    cli.main(["sample", "checkpoint=run", "n=2", "label=bird", "out=again", "gif=false", "format=npz"])
    assert names("again") == ["000.npz", "001.npz", "preview.png"]
    np.testing.assert_array_equal(read("again/001.npz"), read("birds/001"))
    assert not np.allclose(read("birds/000"), read("birds/001"))
    assert "preview.png" in capsys.readouterr().out


def test_roll_outs(run):
    """As long as is wished, each piece after the one before; longer ones begin as shorter ones."""
    cli.main(["sample", "checkpoint=run", "rollout=3", "out=long", "format=npz"])
    cli.main(["sample", "checkpoint=run", "rollout=2", "length=13", "out=short", "format=npz"])
    long, short = read("long/000.npz"), read("short/000.npz")
    assert (len(long), len(short)) == (24, 13)
    np.testing.assert_allclose(long[:13], short, atol=1e-6)
    cli.main(["sample", "checkpoint=run", "rollout=2", "rate_hz=24", "out=fine", "format=npz", "gif=false"])
    fine = read("fine/000.npz")
    assert len(fine) == 31
    np.testing.assert_allclose(fine[::2], long[:16], atol=1e-5)


def test_continuation(run):
    """Begins with the given frames, in their own units and place, and goes on with the same points."""
    np.savez("walk.npz", points=walk())
    cli.main(["sample", "checkpoint=run", "context=walk.npz", "context_frames=3", "n=2", "rollout=2", "out=on"])
    first, second = read("on/000"), read("on/001")
    assert first.shape == (19, 64, 3)
    rows = [int(np.abs(walk()[0] - point).sum(axis=1).argmin()) for point in first[0]]
    np.testing.assert_allclose(first[:3], walk()[:3, rows], atol=1e-6)
    np.testing.assert_array_equal(first[:3], second[:3])
    assert not np.allclose(first[3:], second[3:])
    cli.main(["sample", "checkpoint=run", "context=on/000", "out=more", "format=glb"])
    assert names("more") == ["000.gif", "000.glb", "preview.png"]


def test_evaluation(run, capsys):
    """Scores of all sorts, the same again, with their protocol."""
    reports = []
    for _ in range(2):
        cli.main(["evaluate", "checkpoint=run", "n=6"])
        reports.append(json.loads(Path("run", "metrics.json").read_text())["evaluate_val"])
    assert reports[0] == reports[1]
    scores = reports[0]
    assert {"loss", "acceleration", "chamfer", "continuation", "agreement"} <= set(scores)
    assert scores["agreement"]["samples"] == 12
    assert scores["continuation"]["protocol"]["sequences"] == 2
    assert "1-Wasserstein" in scores["acceleration"]["protocol"]["unit"]
    assert "chamfer.real" in capsys.readouterr().out


def test_own_sequences(tmp_path, tiny, monkeypatch):
    """A user's folder of clouds without classes or correspondence: trained, sampled, scored."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for i in range(4):
        folder = Path("mine", f"seq{i}")
        folder.mkdir(parents=True)
        for t, frame in enumerate(walk(14, 40) + i):
            np.savetxt(folder / f"{t}.xyz", frame[generator.permutation(40)[: 40 - t % 2]])
    small = ("data.points=32", "data.frames=4", "model.cells=4", "model.outline.net.dim=16", "data.val_fraction=0.25")
    cli.main(["train", "motion_smoke", "data.path=mine", *small, *tiny, "out=run"])
    cli.main(["sample", "checkpoint=run", "out=made", "format=npz", "gif=false"])
    with np.load("made/000.npz") as made:
        assert made["points"].shape == (4, 32, 3)
    cli.main(["evaluate", "checkpoint=run", "n=1"])
    scores = json.loads(Path("run", "metrics.json").read_text())["evaluate_val"]
    assert "agreement" not in scores
    assert "by_class" not in scores["acceleration"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data.path=nowhere", r"data\.path=nowhere: there is no such file or folder"),
        ("model.cells=24", r"model\.cells=24 must be a power of two that divides data\.points=64"),
        ("data.frames=10", r"patch=4 of model\.outline\.net must divide data\.frames=10"),
        ("data.embedded.sequence=3", r"data\.embedded\.sequence, did you mean"),
        ("scoring.a_clas=1", r"a_clas, did you mean .*a_class"),
    ],
)
def test_mistakes_of_training(words, said, refused, tiny):
    line = refused("train", "motion_smoke", *tiny, *words.split(), "out=run")
    assert re.search(said, line), line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample label=dog", "label=dog: the classes of this model are walker, bird"),
        ("sample format=mp4", "format"),
        ("sample length=0", "length must be above 0, not 0"),
        ("sample rate_hz=-1", "rate_hz must be above 0, not -1"),
        ("sample context_frames=2", "context_frames is of a context"),
        ("sample context=nowhere", r"context=nowhere: there is no such file or folder"),
        ("sample context=few.npz", r"context=few\.npz: .*8 points, and data\.points asks for 64"),
        ("sample context=walk.npz context_frames=9", r"context_frames=9, and walk\.npz has 6 frames: lower it"),
        ("sample context=two.npz", r"context=two\.npz holds 2 sequences: give one"),
        ("evaluate data.frames=12", r"data\.frames: this model was trained with 8, not 12"),
        ("evaluate scoring.continuations=-1", r"scoring\.continuations .* must not be negative"),
    ],
)
def test_mistakes_of_sampling(run, words, said, refused):
    np.savez("walk.npz", points=walk())
    np.savez("few.npz", points=walk(points=8))
    np.savez("two.npz", points=np.stack([walk(), walk()]))
    verb, *rest = words.split()
    line = refused(verb, "checkpoint=run", *rest)
    assert re.search(said, line), line
