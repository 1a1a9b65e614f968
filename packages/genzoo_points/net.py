"""The networks of `CellFlow`.

Legend: B clouds, C cells, K points of a cell, F channels, R numbers of a cell, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from attention_core import AdaptiveNorm, Attention, Block, FeedForward, FourierFeatures, InducedAttention
from attention_core.norm import layer_norm
from genzoo.contract import Spec
from genzoo_points.cells import SUMMARY, split, summary

BANDS = 16
"""Frequencies of a flow's time."""


def grouped(cells: Tensor, patch: int) -> Tensor:
    """[B, C, R] -> [B, C / patch, patch R]: cells that are neighbours in the tree, as one token."""
    return cells.unflatten(1, (-1, patch)).flatten(2)


class Told(nn.Module):
    """What a flow's network is told: its time [B] and, of labelled data, cond["label"] [B] -> [B, D]."""

    def __init__(self, spec: Spec, dim: int) -> None:
        super().__init__()
        self.time = FourierFeatures(1, bands=BANDS, min_frequency=0.5, max_frequency=64.0)
        self.to_cond = nn.Sequential(nn.Linear(self.time.out_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(spec.classes + 1, dim) if spec.classes else None

    def forward(self, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        given = self.to_cond(self.time(t[:, None]))
        return given if self.label is None else given + self.label(cond["label"])


class CellNet(nn.Module):
    """(x_t [B, C, R], t [B], cond) -> velocity [B, C, R]: a transformer whose tokens are neighbouring cells of a shape,
    and those of the part that was seen, told the time and the label (Peebles & Xie 2023, DiT).

    spec: of the cells. dim, depth, heads: of the transformer. patch: cells of a token. seen: cells of a partial shape.
    dropout: share of each branch dropped while training.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        dim: int = 192,
        depth: int = 6,
        heads: int = 6,
        patch: int = 2,
        seen: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        cells, numbers = spec.shape
        self.seen = seen if "partial" in spec.context else 0
        if patch < 1 or cells % patch or self.seen % patch:
            raise ValueError(f"patch={patch} of model.outline.net must divide {cells} cells and seen={self.seen}")
        if self.seen and (self.seen & (self.seen - 1) or spec.context["partial"][0] % self.seen):
            points = spec.context["partial"][0]
            raise ValueError(
                f"seen={self.seen} of model.outline.net must be a power of two that divides data.seen={points}"
            )
        self.patch = patch
        self.to_token = nn.Linear(patch * numbers, dim)
        self.place = nn.Parameter(0.5 * torch.randn((cells + self.seen) // patch, dim))
        self.told = Told(spec, dim)
        self.to_base = nn.Linear(patch * numbers, dim) if spec.classes else None
        if self.seen:
            self.to_seen = nn.Linear(patch * SUMMARY, dim)
            self.unseen = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(
            Block(Attention(dim, heads=heads, qk_norm=True), FeedForward(dim), cond_dim=dim, dropout=dropout)
            for _ in range(depth)
        )
        self.norm = AdaptiveNorm(dim, dim)
        self.to_velocity = nn.Linear(dim, patch * numbers)
        nn.init.zeros_(self.to_velocity.weight)
        nn.init.zeros_(self.to_velocity.bias)

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        given = self.told(t, cond)
        tokens = self.to_token(grouped(x, self.patch))
        if self.to_base is not None:  # where the path began: at the label's shapes, or at all
            tokens = tokens + self.to_base(grouped(cond["base"], self.patch))
        own = tokens.shape[1]
        if self.seen:
            part = self.to_seen(grouped(summary(split(cond["partial"], self.seen)), self.patch))
            part = torch.where(cond["known"].view(-1, 1, 1) > 0, part, self.unseen)
            tokens = torch.cat((tokens, part), dim=1)
        tokens = tokens + self.place
        for block in self.blocks:
            tokens = block(tokens, cond=given)
        return self.to_velocity(self.norm(tokens[:, :own], given)[0]).view_as(x)


class CellReader(nn.Module):
    """Cells [B, C, R] -> what each is like among the others [B, C, D]: a transformer, with `patch` cells to a token."""

    def __init__(
        self, spec: Spec, *, dim: int = 128, depth: int = 2, heads: int = 4, patch: int = 2, out: int = 64
    ) -> None:
        super().__init__()
        cells, numbers = spec.shape
        if patch < 1 or cells % patch:
            raise ValueError(f"patch={patch} of model.reader must divide model.cells={cells}")
        self.dim, self.patch = out, patch
        self.to_token = nn.Linear(patch * numbers, dim)
        self.place = nn.Parameter(0.5 * torch.randn(cells // patch, dim))
        self.to_cells = nn.Linear(dim, patch * out)
        self.blocks = nn.ModuleList(
            Block(Attention(dim, heads=heads, qk_norm=True), FeedForward(dim)) for _ in range(depth)
        )

    def forward(self, cells: Tensor) -> Tensor:
        tokens = self.to_token(grouped(cells, self.patch)) + self.place
        for block in self.blocks:
            tokens = block(tokens)
        return self.to_cells(layer_norm(tokens)).view(*cells.shape[:2], self.dim)


class PointNet(nn.Module):
    """(x_t [B, K, F], t [B], cond) -> velocity [B, K, F], of each point by itself, told the time and what is known of
    its cell (a small diffusion head for a token; Li et al. 2024, MAR)."""

    def __init__(self, spec: Spec, *, dim: int = 64, depth: int = 3) -> None:
        super().__init__()
        channels = spec.shape[-1]
        self.time = FourierFeatures(1, bands=BANDS, min_frequency=0.5, max_frequency=64.0)
        self.to_cond = nn.Linear(self.time.out_dim + spec.context["cell"][0], 2 * dim)
        self.to_features = nn.Linear(channels, dim)
        self.norms = nn.ModuleList(AdaptiveNorm(dim, 2 * dim) for _ in range(depth))
        self.layers = nn.ModuleList(FeedForward(dim, 2 * dim) for _ in range(depth))
        self.to_velocity = nn.Linear(dim, channels)

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        given = self.to_cond(torch.cat((self.time(t[:, None]), cond["cell"]), dim=-1))
        h = self.to_features(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            inner, gate = norm(h, given)
            h = h + gate * layer(inner)
        return self.to_velocity(h)


class SetNet(nn.Module):
    """(x_t [B, N, F], t [B], cond) -> velocity [B, N, F]: attention among all points through a few learned ones, which
    knows no order and takes any number (Lee et al. 2019, Set Transformer). For `Flow` itself, in place of `CellFlow`:
    what cells are measured against.

    spec: of the points. dim, depth, heads: of the transformer. inducing: learned points of each layer.
    """

    def __init__(self, spec: Spec, *, dim: int = 128, depth: int = 6, heads: int = 4, inducing: int = 32) -> None:
        super().__init__()
        if "partial" in spec.context:
            raise ValueError("SetNet completes nothing: set data.partial=0")
        channels = spec.shape[-1]
        self.told = Told(spec, dim)
        self.to_token = nn.Linear(channels, dim)
        self.blocks = nn.ModuleList(
            Block(
                InducedAttention(dim, heads, inducing=inducing, qk_norm=True), FeedForward(dim, 2 * dim), cond_dim=dim
            )
            for _ in range(depth)
        )
        self.norm = AdaptiveNorm(dim, dim)
        self.to_velocity = nn.Linear(dim, channels)
        nn.init.zeros_(self.to_velocity.weight)
        nn.init.zeros_(self.to_velocity.bias)

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        given, tokens = self.told(t, cond), self.to_token(x)
        for block in self.blocks:
            tokens = block(tokens, cond=given)
        return self.to_velocity(self.norm(tokens, given)[0])
