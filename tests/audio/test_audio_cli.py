"""Sound on the command line: two stages of training, what the words make, as files; mistakes are one line."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genzoo import api, checkpoint, cli


@pytest.fixture
def run(smoke_run_of, tmp_path, monkeypatch) -> Path:
    """A copy of the trained run, in the folder where commands are given."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(smoke_run_of("audio"), "run", symlinks=True)


@pytest.fixture
def tone(tmp_path) -> Path:
    """A recording at another rate, in stereo."""
    t = np.arange(4410) / 22050
    soundfile.write(tmp_path / "tone.flac", np.stack((np.sin(2000 * t), np.sin(2000 * t)), axis=1) * 0.3, 22050)
    return Path("tone.flac")


def test_sampling(run, tone, capsys):
    """Samples of a label, as long as asked at most; what goes on from a recording has it first in the file."""
    cli.main(["sample", "checkpoint=run", "n=3", "label=bell", "seconds=0.2", "out=made"])
    assert sorted(p.name for p in Path("made").iterdir()) == ["000.wav", "001.wav", "002.wav", "preview.png"]
    for file in Path("made").glob("*.wav"):
        sound, rate = soundfile.read(file)
        assert rate == 8000
        assert len(sound) <= 1600
    cli.main(["sample", "checkpoint=run", f"prompt={tone}", "seconds=0.1", "seed=1", "out=on"])
    sound, _ = soundfile.read("on/000.wav")
    assert 1600 <= len(sound) <= 1600 + 800
    trained = api.load("run")
    clip = trained.data.clip_from("prompt", str(tone))
    (tokens,) = trained.data.coding.encode_all([clip])
    codec = trained.data.coding
    stays = len(clip) - codec.codec.late
    np.testing.assert_allclose(sound[:stays], codec.decode(tokens)[:stays], atol=2 / 32768)
    assert "files in" in capsys.readouterr().err


def test_the_codec_travels(run, tmp_path):
    """A lone file of weights, without the codec's run and the data, gives the same sound."""
    lone = shutil.copy(checkpoint.resolve("run/checkpoints/last"), "lone.safetensors")
    cli.main(["sample", "checkpoint=run/checkpoints/last", "n=2", "out=a"])
    cli.main(["sample", f"checkpoint={lone}", "n=2", "out=b"])
    for name in ("000.wav", "001.wav"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_streaming(run):
    """What a pipe gets is the file that is written otherwise, but for its header."""
    command = [sys.executable, "-m", "genzoo_audio.sample", "checkpoint=run", "seed=3", "label=flute"]
    heard = subprocess.run([*command, "stream=true"], capture_output=True, check=True).stdout
    cli.main(["sample", "checkpoint=run", "seed=3", "label=flute", "out=made"])
    written = soundfile.read("made/000.wav", dtype="int16")[0]
    streamed = np.frombuffer(heard[44:], "<i2")
    assert len(streamed) == len(written)
    assert np.abs(streamed.astype(int) - written).max() <= 1


def test_evaluation(run):
    """Scores of samples beside the real ones; the same again."""
    reports = []
    for _ in range(2):
        cli.main(["evaluate", "checkpoint=run", "n=6"])
        reports.append(json.loads(Path("run", "metrics.json").read_text())["evaluate_val"])
    assert reports[0] == reports[1]
    scores = reports[0]
    assert {"bits_per_code", "level", "clipping", "frechet", "inception", "label_agreement"} <= set(scores)
    assert {"told", "withheld", "swapped", "real"} <= set(scores["label_agreement"])
    assert scores["protocol"]["reference_sha256"]


def test_codec(smoke_run_of, tmp_path, monkeypatch, tone):
    """A recording through the codec; its scores, beside Opus's."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(smoke_run_of("audio_codec"), "run", symlinks=True)
    cli.main(["sample", "checkpoint=run", f"clip={tone}", "stages=1", "out=made"])
    assert len(soundfile.read("made/000.wav")[0]) == 1600
    cli.main(["evaluate", "checkpoint=run", "scoring.opus_kbps=[6,24]"])
    scores = json.loads(Path("run", "metrics.json").read_text())["evaluate_val"]
    assert scores["opus_24"]["log_mel_l1"] < scores["opus_6"]["log_mel_l1"] < scores["codec"]["log_mel_l1"]
    assert scores["kbit_per_second"] == pytest.approx(50 * 2 * np.log2(1000) / 1000, rel=0.05)


def test_own_recordings(tmp_path, monkeypatch, tiny):
    """A folder of one's own with labels in the names, sample by sample."""
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    generator = np.random.default_rng(0)
    for i in range(4):
        soundfile.write(f"mine/{'ab'[i % 2]}_{i}.wav", generator.uniform(-0.5, 0.5, 600), 11025)
    words = ["data.path=mine", "data.labels={letter}_{}", "data.val_match=*_[23].wav", "data.seconds=0.02"]
    cli.main(["train", "audio_mulaw_smoke", *words, *tiny, "out=run"])
    cli.main(["sample", "checkpoint=run", "label=b", "n=2", "out=made"])
    assert soundfile.info("made/000.wav").samplerate == 11025
    cli.main(["evaluate", "checkpoint=run", "n=0"])
    scores = json.loads(Path("run", "metrics.json").read_text())["evaluate_val"]
    assert scores["samples"] == 1200
    assert 4 < scores["bits_per_sample"] < 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample label=drum", "label=drum: the classes of this model are"),
        ("sample prompt=nowhere.wav", r"prompt=nowhere\.wav: there is no such file"),
        ("sample seconds=0", "seconds must lie between 0 and 600"),
        ("sample n=2 stream=true", "leave n at 1"),
        ("evaluate split=test", "split is train or val for this data"),
        ("evaluate scoring.agreement=-1", r"scoring\.agreement must not be negative"),
        ("evaluate data.rate_hz=16000", r"data\.rate_hz=16000: the codec is for 8000 Hz"),
    ],
)
def test_mistakes_of_sampling(run, words, said, refused):
    verb, *rest = words.split()
    line = refused(verb, "checkpoint=run", *rest)
    assert re.search(said, line), line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("audio_smoke data.codec=nowhere", r"data\.codec: .*nowhere.* train one by genzoo train audio_codec"),
        ("audio_mulaw_smoke data.path=nowhere", "nowhere: there is no such file or folder"),
        ("audio_mulaw_smoke model.net.patch=48", "context 256 must be a multiple of patch 48"),
        ("audio_mulaw_smoke +model.net.books=2", r"model\.net\.books=2 must be"),
        ("audio_mulaw_smoke data.seconds=0.1", r"an example has 800 tokens, more than net\.context=256"),
        ("audio_codec_smoke data.rate_hz=null", r"rate_hz"),
        ("audio_codec_smoke model.hop=100", "hop=100 must be a multiple of"),
    ],
)
def test_mistakes_of_training(words, said, refused, tiny, tmp_path):
    line = refused("train", *words.split(), *tiny, "out=run")
    assert re.search(said, line), line
