"""Rewards of weather maps: lows and winds that are put there, winds in balance and out of it by known metres a second.

Legend: n maps in model space, C channels (u, v, h), H latitudes, W longitudes.
"""

import math
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from genzoo.errors import UserError
from genzoo_weather import rewards
from genzoo_weather.constants import EARTH_RADIUS, GRAVITY, OMEGA
from genzoo_weather.data import WeatherData
from genzoo_weather.physics import Grid
from genzoo_weather.variables import Variable

EUROPE = [45.0, 60.0, -15.0, 30.0]
"""Across the meridian where longitudes begin."""

GRID = Grid(torch.arange(-80.0, 81, 5), torch.arange(0.0, 360, 5))
STD, MEAN = torch.tensor([8.0, 5.0]).view(-1, 1, 1), torch.tensor([4.0, -1.0]).view(-1, 1, 1)
"""Of the wind, m/s."""


def told(*names: str) -> SimpleNamespace:
    """All that lows and winds ask of their data."""
    kinds = [Variable(name, "m s-1" if name in "uv" else "m") for name in names]
    return SimpleNamespace(variables=kinds, grid=GRID, decode=lambda x: x * STD + MEAN)


def of_points(field: Tensor) -> Tensor:
    """A field [H, W] as one map of one variable."""
    return field.float()[None, None]


def box(south: float, north: float, west: float, east: float) -> Tensor:
    """1 at the points inside, by a loop over all of them."""
    found = torch.zeros(len(GRID.latitude), len(GRID.longitude))
    for i, latitude in enumerate(GRID.latitude_deg.tolist()):
        for j, longitude in enumerate(GRID.longitude_deg.tolist()):
            turned = [longitude + 360 * k for k in (-2, -1, 0, 1, 2)]
            found[i, j] = south <= latitude <= north and any(west <= x <= east for x in turned)
    return found


def low(field: Tensor, region: list[float], name: str = "msl") -> float:
    return rewards.low(of_points(field), told(name), {}, region=region).item()


# Where a region is


@pytest.mark.parametrize(
    "region",
    [EUROPE, [40, 65, -60, 0], [-30, -10, 170, 200], [-30, 30, 350, 370], [80, 85, 0, 0.5], [0, 20, 90, 269.99]],
)
def test_points_of_a_region(region):
    """By a loop; across the first meridian and the date line, however the longitudes are called."""
    rows, columns = rewards.inside(told("msl"), region)
    want = torch.zeros_like(box(*region))
    want[rows[:, None], columns] = 1
    assert torch.equal(want, box(*region))
    for turned in (-360, 360):
        moved = [*region[:2], region[2] + turned, region[3] + turned]
        assert torch.equal(rewards.inside(told("msl"), moved)[1], columns)


@pytest.mark.parametrize("circle", [(0, 360), (-180, 180), (20, 20)])
def test_the_whole_circle(circle):
    """From a meridian to itself, as data.region has it."""
    assert len(rewards.inside(told("msl"), [40, 65, *circle])[1]) == len(GRID.longitude)


def test_regions_that_are_none():
    for wrong in ([65, 40, 0, 60], [40, 40, 0, 60], [40, 65, 0], []):
        with pytest.raises(UserError, match="south, north, west and east in degrees"):
            rewards.inside(told("msl"), wrong)
    for empty in ([81, 84, 0, 60], [40, 65, 1, 4]):
        with pytest.raises(UserError, match="holds no point of the maps: make it larger"):
            rewards.inside(told("msl"), empty)


# Lows


def test_a_low_in_a_zonal_field():
    """A field that is the same along each latitude has none, nor a constant; with a Gaussian low of depth 2 in it, the
    sum by hand: the mean over the region less that over the circle."""
    zonal = (GRID.latitude.cos() * 3)[:, None].expand(-1, 72)
    assert low(zonal, EUROPE) == pytest.approx(0, abs=1e-6)
    assert low(torch.full((33, 72), 1.5), EUROPE) == pytest.approx(0, abs=1e-6)
    east = (GRID.longitude_deg + 180) % 360 - 180
    dip = torch.exp(-(((GRID.latitude_deg[:, None] - 52) / 8) ** 2 + ((east - 7) / 12) ** 2) / 2)
    there = box(EUROPE[0], EUROPE[1], EUROPE[2], EUROPE[3]).bool()
    around = box(EUROPE[0], EUROPE[1], 0, 360).bool()
    want = 2 * (dip[there].mean() - dip[around].mean()).item()
    assert low(zonal - 2 * dip, EUROPE) == pytest.approx(want, rel=1e-4)
    assert want > 0.5
    assert low(zonal + 2 * dip, EUROPE) == pytest.approx(-want, rel=1e-4)


def test_lows_are_in_order():
    """1 lower in the region alone: 1 less the region's share of the circle; half as low; beside it, in its latitudes;
    and in other latitudes, which do not count."""
    share = 10 / 72
    inside, beside, north = box(*EUROPE), box(45, 60, 60, 105), box(65, 80, -15, 30)
    found = [low(-field, EUROPE) for field in (inside, inside / 2, north, beside)]
    assert found == pytest.approx([1 - share, (1 - share) / 2, 0, -share], abs=1e-6)


