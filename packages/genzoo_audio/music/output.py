"""Four voices as sound and as a picture.

Legend: M ticks, V = 4 voices. Pieces are int64 [M, V], MIDI numbers of S A T B, 0 where a voice rests.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genzoo_audio.files import write_wav
from genzoo_audio.music.files import held_notes
from genzoo_audio.music.metrics import NAMES
from genzoo_audio.music.tokens import TICKS_PER_BAR, TICKS_PER_BEAT, VOICES
from genzoo_audio.synthesis import CHORALE, Note, synthesise

VELOCITIES = (0.8, 0.6, 0.55, 0.75)
COLOURS = ("#d62728", "#ff9f1c", "#2a9d8f", "#264f9c")
BARS_A_ROW = 16
MAX_ROWS = 8


def notes_to_play(piece: np.ndarray, beats_per_minute: float) -> list[Note]:
    """Each voice with its timbre; notes are let go a little before the next, so that a repeated chord is heard."""
    tick_s = 60 / beats_per_minute / TICKS_PER_BEAT
    return [
        Note(start * tick_s, (end - start - 0.1) * tick_s, pitch, CHORALE[voice], VELOCITIES[voice])
        for voice, start, end, pitch in held_notes(piece)
    ]


def sound(piece: np.ndarray, *, beats_per_minute: float, rate_hz: int) -> np.ndarray:
    """A piece played: samples [T] at rate_hz."""
    return synthesise(notes_to_play(piece, beats_per_minute), rate_hz, tail_s=0.5)


def write_sound(piece: np.ndarray, path: Path, *, beats_per_minute: float, rate_hz: int) -> Path:
    return write_wav(sound(piece, beats_per_minute=beats_per_minute, rate_hz=rate_hz), rate_hz, path)


def piano_rolls(pieces: Sequence[np.ndarray], path: Path, *, given: int = 0) -> Path:
    """One roll below the other, at most `MAX_ROWS`; a colour a voice. given: ticks that were the prompt, shaded."""
    from genzoo.pictures import figure, save

    pieces = list(pieces[:MAX_ROWS]) or [np.zeros((0, len(VOICES)), dtype=np.int64)]
    sung = np.concatenate([piece[piece > 0] for piece in pieces])
    low, high = (int(sung.min()) - 2, int(sung.max()) + 2) if len(sung) else (48, 72)
    longest = max(TICKS_PER_BAR, max(map(len, pieces)))
    width = min(40.0, max(8.0, longest / TICKS_PER_BAR * 14 / BARS_A_ROW))
    picture = figure(width, 2.4 * len(pieces) + 0.4)
    all_axes = picture.subplots(len(pieces), 1, sharex=True, squeeze=False)[:, 0]
    for i, (axes, piece) in enumerate(zip(all_axes, pieces, strict=True)):
        for voice in range(len(VOICES)):
            notes = [note for note in held_notes(piece) if note[0] == voice]
            if not notes:
                continue
            axes.barh(
                [pitch for *_, pitch in notes],
                [end - start - 0.15 for _, start, end, _ in notes],
                left=[start for _, start, _, _ in notes],
                height=0.85,
                color=COLOURS[voice],
                label=VOICES[voice],
            )
        if given:
            axes.axvspan(0, given, color="0.9", zorder=0)
        axes.set_ylim(low, high)
        axes.set_xlim(0, longest)
        octaves = [pitch for pitch in range(low, high + 1) if pitch % 12 in (0, 7)]
        axes.set_yticks(octaves, [f"{NAMES[pitch % 12]}{pitch // 12 - 1}" for pitch in octaves])
        axes.set_xticks(range(0, longest + 1, TICKS_PER_BAR), range(1, longest // TICKS_PER_BAR + 2))
        axes.grid(axis="x", color="0.85")
        axes.set_axisbelow(True)
        axes.set_ylabel(str(i) if len(pieces) > 1 else "")
    all_axes[-1].set_xlabel("bar")
    if len(sung):
        all_axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, fontsize=8, frameon=False)
    return save(picture, path)
