"""Physics as a switch: penalties on the model's estimate (soft), or a projection inside its sampler (hard).

Legend: B batch, C channels, H latitudes, W longitudes, K past maps.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from genzoo.contract import Batch, Data, Spec, part
from genzoo_weather import physics
from genzoo_weather.data import WeatherData
from genzoo_weather.metrics import band, channel, flows, potential
from genzoo_weather.transform import SphericalTransform

WHOLE_GLOBE = "model.project.wind=nondivergent needs u and v of one level on the whole globe: set it to free"
NOT_WEATHER = "constraints=soft and constraints=hard are for weather: leave constraints at off"

LEAK = 1e-3
"""Of the mean depth: a change that counts as much as an imbalance as large as that of real maps."""


@part
class Residual:
    """A penalty of `objective=native`: how far a residual of the estimate exceeds that of the real map it is
    meant to be, over the mean residual of real maps. Not towards zero: real winds are not quite in balance either.

    kind: "balance": mean square of V - V_g poleward of 30 degrees, in geostrophic balance with depth or geopotential;
        "divergence": mean square of the wind's divergence, there too; "mass": squared distance of the mean depth from
        that of the last map, where the unit is `LEAK` of the depth, since real maps have no such residual.
    """

    def __init__(self, *, kind: str = "balance") -> None:
        if kind not in ("balance", "divergence", "mass"):
            raise ValueError(f"kind is balance, divergence or mass, not {kind!r}")
        self.kind, self.data, self.scale = kind, None, 1.0

    def initialise(self, data: Data) -> None:
        if not hasattr(data, "variables"):
            raise ValueError(NOT_WEATHER)
        self.data = data
        self.flows, self.rows = flows(data.variables), band(data.grid)
        self.depth = channel(data.variables, "h")
        if self.kind == "mass" and self.depth is None:
            raise ValueError("the mass of these maps is not known: there is no depth h among the variables")
        if self.kind != "mass" and (not self.flows or self.rows is None):
            raise ValueError(f"{self.kind} needs winds u and v poleward of 30 degrees among data.variables")
        if self.kind == "balance" and all(height is None for *_, height in self.flows):
            raise ValueError("balance needs the depth h or the geopotential z at the level of the winds")
        batch = data.examples("train", most=256)
        if self.kind == "mass":
            self.scale = (LEAK * float(physics.mass(data.decode(batch.x)[:, self.depth], data.grid).mean())) ** 2
        else:
            self.scale = max(float(self.of(batch.x, batch).mean()), 1e-30)

    def of(self, x: Tensor, batch: Batch) -> Tensor:
        """The residual of maps in model space [B, C, H, W] -> [B]."""
        maps, grid = self.data.decode(x), self.data.grid
        if self.kind == "mass":
            before = self.data.decode(batch.cond["past"][:, -1])[:, self.depth]
            change = physics.mass(maps[:, self.depth] - before, grid)
            return change.square() * batch.cond["known"]
        total = torch.zeros(len(x), device=x.device)
        for _, u, v, height in self.flows:
            if self.kind == "divergence":
                total = total + grid.mean(physics.divergence(maps[:, u], maps[:, v], grid).square(), self.rows)
            elif height is not None:
                least = float(grid.latitude_deg.abs()[self.rows].min())
                phi = potential(maps, self.data.variables, height)
                u_g, v_g = physics.geostrophic_wind(phi, grid, min_latitude=least)
                off = (maps[:, u] - u_g).square() + (maps[:, v] - v_g).square()
                total = total + grid.mean(off, self.rows)
        return total

    def __call__(self, x_hat: Tensor, batch: Batch) -> Tensor:
        """[B]: (residual of x_hat - residual of x) over the mean of real ones, where that is above 0."""
        x_hat = x_hat.float()
        return torch.relu(self.of(x_hat, batch) - self.of(batch.x, batch)) / self.scale


class Conserve(nn.Module):
    """A projection for `families.Flow`: the mean depth of the last map is kept exactly, and the wind keeps its
    vorticity but loses its divergence, by spherical harmonics (Helmholtz decomposition on the sphere).

    spec: of `WeatherData`. mass: whether the depth is projected. wind: "free", or "nondivergent", on whole globes.
    """

    def __init__(self, spec: Spec, *, mass: bool = True, wind: str = "nondivergent") -> None:
        super().__init__()
        if wind not in ("free", "nondivergent"):
            raise ValueError(f"wind is free or nondivergent, not {wind!r}")
        self.mass, self.wind = mass, wind
        channels, height, width = spec.shape
        self.width = width
        self.register_buffer("latitude_deg", torch.zeros(height, dtype=torch.float64))
        self.register_buffer("area_h1", torch.ones(height, 1))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("places", torch.full((3,), -1))  # of u, v and h among the channels
        self._transform: SphericalTransform | None = None

    @torch.no_grad()
    def initialise(self, data: WeatherData) -> None:
        if not hasattr(data, "variables"):
            raise ValueError(NOT_WEATHER)
        winds, depth = flows(data.variables), channel(data.variables, "h")
        if self.mass and depth is None:
            raise ValueError("model.project.mass=true needs a depth h among the variables: set it to false")
        if self.wind == "nondivergent" and (len(winds) != 1 or not data.grid.periodic):
            raise ValueError(WHOLE_GLOBE)
        u, v = winds[0][1:3] if winds else (-1, -1)
        self.places.copy_(torch.tensor([u, v, -1 if depth is None else depth]))
        self.latitude_deg.copy_(data.grid.latitude_deg)
        self.area_h1.copy_(data.grid.area[:, None])
        for name in ("mean", "std"):
            getattr(self, name).copy_(torch.tensor([kind[name] for kind in data.fitted["variables"]]))
        if self.wind == "nondivergent":
            try:
                self.transform(self.std)
            except ValueError as error:
                raise ValueError(f"{WHOLE_GLOBE} ({error})") from error

    def forward(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self._project(x.float() if x.dtype == torch.bfloat16 else x, cond)

    def _project(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        u, v, h = self.places.tolist()
        channels = list(x.unbind(1))
        if self.mass:
            before = cond["past"][:, -1, h]
            change = ((before - channels[h]).double() * self.area_h1).mean((1, 2))
            known = cond["known"].double()
            channels[h] = (channels[h].double() + (known * change)[:, None, None]).to(x.dtype)
        if self.wind == "nondivergent":
            wind = [channels[c] * self.std[c] + self.mean[c] for c in (u, v)]
            transform = self.transform(x)
            zeta, delta = transform.vorticity_divergence(*wind)
            for c, part in zip((u, v), transform.wind(zeta, torch.zeros_like(delta)), strict=True):
                channels[c] = (part - self.mean[c]) / self.std[c]
        return torch.stack(channels, dim=1)

    def transform(self, x: Tensor) -> SphericalTransform:
        """Made when it is needed: the latitudes come with the weights."""
        like = None if self._transform is None else self._transform.latitude_deg
        if like is None or (like.device, like.dtype) != (x.device, x.dtype):
            made = SphericalTransform.of(self.latitude_deg.cpu(), self.width).to(x.device, x.dtype)
            self.__dict__["_transform"] = made  # no part of the weights
        return self._transform
