"""Pictures of point clouds, drawn without a GPU or a screen: one view, a sheet of many, a turning one.

Every point is a small ball, seen without perspective from `azimuth` and `elevation`; what lies nearer hides the rest.
Depth is shown by darker rims where one thing stands before another (eye-dome lighting: Boucheny 2009) and by fading.

Legend: N points, n clouds, T times, S pixels of the finer picture, K pixels of a ball. Right, above and near are the
picture's axes, in the units of a sphere around the cloud.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from genzoo.errors import UserError
from genzoo.page.items import Cloud
from genzoo.pictures import font, save_gif, shortened
from genzoo_points.output import Up

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SHIFT = {"x": 2, "y": 1, "z": 0}
"""How far the axes are rolled to bring one up."""

Frame = tuple[np.ndarray, float]
"""The middle [3] and the radius, in the cloud's units, of a sphere that just fits into the picture."""

AZIMUTH_DEG, ELEVATION_DEG = 35.0, 28.0
FINE = 2
"""Pixels of the finer picture for one of the picture, each way."""

RAMP = np.array([(70, 98, 164), (86, 146, 194), (116, 190, 174), (206, 206, 122), (240, 164, 92), (220, 108, 88)])
"""Colours from the lowest to the highest point."""

MARGIN = 1.04

FARTHEST = 8.0
"""Points are drawn no farther from the middle than this many times the picture's half; they are out of sight there."""

SHOWN = 64
"""Clouds on one sheet, at most."""

FRAME_MS = 70
"""Of the turning picture."""

SWAY_DEG = 90.0
"""How far the camera turns round a cloud that moves of itself."""

MESH_VOXELS = 64
"""Along the longest side of a surface on a page."""

COLOURS = 96
"""In the palette of a turning picture."""


def render(
    points: np.ndarray,
    *,
    azimuth: float = AZIMUTH_DEG,
    elevation: float = ELEVATION_DEG,
    size: int = 256,
    radius: float | None = None,
    colour: np.ndarray | tuple[float, float, float] | None = None,
    up: Up = "z",
    frame: Frame | None = None,
    backend: Literal["numpy", "pytorch3d"] = "numpy",
) -> np.ndarray:
    """A picture, uint8 [size, size, 3] on white, of points [N, 3]; points that are not finite are left out.

    azimuth, elevation: degrees; where the camera stands, seen from the cloud: azimuth turns it round the axis `up` from
    the next axis (from x for z) towards the one after. radius: of a point's ball in the cloud's units, by default from
    its spacing. colour: of all [3] or of each point [N, 3], 0 to 1; by default soft ones by height. frame: what just
    fits into the picture, by default the smallest sphere around the points. backend: "pytorch3d" finds
    what hides what with PyTorch3D. A mesh is shown by many points on it, with `colour` as its light.

    Raises ValueError for other shapes, axes or backends, UserError where PyTorch3D is asked for and not installed.
    """
    if backend not in ("numpy", "pytorch3d"):
        raise ValueError(f"backend={backend!r} is none of numpy and pytorch3d")
    points, colours = checked(points, colour)
    middle, extent = enclosing(points) if frame is None else frame
    seen = view((upright(points, up) - upright(np.asarray(middle)[None], up)) / (extent or 1.0), azimuth, elevation)
    ball = spacing(points) if radius is None else radius
    ball = max(ball / (extent or 1.0), 1.5 / size)
    if colours is None:
        colours = by_height(upright(points, up)[:, 2])
    seen, ball = np.clip(seen / MARGIN, -FARTHEST, FARTHEST), ball / MARGIN
    owner = (splatted if backend == "numpy" else splatted_by_pytorch3d)(seen, ball, FINE * size)
    return drawn(seen, ball, colours, owner, size)


