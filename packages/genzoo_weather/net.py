"""The network of a weather flow: a transformer over patches of latitude and longitude, between two convolutions.

Legend: B batch, K past maps, C channels, H latitudes, W longitudes, P patches, D width, F features.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_core import (
    AdaptiveNorm,
    Attention,
    Block,
    FeedForward,
    FourierFeatures,
    Patches,
    SphereRotary,
    spherical_harmonics,
)
from genzoo.contract import Data, Spec
from genzoo_weather.linear import clock

BANDS = 16
"""Frequencies of the flow's time."""


class MapConvolution(nn.Module):
    """3 x 3 convolution of maps [B, C, H, W] -> [B, F, H, W]: longitudes go round where the map does (`periodic`), else
    its edge goes on beyond it."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, features, 3)

    def forward(self, x: Tensor, periodic: bool) -> Tensor:
        x = F.pad(x, (1, 1, 0, 0), mode="circular" if periodic else "replicate")
        return self.inner(F.pad(x, (0, 0, 1, 1), mode="replicate"))


class LocalBlock(nn.Module):
    """x + what two convolutions make of it, told the condition [B, D]: weather moves things to the next point, which
    patches alone learn slowly."""

    def __init__(self, features: int, cond_dim: int) -> None:
        super().__init__()
        self.to_scale = nn.Linear(cond_dim, 2 * features)
        self.first, self.second = MapConvolution(features, features), MapConvolution(features, features)
        for layer in (self.to_scale, self.second.inner):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, cond: Tensor, periodic: bool) -> Tensor:
        scale, shift = self.to_scale(cond)[:, :, None, None].chunk(2, dim=1)
        h = self.first(F.silu(x), periodic)
        return x + self.second(F.silu(h * (1 + scale) + shift), periodic)


class WeatherNet(nn.Module):
    """(x_t [B, C, H, W], t [B], cond) -> velocity [B, C, H, W].

    Convolutions make features of every point. A patch of them is a token, with its place on the sphere: spherical
    harmonics are added to it, and rotary phases in latitude and longitude turn its queries and keys, so that there is
    no seam at the date line. What the transformer finds is added to the features, and convolutions make the velocity of
    them. Where patches do not divide a map, it is wrapped if it goes round the circle, else continued by its edge.

    spec: of `WeatherData`. dim, depth, heads: of the transformer.
    patch: latitudes and longitudes of a patch. degree: of the harmonics.
    year, day: harmonics of the season and of the hour that it is told.
    features: of every point, between the convolutions.
    dropout: share of each branch dropped while training.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        patch: tuple[int, int] = (2, 2),
        features: int = 32,
        degree: int = 8,
        year: int = 2,
        day: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        past, channels, height, width = spec.context["past"]
        self.patches, self.year, self.day, self.degree = Patches(patch), year, day, degree
        self.margin = tuple(-size % p for size, p in zip((height, width), patch, strict=True))
        rows, columns = self.patches.grid((height + self.margin[0], width + self.margin[1]))
        self.register_buffer("latitude", torch.zeros(rows * columns))  # radians, of the patches' centres
        self.register_buffer("longitude", torch.zeros(rows * columns))
        self.register_buffer("periodic", torch.zeros((), dtype=torch.bool))
        area = patch[0] * patch[1]
        self.to_features = MapConvolution((past + 2) * channels, features)
        self.local = nn.ModuleDict({place: LocalBlock(features, dim) for place in ("before", "after")})
        self.to_tokens = nn.Linear(features * area, dim)
        self.to_place = nn.Linear((degree + 1) ** 2, dim)
        self.time = FourierFeatures(1, bands=BANDS, min_frequency=0.5, max_frequency=64.0)
        self.to_cond = nn.Sequential(
            nn.Linear(self.time.out_dim + 2 * (year + day) + 1, dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        self.rotary = SphereRotary(dim // heads, max_wavenumber=max(rows, columns))
        self.blocks = nn.ModuleList(
            Block(Attention(dim, heads=heads), FeedForward(dim), cond_dim=dim, dropout=dropout) for _ in range(depth)
        )
        self.norm = AdaptiveNorm(dim, dim)
        self.from_tokens = nn.Linear(dim, features * area)
        self.to_velocity = MapConvolution(features, channels)
        nn.init.zeros_(self.to_velocity.inner.weight)
        nn.init.zeros_(self.to_velocity.inner.bias)

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        """Takes the places of the patches from the data's grid."""
        grid = data.grid
        self.periodic.fill_(grid.periodic)
        south = self.margin[0] // 2
        latitude = F.pad(grid.latitude[None, None], (south, self.margin[0] - south), mode="replicate")[0, 0]
        longitude = grid.longitude[0] + math.radians(grid.step) * torch.arange(len(grid.longitude) + self.margin[1])
        both = torch.stack(torch.meshgrid(latitude.float(), longitude.float(), indexing="ij"))
        centre = self.patches(both[None]).unflatten(-1, (2, -1)).mean(-1)[0]
        self.latitude.copy_(centre[:, 0])
        self.longitude.copy_(centre[:, 1])

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        past, known = cond["past"], cond["known"]
        periodic = bool(self.periodic)
        told = (self.time(t[:, None]), clock(cond["minutes"], year=self.year, day=self.day), known[:, None])
        given = self.to_cond(torch.cat([part.to(x) for part in told], dim=-1))
        maps = self._pad(torch.cat((x, cond["base"].expand_as(x), past.flatten(1, 2)), dim=1))
        h = self.local["before"](self.to_features(maps, periodic), given, periodic)
        tokens = self.to_tokens(self.patches(h))
        tokens = tokens + self.to_place(spherical_harmonics(self.latitude, self.longitude, self.degree).to(tokens))
        rotation = self.rotary(self.latitude, self.longitude)
        for block in self.blocks:
            tokens = block(tokens, cond=given, rotation=rotation)
        h = h + self.patches.inverse(self.from_tokens(self.norm(tokens, given)[0]), maps.shape[-2:])
        out = self.to_velocity(F.silu(self.local["after"](h, given, periodic)), periodic)
        south = self.margin[0] // 2
        return out[..., south : south + x.shape[-2], : x.shape[-1]]

    def _pad(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] with the margins that the patches need."""
        (rows, columns), south = self.margin, self.margin[0] // 2
        if rows:
            maps = F.pad(maps, (0, 0, south, rows - south), mode="replicate")
        if columns:
            maps = F.pad(maps, (0, columns, 0, 0), mode="circular" if bool(self.periodic) else "replicate")
        return maps
