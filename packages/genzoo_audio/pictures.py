"""Clips as pictures: the wave, and below it which frequencies it has when.

Legend: T samples, M mel bands, F frames.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from genzoo.pictures import figure, save
from genzoo_audio.spectra import log_mel, window_samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 16
"""Clips on one sheet, at most."""

COLUMNS = 4

WINDOW_S = 0.032
"""Of the spectrogram."""

RANGE_DB = 70.0
"""From the loudest to the softest that the spectrogram tells apart."""

TICKS_KHZ = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def contact_sheet(waves: list[np.ndarray], rate_hz: int, path: Path, titles: list[str] | None = None) -> Path:
    """A PNG of the first 16 waves [T], which may differ in length: each, up to its own peak, over its log-mel
    spectrogram, with seconds and kHz on the axes; all are drawn to one scale of time.

    Raises ValueError where there is no wave, an empty one, or fewer titles than waves.
    """
    if not len(waves) or not all(map(len, waves)) or (titles is not None and len(titles) < len(waves)):
        raise ValueError(f"a sheet needs waves and a title for each: {len(waves)} and {len(titles or ())}")
    shown = [np.nan_to_num(np.asarray(wave, np.float32), posinf=0, neginf=0) for wave in waves[:SHOWN]]
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    longest_s = max(map(len, shown)) / rate_hz
    picture = figure(0.6 + 2.9 * columns, 0.3 + 2.3 * rows)
    heights = [1, 2] * rows
    axes = picture.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=heights)
    for i in range(rows * columns):
        row, column = divmod(i, columns)
        wave_axes, mel_axes = axes[2 * row, column], axes[2 * row + 1, column]
        if i >= len(shown):
            wave_axes.set_visible(False)
            mel_axes.set_visible(False)
            continue
        draw_wave(wave_axes, shown[i], rate_hz)
        draw_mel(mel_axes, shown[i], rate_hz)
        mel_axes.set_xlim(0, longest_s)
        if titles:
            wave_axes.set_title(titles[i], fontsize=9)
        if i + columns >= len(shown):
            mel_axes.set_xlabel("s")
            mel_axes.tick_params(labelbottom=True)
        if column == 0:
            mel_axes.set_ylabel("kHz")
        else:
            mel_axes.tick_params(labelleft=False)
    return save(picture, path)


def draw_wave(axes: "Axes", wave: np.ndarray, rate_hz: int) -> None:
    """A wave [T] over seconds; its peak is written beside it."""
    axes.plot(np.arange(len(wave)) / rate_hz, wave, linewidth=0.4, color="#2f5c8f")
    peak = float(np.abs(wave).max())
    axes.set_ylim(-1.05 * (peak or 1), 1.05 * (peak or 1))
    axes.set_yticks((-peak, peak), (f"-{peak:.2g}", f"{peak:.2g}"))
    axes.tick_params(labelsize=7)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False)


def draw_mel(axes: "Axes", wave: np.ndarray, rate_hz: int) -> None:
    """The log-mel spectrogram [M, F] of a wave [T] over seconds, and kHz at even steps of mel."""
    window = window_samples(WINDOW_S, rate_hz)
    decibels = 20 / math.log(10) * log_mel(torch.from_numpy(wave)[None], rate_hz, window=window)[0].numpy()
    hop_s = window / 4 / rate_hz
    top, frames = float(decibels.max()), decibels.shape[1]
    axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=top - RANGE_DB,
        vmax=top,
        extent=(-hop_s / 2, (frames - 0.5) * hop_s, 0, mel(rate_hz / 2)),
    )
    ticks = [khz for khz in TICKS_KHZ if 2000 * khz <= rate_hz]
    axes.set_yticks([mel(1000 * khz) for khz in ticks], [f"{khz:g}" for khz in ticks])
    axes.tick_params(labelsize=7)


def mel(hertz: float) -> float:
    """The HTK scale."""
    return 2595 * math.log10(1 + hertz / 700)
