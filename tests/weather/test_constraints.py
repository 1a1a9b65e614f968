"""Physics off, soft and hard: penalties that only what is worse than real maps pays, and a projection that is exact.

Legend: B batch, C channels (u, v, h), H latitudes, W longitudes.
"""

import math
from functools import cache, partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from genzoo.contract import Batch, Spec
from genzoo.draws import GeneratorNoise
from genzoo.families import Flow
from genzoo_weather import physics
from genzoo_weather.constraints import LEAK, Conserve, Residual
from genzoo_weather.data import WeatherData
from genzoo_weather.linear import LinearForecast
from genzoo_weather.net import WeatherNet
from genzoo_weather.physics import GRAVITY, Grid
from genzoo_weather.transform import SphericalTransform, gaussian_latitudes
from genzoo_weather.variables import Variable

KINDS = ("balance", "divergence", "mass")
U, V, H = 0, 1, 2


@cache
def weather() -> WeatherData:
    """Simulated weather on a coarse globe, that of the smoke preset."""
    data = WeatherData(
        simulation={"latitudes": 20, "truncation": 13, "trajectories": 2, "days": 20, "spin_up_days": 10}
    )
    data.prepare()
    return data


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def residual(kind: str) -> Residual:
    made = Residual(kind=kind)
    made.initialise(weather())
    return made


def changed(batch: Batch, channel: int, values: Tensor) -> Tensor:
    """The batch's maps with another field, in SI units, in one channel."""
    maps = weather().decode(batch.x.double())
    maps[:, channel] = values
    return weather().encode(maps)


# ---- soft