def test_what_is_looked_at():
    """Pressure before geopotential before depth, at their place among the channels; without them a line says so."""
    x = torch.zeros(1, 3, 33, 72)
    x[:, 2] -= box(*EUROPE)
    for names, seen in ((("u", "v", "h"), 2), (("z", "h", "msl"), 2), (("msl", "u", "h"), 0), (("h", "u", "z"), 2)):
        assert rewards.height_channel(told(*names)) == seen
        found = rewards.low(x, told(*names), {}, region=EUROPE).item()
        assert found == pytest.approx(62 / 72 if seen == 2 else 0, abs=1e-6)
    with pytest.raises(UserError, match="reward=low needs one of msl, z, h, sp"):
        rewards.low(x, told("u", "v", "t"), {}, region=EUROPE)


def test_gradient_of_a_low():
    """Lower inside, by one over its points less one over those of its latitudes; higher beside it; nothing else."""
    x = torch.randn(1, 1, 33, 72, requires_grad=True)
    (slope,) = torch.autograd.grad(rewards.low(x, told("msl"), {}, region=EUROPE).sum(), x)
    points, circle = 4 * 10, 4 * 72
    want = box(45, 60, 0, 360) / circle - box(*EUROPE) / points
    torch.testing.assert_close(slope[0, 0], want, atol=1e-7, rtol=1e-4)


# Winds


def wind(u: float | Tensor, v: float | Tensor) -> Tensor:
    """One map of u and v, given in m/s."""
    maps = torch.stack([torch.as_tensor(part).float().expand(33, 72) for part in (u, v)])
    return ((maps - MEAN) / STD)[None]


def test_wind_speed():
    """3 and 4 make 5 m/s; twice that is twice; half the region is half; outside nothing counts; calm is next to 0."""
    west = box(45, 60, -15, 5)  # 5 of 10 meridians
    maps = torch.cat([wind(3.0, -4.0), wind(6.0, -8.0), wind(3 * west, 4 * west), wind(-9 * (1 - box(*EUROPE)), 0.0)])
    found = rewards.wind(maps, told("u", "v"), {}, region=EUROPE).tolist()
    assert found == pytest.approx([5, 10, 2.5, 0], abs=2e-3)
    around = rewards.wind(wind(3 * west, 4 * west), told("u", "v"), {}, region=[45, 60, -180, 180]).item()
    assert around == pytest.approx(5 * 5 / 72, abs=2e-3)
    with pytest.raises(UserError, match="reward=wind needs u and v"):
        rewards.wind(maps, told("u", "h"), {}, region=EUROPE)


def test_gradient_of_the_wind():
    """Along the wind at each point of the region, a unit over its points, in the model's units; finite where calm."""
    x = wind(3.0, -4.0).requires_grad_()
    (slope,) = torch.autograd.grad(rewards.wind(x, told("u", "v"), {}, region=EUROPE).sum(), x)
    want = torch.tensor([0.6, -0.8]).view(-1, 1, 1) * STD * box(*EUROPE) / 40
    torch.testing.assert_close(slope[0], want, rtol=1e-4, atol=1e-6)
    calm = wind(0.0, 0.0).requires_grad_()
    (slope,) = torch.autograd.grad(rewards.wind(calm, told("u", "v"), {}, region=EUROPE).sum(), calm)
    assert slope.isfinite().all()


# Balance


@cache
def weather() -> WeatherData:
    """Simulated weather on a coarse globe, that of the smoke preset."""
    data = WeatherData(
        simulation={"latitudes": 20, "truncation": 13, "trajectories": 2, "days": 20, "spin_up_days": 10}
    )
    data.prepare()
    return data


def rotating(speed: float, off: float) -> Tensor:
    """A wind of speed cos(latitude) eastward, with the depth that is in geostrophic balance with it: g h =
    -a OMEGA speed sin(latitude)^2 and a constant; and `off` m/s of northward wind upon it. In model space."""
    grid = weather().grid
    maps = torch.zeros(3, *weather().spec.shape[1:], dtype=torch.float64)
    maps[0] = speed * grid.latitude.cos()[:, None]
    maps[1] = off
    maps[2] = 8000 - EARTH_RADIUS * OMEGA * speed * grid.latitude.sin().square()[:, None] / GRAVITY
    return weather().encode(maps).float()


def test_balance():
    """Solid rotation is in balance, up to the error of differences of second order; 2 m/s across are 4 m2/s2 more, over
    that of real maps, whose mean is so -1; the more the less, down to a bound."""
    in_balance = [rewards.in_balance(rotating(20.0, off)[None], weather(), {}).item() for off in (0, 2, 4, 1000)]
    real = weather()._residual.scale
    assert -0.3 / real < in_balance[0] <= 0
    assert in_balance[1] - in_balance[0] == pytest.approx(-4 / real, rel=1e-3)
    assert in_balance[2] - in_balance[0] == pytest.approx(-16 / real, rel=1e-3)
    assert in_balance[3] == -rewards.WORST
    of_real = rewards.in_balance(weather().examples("train", most=256).x, weather(), {})
    assert of_real.mean().item() == pytest.approx(-1, rel=0.01)
    assert math.isfinite(rewards.in_balance(torch.zeros(1, *weather().spec.shape), weather(), {}).item())


def test_balance_of_maps_without_winds():
    """What is to be done is said: the reward goes without one that is watched."""
    data = SimpleNamespace(variables=[Variable("msl", "Pa")], grid=GRID)
    with pytest.raises(UserError, match=r"needs winds u and v .*, or set reward\.gold=null"):
        rewards.in_balance(torch.zeros(1, 1, 33, 72), data, {})
