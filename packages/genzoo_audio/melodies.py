"""The embedded data: short tunes of one voice as sound, labelled by their timbre, and chorales as notes."""

from typing import NamedTuple

import numpy as np

from genzoo.draws import numpy_generator
from genzoo_audio.harmony import chorale
from genzoo_audio.synthesis import Note, synthesise

LABELS = ("bell", "flute", "organ", "pluck", "strings", "voice")
"""The classes: timbres of `synthesis.TIMBRES`."""

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "pentatonic": (0, 2, 4, 7, 9),
}
"""Semitones above the tonic."""

RHYTHMS = ((1, 1, 1, 1), (2, 1, 1), (1, 1, 2), (2, 2), (1, 2, 1), (3, 1))
"""Of half a bar, in eighths."""

STEPS = np.array((-3, -2, -1, -1, -1, 0, 1, 1, 1, 2, 3))
"""Of a melody, in places of its scale: as likely as they are frequent here."""

TONICS = range(57, 69)
"""MIDI pitches."""

TAIL_S = 0.12
PEAK = 0.8
"""The loudest sample of every tune."""


class Melodies(NamedTuple):
    """waves: float32 [T] each, all of the peak 0.8. labels: of `LABELS`. notes: what is played."""

    waves: list[np.ndarray]
    labels: list[str]
    notes: list[list[Note]]


def melodies(count: int, rate_hz: int, seed: int = 0) -> Melodies:
    """So many tunes of 1 to 2 s; each depends on its number, the seed and the rate alone, and labels come in turn."""
    labels = [LABELS[i % len(LABELS)] for i in range(count)]
    notes = [melody(i, label, seed) for i, label in enumerate(labels)]
    waves = [synthesise(tune, rate_hz, tail_s=TAIL_S) for tune in notes]
    return Melodies([wave * np.float32(PEAK / np.abs(wave).max()) for wave in waves], labels, notes)


def tunes(count: int, seed: int = 0) -> list[np.ndarray]:
    """So many chorales, int64 [ticks, 4] each: MIDI pitches of S A T B on a grid of sixteenths, 8 to 12 bars of
    four quarters with cadences. Each depends on its number and the seed alone."""
    return [chorale(number, seed) for number in range(count)]


def melody(number: int, timbre: str, seed: int) -> list[Note]:
    """A bar of a tune that wanders through a scale, prefers the tonic triad on the beats, and ends on the tonic."""
    generator = numpy_generator("melody", seed, number)
    scale = SCALES[str(generator.choice(list(SCALES)))]
    tonic = int(generator.choice(TONICS))
    eighth_s = generator.uniform(0.12, 0.2)
    halves = [RHYTHMS[i] for i in generator.integers(len(RHYTHMS), size=2)]
    lengths = [length for half in halves for length in half]
    place = int(generator.choice((0, 2, 4)))
    notes, at = [], 0
    for i, length in enumerate(lengths):
        if i == len(lengths) - 1:
            place = round(place / len(scale)) * len(scale)
        held_s = eighth_s * length * 0.92
        notes.append(Note(at * eighth_s, held_s, tonic + pitch(place, scale), timbre, generator.uniform(0.65, 0.95)))
        at += length
        place = int(np.clip(place + generator.choice(STEPS), -3, len(scale) + 3))
        if at % 2 == 0 and len(scale) == 7 and place % 7 not in (0, 2, 4):
            place += int(generator.choice((-1, 1))) if place % 7 != 6 else 1
    return notes


def pitch(place: int, scale: tuple[int, ...]) -> int:
    """Semitones above the tonic of a place in a scale; below 0 it is below the tonic."""
    octave, step = divmod(place, len(scale))
    return 12 * octave + scale[step]
