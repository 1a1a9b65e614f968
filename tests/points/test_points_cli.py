"""Shapes on the command line: what the words make, as files; mistakes are one line and touch nothing."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from genzoo import api, cli
from genzoo_points import pictures

trimesh = pytest.importorskip("trimesh", reason="the extra 'points' is not installed")


@pytest.fixture
def run(smoke_run_of, tmp_path, monkeypatch) -> Path:
    """A copy of the trained run, in the folder where commands are given."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(smoke_run_of("points"), "run", symlinks=True)


def ball(n: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, 3))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def shapes(tmp_path) -> str:
    """Eight clouds of 64 points, of two classes that are numbers."""
    x = np.stack([ball(64, seed) * (1, 1, 0.2 + 0.8 * (seed % 2)) for seed in range(8)]).astype(np.float32)
    np.savez(tmp_path / "mine.npz", points=x, labels=np.arange(8) % 2)
    return "mine.npz"


SMALL = ("data.points=64", "data.seen=32", "model.cells=8", "model.outline.net.seen=8", "model.outline.net.dim=16")


def test_sampling(run, capsys):
    """Points of one class, in any number; completions; the way from one shape to another; closed surfaces. Each is a
    folder of files that other programs open, and a picture."""
    cli.main(["sample", "checkpoint=run", "n=2", "label=mug", "points=100", "out=mugs"])
    assert sorted(file.name for file in Path("mugs").iterdir()) == ["000.ply", "001.ply", "preview.png"]
    clouds = [np.asarray(trimesh.load(file).vertices) for file in sorted(Path("mugs").glob("*.ply"))]
    assert [x.shape for x in clouds] == [(100, 3)] * 2
    assert not np.allclose(*clouds)

    np.savetxt("scan.xyz", 0.3 * ball(300) + (0, 0, 0.5))
    cli.main(["sample", "checkpoint=run", "n=2", "partial=scan.xyz", "out=completed", "format=npz"])
    with np.load("completed/001.npz") as arrays:
        assert arrays["points"].shape == (256, 3)

    np.savetxt("other.xyz", ball(300) * (0.1, 0.1, 1))
    cli.main(["sample", "checkpoint=run", "n=3", "between=[scan.xyz,other.xyz]", "out=way"])
    assert len([*Path("way").glob("*.ply")]) == 3

    cli.main(["sample", "checkpoint=run", "mesh=true", "format=glb", "out=solid", "steps=1"])
    assert trimesh.load(Path("solid/000.glb"), force="mesh").is_watertight
    assert capsys.readouterr().err.count("files in") == 4


def test_many_samples(run, monkeypatch):
    """Made in batches they are each class in turn, and one way, as if they were made at once."""
    told = []
    monkeypatch.setattr(pictures, "contact_sheet", lambda *_, titles, **__: told.append(titles))
    cli.main(["sample", "checkpoint=run", "n=10", "batch_size=3", "steps=1", "out=many"])
    kinds = ["table", "chair", "mug", "aeroplane", "lamp", "bottle", "car", "guitar"]
    assert told == [[*kinds, "table", "chair"]]
    np.savetxt("a.xyz", ball(300))
    np.savetxt("b.xyz", ball(300) * (0.1, 0.1, 1))
    trained = api.load("run")
    way = {"between": ["a.xyz", "b.xyz"], "steps": 1, "points": 2000}
    once, parts = (trained.sample(5, batch_size=size, **way).x for size in (5, 2))
    for a, b in zip(once, parts, strict=True):
        assert (a.mean(0) - b.mean(0)).abs().max() < 0.1
        assert (a.std(0) - b.std(0)).abs().max() < 0.1
    assert (once[0] - once[-1]).std(0).max() > 0.1


def test_evaluation(run, capsys):
    """Scores of all sorts; the same again, and what they were measured on."""
    reports = []
    for _ in range(2):
        cli.main(["evaluate", "checkpoint=run", "n=8", "scoring.emd_shapes=4"])
        reports.append(json.loads(Path("run", "metrics.json").read_text())["evaluate_val"])
    assert reports[0] == reports[1]
    scores = reports[0]
    assert {"loss", "1-nna", "coverage", "mmd", "jsd", "novelty", "completion", "agreement"} <= set(scores)
    assert scores["completion"]["shapes"] == scores["agreement"]["samples"] / 8 == 2
    assert scores["agreement"]["real"] > 0.5
    assert "1-nna.cd" in capsys.readouterr().out


