"""The embedded clips: glyphs that move at constant velocity and bounce off the edges of the picture.

Legend: N clips, T frames, H = W pixels, G glyphs in a clip, K shapes of glyphs, R shifts of their tiles by parts of a
pixel. Positions are those of a tile's upper left corner, (row, column) in pixels.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from genzoo.draws import numpy_generator
from genzoo.errors import UserError

GLYPHS = "0123456789"

SHARE = 7 / 16
"""Side of a glyph's tile, over that of the picture."""

SPEEDS = (0.6, 2.0)
"""Least and greatest speed, in pixels a frame, of pictures of 32 pixels; in proportion of others."""

FINE = 8
"""Parts of a pixel by which glyphs are placed."""


@dataclass(frozen=True)
class Motion:
    """Of glyphs that bounce in a box. start: position [N, G, 2] in [0, reach]; velocity [N, G, 2] in pixels a frame."""

    start: np.ndarray
    velocity: np.ndarray
    reach: float

    def at(self, frames: int) -> np.ndarray:
        """Positions in frames 0, 1, …: [N, T, G, 2]."""
        times = np.arange(frames)[None, :, None, None]
        return folded(self.start[:, None] + self.velocity[:, None] * times, self.reach)


def folded(x: np.ndarray, reach: float) -> np.ndarray:
    """Where something that would be at x in free space is between two mirrors at 0 and `reach`."""
    return reach - np.abs(np.mod(x, 2 * reach) - reach)


def embedded_glyphs(
    *, clips: int = 8000, frames: int = 16, size: int = 32, glyphs: int = 1, seed: int = 0
) -> tuple[np.ndarray, list[str], Motion]:
    """uint8 [N, T, H, W], the label of each clip ("7"; of two glyphs "3+7"), and their true motion.

    clips: N. frames: T. size: H and W. glyphs: G, 1 or 2 in a clip; where they overlap the lighter one is seen.
    """
    if glyphs not in (1, 2):
        raise UserError(f"data.embedded.glyphs is 1 or 2, not {glyphs}")
    if size < 16 or clips < 1:
        raise UserError(f"data.embedded: glyphs need pictures of 16 pixels or more and a clip, not {size} and {clips}")
    draw = numpy_generator("glyphs", seed, size, glyphs)
    tile = round(SHARE * size)
    shape = draw.integers(len(GLYPHS), size=(clips, glyphs))
    start = draw.uniform(0, size - tile, (clips, glyphs, 2))
    angle = draw.uniform(0, 2 * np.pi, (clips, glyphs))
    speed = draw.uniform(*SPEEDS, (clips, glyphs)) * size / 32
    velocity = speed[..., None] * np.stack((np.sin(angle), np.cos(angle)), axis=-1)
    motion = Motion(start, velocity, float(size - tile))
    labels = ["+".join(sorted(GLYPHS[k] for k in row)) for row in shape]
    return drawn(shape, motion.at(frames), size), labels, motion


def kinds(glyphs: int) -> list[str]:
    """All labels of clips of so many glyphs."""
    return ["+".join(few) for few in itertools.combinations_with_replacement(GLYPHS, glyphs)]


def drawn(shape: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """Glyphs [N, G] at places [N, T, G, 2] -> uint8 [N, T, size, size]."""
    clips, frames, glyphs = places.shape[:3]
    shifted = shifted_tiles(round(SHARE * size))
    side = shifted.shape[-1]
    fine = np.round(places * FINE).astype(int)
    whole, part = fine // FINE, fine % FINE
    canvas = np.zeros((clips, frames, size + 1, size + 1), np.uint8)
    clip, frame = np.ogrid[:clips, :frames]
    for g in range(glyphs):
        tiles = shifted[shape[:, None, g], part[:, :, g, 0], part[:, :, g, 1]]  # [N, T, side, side]
        rows = whole[:, :, g, 0, None, None] + np.arange(side)[:, None]
        columns = whole[:, :, g, 1, None, None] + np.arange(side)
        where = (clip[..., None, None], frame[..., None, None], rows, columns)
        canvas[where] = np.maximum(canvas[where], tiles)
    return canvas[:, :, :size, :size]


@lru_cache(maxsize=4)
def shifted_tiles(side: int) -> np.ndarray:
    """Every glyph moved down and right by all parts of a pixel: uint8 [K, R, R, side + 1, side + 1]."""
    fine = np.stack([picture(glyph, side * FINE) for glyph in GLYPHS]).astype(np.float32)
    padded = np.pad(fine, ((0, 0), (0, FINE), (0, FINE)))
    shifted = np.stack([[np.roll(padded, (i, j), (1, 2)) for j in range(FINE)] for i in range(FINE)])  # [R, R, K, …]
    blocks = shifted.reshape(FINE, FINE, len(GLYPHS), side + 1, FINE, side + 1, FINE).mean(axis=(4, 6))
    return np.round(blocks).astype(np.uint8).transpose(2, 0, 1, 3, 4)


def picture(glyph: str, side: int) -> np.ndarray:
    """A glyph in the middle of a square, as tall as it: uint8 [side, side]."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    file = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans-Bold.ttf"
    font = ImageFont.truetype(str(file), side)
    left, top, right, bottom = font.getbbox(glyph)
    font = ImageFont.truetype(str(file), int(side * side / max(right - left, bottom - top)))
    left, top, right, bottom = font.getbbox(glyph)
    image = Image.new("L", (side, side))
    corner = ((side - right - left) / 2, (side - bottom - top) / 2)
    ImageDraw.Draw(image).text(corner, glyph, fill=255, font=font)
    return np.asarray(image)
