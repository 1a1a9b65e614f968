"""One recording in a file: WAV, FLAC, Ogg and MP3 are read as mono, WAV is written.

Legend: T samples. A sample lies in [-1, 1), 1 being full scale.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genzoo.errors import UserError
from genzoo.reading import Broken, reading

if TYPE_CHECKING:
    import soundfile

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

MAX_S = 600.0
"""Longer files, in seconds, are refused where nothing else is asked for."""

HIGHEST_HZ = 1_000_000
"""More samples a second are of no sound."""

BLOCK = 1 << 14
"""Samples of each channel that are read at once: what a header claims is not believed."""

LONGEST_TERM = 1000
"""Of the ratio of two rates, as a fraction. The filters of a resampler grow with its square: from 16,001 to 8,000 Hz a
second of sound takes 20 s. By the nearest such fraction it takes 0.1 s at most, and pitch and duration are off by less
than 0.05 %, a hundredth of a semitone (half of all pairs of rates: 0.0002 %). Rates in use (8,000, 11,025, 16,000,
44,100, 48,000 Hz …) are met exactly, in 0.005 s."""

MARGIN_S = 0.005
"""What `trim_silence` leaves before and after the sound: the beginning of a consonant is soft."""

FULL_SCALE = 32768
"""Steps of a 16-bit file from 0 to 1."""


def read_audio(
    path: str | Path, rate_hz: int | None = None, *, max_s: float = MAX_S, key: str = "data.path"
) -> tuple[np.ndarray, int]:
    """The samples, float32 [T], and their rate. Several channels are mixed to their mean.

    rate_hz: what the file is resampled to; None: its own rate. key: that names the file. UserError, with the file's
    name, where it is missing, empty, no audio, shorter than two samples, longer than max_s seconds, all silence, or has
    samples that are NaN or infinite.
    """
    with reading(path, key) as file:
        return read(file, rate_hz, max_s)


def read(path: Path, rate_hz: int | None, max_s: float) -> tuple[np.ndarray, int]:
    """As `read_audio`, inside of a boundary."""
    with opened(path) as file:
        check_duration(file.frames, file.samplerate, max_s)
        x, own_hz = mono(file), file.samplerate
    if len(x) < 2:
        raise Broken("has no sound: one sample" if len(x) else "has no sound: no sample")
    check_duration(len(x), own_hz, max_s)
    if not np.isfinite(x).all():
        raise Broken("has samples that are NaN or infinite")
    if not x.any():
        raise Broken("is silent: all its samples are 0")
    return (x, own_hz) if rate_hz in (None, own_hz) else (resampled(x, own_hz, rate_hz), rate_hz)


def rate_of(path: Path) -> int:
    """The rate in Hz that a file says it has."""
    with opened(path) as file:
        return file.samplerate


@contextmanager
def opened(path: Path) -> "Iterator[soundfile.SoundFile]":
    """A file to read; what libsndfile says of it goes without its path."""
    try:
        import soundfile
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install 'genzoo[audio]'") from error
    if not path.stat().st_size:
        raise Broken("is empty")
    try:
        with soundfile.SoundFile(path) as file:
            if file.samplerate > HIGHEST_HZ:
                raise Broken(f"claims {file.samplerate} samples a second, and at most {HIGHEST_HZ} are read")
            yield file
    except soundfile.LibsndfileError as error:
        raise Broken(f"is not audio, or is damaged ({error.error_string.rstrip('.')})") from error


def mono(file: "soundfile.SoundFile") -> np.ndarray:
    """The mean of the channels, float32 [T], of what the file holds."""
    parts = [np.zeros(0, np.float32)]
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        parts.append(block.mean(axis=1))
    return np.concatenate(parts)


def check_duration(samples: int, rate_hz: int, max_s: float) -> None:
    if samples > max_s * rate_hz:
        raise Broken(f"lasts {samples / rate_hz:.1f} s, and max_s is {max_s:g}: cut it, or raise max_s")


def resampled(x: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """float32 [T] -> float32 [about T * to_hz / from_hz], at least 2, band-limited; odd rates: see `LONGEST_TERM`."""
    import torch

    from genzoo_audio.backend import load_torchaudio

    ratio = Fraction(to_hz, from_hz)
    if max(ratio.numerator, ratio.denominator) > LONGEST_TERM:
        if max(ratio, 1 / ratio) > LONGEST_TERM:
            raise Broken(f"cannot be brought from {from_hz} Hz to {to_hz} Hz")
        ratio = nearest(ratio)
    y = (
        load_torchaudio()
        .functional.resample(
            torch.from_numpy(x),
            ratio.denominator,
            ratio.numerator,
            lowpass_filter_width=32,
            rolloff=0.95,
            resampling_method="sinc_interp_kaiser",
            beta=12.0,
        )
        .numpy()
    )
    if len(y) < 2:
        raise Broken(f"is too short at {to_hz} Hz")
    return y


def nearest(ratio: Fraction) -> Fraction:
    """The nearest fraction whose terms are not above `LONGEST_TERM`."""
    if ratio > 1:
        return 1 / nearest(1 / ratio)
    return ratio.limit_denominator(LONGEST_TERM)


def trim_silence(x: np.ndarray, rate_hz: int, below_peak_db: float = 40) -> np.ndarray:
    """x [T] without what, before and after the sound, is softer than its loudest sample by below_peak_db decibels; 5 ms
    more are left on either side."""
    loud = np.flatnonzero(np.abs(x) >= np.abs(x).max(initial=0) * 10 ** (-below_peak_db / 20))
    if not len(loud):
        return x
    margin = round(MARGIN_S * rate_hz)
    return x[max(0, loud[0] - margin) : loud[-1] + 1 + margin]


def to_int16(x: np.ndarray) -> np.ndarray:
    """Samples [T] in the steps of a 16-bit file; where some lie beyond full scale, all are scaled down to fit."""
    x = np.asarray(x, np.float64)
    peak = np.abs(x).max(initial=0)
    return np.rint(x * (FULL_SCALE / max(1.0, peak))).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def from_int16(x: np.ndarray) -> np.ndarray:
    """float32 [T] in [-1, 1)."""
    return x.astype(np.float32) / FULL_SCALE


def write_wav(x: np.ndarray, rate_hz: int, path: str | Path) -> Path:
    """Writes x [T] as a 16-bit WAV file. Its level is left as it is, unless a sample lies beyond full scale: then all
    are scaled down to fit. Of a 16-bit file that was read the bits come back. UserError where x is not finite."""
    import soundfile

    path = Path(path)
    x = np.asarray(x)
    if not np.isfinite(x).all():
        raise UserError(f"{path} is not written: it has samples that are NaN or infinite")
    soundfile.write(path, to_int16(x), rate_hz, subtype="PCM_16", format="WAV")
    return path


def mp3(x: np.ndarray, rate_hz: int) -> bytes:
    """x [T] as an MP3 file, mono; a twentieth of a second of silence comes with it."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, to_int16(x), rate_hz, format="MP3", subtype="MPEG_LAYER_III")
    return out.getvalue()


def wav_header(rate_hz: int) -> bytes:
    """What stands before the 16-bit samples of a mono WAV whose length is not known yet: players take what comes."""
    unknown = 0xFFFFFFFF
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", unknown, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return head + struct.pack("<4sI", b"data", unknown)
