"""The weather network: no seam, no pole that breaks, any grid, and every weight and every condition of use.

Legend: B batch, K past maps, C channels, H latitudes, W longitudes.
"""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from genzoo.contract import Spec
from genzoo_weather.net import WeatherNet
from genzoo_weather.physics import Grid

CHANNELS = 2
TINY = {"dim": 16, "depth": 2, "heads": 2, "features": 6, "degree": 3}


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random numbers."""
    torch.manual_seed(0)


def globe(high: int, wide: int, west: float = 0.0) -> Grid:
    """With rows at both poles."""
    return Grid(torch.linspace(-90, 90, high), west + torch.arange(wide) * (360 / wide))


def region(high: int, wide: int) -> Grid:
    return Grid(35 + 2.5 * torch.arange(high), -20 + 2.5 * torch.arange(wide))


def stirred(grid: Grid, *, past: int = 1, patch: tuple[int, int] = (2, 3), **options) -> WeatherNet:
    """A network that knows its grid, with weights none of which is 0."""
    size = (CHANNELS, len(grid.latitude), len(grid.longitude))
    net = WeatherNet(Spec(size, context={"past": (past, *size)}), patch=patch, **{**TINY, **options})
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    net.initialise(SimpleNamespace(grid=grid))
    return net.eval()


def inputs(grid: Grid, rows: int = 3, past: int = 1) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """x, t and the conditions of a few examples; of the last one the past is not known."""
    size = (CHANNELS, len(grid.latitude), len(grid.longitude))
    known = torch.ones(rows)
    known[-1] = 0
    cond = {"past": torch.randn(rows, past, *size) * known.view(-1, 1, 1, 1, 1), "known": known}
    cond |= {"base": torch.randn(rows, *size), "minutes": torch.randint(0, 525_600, (rows,))}
    return torch.randn(rows, *size), torch.rand(rows), cond


def rolled(x: Tensor, t: Tensor, cond: dict[str, Tensor], by: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """All maps turned eastward by so many columns."""
    return x.roll(by, -1), t, {k: v.roll(by, -1) if k in ("past", "base") else v for k, v in cond.items()}


@pytest.mark.parametrize("by", [3, 6, -9])
def test_a_globe_has_no_first_meridian(by):
    """The same weather on a map that begins elsewhere gives the same answer, with all that it knows of places: for any
    number of whole patches."""
    grid = globe(8, 18)
    net, other = stirred(grid), stirred(globe(8, 18, west=-20.0 * by))
    other.load_state_dict({**net.state_dict(), **dict(other.named_buffers())})
    given = inputs(grid)
    torch.testing.assert_close(other(*rolled(*given, by)), net(*given).roll(by, -1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("by", [3, -6])
def test_weather_that_turns(by):
    """Without the harmonics, which tell the places apart, weather turned by whole patches gives an answer turned by as
    much: convolutions and attention go round the globe. With them, it matters where weather is."""
    grid = globe(8, 18)
    net, given = stirred(grid), inputs(grid)
    known = net(*rolled(*given, by)) - net(*given).roll(by, -1)
    assert known.abs().max() > 1e-2
    torch.nn.init.zeros_(net.to_place.weight)
    torch.testing.assert_close(net(*rolled(*given, by)), net(*given).roll(by, -1), rtol=0, atol=1e-4)
    half = net(*rolled(*given, 1)) - net(*given).roll(1, -1)
    assert half.abs().max() > 1e-4, "half a patch is another cut"


def test_a_region_has_edges():
    """There, turning is no symmetry: the answer at an edge is not made of the other one."""
    grid = region(8, 18)
    net, given = stirred(grid), inputs(grid)
    torch.nn.init.zeros_(net.to_place.weight)
    assert (net(*rolled(*given, 3)) - net(*given).roll(3, -1)).abs().max() > 1e-2


GRIDS = {
    "globe with poles": globe(9, 18),
    "globe that patches do not divide": globe(7, 20),
    "region": region(8, 12),
    "region that patches do not divide": region(5, 11),
    "smallest": region(2, 2),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("patch", [(1, 1), (2, 3), (4, 4)])
@pytest.mark.parametrize("past", [1, 2])
def test_any_grid(name, patch, past):
    """The velocity has the shape of the map and is finite, also at the poles."""
    grid = GRIDS[name]
    net, (x, t, cond) = stirred(grid, patch=patch, past=past), inputs(grid, past=past)
    found = net(x, t, cond)
    assert found.shape == x.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert (found.flatten(2).std(-1) > 0).all()


@pytest.mark.parametrize("name", GRIDS)
def test_gradient_reaches_every_weight(name):
    """No weight is idle, and every gradient is finite; so are those of the inputs, which reach every point."""
    grid = GRIDS[name]
    net, (x, t, cond) = stirred(grid, day=1), inputs(grid)
    given = [x.requires_grad_(), cond["past"].requires_grad_(), cond["base"].requires_grad_()]
    net.train()(x, t, cond).square().sum().backward()
    for key, weight in net.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.isfinite().all(), key
        assert weight.grad.abs().max() > 0, key
    for part in given:
        assert part.grad.isfinite().all()
        assert (part.grad.abs() > 0).float().mean() > 0.95


@pytest.mark.parametrize("what", ["past", "known", "base", "minutes", "t", "older"])
def test_every_condition_counts(what):
    """Another past, base, date or time, or not knowing, gives another answer."""
    grid = globe(8, 12)
    net, (x, t, cond) = stirred(grid, past=2), inputs(grid, past=2)
    want = net(x, t, cond)
    if what == "t":
        other = net(x, 1 - t, cond)
    elif what == "older":
        past = cond["past"].clone()
        past[:, 0] += 1
        other = net(x, t, {**cond, "past": past})
    else:
        change = {"known": 1 - cond["known"], "minutes": cond["minutes"] + 100_000}
        other = net(x, t, {**cond, what: change.get(what, cond[what] + 1)})
    assert ((other - want).abs().flatten(1).max(1).values > 1e-5).all()


def test_seasons_and_hours_only_where_asked():
    """Without harmonics the date does not count; with those of the year alone, 24 hours hardly do and 12 as little."""
    grid = region(4, 6)
    x, t, cond = inputs(grid)
    later = {**cond, "minutes": cond["minutes"] + 12 * 60}
    timeless, hourly = stirred(grid, year=0), stirred(grid, year=0, day=1)
    assert torch.equal(timeless(x, t, cond), timeless(x, t, later))
    assert not torch.allclose(hourly(x, t, cond), hourly(x, t, later), atol=1e-4)
    day = {**cond, "minutes": cond["minutes"] + 24 * 60}
    torch.testing.assert_close(hourly(x, t, cond), hourly(x, t, day), rtol=0, atol=1e-4)


def test_examples_do_not_see_each_other():
    """A row's answer is that of the row alone."""
    grid = globe(8, 12)
    net, (x, t, cond) = stirred(grid), inputs(grid)
    for i in range(3):
        alone = net(x[i : i + 1], t[i : i + 1], {name: value[i : i + 1] for name, value in cond.items()})
        torch.testing.assert_close(alone[0], net(x, t, cond)[i], rtol=0, atol=1e-5)
    wide = {**cond, "base": cond["base"][:1]}
    same = {**cond, "base": cond["base"][:1].expand_as(x)}
    assert torch.equal(net(x, t, wide), net(x, t, same)), "a base may broadcast"


