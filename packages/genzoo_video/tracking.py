"""Finds the glyphs in clips, and how truly they move: at constant velocity between bounces off the edges.

Legend: N clips, T frames, H = W pixels, G glyphs, K shapes of glyphs, P pixels along a tile. Positions are those of a
tile's upper left corner, (row, column) in pixels.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from genzoo_video.glyphs import FINE, GLYPHS, SHARE, SPEEDS, kinds, shifted_tiles

PASSES = 3
"""Looks at each of two glyphs, each time without what is known of the other."""


@dataclass
class Tracks:
    """place: position [N, T, G, 2]; shape: which glyph [N, T, G]; fit: cosine of picture and glyph there [N, T], at
    most 1. The glyphs of a clip keep their order from frame to frame."""

    place: Tensor
    shape: Tensor
    fit: Tensor

    @property
    def kept(self) -> Tensor:
        """Whether every frame of a clip shows the glyphs of the others: bool [N]."""
        return (self.shape == self.shape[:, :1]).flatten(1).all(dim=1)

    def labels(self, glyphs: int) -> Tensor:
        """The class (place in `kinds`) that most frames of each clip show: [N]."""
        names = kinds(glyphs)
        shown = [
            [names.index("+".join(sorted(GLYPHS[k] for k in frame))) for frame in clip] for clip in self.shape.tolist()
        ]
        return torch.tensor(shown).mode(dim=1).values


def tiles(size: int) -> Tensor:
    """The glyphs of pictures of `size` pixels, [K, P, P] in [0, 1]."""
    return torch.from_numpy(shifted_tiles(round(SHARE * size))[:, 0, 0, :-1, :-1].copy()).float() / 255


def track(x: Tensor, glyphs: int = 1) -> Tracks:
    """The glyphs in clips [N, T, H, W] of brightness 0 to 1, at the places where they leave the least squared rest."""
    clips, frames, size, _ = x.shape
    flat = x.flatten(0, 1)
    tile = tiles(size)
    found = [located(flat, tile)]
    if glyphs == 2:
        found.append(located(flat * (1 - painted(*found[0], size)), tile))
        for turn in range(2 * (PASSES - 1)):
            found[turn % 2] = located(flat - painted(*found[1 - turn % 2], size), tile)
    model = torch.stack([painted(*one, size) for one in found]).amax(dim=0)
    fit = F.cosine_similarity(model.flatten(1), flat.flatten(1), dim=1).view(clips, frames)
    shape = torch.stack([one[0] for one in found], dim=-1).view(clips, frames, glyphs)
    place = torch.stack([one[1] for one in found], dim=1).view(clips, frames, glyphs, 2)
    return Tracks(*in_order(place, shape), fit)


def located(x: Tensor, tile: Tensor) -> tuple[Tensor, Tensor]:
    """Which glyph [M] lies where [M, 2] in pictures [M, H, W]: by whole pixels, then around there by parts of them."""
    rest = tile.square().sum((1, 2)).view(1, -1, 1, 1) - 2 * F.conv2d(x[:, None], tile[:, None])
    places = rest.shape[-1]
    best = rest.flatten(1).argmin(dim=1)
    shape, corner = best // places**2, torch.stack((best % places**2 // places, best % places), dim=-1)
    side = tile.shape[-1] + 2
    windows = F.pad(x, (1, 1, 1, 1)).unfold(1, side, 1).unfold(2, side, 1)
    windows = windows[torch.arange(len(x)), corner[:, 0], corner[:, 1]].flatten(1)
    moves, moved = around(x.shape[-1])
    place = torch.empty(len(x), 2)
    for kind in shape.unique().tolist():
        mine = shape == kind
        at = corner[mine][:, None] + moves
        rest = moved[kind].square().sum(1) - 2 * windows[mine] @ moved[kind].T
        rest = rest.masked_fill(((at < 0) | (at > places - 1)).any(-1), torch.inf)
        place[mine] = at[torch.arange(len(at)), rest.argmin(dim=1)]
    return shape, place


@lru_cache(maxsize=4)
def around(size: int) -> tuple[Tensor, Tensor]:
    """Moves of less than a pixel each way [R, 2], and every glyph so moved, with a pixel around: [K, R, (P + 2)^2]."""
    tiles = torch.from_numpy(shifted_tiles(round(SHARE * size))).float() / 255  # [K, FINE, FINE, P + 1, P + 1]
    steps = range(1 - FINE, FINE)
    moves, moved = [], []
    for row, column in itertools.product(steps, steps):
        moves.append((row / FINE, column / FINE))
        pad = (int(column >= 0), int(column < 0), int(row >= 0), int(row < 0))
        moved.append(F.pad(tiles[:, row % FINE, column % FINE], pad).flatten(1))
    return torch.tensor(moves), torch.stack(moved, dim=1)


def painted(shape: Tensor, place: Tensor, size: int) -> Tensor:
    """Pictures [M, H, W] of glyphs [M] at places [M, 2]."""
    import numpy as np

    from genzoo_video.glyphs import drawn

    inside = place.clamp(0, size - round(SHARE * size)).numpy()
    return (
        torch.from_numpy(drawn(shape[:, None].numpy(), inside[:, None, None].astype(np.float64), size)[:, 0]).float()
        / 255
    )


def in_order(place: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Two glyphs in each frame so that they are where, and what, they were in the frame before."""
    place, shape = place.clone(), shape.clone()
    for t in range(1, place.shape[1] if place.shape[2] == 2 else 0):
        before, now = place[:, t - 1], place[:, t]
        cost = (before[:, :, None] - now[:, None]).norm(dim=-1) + 4.0 * (shape[:, t - 1, :, None] != shape[:, t, None])
        cross = cost[:, 0, 1] + cost[:, 1, 0] < cost[:, 0, 0] + cost[:, 1, 1]
        place[cross, t], shape[cross, t] = now[cross].flip(1), shape[cross, t].flip(1)
    return place, shape


