"""A small synthesiser: notes become sound by adding sines.

A note of pitch f is sum_k a_k sin(2 pi k f t + phase) under a smooth envelope. The partials k of all timbres but the
bell are whole, so a note is a polynomial in one turning complex number.

Legend: T samples, K partials. Pitches are MIDI numbers: 69 is A at 440 Hz, one more is a semitone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from genzoo.errors import UserError

PEAK = 0.9
"""No sample of a synthesised sound is farther from 0."""

BAND = 0.45
"""Of the sampling rate: no partial lies above."""

LEVEL = 0.16
"""Root mean square of a note at velocity 1, before its envelope."""

SHORTEST_S = 0.006
"""Of an attack or a release: anything shorter clicks."""


class Note(NamedTuple):
    """pitch: MIDI number. velocity: 0 to 1, how loud."""

    start_s: float
    duration_s: float
    pitch: int
    timbre: str = "organ"
    velocity: float = 0.8


@dataclass(frozen=True)
class Timbre:
    """How a voice sounds.

    amplitudes: of partials 1, 2, … ; where there are none, 1 / k ** slope up to the limit of the band.
    ratios: of the partials' frequencies to the pitch, where they are not 1, 2, …
    attack_s, release_s: how long it takes to speak and to fall silent. decay_per_s: rate at which it dies away while it
    is held; damping_per_s: how much faster each further partial does. vibrato_cents, vibrato_hz: of the pitch.
    formants: (middle in Hz, width in Hz, gain) of what a throat lets through.
    """

    amplitudes: tuple[float, ...] = ()
    slope: float = 1.0
    ratios: tuple[float, ...] = ()
    attack_s: float = 0.02
    release_s: float = 0.05
    decay_per_s: float = 0.0
    damping_per_s: float = 0.0
    vibrato_cents: float = 0.0
    vibrato_hz: float = 5.5
    formants: tuple[tuple[float, float, float], ...] = field(default=())


TIMBRES = {
    "flute": Timbre((1.0, 0.25, 0.08, 0.02), attack_s=0.05, release_s=0.07, vibrato_cents=12, vibrato_hz=4.8),
    "organ": Timbre((1.0, 0.8, 0.5, 0.6, 0.0, 0.35, 0.0, 0.4), attack_s=0.012, release_s=0.03),
    "strings": Timbre(slope=1.0, attack_s=0.08, release_s=0.1, vibrato_cents=22, vibrato_hz=5.8),
    "pluck": Timbre(slope=0.8, attack_s=0.006, release_s=0.06, decay_per_s=3.0, damping_per_s=2.2),
    "bell": Timbre(
        (0.5, 1.0, 0.7, 0.6, 0.45, 0.35, 0.25),
        ratios=(0.5, 1.0, 1.19, 1.56, 2.0, 2.74, 4.07),
        attack_s=0.006,
        release_s=0.12,
        decay_per_s=2.2,
        damping_per_s=1.2,
    ),
    "voice": Timbre(
        slope=0.8,
        attack_s=0.05,
        release_s=0.08,
        vibrato_cents=35,
        vibrato_hz=5.2,
        formants=((700.0, 130.0, 6.0), (1150.0, 150.0, 4.0), (2600.0, 250.0, 2.0)),
    ),
    "reed": Timbre((1.0, 0.03, 0.6, 0.03, 0.45, 0.03, 0.3, 0.03, 0.2), attack_s=0.025, release_s=0.05),
}
"""By name. The voices of a chorale are in `CHORALE`."""

CHORALE = ("flute", "reed", "voice", "strings")
"""Timbres of soprano, alto, tenor and bass."""


def synthesise(notes: Iterable[Note], rate_hz: int, *, tail_s: float = 0.3) -> np.ndarray:
    """The sound of notes, float32 [T], from 0 s until tail_s after the last one ends.

    No partial lies above 0.45 of the rate, every note begins and ends softly enough not to click, and no sample is
    beyond 0.9: louder sums are scaled down as a whole. UserError for a timbre that is none of `TIMBRES`.
    """
    notes = list(notes)
    for note in notes:
        if note.timbre not in TIMBRES:
            raise UserError(f"timbre {note.timbre!r} is none of {', '.join(TIMBRES)}")
        if note.start_s < 0 or note.duration_s <= 0:
            raise UserError(f"{note} starts before 0 s or lasts no time")
    end_s = max((note.start_s + note.duration_s for note in notes), default=0.0) + tail_s
    x = np.zeros(round(end_s * rate_hz))
    for note in notes:
        first = round(note.start_s * rate_hz)
        sound = sounded(note, rate_hz, (len(x) - first) / rate_hz)
        x[first : first + len(sound)] += sound
    peak = np.abs(x).max(initial=0)
    return (x * min(1.0, PEAK * (1 - 1e-6) / peak) if peak else x).astype(np.float32)


def sounded(note: Note, rate_hz: int, room_s: float) -> np.ndarray:
    """One note, float64 [T] from its start, silent again after at most room_s seconds."""
    timbre = TIMBRES[note.timbre]
    release_s = min(timbre.release_s, room_s)
    held_s = min(note.duration_s, room_s - release_s)
    t = np.arange(int((held_s + release_s) * rate_hz)) / rate_hz
    attack_s = max(SHORTEST_S, min(timbre.attack_s, note.duration_s / 2))
    envelope = risen(t / attack_s) * risen((held_s + release_s - t) / max(release_s, SHORTEST_S))
    return note.velocity * envelope * tone(timbre, 440 * 2 ** ((note.pitch - 69) / 12), t, rate_hz)


def risen(x: np.ndarray) -> np.ndarray:
    """From 0 (x <= 0) to 1 (x >= 1), smooth at both ends."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(x, 0, 1))