def test_protocol_of_the_scores(run):
    """Says which distance was measured, on how many shapes and points: other choices give other numbers."""
    cli.main(["evaluate", "checkpoint=run", "n=8", "scoring.a_class=0", "scoring.completions=0"])
    assert "squared, mean over points" in Path("run", "metrics.json").read_text()


def test_own_shapes(shapes, tmp_path, tiny, monkeypatch, capsys):
    """A file of one's own, trained on through cells and as a set; numbers are names of classes, too."""
    monkeypatch.chdir(tmp_path)
    cli.main(["train", "points_smoke", f"data.path={shapes}", *SMALL, *tiny, "out=run"])
    cli.main(["sample", "checkpoint=run", "label=1", "n=1", "out=made"])
    assert np.asarray(trimesh.load(Path("made/000.ply")).vertices).shape == (64, 3)
    quick = ("model.net.dim=16", "model.net.depth=1", "model.net.heads=2", "model.net.inducing=4", "data.points=64")
    cli.main(["train", "points_set", f"data.path={shapes}", *quick, *tiny, "trainer.batch_size=4", "out=set"])
    cli.main(["sample", "checkpoint=set", "n=2", "steps=2", "out=more"])
    assert len([*Path("more").glob("*.ply")]) == 2
    cli.main(["evaluate", "checkpoint=run", "n=2", "data.val_fraction=1"])
    assert json.loads(Path("run", "metrics.json").read_text())["evaluate_val"]["examples"] == 8
    assert "label" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data.path=nowhere", r"data\.path=nowhere: there is no such file or folder"),
        ("data.points=65", r"data\.points asks for 65: lower data\.points"),
        ("model.cells=24", r"model\.cells=24 must be a power of two that divides data\.points=64"),
        ("data.seen=30", r"seen=8 of model\.outline\.net must be a power of two that divides data\.seen=30"),
        ("model.reader.patch=3", r"patch=3 of model\.reader must divide model\.cells=8"),
        ("model.shown=0", r"model\.shown must be at least 1, not 0"),
        ("data.mirror=w", r"data\.mirror is of x, y and z"),
        ("data.normals=true", r"data\.normals"),
        ("data.embedded.shape=3 data.path=shapes", r"data\.embedded\.shape, did you mean"),
        ("sampling.temprature=1", r"temprature, did you mean .*temperature"),
        ("scoring.a_clas=1", r"a_clas, did you mean .*a_class"),
    ],
)
def test_mistakes_of_training(words, said, refused, shapes, tiny):
    """What is wrong, and the mend."""
    line = refused("train", "points_smoke", f"data.path={shapes}", *SMALL, *tiny, *words.split(), "out=run")
    assert re.search(said, line), line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample label=3", "label=3: the classes of this model are table, chair, mug"),
        ("sample points=0", "points must be at least 1, not 0"),
        ("sample steps=0", "steps must be at least 1, not 0"),
        ("sample format=obj", r"format"),
        ("sample mesh=true format=npz", "a mesh is written as ply or glb"),
        ("sample partial=nowhere.ply", r"partial=nowhere\.ply: there is no such file"),
        ("sample partial=far.xyz", r"partial=far\.xyz reaches .* times as far .*: scale and move it there"),
        ("sample between=[far.xyz]", r"between is two files, as in between=\[a\.ply,b\.ply\], not 1"),
        ("sample between=[far.xyz,few.xyz]", r"between=few\.xyz has 5 points"),
        ("evaluate data.points=100", r"data\.points: this model was trained with points=256, not 100"),
        ("evaluate data.path=far.xyz", r"far\.xyz has no classes; .*: table, chair"),
        ("evaluate split=test", "split is train or val for this data, not 'test'"),
        ("evaluate scoring.completions=-1", r"scoring\.completions, .* must not be negative"),
    ],
)
def test_mistakes_of_sampling(run, words, said, refused):
    np.savetxt("far.xyz", 1000 * ball(300))
    np.savetxt("few.xyz", ball(5))
    verb, *rest = words.split()
    line = refused(verb, "checkpoint=run", *rest)
    assert re.search(said, line), line
