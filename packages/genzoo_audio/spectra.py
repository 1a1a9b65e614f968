"""Spectra of sound, and distances between them.

Legend: B clips, T samples, F frames, M mel bands, N samples of a window (FFT size), K bins (N / 2 + 1).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from genzoo_audio.backend import load_torchaudio

FLOOR = 1e-5
"""Magnitudes below it count as it: of a full-scale signal, far below what 16 bits resolve."""

WINDOWS_S = (0.008, 0.016, 0.032, 0.064)
"""Windows of the multi-resolution distance, in seconds; each is rounded to a power of two in samples."""


def window_samples(seconds: float, rate_hz: int) -> int:
    """The power of two nearest to so many seconds, at least 16 samples."""
    return max(16, 2 ** round(math.log2(seconds * rate_hz)))


def magnitudes(x: Tensor, window: int, hop: int | None = None) -> Tensor:
    """|STFT| [B, K, F] of waves [B, T], Hann window of `window` samples, hop a quarter of it, zeros beyond the ends;
    divided by the window's sum, so that a sine of amplitude a shows a / 2."""
    hann = torch.hann_window(window, device=x.device, dtype=x.dtype)
    spectrum = torch.stft(
        x, window, hop or window // 4, window=hann, center=True, pad_mode="constant", return_complex=True
    )
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=1e-14).sqrt() / hann.sum()


def log_mel(x: Tensor, rate_hz: int, *, window: int | None = None, bands: int = 64) -> Tensor:
    """Natural logarithm of mel magnitudes [B, M, F] of waves [B, T]: HTK mels from 0 to half the rate.

    window: in samples; default the power of two nearest to 32 ms. bands: fewer where the window cannot tell so many
    apart (a quarter of the window at most).
    """
    window = window or window_samples(0.032, rate_hz)
    mels = mel_filters(window, min(bands, window // 4), rate_hz).to(x)
    return (mels @ magnitudes(x, window)).clamp(min=FLOOR).log()


@lru_cache(maxsize=32)
def mel_filters(window: int, bands: int, rate_hz: int) -> Tensor:
    """Triangles [M, K], each with a peak of 1. In narrow windows the lowest may fall between two bins: they take the
    nearest bin then, so that no band is empty."""
    filters = load_torchaudio().functional.melscale_fbanks
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mels_km = filters(window // 2 + 1, 0.0, rate_hz / 2, bands, rate_hz)
    for band in (mels_km.sum(0) == 0).nonzero().flatten().tolist():
        top = 2595 * math.log10(1 + rate_hz / 2 / 700)
        centre_hz = 700 * (10 ** ((band + 1) / (bands + 1) * top / 2595) - 1)
        mels_km[round(centre_hz / rate_hz * window), band] = 1.0
    return mels_km.T.contiguous()


def log_mel_distance(x: Tensor, y: Tensor, rate_hz: int, *, window: int | None = None, bands: int = 64) -> Tensor:
    """Mean absolute difference of the log-mel spectra of two waves [B, T] -> [B], in nepers (natural logarithm)."""
    difference = log_mel(x, rate_hz, window=window, bands=bands) - log_mel(y, rate_hz, window=window, bands=bands)
    return difference.abs().mean(dim=(1, 2))


def stft_distance(x: Tensor, y: Tensor, rate_hz: int) -> Tensor:
    """Multi-resolution STFT distance of y from x, both [B, T] -> [B]: spectral convergence
    ||X| - |Y|| / ||X| plus the mean absolute difference of the log magnitudes, a mean over windows of 8 to 64 ms
    (Yamamoto et al. 2020, eq. 4 to 6)."""
    total = torch.zeros(len(x), device=x.device, dtype=x.dtype)
    for seconds in WINDOWS_S:
        window = window_samples(seconds, rate_hz)
        a, b = magnitudes(x, window), magnitudes(y, window)
        convergence = (a - b).flatten(1).norm(dim=1) / a.flatten(1).norm(dim=1).clamp(min=FLOOR)
        logs = (a.clamp(min=FLOOR).log() - b.clamp(min=FLOOR).log()).abs().mean(dim=(1, 2))
        total = total + convergence + logs
    return total / len(WINDOWS_S)


def si_sdr_db(x: Tensor, y: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of y [B, T] against the true x [B, T] -> [B] in dB
    (Le Roux et al. 2019, eq. 3): 10 log10 of |a x|^2 / |a x - y|^2 with a = <x, y> / |x|^2."""
    scale = (x * y).sum(1, keepdim=True) / x.square().sum(1, keepdim=True).clamp(min=1e-12)
    target = scale * x
    noise = (target - y).square().sum(1).clamp(min=1e-12)
    return 10 * torch.log10((target.square().sum(1) / noise).clamp(min=1e-12))
