"""Rewards of music in four voices, and what is watched beside them: functions (tokens [n, T], data, cond) -> [n]."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from torch import Tensor

from genzoo.contract import part
from genzoo_audio.music import metrics
from genzoo_audio.music.data import MusicData
from genzoo_audio.music.tokens import to_pitches

REFERENCE = 64
"""Real pieces that rhythm and key are compared with."""

SHORTEST = 8
"""Ticks of a piece that can be judged."""

NOTHING = -100.0
"""The reward of a piece that is shorter, or silent."""


def judged(piece: np.ndarray) -> bool:
    return len(piece) >= SHORTEST and bool((piece > 0).any())


@part
def voice_leading(x: Tensor, data: MusicData, cond: Mapping[str, Tensor]) -> list[float]:
    """Minus the faults in 100 changes of chord: parallel fifths and octaves, leaps beyond a fifth, and in 100 ticks,
    voices that cross or leave their range."""
    found = []
    for piece in map(to_pitches, x.cpu()):
        if not judged(piece):
            found.append(NOTHING)
            continue
        fifths, octaves, changes = metrics.parallels(piece)
        wide, moves = metrics.leaps(piece)
        crossed, ticks = metrics.crossings(piece)
        outside, sung = metrics.out_of_range(piece, data.ranges)
        shares = ((fifths + octaves, changes), (wide, moves), (crossed, ticks), (outside, sung))
        found.append(-100 * sum(count / max(1, of) for count, of in shares))
    return found


@part
def clear_key(x: Tensor, data: MusicData, cond: Mapping[str, Tensor]) -> list[float]:
    """The correlation of the pitch classes with the nearest key's profile, -1 to 1."""
    return [metrics.key_of(piece).clarity if judged(piece) else -1.0 for piece in map(to_pitches, x.cpu())]


@part
def rhythm(x: Tensor, data: MusicData, cond: Mapping[str, Tensor]) -> list[float]:
    """Minus the distance of a piece's lengths of notes from those of real pieces, 0 to -1: what keeps still makes no
    faults, and has no rhythm."""
    real = lengths(data)
    return [
        -metrics.distance(metrics.durations([piece]), real) if judged(piece) else -1.0
        for piece in map(to_pitches, x.cpu())
    ]


@lru_cache(maxsize=1)
def lengths(data: MusicData) -> np.ndarray:
    return metrics.durations(data.reals(REFERENCE, "val"))