@dataclass
class Bounces:
    """The motion between two walls, at 0 and `reach`, that lies nearest to tracks. Of each coordinate [M]: phase [M] on
    a circle of twice the reach, speed [M] in pixels a frame; rest: [M, T], what is left, in pixels."""

    phase: Tensor
    speed: Tensor
    rest: Tensor
    reach: float

    def turns(self, frames: int) -> Tensor:
        """How often each coordinate has bounced before each frame: [M, T]."""
        return ((self.phase[:, None] + self.speed[:, None] * torch.arange(frames)) / self.reach).floor()


def bounces(x: Tensor, reach: float) -> Bounces:
    """Least squares over phase and speed for coordinates [M, T]: the best of a grid, then Gauss-Newton steps."""
    frames = x.shape[1]
    t = torch.arange(frames, dtype=x.dtype)
    fastest = 1.5 * SPEEDS[1] * reach / (32 * (1 - SHARE))
    phases = torch.arange(0, 2 * reach, 0.5, dtype=x.dtype)
    speeds = torch.arange(0, fastest, 1.0 / frames, dtype=x.dtype)
    grid = torch.tensor(list(itertools.product(phases.tolist(), speeds.tolist())), dtype=x.dtype)
    shapes = reach - ((grid[:, :1] + grid[:, 1:] * t).remainder(2 * reach) - reach).abs()  # [grid, T]
    near = shapes.square().sum(1) - 2 * x @ shapes.T
    phase, speed = grid[near.argmin(dim=1)].unbind(1)

    def left(phase: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
        u = (phase[:, None] + speed[:, None] * t).remainder(2 * reach)
        return x - (reach - (u - reach).abs()), torch.where(u < reach, 1.0, -1.0).to(x)

    for _ in range(5):
        rest, slope = left(phase, speed)
        a = torch.stack((slope, slope * t), dim=-1)
        step = torch.linalg.lstsq(a, rest[..., None]).solution[..., 0]
        new = left(phase + step[:, 0], speed + step[:, 1])[0]
        better = new.square().sum(1) < rest.square().sum(1)
        phase, speed = (torch.where(better, old + d, old) for old, d in ((phase, step[:, 0]), (speed, step[:, 1])))
    phase, speed = torch.where(speed < 0, -phase, phase), speed.abs()  # the same motion, the other way round the circle
    return Bounces(phase.remainder(2 * reach), speed, left(phase, speed)[0], reach)


def physics(x: Tensor, glyphs: int = 1) -> dict[str, float]:
    """How true clips [N, T, H, W] (brightness 0 to 1) are to the law of the embedded set.

    residual_px: distance of a glyph from constant velocity with bounces, the best that fits its clip: root mean square
        over the frames of a clip, its median over glyphs and clips. residual_px_p90: and its 90th percentile.
    identity_kept: share of clips in which all frames show the same glyph or glyphs.
    changes_a_clip: how many frames show others than the frame before, mean over the clips.
    speed_variation: standard deviation of a glyph's steps along an axis between bounces over its speed; median.
    bounces_kept: share of the fitted bounces at which the track does turn round. turns_in_the_open: turns of the track
        further than 2 pixels from any wall, for each clip.
    fit: mean cosine of frames and the glyphs found in them.
    """
    found = track(x, glyphs)
    frames, reach = x.shape[1], float(x.shape[2] - round(SHARE * x.shape[2]))
    path_mt = found.place.permute(0, 2, 3, 1).flatten(0, 2).double()  # glyphs' coordinates, [N G 2, T]
    law = bounces(path_mt, reach)
    rms = law.rest.square().unflatten(0, (-1, 2)).sum(1).mean(1).sqrt()
    step = path_mt.diff(dim=1)
    turn_at = law.turns(frames).diff(dim=1) > 0  # the step in which a bounce lies, [M, T - 1]
    near = F.max_pool1d(turn_at[:, None].double(), 3, 1, 1)[:, 0] > 0
    free = torch.where(near, torch.nan, step.abs())
    spread = (free - free.nanmean(1, keepdim=True)).square().nanmean(1).sqrt()
    speed = law.speed.view(-1, 2).norm(dim=1).repeat_interleave(2)
    kept, there = turns_kept(step, turn_at, law.speed)
    changed = (found.shape.diff(dim=1) != 0).any(-1).double().sum(1)
    return {
        "residual_px": rms.median().item(),
        "residual_px_p90": rms.quantile(0.9).item(),
        "identity_kept": found.kept.double().mean().item(),
        "changes_a_clip": changed.mean().item(),
        "speed_variation": (spread / speed.clamp(min=1e-6)).nanmedian().item(),
        "bounces_kept": kept / max(1, there),
        "bounces": there,
        "turns_in_the_open": turns_in_the_open(path_mt, reach) / len(x),
        "fit": found.fit.mean().item(),
    }


SLOW = 0.25
"""Pixels a frame, below which the sign of a step says little."""


def turns_kept(step: Tensor, turn_at: Tensor, speed: Tensor) -> tuple[int, int]:
    """Of bounces that have two steps on either side and are fast enough: how many turn the track round, and all."""
    there = turn_at[:, 2:-2] & (speed[:, None] > SLOW)
    around = step.unfold(1, 5, 1)
    flips = around[..., :2].sum(-1) * around[..., 3:].sum(-1) < 0
    return int((flips & there).sum()), int(there.sum())


def turns_in_the_open(path: Tensor, reach: float) -> int:
    """How often coordinates [M, T] turn round further than 2 pixels from both walls."""
    step = path.diff(dim=1)
    turn = (step[:, 1:] * step[:, :-1] < 0) & (step[:, 1:].abs() > SLOW) & (step[:, :-1].abs() > SLOW)
    wall = torch.minimum(path, reach - path)[:, 1:-1]
    return int((turn & (wall > 2)).sum())
