"""Four voices on a grid of sixteenths as tokens: every tick is soprano, alto, tenor, bass.

Legend: ... any axes, M ticks, V = 4 voices.
"""

import numpy as np
import torch
from torch import Tensor

VOICES = ("soprano", "alto", "tenor", "bass")
LOWEST, HIGHEST = 21, 108
"""Of the piano, as MIDI numbers."""
REST = 0
"""Token of a silent voice; the pitch p is the token p - 20."""
END = HIGHEST - LOWEST + 2
"""Stands where the soprano would, once the piece is over."""
VOCAB = END + 1
TICKS_PER_BEAT = 4
TICKS_PER_BAR = 16


def to_tokens(pitches: np.ndarray | Tensor) -> Tensor:
    """MIDI numbers [..., V], 0 or less for a rest -> tokens of the same shape."""
    pitches = torch.as_tensor(pitches, dtype=torch.long)
    return torch.where(pitches > 0, pitches - (LOWEST - 1), REST)


def to_pitches(tokens: Tensor) -> np.ndarray:
    """Tokens [T] -> MIDI numbers [M, V], 0 for a rest, without what follows an END or a -1, or is no whole tick."""
    tokens = tokens.flatten()
    over = ((tokens < 0) | (tokens == END)).nonzero()
    ticks = (int(over[0]) if len(over) else len(tokens)) // len(VOICES)
    kept = tokens[: ticks * len(VOICES)].view(ticks, len(VOICES))
    return torch.where(kept > REST, kept + (LOWEST - 1), 0).numpy().astype(np.int64)