@pytest.mark.parametrize("kind", KINDS)
def test_real_maps_pay_nothing(kind):
    """The map itself has the residual that it may have."""
    batch = weather().examples("train", most=12)
    found = residual(kind)(batch.x, batch)
    assert found.shape == (12,)
    assert (found == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_worse_pays(kind):
    """Noise on all maps costs each of them, and more noise more: four times for twice as much, once it is far off."""
    batch, noise = weather().examples("train", most=12), draw(12, 3, 20, 40)
    noise = noise + 0.3 * draw(12, 3, 1, 1, seed=1)
    once, twice = (residual(kind)(batch.x + size * noise, batch) for size in (2, 4))
    assert (once > 0).all()
    assert (twice > 2 * once).all()
    assert (twice.mean() / once.mean()).item() == pytest.approx(4, rel=0.15)


def test_what_is_better_pays_nothing():
    """Winds in geostrophic balance, winds without divergence, and a depth whose mean is the last one's: not one of
    them is real, and none is punished."""
    batch, data = weather().examples("train", most=12), weather()
    maps = data.decode(batch.x.double())
    u, v = physics.geostrophic_wind(GRAVITY * maps[:, H], data.grid)
    balanced = changed(batch, U, u)
    balanced[:, V] = data.encode(torch.stack((u, v, maps[:, H]), dim=1))[:, V]
    assert (residual("balance")(balanced, batch) == 0).all()
    zonal = changed(batch, U, u.mean(-1, keepdim=True).expand_as(u))
    zonal[:, V] = data.encode(torch.zeros_like(maps))[:, V]
    assert (residual("divergence")(zonal, batch) == 0).all()
    before = data.decode(batch.cond["past"][:, -1].double())[:, H]
    level = maps[:, H] - physics.mass(maps[:, H] - before, data.grid).view(-1, 1, 1)
    assert (residual("mass")(changed(batch, H, level), batch) == 0).all()


@pytest.mark.parametrize("kind", ["balance", "divergence"])
def test_unit_is_the_mean_residual_of_real_maps(kind):
    """The penalty is what the residual exceeds the real one by, over the mean of real ones."""
    batch, data = weather().examples("train", most=256), weather()
    found = residual(kind)(batch.x + draw(*batch.x.shape), batch)
    of = {"balance": balance_of, "divergence": divergence_of}[kind]
    real, ours = (of(data.decode(x.double())) for x in (batch.x, batch.x + draw(*batch.x.shape)))
    torch.testing.assert_close(found.double(), (ours - real).clamp(min=0) / real.mean(), rtol=1e-3, atol=1e-3)


def far() -> Tensor:
    """Rows from 30 to 75 degrees on both hemispheres."""
    return weather().grid.rows(30, 75, both=True)


def divergence_of(maps: Tensor) -> Tensor:
    return weather().grid.mean(physics.divergence(maps[:, U], maps[:, V], weather().grid).square(), far())


def balance_of(maps: Tensor) -> Tensor:
    u, v = physics.geostrophic_wind(GRAVITY * maps[:, H], weather().grid, min_latitude=30)
    return weather().grid.mean((maps[:, U] - u).square() + (maps[:, V] - v).square(), far())


@pytest.mark.parametrize("leaks", [-3.0, 1.0, 2.0])
def test_unit_of_mass(leaks):
    """A mean depth that changes by `leaks` times a ten-thousandth costs leaks^2, since real maps change by less; of a
    map whose past is not known, nothing."""
    batch, data = weather().examples("train", most=6), weather()
    batch.cond["known"] = torch.tensor([1.0, 1, 1, 1, 0, 0])
    before = data.decode(batch.cond["past"][:, -1].double())[:, H]
    mean = physics.mass(data.decode(weather().examples("train", most=256).x.double())[:, H], data.grid).mean()
    found = residual("mass")(changed(batch, H, before + leaks * LEAK * mean), batch)
    want = torch.tensor([1.0, 1, 1, 1, 0, 0]) * leaks**2
    torch.testing.assert_close(found, want, rtol=0.02, atol=0)


def test_the_tropics_are_free():
    """Between 25 S and 25 N winds need not be balanced, nor free of divergence."""
    batch = weather().examples("train", most=4)
    near = (weather().grid.latitude_deg.abs() < 20).view(-1, 1)
    noise = draw(4, 3, 20, 40) * near * torch.tensor([1.0, 1, 0]).view(3, 1, 1)
    for kind in ("balance", "divergence"):
        assert (residual(kind)(batch.x + noise, batch) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_descent_on_the_penalty(kind):
    """The gradient is finite everywhere, also at a map that pays nothing, and following it lowers the penalty."""
    penalty, batch = residual(kind), weather().examples("train", most=4)
    start = batch.x + draw(4, 3, 20, 40) + 0.2
    x = start.clone().requires_grad_()
    optimizer, paid = torch.optim.Adam([x], lr=0.03), []
    for _ in range(40):
        optimizer.zero_grad()
        value = penalty(x, batch).sum()
        value.backward()
        assert x.grad.isfinite().all()
        paid.append(value.item())
        optimizer.step()
    assert paid[-1] < 0.5 * paid[0]
    real = batch.x.clone().requires_grad_()
    penalty(real, batch).sum().backward()
    assert (real.grad == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_penalty_in_low_precision(kind):
    """An estimate in bfloat16 is weighed in float32."""
    batch = weather().examples("train", most=4)
    found = residual(kind)((batch.x + draw(4, 3, 20, 40)).bfloat16(), batch)
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def kind_of(*names: str, grid: Grid | None = None, levels: tuple[float | None, ...] = (None,)) -> SimpleNamespace:
    """As much of data as a refusal looks at."""
    variables = [Variable(name, "", level) for level in levels for name in names]
    fitted = {"variables": [{"mean": 0.0, "std": 1.0} for _ in variables]}
    return SimpleNamespace(variables=variables, grid=grid or weather().grid, fitted=fitted)


TROPICS = Grid(torch.linspace(-20, 20, 9), 9.0 * torch.arange(40))
EUROPE = Grid(30 + 2.5 * torch.arange(12), 2.5 * torch.arange(16))
BELT = Grid(30 + 2.0 * torch.arange(20), 9.0 * torch.arange(40))


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("balance", object(), "are for weather: leave constraints at off"),
        ("mass", kind_of("u", "v", "z"), "mass of these maps is not known: there is no depth h"),
        ("balance", kind_of("h", "u"), "balance needs winds u and v"),
        ("divergence", kind_of("msl"), "divergence needs winds u and v"),
        ("balance", kind_of("u", "v", "t"), "balance needs the depth h or the geopotential z"),
        ("divergence", kind_of("u", "v", grid=TROPICS), "poleward of 30 degrees"),
    ],
)
def test_penalties_that_the_data_cannot_have(kind, data, message):
    """Each is refused before a run begins, by what is missing."""
    with pytest.raises(ValueError, match=message):
        Residual(kind=kind).initialise(data)


def test_refused_kind():
    with pytest.raises(ValueError, match="kind is balance, divergence or mass, not 'energy'"):
        Residual(kind="energy")


# ---- hard


def conserve(data: object, shape: tuple[int, ...] = (3, 20, 40), **options) -> Conserve:
    made = Conserve(Spec(shape), **options)
    made.initialise(data)
    return made


def conditions(rows: int = 4) -> dict[str, Tensor]:
    """Real maps as the past; of the last row it is not known."""
    cond = dict(weather().examples("train", most=rows).cond)
    cond["known"] = torch.tensor([1.0] * (rows - 1) + [0.0])
    return cond


def masses(x: Tensor) -> Tensor:
    return physics.mass(weather().decode(x.double())[:, H], weather().grid)


def test_mass_is_kept():
    """The mean depth is that of the last map to a ten-millionth; where there is no last map, that of the map itself."""
    cond, x = conditions(), draw(4, 3, 20, 40) + 0.5
    cond["past"] = cond["past"] + 0.3  # not the mean of all maps
    found = masses(conserve(weather())(x, cond))
    want = masses(cond["past"][:, -1])
    assert ((found - want)[:3] / want[:3]).abs().max() < 1e-7
    assert ((masses(x) - want)[:3] / want[:3]).abs().min() > 1e-3
    assert ((found - masses(x))[3] / want[3]).abs() < 1e-7


def test_depth_keeps_its_shape():
    """The same is added at every point."""
    cond, x = conditions(), draw(4, 3, 20, 40)
    added = conserve(weather())(x, cond)[:, H] - x[:, H]
    assert added.flatten(1).std(1).max() < 1e-6
    assert added.flatten(1).mean(1)[:3].abs().min() > 1e-3


def wind_of(x: Tensor) -> tuple[Tensor, Tensor]:
    maps = weather().decode(x.double())
    return maps[:, U], maps[:, V]


def test_divergence_is_removed_and_vorticity_kept():
    """By spherical harmonics: no divergence is left but rounding, and the vorticity is the one it was."""
    x = draw(4, 3, 20, 40)
    transform = SphericalTransform(weather().grid.latitude_deg, 40, 13)
    before, after = (transform.vorticity_divergence(*wind_of(y)) for y in (x, conserve(weather())(x, conditions())))
    size = before[0].abs().square().sum().sqrt()
    assert before[1].abs().square().sum().sqrt() > 0.5 * size
    assert after[1].abs().square().sum().sqrt() < 1e-5 * size
    assert (after[0] - before[0]).abs().square().sum().sqrt() < 1e-5 * size


def test_divergence_by_finite_differences():
    """A second way to see it, on a fine Gaussian grid and a smooth wind: the divergence falls to the error of the
    differences, and the vorticity is still that of before."""
    grid = Grid(gaussian_latitudes(64)[0], torch.arange(128) * (360 / 128))
    y, x = torch.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    u = 20 * y.cos() + 5 * (3 * x).cos() * y.cos() ** 3
    v = 7 * (2 * x + 1).sin() * y.cos() ** 2 + 4 * y.sin() * y.cos() * (x + 0.3).cos()
    data = SimpleNamespace(
        variables=[Variable(name, "") for name in "uvh"],
        grid=grid,
        fitted={"variables": [{"mean": m, "std": s} for m, s in ((2.0, 10.0), (-1.0, 5.0), (8000.0, 300.0))]},
    )
    maps = torch.stack((u, v, 8000 + 0 * u))
    mean, std = (torch.tensor(c, dtype=torch.float64).view(3, 1, 1) for c in ((2, -1, 8000), (10, 5, 300)))
    cond = {"past": torch.zeros(1, 1, 3, 64, 128), "known": torch.ones(1)}
    out = conserve(data, (3, 64, 128)).double()(((maps - mean) / std)[None], cond)[0] * std + mean

    def size(field: Tensor) -> float:
        return float(grid.mean(field.square(), grid.rows(-80, 80)).sqrt())

    assert size(physics.divergence(out[U], out[V], grid)) < 0.01 * size(physics.divergence(u, v, grid))
    turned, was = physics.vorticity(out[U], out[V], grid), physics.vorticity(u, v, grid)
    assert size(turned - was) < 0.01 * size(was)
    assert (out[U] - u).abs().max() > 0.5


def test_projection_is_one():
    """Done twice it does no more, and what keeps to it already is left as it is."""
    cond, project = conditions(), conserve(weather())
    once = project(draw(4, 3, 20, 40), cond)
    torch.testing.assert_close(project(once, cond), once, rtol=0, atol=2e-5)
    rotation = torch.stack((weather().grid.latitude.cos()[:, None].expand(20, 40) * 30, torch.zeros(20, 40)))
    x = cond["past"][:, -1].clone()
    x[:, :2] = weather().encode(torch.cat((rotation, torch.zeros(1, 20, 40))))[:2]
    torch.testing.assert_close(project(x, cond), x, rtol=0, atol=2e-5)


def test_projection_is_linear_in_what_is_given():
    """Its gradient is finite and that of the linear map that it is, in float64."""
    cond, project = {k: v.double() for k, v in conditions().items()}, conserve(weather()).double()
    x, way, seen = (draw(4, 3, 20, 40, seed=s, dtype=torch.float64) for s in range(3))
    x.requires_grad_()
    (project(x, cond) * seen).sum().backward()
    assert x.grad.isfinite().all()
    with torch.no_grad():
        slope = ((project(x + way, cond) - project(x - way, cond)) * seen).sum() / 2
    torch.testing.assert_close((x.grad * way).sum(), slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("mass", "wind"), [(True, "free"), (False, "nondivergent"), (False, "free")])
def test_parts_can_be_left_out(mass, wind):
    """What is not projected stays, bit for bit."""
    x = draw(4, 3, 20, 40)
    out = conserve(weather(), mass=mass, wind=wind)(x, conditions())
    assert torch.equal(out[:, H], x[:, H]) != mass
    assert torch.equal(out[:, :2], x[:, :2]) == (wind == "free")


def test_other_variables_are_left_alone():
    """Where u, v and h stand among others, only they are touched."""
    names = ("t", "h", "v", "q", "u")
    about = {name: weather().fitted["variables"][i] for i, name in enumerate("uvh")}
    data = kind_of(*names)
    data.fitted = {"variables": [about.get(name, {"mean": 1.0, "std": 2.0}) for name in names]}
    x, cond = draw(4, 5, 20, 40), conditions()
    cond["past"] = draw(4, 1, 5, 20, 40, seed=1)
    out = conserve(data, (5, 20, 40))(x, cond)
    assert torch.equal(out[:, [0, 3]], x[:, [0, 3]])
    order = [4, 2, 1]
    want = conserve(weather())(x[:, order], {**cond, "past": cond["past"][:, :, order]})
    torch.testing.assert_close(out[:, order], want, rtol=0, atol=1e-5)


def test_rows_do_not_see_each_other():
    x, cond, project = draw(4, 3, 20, 40), conditions(), conserve(weather())
    for i in range(4):
        alone = project(x[i : i + 1], {name: value[i : i + 1] for name, value in cond.items()})
        torch.testing.assert_close(alone[0], project(x, cond)[i], rtol=0, atol=1e-5)


def test_projection_travels_with_the_weights():
    """One that never saw the data projects the same once it has the state of one that did; a copy does so too."""
    import copy

    x, cond, project = draw(4, 3, 20, 40), conditions(), conserve(weather())
    want = project(x, cond)
    other = Conserve(Spec((3, 20, 40)))
    other.load_state_dict(project.state_dict())
    assert torch.equal(other(x, cond), want)
    assert torch.equal(copy.deepcopy(project)(x, cond), want)
    assert not any("transform" in name for name in project.state_dict())


def test_another_precision_after_the_first():
    """What was prepared for float32 maps does not stand in the way of float64 ones."""
    x, project = draw(4, 3, 20, 40), conserve(weather())
    first = project(x, conditions())
    torch.testing.assert_close(project(x.double(), conditions()).float(), first, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (object(), {}, "are for weather: leave constraints at off"),
        (kind_of("u", "v"), {}, "mass=true needs a depth h among the variables: set it to false"),
        (kind_of("u", "v", "h", grid=EUROPE), {}, "on the whole globe: set it to free"),
        (kind_of("u", "v", levels=(500.0, 850.0)), {"mass": False}, "u and v of one level"),
        (kind_of("h", "t"), {}, "needs u and v of one level"),
        (kind_of("u", "v", "h", grid=BELT), {}, "on the whole globe: set it to free"),
    ],
    ids=["no weather", "no depth", "region", "two levels", "no wind", "belt round the globe"],
)
def test_projections_that_the_data_cannot_have(data, options, message):
    """Each is refused before a run begins, with the mend."""
    shape = (3, len(data.grid.latitude), len(data.grid.longitude)) if hasattr(data, "grid") else (3, 20, 40)
    with pytest.raises(ValueError, match=message):
        conserve(data, shape, **options)


