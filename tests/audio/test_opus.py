"""Opus as a yardstick: laid on the original, its bits counted, its mistakes in one line."""

import sys

import numpy as np
import pytest

from genzoo.errors import UserError
from genzoo_audio.metrics import codec_scores
from genzoo_audio.opus import FARTHEST, aligned, opus_round_trip, resampled

av = pytest.importorskip("av", reason="needs the extra: pip install 'genzoo[audio]'")


def sweep(rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    """From 200 to 1,400 Hz, so that a shift in time is seen."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * (200 + 600 * t / seconds) * t)).astype(np.float32)


def si_sdr_db(x: np.ndarray, y: np.ndarray) -> float:
    """Again, by projection."""
    x, y = x.astype(float), y.astype(float)
    target = (x @ y) / (x @ x) * x
    return 10 * np.log10((target @ target) / ((y - target) @ (y - target)))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_a_tone_at_64_kbit_is_nearly_itself(rate_hz):
    """Of the same length, and in step to a fraction of a sample: half a sample late would leave 15 dB at most."""
    wave = sweep(rate_hz)
    decoded, bits = opus_round_trip(wave, rate_hz, 64_000)
    assert decoded.dtype == np.float32
    assert decoded.shape == wave.shape
    assert si_sdr_db(wave, decoded) > 30
    assert abs(decoded).max() == pytest.approx(0.5, rel=0.05)
    assert 0 < bits / (len(wave) / rate_hz) < 100_000
    assert codec_scores([wave], [decoded], rate_hz)["si_sdr_db"] == pytest.approx(si_sdr_db(wave, decoded), abs=1e-3)


@pytest.mark.parametrize("bitrate_bps", [6_000, 12_000])
def test_speech_modes_are_in_step_too(bitrate_bps):
    """No shift by a sample of 8 kHz fits better, and the bits are near what was asked for."""
    wave = sweep(8_000, 2.0)
    decoded, bits = opus_round_trip(wave, 8_000, bitrate_bps)
    fits = {lag: si_sdr_db(wave[20:-20], np.roll(decoded, lag)[20:-20]) for lag in range(-5, 6)}
    assert max(fits, key=fits.get) == 0
    assert 0.5 * bitrate_bps < bits / 2 < 1.3 * bitrate_bps


def test_more_bits_lose_less():
    """In every score, on a harmonic tone in noise; equal waves lose nothing."""
    t = np.arange(8_000) / 8_000
    wave = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 12)) * 0.2
    wave = (wave * (1 + np.sin(2 * np.pi * 4 * t)) / 2 + 0.01 * np.random.default_rng(0).standard_normal(8_000)).astype(
        np.float32
    )
    (few, few_bits), (many, many_bits) = (opus_round_trip(wave, 8_000, rate) for rate in (6_000, 32_000))
    worse, better = (codec_scores([wave], [x], 8_000) for x in (few, many))
    assert few_bits < many_bits / 3
    assert worse["log_mel_l1"] > better["log_mel_l1"] > 0
    assert worse["mr_stft"] > better["mr_stft"] > 0
    assert worse["si_sdr_db"] + 5 < better["si_sdr_db"]


@pytest.mark.parametrize("length", [1, 50, 479, 480, 481, 4_321])
def test_any_length(length):
    """Shorter than a frame of the codec, a frame to the sample, and not."""
    decoded, bits = opus_round_trip(sweep(8_000, 1.0)[:length], 8_000, 16_000)
    assert decoded.shape == (length,)
    assert bits % 8 == 0 < bits


def test_silence():
    """Stays silent, at few bits."""
    decoded, bits = opus_round_trip(np.zeros(8_000, np.float32), 8_000, 12_000)
    assert abs(decoded).max() < 1e-3
    assert bits < 12_000


@pytest.mark.parametrize("lag", [-FARTHEST, -1, 0, 5, FARTHEST])
def test_aligned(lag):
    """Finds every lag within its reach; what lies beyond the ends is zero."""
    wave = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    late = np.roll(np.pad(wave, 50), lag)[50:-50]
    got = aligned(late, wave)
    inner = slice(FARTHEST, -FARTHEST)
    np.testing.assert_array_equal(got[inner], wave[inner])
    assert got.shape == wave.shape
    assert len(aligned(late[:100], wave)) == 500


def test_resampled():
    """A tone keeps its pitch and height at another rate; at its own it is left alone."""
    tone = np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050).astype(np.float32)
    got = resampled(tone, 22_050, 48_000)
    assert len(got) == 48_000
    want = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    np.testing.assert_allclose(got[500:-500], want[500:-500], atol=2e-3)
    assert resampled(tone, 8_000, 8_000) is tone


@pytest.mark.parametrize(
    ("wave", "rate_hz", "bitrate_bps", "match"),
    [
        (np.zeros((2, 10)), 8_000, 6_000, r"a mono wave \[T\] of finite numbers, not \[2, 10\]"),
        (np.zeros(0), 8_000, 6_000, "mix or mend"),
        (np.full(10, np.nan), 8_000, 6_000, "finite"),
        (np.zeros(10), 8_000, 100, "500 to 256000 bit/s of a mono wave, not 100"),
        (np.zeros(10), 8_000, 300_000, "choose another bitrate"),
        (np.zeros(10), 0, 6_000, "a rate of 0 Hz"),
    ],
)
def test_refused(wave, rate_hz, bitrate_bps, match):
    with pytest.raises(UserError, match=match):
        opus_round_trip(wave, rate_hz, bitrate_bps)


def test_without_pyav(monkeypatch):
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'genzoo\[audio\]'"):
        opus_round_trip(np.zeros(100, np.float32), 8_000, 6_000)


def test_without_libopus(monkeypatch):
    """A PyAV that was built without it is told from a missing one."""

    def create(name: str, mode: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av, "CodecContext", type("None", (), {"create": staticmethod(create)}))
    with pytest.raises(UserError, match="without libopus"):
        opus_round_trip(np.zeros(100, np.float32), 8_000, 6_000)
