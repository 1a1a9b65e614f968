"""Grids of 1 to 4 axes as tokens, and attention factorised over space and time.

Legend: B batch, N channels, P patches (tokens), T frames, S places, C model width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attention_core.positions import grid_positions


class Patches(nn.Module):
    """Cuts a grid into patches and puts it together again; exact inverse of itself, no weights.

    size: patch size along each axis, 1 to 4 axes: (16,) samples, (4, 4) pixels, (2, 4, 4) frames x pixels.

    >>> patches = Patches((2, 4, 4))
    >>> tokens = patches(torch.zeros(1, 3, 8, 32, 32))      # [B, N, T, H, W]
    >>> tokens.shape
    torch.Size([1, 256, 96])
    >>> patches.inverse(tokens, (8, 32, 32)).shape
    torch.Size([1, 3, 8, 32, 32])
    """

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)
        if not 1 <= len(self.size) <= 4 or min(self.size) < 1:
            raise ValueError(f"patches have 1 to 4 axes of size 1 or more, not {self.size}")

    def grid(self, shape: Sequence[int]) -> tuple[int, ...]:
        """How many patches lie along each axis of a grid of this shape; ValueError where they do not fit."""
        if len(shape) != len(self.size) or any(n % p for n, p in zip(shape, self.size, strict=True)):
            raise ValueError(
                f"a grid of shape {tuple(shape)} cannot be cut into patches of {self.size}: pad or crop it"
            )
        return tuple(n // p for n, p in zip(shape, self.size, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, *shape] -> [B, P, N * prod(size)], patches in row-major order."""
        grid, axes = self.grid(x.shape[2:]), len(self.size)
        split = [n for pair in zip(grid, self.size, strict=True) for n in pair]
        x = x.reshape(*x.shape[:2], *split)
        places, inner = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
        return x.permute(0, *places, 1, *inner).reshape(x.shape[0], math.prod(grid), -1)

    def inverse(self, tokens: Tensor, shape: Sequence[int]) -> Tensor:
        """[B, P, N * prod(size)] -> [B, N, *shape]."""
        grid, axes = self.grid(shape), len(self.size)
        if tokens.shape[1] != math.prod(grid) or tokens.shape[2] % math.prod(self.size):
            raise ValueError(
                f"tokens {tuple(tokens.shape)} are not the {math.prod(grid)} patches of {self.size} "
                f"that make a grid of shape {tuple(shape)}: give the shape that they were cut from"
            )
        x = tokens.reshape(tokens.shape[0], *grid, -1, *self.size)
        order = [n for a in range(axes) for n in (1 + a, 2 + axes + a)]
        return x.permute(0, 1 + axes, *order).reshape(tokens.shape[0], -1, *shape)


class SpaceTime(nn.Module):
    """A block over the places of each frame, then a block over the frames of each place (Bertasius et al. 2021,
    TimeSformer, divided attention): cost T S (T + S) in place of (T S)^2.

    space, time: `Block`s of one width; make the attention of `time` causal for a model that goes on frame by frame.

    >>> space, time = (Block(Attention(64, heads=4), FeedForward(64)) for _ in range(2))
    >>> SpaceTime(space, time)(torch.randn(2, 8, 16, 64)).shape
    torch.Size([2, 8, 16, 64])
    """

    def __init__(self, space: nn.Module, time: nn.Module) -> None:
        super().__init__()
        self.space, self.time = space, time

    def forward(
        self,
        x_btsc: Tensor,
        *,
        cond: Tensor | None = None,
        space_rotation: Tensor | None = None,
        time_rotation: Tensor | None = None,
    ) -> Tensor:
        """x: [B, T, S, C]; cond: [B, K], or one a frame [B, T, K]; rotations over S and over T positions."""
        batch, frames, places, _ = x_btsc.shape
        in_space = in_time = None
        if cond is not None:
            cond_btk = cond if cond.ndim == 3 else cond[:, None].expand(-1, frames, -1)
            in_space = cond_btk.flatten(0, 1)
            in_time = cond_btk.repeat_interleave(places, dim=0)
        x = self.space(x_btsc.flatten(0, 1), cond=in_space, rotation=space_rotation)
        x = x.view(batch, frames, places, -1).transpose(1, 2).flatten(0, 1)
        x = self.time(x, cond=in_time, rotation=time_rotation)
        return x.view(batch, places, frames, -1).transpose(1, 2)


def patch_positions(grid: Sequence[int], *, device: torch.device | str | None = None) -> Tensor:
    """Centres of the patches scaled to [-1, 1] along each axis, float [prod(grid), len(grid)]: positions that do not
    change their range when the grid is refined."""
    return (grid_positions(grid, device=device) * 2 + 1) / torch.tensor(grid, device=device) - 1
