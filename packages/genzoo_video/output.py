"""Clips as files that other programs open, MP4 and GIF, and many of them as one picture.

They are written anew, in one piece: whether something may be overwritten is the caller's care. Small frames are
enlarged by a whole factor, every pixel a square, so that a person sees them.

Legend: T frames, H x W pixels, C channels: 1 is gray, 3 is red, green, blue.
"""

import io
import math
import os
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from genzoo.checkpoint import replace
from genzoo.errors import UserError
from genzoo.pictures import font, save_gif, shortened
from genzoo_video.files import load_av

SEEN_PIXELS = 256
"""About the longer side of small clips that are enlarged."""

QUALITY = "14"
"""H.264's constant rate factor: 0 is without loss, 51 the worst; at 18 the eye sees no loss."""

EXACT = "cpu-independent=1"
"""x264's faster way to spread quality over time gives other bytes now and then, also on one machine."""

FASTEST_FPS = 50
"""Of a GIF: programs show pictures of less than 20 ms for 100."""

SHOWN = 64
"""Clips on one sheet, at most."""

CELL_PIXELS = 96
"""About the longer side of a frame on a sheet."""

TITLE_PIXELS = 220
"""Titles on a sheet are cut where they are longer."""


def write_mp4(frames: np.ndarray, path: Path, fps: float, *, scale: int | None = None) -> Path:
    """Writes frames uint8 [T, H, W, C] as H.264 (yuv420p, which all players take; the index comes first, so that it
    plays while it is loaded). Equal frames give equal files.

    scale: pixels of the film for one of the frames, each way; by default such that the longer side is about 256, and 1
    for large frames. Odd sides get their last row or column twice.
    Raises ValueError for other shapes and rates, UserError where PyAV is not installed or has no H.264 encoder.
    """
    frames = enlarged(checked(frames), scale)
    check_rate(fps)
    av = load_av()
    height, width = (side + side % 2 for side in frames.shape[1:3])
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        with av.open(str(unfinished), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            try:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            except (av.FFmpegError, ValueError) as error:
                raise UserError("this PyAV has no libx264: pip install --force-reinstall 'genzoo[video]'") from error
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.options = {"crf": QUALITY, "threads": "1", "x264-params": EXACT}
            for frame in frames:
                frame = np.pad(frame, ((0, height - len(frame)), (0, width - frame.shape[1]), (0, 0)), mode="edge")
                rgb = np.ascontiguousarray(np.broadcast_to(frame, (height, width, 3)))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            container.mux(stream.encode(None))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def write_gif(frames: np.ndarray, path: Path, fps: float, *, scale: int | None = None) -> Path:
    """Writes frames uint8 [T, H, W, C] as a GIF without end, gray ones exactly, others in 256 colours.

    Times are kept to 10 ms, which is what the format can: frames of a rate of 12 last 80 or 90 ms. Above 50 frames a
    second every second one is left out, above 100 more. scale: as in `write_mp4`. Raises ValueError likewise.
    """
    frames = enlarged(checked(frames), scale)
    check_rate(fps)
    every = math.ceil(fps / FASTEST_FPS)
    edges = [round(100 * i / fps) for i in [*range(0, len(frames), every), len(frames)]]
    durations_ms = [10 * max(1, after - before) for before, after in pairwise(edges)]
    pictures = [frame[..., 0] if frame.shape[-1] == 1 else frame for frame in frames[::every]]
    return save_gif(pictures, path, durations_ms=durations_ms)


def contact_sheet(
    clips: Sequence[np.ndarray], path: Path, *, titles: Sequence[str] | None = None, frames: int = 8
) -> Path:
    """A PNG of the first 64 clips [T, H, W, C], which may differ in T, a row each: `frames` of its frames, the first,
    the last and what lies evenly between, with their numbers above where they are the same in all rows, and the title
    at the left.

    Raises ValueError where there is no clip, other shapes, sizes that differ, or not a title for each.
    """
    from PIL import Image, ImageDraw

    if not len(clips) or (titles is not None and len(titles) != len(clips)) or frames < 1:
        raise ValueError(
            f"a sheet needs clips, a title for each, and frames: {len(clips)}, {len(titles or ())}, {frames}"
        )
    rows = [checked(clip) for clip in clips[:SHOWN]]
    if len({row.shape[1:3] for row in rows}) > 1:
        raise ValueError(f"clips of a sheet are of one size, not {sorted({row.shape[1:3] for row in rows})}")
    places = [np.unique(np.linspace(0, len(row) - 1, frames).round().astype(int)) for row in rows]
    high, wide = rows[0].shape[1:3]
    factor = CELL_PIXELS / max(high, wide)
    factor = round(factor) if factor >= 1 else factor
    cell = (max(1, round(wide * factor)), max(1, round(high * factor)))
    gap, letters = 4, font(12)
    told = [shortened(title, letters, TITLE_PIXELS) for title in (titles or [])[: len(rows)]]
    left = gap + (math.ceil(max(map(letters.getlength, told))) + 2 * gap if told else 0)
    numbered = len({tuple(row) for row in places}) == 1
    top = 18 if numbered else gap
    columns = max(map(len, places))
    sheet = Image.new("RGB", (left + columns * (cell[0] + gap), top + len(rows) * (cell[1] + gap)), "white")
    pen, ink = ImageDraw.Draw(sheet), (60, 60, 66)
    for i, (row, shown) in enumerate(zip(rows, places, strict=True)):
        y = top + i * (cell[1] + gap)
        if told:
            pen.text((left - 2 * gap, y + cell[1] / 2), told[i], fill=ink, font=letters, anchor="rm")
        for column, place in enumerate(shown):
            frame = Image.fromarray(row[place][..., 0] if row.shape[-1] == 1 else row[place])
            method = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX
            x = left + column * (cell[0] + gap)
            sheet.paste(frame.resize(cell, method), (x, y))
            if numbered and i == 0:
                pen.text((x + cell[0] / 2, top / 2), str(place), fill=ink, font=letters, anchor="mm")
    out = io.BytesIO()
    sheet.save(out, format="PNG", optimize=True)
    replace(path, out.getvalue())
    return path


def checked(frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] not in (1, 3) or not frames.size:
        raise ValueError(f"a clip is uint8 [T, H, W, 1 or 3], not {frames.dtype} {list(frames.shape)}")
    return frames


def check_rate(fps: float) -> None:
    if not 0 < fps <= 1000:
        raise ValueError(f"frames a second lie above 0, up to 1000, not {fps}")


def enlarged(frames: np.ndarray, scale: int | None) -> np.ndarray:
    """Every pixel as a square of scale x scale; None: about `SEEN_PIXELS` along the longer side, or as it is."""
    if scale is None:
        scale = max(1, round(SEEN_PIXELS / max(frames.shape[1:3])))
    if scale < 1:
        raise ValueError(f"scale is at least 1, not {scale}")
    return frames.repeat(scale, axis=1).repeat(scale, axis=2) if scale > 1 else frames