@pytest.mark.parametrize("patch", [(1, 1), (2, 3), (4, 2)])
def test_patches_lie_where_the_grid_says(patch):
    """The centre of every patch: the mean of its latitudes and of its longitudes, row by row."""
    grid = globe(8, 12, west=-40.0)
    net = stirred(grid, patch=patch)
    lat = grid.latitude.view(-1, patch[0]).mean(1)
    lon = grid.longitude.view(-1, patch[1]).mean(1)
    want = torch.stack(torch.meshgrid(lat, lon, indexing="ij")).flatten(1)
    torch.testing.assert_close(torch.stack((net.latitude, net.longitude)).double(), want, rtol=0, atol=1e-6)


def test_patches_beyond_the_edge():
    """Where patches do not divide the map, the last longitudes go on by the grid's step, the outer latitudes stay."""
    grid = region(5, 7)
    net = stirred(grid, patch=(2, 3))
    assert net.latitude.shape == (3 * 3,)
    lon = net.longitude.view(3, 3).rad2deg()
    torch.testing.assert_close(lon[0], torch.tensor([-17.5, -10.0, -2.5]), rtol=0, atol=1e-4)
    lat = net.latitude.view(3, 3).rad2deg()[:, 0]
    assert (lat.diff() > 0).all()
    assert lat.min() >= 35
    assert lat.max() <= 45


def test_weights_travel_with_the_places():
    """A network that never saw the data answers the same once it has the state of one that did."""
    grid = globe(8, 12)
    net, given = stirred(grid), inputs(grid)
    fresh = WeatherNet(Spec((CHANNELS, 8, 12), context={"past": (1, CHANNELS, 8, 12)}), patch=(2, 3), **TINY).eval()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(*given), net(*given))