def tone(timbre: Timbre, pitch_hz: float, t: np.ndarray, rate_hz: int) -> np.ndarray:
    """A voice at times t [T] in seconds, without its envelope: root mean square `LEVEL` at time 0."""
    highest_hz = BAND * rate_hz / 2 ** (2 * timbre.vibrato_cents / 1200)
    ratios, amplitudes = partials(timbre, pitch_hz, highest_hz)
    if not len(ratios):
        return np.zeros(len(t))
    amplitudes = amplitudes * (LEVEL * np.sqrt(2 / (amplitudes**2).sum()))
    phases = np.pi * 0.618 * np.arange(len(ratios)) ** 2  # spread, so that the partials do not peak together
    turned = 2 * np.pi * pitch_hz * t
    if timbre.vibrato_cents:  # of the frequency, and its integral of the phase; it sets in over the first 0.3 s
        depth = np.log(2) / 1200 * timbre.vibrato_cents * pitch_hz / timbre.vibrato_hz
        turned = turned - depth * (np.cos(2 * np.pi * timbre.vibrato_hz * t) - 1) * risen(t / 0.3)
    decay = timbre.decay_per_s * t
    if timbre.ratios:
        angles = ratios[:, None] * turned + phases[:, None]
        fading = np.exp(-decay - timbre.damping_per_s * ratios[:, None] * t)
        return (amplitudes[:, None] * fading * np.sin(angles)).sum(axis=0)
    turning = np.exp(1j * turned - timbre.damping_per_s * t)
    total = np.zeros(len(t), complex)
    for amplitude, phase in zip(amplitudes[::-1], phases[::-1], strict=True):
        total = (total + amplitude * np.exp(1j * phase)) * turning
    return total.imag * np.exp(-decay)


def partials(timbre: Timbre, pitch_hz: float, highest_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Ratios [K] to the pitch and amplitudes [K] of the partials up to highest_hz."""
    k = np.arange(1, 1 + (len(timbre.amplitudes) or int(highest_hz / pitch_hz)))
    amplitudes = np.array(timbre.amplitudes) if timbre.amplitudes else 1 / k**timbre.slope
    ratios = np.array(timbre.ratios or k, float)
    kept = ratios * pitch_hz <= highest_hz
    ratios, amplitudes = ratios[kept], amplitudes[kept]
    if timbre.formants:
        gains = [gain / (1 + ((ratios * pitch_hz - at) / width) ** 2) for at, width, gain in timbre.formants]
        amplitudes = amplitudes * (0.2 + sum(gains))
    return ratios, amplitudes
