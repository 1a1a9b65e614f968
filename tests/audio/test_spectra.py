"""Spectra and distances of waves against closed forms."""

import math

import pytest
import torch

from genzoo_audio import spectra

RATE = 8000


def tone(frequency_hz: float, seconds: float = 0.5, amplitude: float = 0.5, rate: int = RATE) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * frequency_hz * torch.arange(round(seconds * rate)) / rate)[None]


def test_magnitude_of_a_sine():
    """Half its amplitude, in the bin of its frequency."""
    spectrum = spectra.magnitudes(tone(1000), 256)[0, :, 20]
    assert spectrum.argmax() == 1000 * 256 / RATE
    assert spectrum.max().item() == pytest.approx(0.25, rel=1e-3)


def test_louder_by_a_factor():
    """Multiplies every magnitude: the log-mel distance is its logarithm, however it is seen."""
    x = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)) * 0.1
    for window in (None, 64, 512):
        distance = spectra.log_mel_distance(x, 2 * x, RATE, window=window)
        torch.testing.assert_close(distance, torch.full((2,), math.log(2)), rtol=1e-4, atol=0)
    torch.testing.assert_close(spectra.stft_distance(x, 2 * x, RATE), torch.full((2,), 1 + math.log(2)))
    assert spectra.log_mel_distance(x, x, RATE).tolist() == [0, 0]


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("window", [64, 256, 2048])
def test_no_band_is_empty(rate, window):
    """White noise is heard in every mel band, also where windows are narrow."""
    mels = spectra.mel_filters(window, min(64, window // 4), rate)
    assert (mels.sum(dim=1) > 0).all()
    assert mels.max() <= 1
    assert (mels.argmax(dim=1).diff() >= 0).all()


def test_signal_to_distortion():
    """Of noise at right angles to the signal, a tenth as loud: 20 dB, at any scale."""
    x, noise = tone(500), tone(1000)
    y = 3 * (x + 0.1 * noise)
    assert spectra.si_sdr_db(x, y).item() == pytest.approx(20, abs=1e-3)
    assert spectra.si_sdr_db(x, y).item() == pytest.approx(spectra.si_sdr_db(2 * x, y).item(), abs=1e-4)


@pytest.mark.parametrize(("seconds", "rate", "samples"), [(0.032, 8000, 256), (0.032, 44100, 1024), (1e-4, 8000, 16)])
def test_windows_are_powers_of_two(seconds, rate, samples):
    assert spectra.window_samples(seconds, rate) == samples
