"""Rewards of sound in tokens, and what is watched beside them: functions (tokens [n, ...], data, cond) -> [n].

Legend: n samples, T samples of a wave.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from torch import Tensor

from genzoo.contract import part
from genzoo.errors import UserError
from genzoo_audio.classifier import AudioClassifier
from genzoo_audio.tokens import TokenData

SHORTEST = 256
"""Samples of a wave that can be listened to."""

FLOOR = 1e-10
"""Of power, over the largest."""


def waves(x: Tensor, data: TokenData) -> list[np.ndarray]:
    return [np.asarray(data.wave(row), dtype=np.float64) for row in x.cpu()]


@lru_cache(maxsize=2)
def reader(data: TokenData, seed: int) -> AudioClassifier:
    return data.classifier(seed=seed)


@part
def says_its_label(x: Tensor, data: TokenData, cond: Mapping[str, Tensor], *, seed: int = 0) -> list[float]:
    """The probability of the label that was asked for, by a classifier that is trained on the real clips; 0 of nothing.
    Of another seed it is another classifier."""
    if "label" not in cond:
        raise UserError("reward=says_label needs labels: this data has none")
    net, heard = reader(data, seed), waves(x, data)
    asked = data.parts_of(cond["label"].cpu().numpy())[0]
    rows = [i for i, wave in enumerate(heard) if len(wave) >= SHORTEST]
    found = np.zeros(len(heard))
    if rows:
        logits = net.logits([heard[i] for i in rows])
        right = [f.double().softmax(1).numpy()[np.arange(len(rows)), asked[rows, i]] for i, f in enumerate(logits)]
        found[rows] = np.prod(right, axis=0)
    return found.tolist()


def spectrum(wave: np.ndarray) -> np.ndarray | None:
    """Power at each frequency; None of what is too short or silent."""
    if len(wave) < SHORTEST or not np.abs(wave).max() > 1e-5:
        return None
    return np.square(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))))


@part
def bright(x: Tensor, data: TokenData, cond: Mapping[str, Tensor]) -> list[float]:
    """The middle of the spectrum, weighed by its magnitude, in kHz; 0 of silence."""
    found = []
    for wave in waves(x, data):
        power = spectrum(wave)
        if power is None:
            found.append(0.0)
            continue
        magnitude, khz = np.sqrt(power), np.fft.rfftfreq(len(wave), 1000 / data.rate_hz)
        found.append(float((khz * magnitude).sum() / magnitude.sum()))
    return found


@part
def tonal(x: Tensor, data: TokenData, cond: Mapping[str, Tensor]) -> list[float]:
    """Minus the flatness of the spectrum, its geometric over its arithmetic mean (Gray & Markel 1974): near 0 of tones,
    -0.56 of white noise, -1 of a click, and of silence."""
    found = []
    for wave in waves(x, data):
        power = spectrum(wave)
        if power is None:
            found.append(-1.0)
            continue
        power = power / power.max() + FLOOR
        found.append(-float(np.exp(np.log(power).mean()) / power.mean()))
    return found
