"""Music on the command line: what is sampled, continued and harmonised, as files; mistakes are one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genzoo import cli
from genzoo_audio.music import files


@pytest.fixture
def run(smoke_run_of, tmp_path, monkeypatch) -> Path:
    """A copy of the trained run, in the folder where commands are given."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(smoke_run_of("music"), "run", symlinks=True)


@pytest.fixture
def tune(tmp_path) -> np.ndarray:
    """A melody with a rest, of 20 ticks, in tune.mid."""
    line = np.repeat([67, 69, 0, 71, 72], 4)
    piece = np.stack((line, 0 * line, 0 * line, 0 * line), axis=1)
    files.write_midi(piece, tmp_path / "tune.mid")
    return line


def test_sampling(run, capsys):
    """MIDI and sound of the same length, and a picture; the same seed, the same notes."""
    for place in ("a", "b"):
        cli.main(["sample", "checkpoint=run", "n=2", f"out={place}", "seed=1", "tempo=120"])
    names = sorted(file.name for file in Path("a").iterdir())
    assert names == ["000.mid", "000.wav", "001.mid", "001.wav", "preview.png"]
    assert Path("a/000.mid").read_bytes() == Path("b/000.mid").read_bytes()
    piece = files.read_piece("a/000.mid")
    assert len(piece) <= 32
    assert soundfile.info("a/000.wav").duration == pytest.approx(len(piece) / 8 + 0.5, abs=0.1)
    cli.main(["sample", "checkpoint=run", "wav=false", "out=c"])
    assert sorted(file.name for file in Path("c").iterdir()) == ["000.mid", "preview.png"]
    assert "files in" in capsys.readouterr().err


def test_harmonisation(run, tune):
    """The melody is the soprano, to the tick, in each sample; the lower voices differ."""
    cli.main(["sample", "checkpoint=run", "n=3", "melody=tune.mid", "out=made", "temperature=1.5", "wav=false"])
    pieces = [files.read_piece(f"made/00{i}.mid") for i in range(3)]
    for piece in pieces:
        assert np.array_equal(piece[:, 0], tune)
        assert (piece[:, 1:] > 0).any()
    assert not np.array_equal(pieces[0], pieces[1])


def test_continuation(run, tmp_path):
    """The prompt stands at the beginning of each sample, and something follows."""
    prompt = np.repeat([[72, 67, 64, 48], [71, 67, 62, 43]], 8, axis=0)
    files.write_midi(prompt, tmp_path / "prompt.mid")
    cli.main(["sample", "checkpoint=run", "n=2", "prompt=prompt.mid", "out=made", "wav=false", "seed=2", "min_p=0.001"])
    pieces = [files.read_piece(f"made/00{i}.mid") for i in range(2)]
    assert all(np.array_equal(piece[:16], prompt) for piece in pieces)
    assert max(map(len, pieces)) > 16


def test_evaluation(run, capsys):
    """Scores beside those of real pieces; the melody is kept; the same again."""
    reports = []
    for _ in range(2):
        cli.main(["evaluate", "checkpoint=run", "n=2"])
        reports.append(json.loads(Path("run", "metrics.json").read_text())["evaluate_test"])
    assert reports[0] == reports[1]
    scores = reports[0]
    assert scores["nats_per_token"] == pytest.approx(scores["nats_per_tick"] / 4)
    assert scores["tokens"] == 4 * scores["ticks"]
    assert scores["harmonisation"]["told"]["melody_kept"] == 1
    assert scores["harmonisation"]["pieces"] >= 1
    assert {"key_clarity", "key_clarity_real", "parallel_fifths_per_100_changes_real"} <= set(scores)
    assert "nats_per_token" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample melody=nowhere.mid", "melody=nowhere.mid: there is no such file"),
        ("sample melody=tune.mid prompt=tune.mid", "a prompt to go on from, or a melody to harmonise, not both"),
        ("sample ticks=0", "ticks must be at least 1, not 0"),
        ("sample tempo=1", "tempo must lie from 10 to 400"),
        ("sample rate_hz=1", "rate_hz must lie from 4000"),
        ("sample melody=long.mid", "melody=long.mid has 300 ticks, and this model sees 256: cut it"),
        ("evaluate split=all", "split is train or val or test for this data, not 'all'"),
        ("evaluate scoring.harmonise=-1", "scoring.harmonise must not be negative"),
    ],
)
def test_mistakes(run, tune, words, said, refused, tmp_path):
    files.write_midi(np.repeat([[60, 0, 0, 0]], 300, axis=0), tmp_path / "long.mid")
    verb, *rest = words.split()
    assert said in refused(verb, "checkpoint=run", *rest)


def test_mistakes_of_training(refused, tiny, tmp_path):
    (tmp_path / "a.mid").write_bytes(b"")
    assert "a.mid is empty" in refused("train", "music_smoke", "data.path=a.mid", *tiny, "out=r")
    assert "multiple of 32" in refused("train", "music_smoke", "data.ticks=70", *tiny, "out=r")
