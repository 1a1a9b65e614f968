"""Video on the command line: what the words make, as files; mistakes are one line and touch nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from genzoo import cli
from genzoo_video.files import read_video
from genzoo_video.output import write_mp4

pytest.importorskip("av", reason="the extra 'video' is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def run(smoke_run_of, tmp_path, monkeypatch) -> Path:
    """A copy of the trained run, in the folder where commands are given."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(smoke_run_of("video"), "run", symlinks=True)


def moving(frames: int = 30, size: int = 24, seed: int = 0) -> np.ndarray:
    """A bright square on its way: uint8 [T, H, W, 1]."""
    x = np.zeros((frames, size, size, 1), np.uint8)
    for t in range(frames):
        place = (t + seed) % (size - 6)
        x[t, place : place + 6, 4:10] = 200
    return x


def test_sampling(run, capsys):
    """Clips of one label, of any rate, in either format; a continuation begins with what it was given; a roll-out is
    one film, longer than the model's clips."""
    cli.main(["sample", "checkpoint=run", "n=2", "label=7", "out=seven", "fps=4"])
    assert sorted(file.name for file in Path("seven").iterdir()) == ["000.mp4", "001.mp4", "preview.png"]
    frames, fps = read_video(Path("seven/000.mp4"), size=(16, 16))
    assert frames.shape == (8, 16, 16, 1)
    assert fps == pytest.approx(4)

    write_mp4(moving(), Path("mine.mp4"), 10)
    given = read_video(Path("mine.mp4"), size=(16, 16))[0]
    cli.main(["sample", "checkpoint=run", "context=mine.mp4", "context_frames=3", "rollout=3", "out=on", "format=both"])
    assert sorted(file.name for file in Path("on").iterdir()) == ["000.gif", "000.mp4", "preview.png"]
    made = read_video(Path("on/000.gif"), size=(16, 16))[0]
    assert len(made) == 8 + 4 + 4
    assert np.abs(made[:3].astype(int) - given[-3:].astype(int)).max() <= 6
    cli.main(["sample", "checkpoint=run", "rollout=3", "frames=13", "out=long"])
    assert len(read_video(Path("long/000.mp4"))[0]) == 13


def test_evaluation(run, capsys):
    """Every score that an issue of video asks for, with its protocol, in the run's metrics.json."""
    cli.main(["evaluate", "checkpoint=run", "n=8"])
    report = json.loads(Path("run/metrics.json").read_text())["evaluate_val"]
    assert report["frechet"]["real"] > 0
    assert set(report["label_agreement"]) >= {"asked_label", "tracked_label", "real"}
    assert set(report["physics"]["samples"]) >= {"residual_px", "identity_kept", "bounces_kept", "speed_variation"}
    assert report["physics"]["real"]["fit"] > 0.9
    assert report["continuation"]["mse_over_copy"]["told"] > 0
    assert report["rollout"]["frames"] == 20
    assert report["protocol"]["frechet"]["features"].startswith("convolutions")
    assert len(report["protocol"]["reference_sha256"]) == 64


def test_a_folder_of_clips(tmp_path, monkeypatch, tiny):
    """Labels are its folders; a model of colour."""
    monkeypatch.chdir(tmp_path)
    for label in ("left", "right"):
        Path("clips", label).mkdir(parents=True)
        for i in range(3):
            write_mp4(np.repeat(moving(seed=i), 3, axis=3), Path("clips", label, f"{i}.mp4"), 12)
    words = ["data.path=clips", "data.colour=rgb", "data.val_fraction=0.3", "out=mine", *tiny]
    cli.main(["train", "video_smoke", *words])
    cli.main(["sample", "checkpoint=mine", "label=left", "out=made"])
    frames, fps = read_video(Path("made/000.mp4"), size=(16, 16), colour="rgb")
    assert frames.shape == (8, 16, 16, 3)
    assert fps == pytest.approx(12)


def test_a_lone_film(tmp_path, monkeypatch, tiny, capsys):
    """Its last frames validate; it is scored without labels and without the physics of glyphs."""
    monkeypatch.chdir(tmp_path)
    write_mp4(moving(40), Path("film.mp4"), 12)
    cli.main(["train", "video_smoke", "data.path=film.mp4", "data.val_frames=12", "data.turn=true", "out=film", *tiny])
    cli.main(["evaluate", "checkpoint=film", "n=5", "scoring.members=2"])
    report = json.loads(Path("film/metrics.json").read_text())["evaluate_val"]
    assert "physics" not in report
    assert "label_agreement" not in report
    assert report["continuation"]["mean_of_samples"]["mse"] > 0


def test_latents(smoke_run_of, tmp_path, monkeypatch, capsys):
    """A model in the latents of an autoencoder needs nothing but its own checkpoint, and continues as well."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(smoke_run_of("video_large"), "large", symlinks=True)
    shutil.copytree(smoke_run_of("video_autoencoder"), "auto", symlinks=True)
    write_mp4(moving(size=16), Path("mine.mp4"), 10)
    cli.main(["sample", "checkpoint=large", "context=mine.mp4", "context_frames=2", "rollout=2", "out=on"])
    assert len(read_video(Path("on/000.mp4"))[0]) == 8 + 4
    cli.main(["evaluate", "checkpoint=large", "n=4"])
    cli.main(["sample", "checkpoint=auto", "context=mine.mp4", "out=back"])
    assert len(read_video(Path("back/000.mp4"))[0]) == 4
    cli.main(["evaluate", "checkpoint=auto", "n=0"])
    report = json.loads(Path("auto/metrics.json").read_text())["evaluate_val"]
    assert report["rebuilt"]["psnr_db"] > 5


MISTAKES = {
    "sample checkpoint=run label=x": r"label=x: the classes of this model are 0, 1",
    "sample checkpoint=run context=nowhere.mp4": r"context=nowhere\.mp4: there is no such file",
    "sample checkpoint=run context=text.mp4": r"context=text\.mp4 is not a video",
    "sample checkpoint=run context_frames=2": r"context_frames needs context=",
    "sample checkpoint=run format=avi": r"format",
    "sample checkpoint=run fps=0": r"fps lies above 0",
    "sample checkpoint=run guidence=2": r"guidance",
    "train video_smoke data.path=nowhere": r"data\.path=nowhere: there is no such file or folder",
    "train video_smoke data.path=text.mp4": r"text\.mp4",
    "train video_smoke data.known=9": r"data\.known lies from 0 to data\.frames",
    "train video_smoke data.colour=rgb": r"data\.path=glyphs makes square pictures in gray",
    "train video_smoke data.autoencoder=run": r"data\.autoencoder=run is none: train one",
    "train video_smoke data.autoencoder=nowhere": r"data\.autoencoder: no checkpoint at nowhere",
    "train video_smoke model.net.patch=[3,4,4]": r"cannot be cut into patches of \(3, 4, 4\)",
    "train video_smoke objective=adversarial_video objective.through=score": r"choose x_hat or sample",
    "evaluate checkpoint=run split=test": r"split is train or val for this data",
    "evaluate checkpoint=run scoring.context_frames=7 n=0": r"scoring\.context_frames lies from 1 to 4",
    "evaluate checkpoint=run scoring.features=nowhere.pt": r"scoring\.features=nowhere\.pt: there is no such file",
    "evaluate checkpoint=run data.frames=16": r"data\.frames: this model was trained on 8 frames",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_line(run, refused, words):
    Path("text.mp4").write_text("no film")
    import re

    message = refused(*words.split())
    assert re.search(MISTAKES[words], message), message
    assert len(message) < 400
