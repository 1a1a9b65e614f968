"""Scores of sound: closed forms, planted faults, second implementations."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genzoo.metrics import frechet_distance
from genzoo_audio import metrics
from genzoo_audio.classifier import AudioClassifier
from genzoo_audio.metrics import clicks, clipped, codec_scores, inception_score, label_agreement, level_db, levels

RATE_HZ = 8_000


def noise(count: int, seed: int = 0, samples: int = 1_600, scale: float = 0.1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(samples + 10 * i)).astype(np.float32) for i in range(count)]


def tone(amplitude: float = 1.0, hz: float = 440.0, seconds: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


@pytest.fixture(scope="module")
def untrained() -> AudioClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AudioClassifier((3, 2), RATE_HZ).eval()


# Inception score


@pytest.mark.parametrize("c", [2, 5, 10])
def test_inception_score_at_its_ends(c):
    """c for sure and even readings, 1 where all are read alike, and in between by the formula."""
    assert inception_score(torch.eye(c).repeat(3, 1)) == pytest.approx(c, rel=1e-12)
    assert inception_score(torch.full((7, c), 1 / c)) == pytest.approx(1, rel=1e-12)
    assert inception_score(torch.eye(c)[:1].expand(9, c)) == pytest.approx(1, rel=1e-12)
    p = np.random.default_rng(0).dirichlet(np.ones(c), 50)
    want = math.exp(np.mean([sum(row * np.log(row / p.mean(0))) for row in p]))
    assert inception_score(torch.from_numpy(p)) == pytest.approx(want, rel=1e-9)


def test_inception_score_of_uneven_readings():
    """Sure, of one class in three quarters: exp of the entropy of (3/4, 1/4)."""
    p = torch.eye(2)[[0, 0, 0, 1]]
    assert inception_score(p) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


@pytest.mark.parametrize("p", [torch.ones(3, 2), torch.tensor([[1.5, -0.5]]), torch.ones(2), torch.zeros(0, 3)])
def test_no_probabilities(p):
    with pytest.raises(ValueError, match="add up to 1"):
        inception_score(p)


# By the classifier


def test_frechet(untrained):
    """Its parts are the distances of the features; a set from itself has none; other sounds lie beyond the floor."""
    real, tones = noise(60), [tone(0.3, hz).astype(np.float32) for hz in np.linspace(300, 900, 40)]
    found = metrics.frechet_audio_distance(untrained, tones, real)
    want = frechet_distance(untrained.features(tones), untrained.features(real))
    assert found["distance"] == pytest.approx(want, rel=1e-6)
    assert found["distance"] > 2 * found["real"] > 0
    assert found["samples_as_real"] > 2 * found["real"]
    assert found["protocol"] | {"samples": 40, "reference": 60, "real": [30, 30], "features": 32} == found["protocol"]
    assert metrics.frechet_audio_distance(untrained, real, real)["distance"] == pytest.approx(0, abs=1e-6)
    fresh = metrics.frechet_audio_distance(untrained, noise(60, seed=1), real)
    assert fresh["samples_as_real"] == pytest.approx(fresh["real"], rel=0.5)
    assert json.loads(json.dumps(found)) == found


def test_frechet_needs_clips(untrained):
    with pytest.raises(ValueError, match="2 samples and 4 reference clips, not 5 and 3"):
        metrics.frechet_audio_distance(untrained, noise(5), noise(3))


class Told(AudioClassifier):
    """Reads the first two samples of a wave as its labels."""

    def logits(self, waves):
        return tuple(torch.eye(c)[[round(float(wave[f])) for wave in waves]] for f, c in enumerate(self.counts))


def test_label_agreement():
    """By hand: the first field right in 3 of 4, the second in 2, both in 1."""
    waves = [np.array(x, np.float32) for x in ((0, 0), (1, 1), (2, 0), (0, 1))]
    asked = np.array([[0, 1], [1, 1], [2, 1], [1, 1]])
    found = label_agreement(Told((3, 2), RATE_HZ), waves, asked, ("digit", "speaker"))
    assert (found["digit"], found["speaker"], found["all"]) == (0.75, 0.5, 0.25)
    assert found["protocol"]["samples"] == 4
    with pytest.raises(ValueError, match="labels of 4 clips and 2 fields"):
        label_agreement(Told((3, 2), RATE_HZ), waves, asked[:, :1], ("digit", "speaker"))
    with pytest.raises(ValueError, match="for a classifier of 2"):
        label_agreement(Told((3, 2), RATE_HZ), waves, asked[:, :1], ("digit",))


def test_label_agreement_of_data():
    """Empty samples count as wrong; the real clips of a split stand beside."""
    real = [np.array([1.0, 0.0]), np.array([0.0, 0.0])]
    data = SimpleNamespace(
        classifier=lambda: Told((3, 2), RATE_HZ),
        fitted={"fields": ["digit", "speaker"]},
        classes=list("abcdef"),
        parts_of=lambda labels: (np.stack((labels // 2, labels % 2), axis=1), (3, 2)),
        wave=lambda x: x[x >= 0].numpy(),
        real=lambda split: (real, np.array([2, 1])),
    )
    made = torch.tensor([[0, 0], [1, 1], [-1, -1], [2, 1]])
    cond = {"label": torch.tensor([0, 3, 0, 4])}
    found = metrics.label_agreement_of(data, lambda told, seed: made, cond, split="test")
    assert found["told"] == found["withheld"] == found["swapped"] == {"digit": 0.75, "speaker": 0.5, "all": 0.5}
    assert (found["protocol"]["samples"], found["protocol"]["empty"]) == (4, 1)
    assert (found["real"]["digit"], found["real"]["all"]) == (1, 0.5)
    none = metrics.label_agreement_of(data, lambda told, seed: made - 9, cond)
    assert (none["told"]["digit"], none["told"]["all"], none["protocol"]["empty"]) == (0, 0, 4)
    assert json.loads(json.dumps(found)) == found


# Levels, clipping, clicks


def test_levels_in_closed_form():
    """A full-scale sine has -3.01 dBFS, whatever silence stands around it; silence has the floor."""
    sine = tone()
    want = -10 * math.log10(2)
    assert level_db([sine, np.pad(sine, 5_000), sine / 10, np.zeros(9)]) == pytest.approx(
        [want, want, want - 20, metrics.SILENCE_DB], abs=0.02
    )
    found = levels([sine / 10, sine / 100, np.zeros(50), np.zeros(9)], [sine])
    assert found["difference_db"] == pytest.approx(-30, abs=1e-6)
    assert found["samples_std_db"] == pytest.approx(10)
    assert found["silent"] == 0.5
    assert levels([np.zeros(5)], [sine])["samples_db"] == metrics.SILENCE_DB


def test_clipped():
    """Runs of three and more, at the ends too; two in a row are a peak."""
    wave = np.array([1, 1, 1, 0, 1, 1, 0, -1, -1, -1, -0.9995, 0, 1, 1, 1.0])
    assert clipped([wave]) == (pytest.approx(10 / 15), 1)
    assert clipped([wave, np.full(5, 0.99), np.zeros(10)]) == (pytest.approx(10 / 30), pytest.approx(1 / 3))
    assert clipped([np.clip(1.5 * tone(), -1, 1)])[0] == pytest.approx(1 - 2 * math.asin(2 / 3) / math.pi, abs=0.01)


@pytest.mark.parametrize("period", [16, 64, 100])
def test_clicks(period):
    """1 for noise without borders (within 4 standard errors: 0.1), far more for planted steps, at that period only."""
    waves = noise(6, samples=20_000)
    assert clicks(waves, period) == pytest.approx(1, abs=0.1)
    assert clicks(tone(hz=437.3, seconds=4), period) == pytest.approx(1, abs=0.1)
    smooth = [tone(0.3, 200, 2.0) for _ in range(3)]
    rng = np.random.default_rng(0)
    stepped = [wave + 0.05 * rng.standard_normal(len(wave))[np.arange(len(wave)) // period] for wave in smooth]
    assert clicks(stepped, period) > 5
    assert clicks(stepped[0], period) > 5
    assert clicks(stepped, period - 3) < 2
    kinked = [np.abs((np.arange(4_000) % (2 * period)) - period + 0.0) for _ in range(2)]  # no step, a bend
    assert clicks(kinked, period) > 100


def test_clicks_by_loops():
    """Second differences that lie across a border, and the others."""
    (wave,) = noise(1, samples=203)
    bends = {True: [], False: []}
    for i in range(len(wave) - 2):
        a, b, c = wave[i : i + 3].astype(float)
        bends[i // 8 != (i + 2) // 8].append(abs(a - 2 * b + c))
    assert clicks(wave, 8) == pytest.approx(np.mean(bends[True]) / np.mean(bends[False]), rel=1e-12)
    assert clicks(np.zeros(100), 8) == 1


@pytest.mark.parametrize(("wave", "period", "match"), [(np.ones(99), 3, "4 or more"), (np.ones(9), 16, "no clip")])
def test_no_borders(wave, period, match):
    with pytest.raises(ValueError, match=match):
        clicks(wave, period)


# Of a codec


def test_codec_scores_in_closed_form():
    """Equal waves; half the height: log-mels and log magnitudes differ by ln 2, the convergence is 1/2, SI-SDR does not
    mind; noise at a tenth of the height: 20 dB."""
    x = noise(5)
    same = codec_scores(x, x, RATE_HZ)
    assert same["log_mel_l1"] == same["mr_stft"] == 0
    assert same["si_sdr_db"] > 100
    half = codec_scores(x, [wave / 2 for wave in x], RATE_HZ)
    assert half["log_mel_l1"] == pytest.approx(math.log(2), rel=1e-3)
    assert half["mr_stft"] == pytest.approx(0.5 + math.log(2), rel=1e-3)
    assert half["si_sdr_db"] > 100
    noisy = codec_scores(x, [a + b / 10 for a, b in zip(x, noise(5, seed=1), strict=True)], RATE_HZ)
    assert noisy["si_sdr_db"] == pytest.approx(20, abs=0.3)
    assert noisy["protocol"]["clips"] == 5
    assert json.loads(json.dumps(noisy)) == noisy


def test_codec_scores_are_means_over_clips():
    """Not over samples, of lengths that differ; silent originals are left out of SI-SDR alone."""
    x, y = noise(4), noise(4, seed=1)
    x[0], y[0] = x[0][:500], y[0][:500]
    alone = [codec_scores([a], [b], RATE_HZ) for a, b in zip(x, y, strict=True)]
    whole = codec_scores(x, y, RATE_HZ)
    for name in ("log_mel_l1", "mr_stft", "si_sdr_db"):
        assert whole[name] == pytest.approx(np.mean([each[name] for each in alone]))
    quiet = codec_scores([*x, np.zeros(800)], [*y, noise(1)[0][:800]], RATE_HZ)
    assert quiet["si_sdr_db"] == whole["si_sdr_db"]
    assert quiet["log_mel_l1"] > whole["log_mel_l1"]
    assert quiet["protocol"]["silent"] == 1
    assert math.isfinite(codec_scores([np.zeros(800)], [np.zeros(800)], RATE_HZ)["si_sdr_db"])


def test_si_sdr_by_projection():
    """What of the decoded wave lies along the original, over what stands across it."""
    (x,), (y,) = noise(1), noise(1, seed=1)
    y = 0.7 * x + 0.4 * y
    x64, y64 = x.astype(float), y.astype(float)
    cosine = (x64 @ y64) ** 2 / (x64 @ x64) / (y64 @ y64)
    assert codec_scores([x], [y], RATE_HZ)["si_sdr_db"] == pytest.approx(10 * math.log10(cosine / (1 - cosine)))


@pytest.mark.parametrize(
    ("original", "decoded", "match"),
    [
        ([np.zeros(9)], [np.zeros(8)], "a decoded clip of 8 samples is none of 9"),
        ([np.zeros(9)], [], "there are none"),
        ([np.zeros(9)] * 2, [np.zeros(9)], "shorter"),
        ([np.full(9, np.nan)], [np.zeros(9)], "finite"),
        ([np.zeros((2, 9))], [np.zeros(9)], r"waves \[T\]"),
    ],
)
def test_codec_scores_refuse(original, decoded, match):
    with pytest.raises(ValueError, match=match):
        codec_scores(original, decoded, RATE_HZ)


# All together


def test_sound_scores(untrained):
    """Each is what its own function gives; those that were not asked for are not there; all can be written as JSON."""
    samples, real = noise(12, seed=1, scale=0.05), noise(12)
    found = metrics.sound_scores(samples, real, RATE_HZ, period=64, classifier=untrained)
    assert found["level"] == levels(samples, real)
    assert found["level"]["difference_db"] == pytest.approx(-6, abs=0.2)
    assert found["clipping"]["samples"] == {"of_samples": 0, "of_clips": 0}
    assert found["clicks"]["samples"] == clicks(samples, 64)
    assert found["frechet"] == metrics.frechet_audio_distance(untrained, samples, real)
    assert found["inception"]["reference"] == [inception_score(x.double().softmax(1)) for x in untrained.logits(real)]
    assert found["protocol"]["samples"] == 12
    assert json.loads(json.dumps(found)) == found
    bare = metrics.sound_scores(samples, real, RATE_HZ)
    assert not {"clicks", "frechet", "inception"} & set(bare)
    with pytest.raises(ValueError, match="there are none"):
        metrics.sound_scores([], real, RATE_HZ)