def test_refused_wind():
    with pytest.raises(ValueError, match="wind is free or nondivergent, not 'geostrophic'"):
        Conserve(Spec((3, 20, 40)), wind="geostrophic")


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun"])
def test_forecasts_of_a_flow_keep_to_physics(solver):
    """The whole: base, network and projection, none of them trained but fitted. Three steps on, the mass is still that
    of the first map, and the wind has no divergence; without the projection neither holds."""
    data = weather()
    torch.manual_seed(0)
    model = Flow(
        data.spec,
        partial(WeatherNet, dim=16, depth=1, heads=2, patch=(4, 4), features=4, degree=2),
        base=partial(LinearForecast, modes=10, year=0),
        project=Conserve,
    )
    model.initialise(data)
    for weight in model.net.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    origin = {name: value.repeat_interleave(2, 0) for name, value in data.examples("val", most=2).cond.items()}
    transform = SphericalTransform(data.grid.latitude_deg, 40, 13)
    for project in (True, False):
        cond = origin
        for _ in range(3):
            with torch.inference_mode():
                x = model.sample(
                    4, cond, GeneratorNoise(torch.Generator().manual_seed(1)), steps=2, solver=solver, project=project
                )
            cond = data.follow(x, cond)
        assert x.isfinite().all()
        drift = (masses(x) / masses(origin["past"][:, -1]) - 1).abs()
        zeta, delta = (part.abs().square().sum().sqrt() for part in transform.vorticity_divergence(*wind_of(x)))
        assert (drift.max() < 3e-7) == project
        assert (delta / zeta < 1e-5) == project
    assert math.isfinite(delta)