def checked(points: np.ndarray, colour: object) -> tuple[np.ndarray, np.ndarray | None]:
    """Finite points [N, 3] in an order that is theirs alone, and a colour [N, 3] for each or None."""
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"a picture needs points [N, 3], not {list(points.shape)}")
    kept = np.flatnonzero(np.isfinite(points).all(axis=1))
    kept = kept[np.lexsort(points[kept].T)]
    if colour is None:
        return points[kept], None
    colours = np.asarray(colour, dtype=np.float64)
    if colours.shape not in ((3,), points.shape):
        raise ValueError(f"a colour is [3] or, for each point, {list(points.shape)}, not {list(colours.shape)}")
    return points[kept], np.broadcast_to(colours, points.shape)[kept]


def enclosing(points: np.ndarray) -> Frame:
    """About the smallest sphere around points [N, 3] (Bădoiu and Clarkson 2003): turning them turns it along."""
    if not len(points):
        return np.zeros(3), 1.0
    middle = points.mean(axis=0)
    for step in range(2, 200):
        middle = middle + (points[((points - middle) ** 2).sum(axis=1).argmax()] - middle) / step
    return middle, float(np.sqrt(((points - middle) ** 2).sum(axis=1).max()))


def fitting(points: np.ndarray, azimuth: float, elevation: float, up: Up) -> Frame:
    """The frame that points [N, 3] just fill, seen from there: closer than `enclosing` where they are flat."""
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return enclosing(points)
    whole = points.mean(axis=0)
    seen = view(upright(points - whole, up), azimuth, elevation)
    low, high = seen.min(axis=0), seen.max(axis=0)
    centre = view(np.eye(3), azimuth, elevation) @ ((low + high) / 2)
    ball = spacing(points)
    return whole + np.roll(centre, -SHIFT[up]), float((high - low)[:2].max() / 2 + ball)


def spacing(points: np.ndarray) -> float:
    """A ball's radius such that neighbours just touch, within 1.2 % and 3 % of the cloud's reach."""
    from scipy.spatial import KDTree

    if len(points) < 2:
        return 0.03
    near = np.median(KDTree(points).query(points, min(4, len(points)))[0][:, -1])
    reach = float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).max()))
    return float(np.clip(0.5 * near, 0.012 * reach, 0.03 * reach))


def shown(points: np.ndarray, *, title: str = "", mesh: bool = False, rate_hz: float = 0.0, up: Up = "z") -> Cloud:
    """Points [T, N, 3] for a page, coloured by their height in the first frame. mesh: the surface around them, of
    points that stand still."""
    if not mesh:
        standing = upright(points, up)
        colours, ball = np.rint(255 * by_height(standing[0, :, 2])), spacing(standing[0])
        told = {"title": title, "alt": f"cloud of points {title}"}
        return Cloud(points=standing, colours=colours, ball=ball, rate_hz=rate_hz, **told)
    from genzoo_points.surface import surface

    found = surface(points[0], resolution=MESH_VOXELS)
    standing = upright(np.asarray(found.vertices), up)[None]
    colours = np.rint(255 * by_height(standing[0, :, 2]))
    return Cloud(title=title, alt=f"surface {title}", points=standing, colours=colours, faces=found.faces)


def upright(points: np.ndarray, up: Up) -> np.ndarray:
    """Points [..., 3] with z up."""
    if up not in SHIFT:
        raise ValueError(f"up={up!r} is none of x, y and z")
    return np.roll(points, SHIFT[up], axis=-1)


def view(points: np.ndarray, azimuth: float, elevation: float) -> np.ndarray:
    """Points [N, 3] with z up as (right, above, near)."""
    a, e = np.radians(azimuth), np.radians(elevation)
    right = (-np.sin(a), np.cos(a), 0)
    above = (-np.sin(e) * np.cos(a), -np.sin(e) * np.sin(a), np.cos(e))
    near = (np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e))
    return points @ np.array((right, above, near)).T


def by_height(height: np.ndarray) -> np.ndarray:
    """Colours [N, 3], 0 to 1, along `RAMP`."""
    if not len(height):
        return np.empty((0, 3))
    place = (height - height.min()) / (np.ptp(height) or 1.0) * (len(RAMP) - 1)
    return np.stack([np.interp(place, np.arange(len(RAMP)), channel) for channel in RAMP.T], axis=1) / 255


