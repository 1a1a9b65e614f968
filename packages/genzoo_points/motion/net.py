"""The network of `MotionFlow`.

Legend: B sequences, T frames, P past frames, C cells, R numbers of a cell at a time, S time patches.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from attention_core import AdaptiveNorm, Attention, Block, FeedForward, Rotary, SpaceTime
from genzoo.contract import Spec
from genzoo_points.motion.basis import Basis
from genzoo_points.net import Told


class TrajectoryNet(nn.Module):
    """(u_t [B, T, C, R], t [B], cond) -> the velocity of the coefficients, of the same shape.

    A token is a cell during `patch` frames: its states and, beside them, the same in units of the law, where what is
    fast and what is fine is as large as the rest. The past of a cell is one token more, before the others in time.
    Blocks of attention over the cells of each time take turns with blocks over the times of each cell, which are told
    apart by rotary positions (`SpaceTime`). The velocity is what it would be if all were as the law says,
    (2 t - 1) / (t^2 + (1 - t)^2) u_t, and what the transformer adds.

    spec: of the coefficients. dim, depth, heads: of the transformer, `depth` pairs of blocks. patch: frames of a
    token. dropout: share of each branch dropped while training.
    """

    def __init__(
        self, spec: Spec, *, dim: int = 192, depth: int = 3, heads: int = 6, patch: int = 8, dropout: float = 0.0
    ) -> None:
        super().__init__()
        frames, cells, numbers = spec.shape
        past = spec.context["past"][0]
        if patch < 1 or frames % patch:
            raise ValueError(f"patch={patch} of model.outline.net must divide data.frames={frames}")
        self.patch = patch
        self.basis = Basis(frames, cells)
        self.to_token = nn.Linear(3 * patch * numbers, dim)
        self.to_past = nn.Linear(past * (numbers + 1), dim)
        self.place = nn.Parameter(0.5 * torch.randn(cells, dim))
        self.told = Told(spec, dim)
        self.to_known = nn.Embedding(past + 1, dim)
        self.rotary = Rotary(dim // heads)

        def block() -> Block:
            attention = Attention(dim, heads=heads, qk_norm=True)
            return Block(attention, FeedForward(dim), cond_dim=dim, dropout=dropout)

        self.blocks = nn.ModuleList(SpaceTime(block(), block()) for _ in range(depth))
        self.norm = AdaptiveNorm(dim, dim)
        self.to_out = nn.Linear(dim, patch * numbers)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, u: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        known, past = cond["known"], cond["past"]
        given = self.told(t, cond) + self.to_known(known.long())
        views = (u, cond["base"] + cond["std"] * u, cond["base"])
        own = torch.cat([grouped(self.basis.inverse(view, known), self.patch) for view in views], dim=-1)
        tokens = torch.cat((self.to_past(self._seen(past, known)), self.to_token(own)), dim=1) + self.place
        middles = self.patch * (torch.arange(tokens.shape[1] - 1, device=u.device) + 0.5)  # in frames from now
        rotation = self.rotary(torch.cat((middles.new_tensor([-past.shape[1] / 2]), middles)))
        for block in self.blocks:
            tokens = block(tokens, cond=given, time_rotation=rotation)
        h = self.to_out(self.norm(tokens[:, 1:].flatten(1, 2), given)[0])
        h = h.view(*tokens[:, 1:].shape[:3], self.patch, -1).transpose(2, 3).flatten(1, 2)
        t_full = t.view(-1, 1, 1, 1)
        return (2 * t_full - 1) / (t_full**2 + (1 - t_full) ** 2) * u + self.basis(h, known)

    def _seen(self, past: Tensor, known: Tensor) -> Tensor:
        """[B, 1, C, P (R + 1)]: the given states of each cell, and which of them are given."""
        ages = torch.arange(past.shape[1], 0, -1, device=past.device)
        there = (ages <= known[:, None]).to(past.dtype).view(*past.shape[:2], 1, 1)
        frames = torch.cat((past * there, there.expand(*past.shape[:3], 1)), dim=-1)
        return grouped(frames, past.shape[1])


def grouped(x: Tensor, patch: int) -> Tensor:
    """[B, T, C, R] -> [B, S, C, patch R]: the frames of a time patch, as numbers of one token."""
    return x.unflatten(1, (-1, patch)).transpose(2, 3).flatten(3)
