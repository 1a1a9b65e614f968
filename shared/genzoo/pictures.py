"""What all pictures share; matplotlib without a screen and without global state; letters, and pictures that move."""

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.ImageFont import FreeTypeFont


def figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(picture: "Figure", path: Path) -> Path:
    """Writes the figure in the format of the path's suffix."""
    picture.savefig(path, dpi=120)
    return path


def training_curve(log: Path, path: Path) -> Path | None:
    """The model's own loss in a run's log.csv over its steps; None where there is none."""
    if not log.is_file():
        return None
    from genzoo.run import read_log

    rows = [row for row in read_log(log)[1] if row.get("loss")]
    if not rows:
        return None
    picture = figure(6, 4)
    axes = picture.add_subplot()
    for split, style in (("train", {"linewidth": 1}), ("val", {"marker": "o", "markersize": 4})):
        points = [(int(row["step"]), float(row.get("native") or row["loss"])) for row in rows if row["split"] == split]
        if points:
            axes.plot(*zip(*points, strict=True), label=split, **style)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return save(picture, path)


def frontier(rows: Sequence[Mapping[str, float]], kl: str, path: Path, *, best: int | None = None) -> Path:
    """Reward and, where there is one, gold reward with their standard errors over the KL divergence that they cost, of
    the validations of a run; `best`: the step of the best checkpoint."""
    picture = figure(6, 4)
    axes = picture.add_subplot()
    for name, colour in (("reward", "tab:blue"), ("gold", "tab:orange")):
        points = [row for row in rows if name in row]
        if not points:
            continue
        own = axes if name == "reward" else axes.twinx()
        x, y = ([row[key] for row in points] for key in (kl, name))
        own.errorbar(x, y, [row[f"{name}_error"] for row in points], color=colour, marker="o", markersize=4, lw=1)
        own.set_ylabel(name, color=colour)
    for row in rows:
        if row["step"] == best:
            axes.axvline(row[kl], color="gray", lw=1, ls="--")
    axes.set_xlabel(f"{kl.replace('_', ' ')}, nats a sample")
    return save(picture, path)


@cache
def font(height: int) -> "FreeTypeFont":
    """Matplotlib's own, which is always there, in pixels."""
    from matplotlib.font_manager import findfont
    from PIL import ImageFont

    return ImageFont.truetype(findfont("DejaVu Sans"), height)


def shortened(line: str, letters: "FreeTypeFont", pixels: float) -> str:
    """A line no wider than so many pixels."""
    if letters.getlength(line) > pixels:
        while line and letters.getlength(line + "…") > pixels:
            line = line[:-1]
        line += "…"
    return line


def save_gif(pictures: Sequence[np.ndarray], path: Path, *, durations_ms: Sequence[int], colours: int = 256) -> Path:
    """Pictures [H, W] (gray) or [H, W, 3], uint8, as a GIF without end, all with the palette of some, in one piece."""
    from PIL import Image

    from genzoo.checkpoint import replace

    moving = [Image.fromarray(picture) for picture in pictures]
    if moving[0].mode != "L":
        some = np.concatenate(pictures[:: -(-len(pictures) // 8)], axis=1)
        palette = Image.fromarray(some).quantize(colours, dither=Image.Dither.NONE)
        moving = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in moving]
    out = io.BytesIO()
    options = {"save_all": True, "append_images": moving[1:], "duration": [*durations_ms], "loop": 0}
    moving[0].save(out, format="GIF", **options)
    replace(path, out.getvalue())
    return path