def drawn(seen: np.ndarray, ball: float, colours: np.ndarray, owner: np.ndarray, size: int) -> np.ndarray:
    """Points [N, 3] as (right, above, near), -1 to 1 in the picture, as balls of which pixels [S * S] show those of
    `owner`: uint8 [size, size, 3]."""
    s = FINE * size
    pixel = np.flatnonzero(owner >= 0)
    owner = owner[pixel]
    across = ((pixel % s + 0.5) * 2 / s - 1 - seen[owner, 0]) / ball
    above = (1 - (pixel // s + 0.5) * 2 / s - seen[owner, 1]) / ball
    out = np.sqrt(np.clip(1 - across**2 - above**2, 0, 1))
    depth = np.full(s * s, -np.inf)
    depth[pixel] = seen[owner, 2] + ball * out
    light = np.clip(-0.4 * across + 0.6 * above + 0.7 * out, 0, 1)
    shade = (0.72 + 0.28 * light) * rims(depth.reshape(s, s), ball).ravel()[pixel]
    near = np.clip((depth[pixel] + 1) / 2, 0, 1)
    picture = np.ones((s * s, 3), dtype=np.float32)
    picture[pixel] = 1 - (1 - colours[owner] * shade[:, None]) * (0.62 + 0.38 * near)[:, None]
    picture = picture.reshape(s, s, 3)
    mean = sum(picture[i::FINE, j::FINE] for i in range(FINE) for j in range(FINE)) / FINE**2
    return np.rint(255 * mean.clip(0, 1)).astype(np.uint8)


def splatted(seen: np.ndarray, ball: float, s: int) -> np.ndarray:
    """The z-buffer: whose ball each pixel [S * S] shows, -1 for none. Of two as near, the later in the cloud."""
    bits = max(1, len(seen)).bit_length()
    column, row = (1 + seen[:, 0]) * s / 2 - 0.5, (1 - seen[:, 1]) * s / 2 - 0.5
    middle_x, middle_y = np.rint(column).astype(int), np.rint(row).astype(int)
    pixels_of_ball = ball * s / 2
    nearest = np.full(s * s, -1)
    reach = np.arange(-math.ceil(pixels_of_ball), math.ceil(pixels_of_ball) + 1)
    for down in reach:
        for across in reach[np.abs(reach) <= math.sqrt(max(0, (pixels_of_ball + 1) ** 2 - (abs(down) - 0.5) ** 2))]:
            x, y = middle_x + across, middle_y + down
            square = ((x - column) ** 2 + (y - row) ** 2) / pixels_of_ball**2
            hit = np.flatnonzero((square <= 1) & (x >= 0) & (x < s) & (y >= 0) & (y < s))
            height = seen[hit, 2] + ball * np.sqrt(1 - square[hit]) + FARTHEST
            key = (height * 2**32).astype(np.int64) << bits | hit
            np.maximum.at(nearest, y[hit] * s + x[hit], key)
    return np.where(nearest < 0, -1, nearest & (2**bits - 1))


def rims(depth: np.ndarray, ball: float) -> np.ndarray:
    """[S, S] factors below 1 where what is beside a pixel stands before it."""
    s = len(depth)
    reach = max(1, round(ball * s / 2))
    padded = np.pad(depth, reach, constant_values=-np.inf)
    before = np.zeros((s, s))
    for down, across in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        y, x = reach * (1 + down), reach * (1 + across)
        step = padded[y : y + s, x : x + s] - np.where(np.isfinite(depth), depth, np.inf)
        before += np.clip(step - 2 * ball, 0, 0.25)
    return np.exp(-0.9 * before)


def splatted_by_pytorch3d(seen: np.ndarray, ball: float, s: int) -> np.ndarray:
    """As `splatted`, of flat discs, by PyTorch3D's rasterizer (Ravi et al. 2020)."""
    try:
        from pytorch3d.renderer import rasterize_points
        from pytorch3d.structures import Pointclouds
    except ModuleNotFoundError as error:
        raise UserError(f'{error.name} is not installed: take backend="numpy"') from error
    if not len(seen):
        return np.full(s * s, -1)
    # Its axes point to the left, up and away from the camera; what is behind the camera is not drawn.
    places = torch.from_numpy(seen * (-1, 1, -1) + (0, 0, FARTHEST + 1)).float()
    owner, _, _ = rasterize_points(Pointclouds([places]), s, ball, points_per_pixel=1)
    return owner.flatten().numpy().astype(np.int64)


def contact_sheet(
    clouds: np.ndarray,
    path: Path,
    *,
    titles: list[str] | None = None,
    columns: int | None = None,
    size: int = 192,
    up: Up = "z",
) -> Path:
    """A PNG of the first 64 clouds [n, N, 3], each as large as its place of `size` pixels allows, in rows of `columns`
    with their titles below; the places are cut to the height that is used.

    Raises ValueError where there is no cloud, or not a title for each.
    """
    from PIL import Image, ImageDraw

    if not len(clouds) or (titles is not None and len(titles) != len(clouds)):
        raise ValueError(f"a sheet needs clouds and a title for each: {len(clouds)} and {len(titles or ())}")
    shown = [np.asarray(cloud, dtype=np.float64) for cloud in clouds[:SHOWN]]
    frames = [fitting(cloud, AZIMUTH_DEG, ELEVATION_DEG, up) for cloud in shown]
    pictures = np.stack([render(x, size=size, up=up, frame=frame) for x, frame in zip(shown, frames, strict=True)])
    used = np.flatnonzero((pictures < 255).any(axis=(0, 2, 3)))
    pictures = pictures[:, used.min() : used.max() + 1] if len(used) else pictures
    columns = min(len(shown), columns or math.ceil(1.2 * math.sqrt(len(shown))))
    gap, line, high = size // 12, (size // 8 if titles else 0), pictures.shape[1]
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * (size + gap) + gap, rows * (high + gap + line) + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for i, picture in enumerate(pictures):
        x, y = gap + i % columns * (size + gap), gap + i // columns * (high + gap + line)
        sheet.paste(Image.fromarray(picture), (x, y))
        if titles:
            write_title(pen, titles[i], (x + size / 2, y + high + 0.6 * line), size)
    sheet.save(path, format="PNG", optimize=True)
    return path


def write_title(pen: "ImageDraw", title: str, middle: tuple[float, float], size: int) -> None:
    """In one line no wider than `size` pixels."""
    letters = font(max(9, size // 14))
    pen.text(middle, shortened(title, letters, size), fill=(60, 60, 66), font=letters, anchor="mm")


def turntable(
    points: np.ndarray,
    path: Path,
    *,
    frames: int = 36,
    size: int = 256,
    elevation: float = ELEVATION_DEG,
    up: Up = "z",
    sway: float = SWAY_DEG,
    rate_hz: float = 1000 / FRAME_MS,
) -> Path:
    """A GIF without end of points [N, 3] while the camera goes once round them in `frames` pictures, or of moving
    points [T, N, 3], a picture for each time, while it goes `sway` degrees round. `rate_hz`: pictures a second. About
    1 MB for 36 pictures of 256 pixels.

    Raises ValueError for other shapes.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim not in (2, 3) or points.shape[-1] != 3 or not len(points) or frames < 1:
        raise ValueError(f"a turning picture needs points [N, 3] or [T, N, 3] and frames, not {list(points.shape)}")
    times, turn = (frames, 360.0) if points.ndim == 2 else (len(points), sway)
    clouds = np.broadcast_to(points, (times, *points.shape[-2:]))
    whole = points[np.isfinite(points).all(axis=-1)]
    first = clouds[0][np.isfinite(clouds[0]).all(axis=1)]
    same = {"elevation": elevation, "size": size, "up": up, "radius": spacing(first), "frame": enclosing(whole)}
    pictures = [render(x, azimuth=AZIMUTH_DEG + i * turn / times, **same) for i, x in enumerate(clouds)]
    return save_gif(pictures, path, durations_ms=[round(1000 / rate_hz)] * len(pictures), colours=COLOURS)
