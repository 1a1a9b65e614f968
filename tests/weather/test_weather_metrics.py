"""Scores of weather where the answer is known: flows in balance, waves of one wavenumber, and an autoregressive sea of
pressure whose best forecast, and its score, can be written down.

Legend: N maps, S starts, M members, C channels, H latitudes, W longitudes.
"""

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray
from torch import Tensor

from genzoo.config import scores_of
from genzoo_weather import metrics, physics
from genzoo_weather.data import WeatherData
from genzoo_weather.physics import EARTH_RADIUS, GRAVITY, OMEGA, R_DRY, Grid
from genzoo_weather.transform import SphericalTransform, gaussian_latitudes
from genzoo_weather.variables import Variable

MEMORY, STD, MEAN = 0.8, 500.0, 1.01e5
"""From map to map; Pa."""

SHALLOW = [Variable("u", "m s-1"), Variable("v", "m s-1"), Variable("h", "m")]
SEA = [Variable("msl", "Pa")]


def globe(high: int = 32, wide: int = 64) -> Grid:
    return Grid(gaussian_latitudes(high)[0], torch.arange(wide) * (360 / wide))


EUROPE = Grid(30 + 2.5 * torch.arange(10), 2.5 * torch.arange(16))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def sea(tmp_path_factory) -> WeatherData:
    """Pressure at 4 x 5 points, each an autoregression of order one, in a file of 1,500 days."""
    noise, maps = draw(1500, 4, 5), [draw(4, 5, seed=1)]
    for part in noise[1:]:
        maps.append(MEMORY * maps[-1] + math.sqrt(1 - MEMORY**2) * part)
    file = tmp_path_factory.mktemp("sea") / "sea.nc"
    axes = {
        "time": np.datetime64("2001-01-01", "ns") + np.arange(1500) * np.timedelta64(1, "D"),
        "latitude": 40 + 3.0 * np.arange(4),
        "longitude": 3.0 * np.arange(5),
    }
    values = (MEAN + STD * torch.stack(maps)).numpy()
    xarray.Dataset({"msl": (tuple(axes), values, {"units": "Pa"})}, axes).to_netcdf(file)
    data = WeatherData(path=str(file), val_fraction=0.3)
    data.prepare()
    return data


def truth_of(data: WeatherData, minutes: Tensor) -> Tensor:
    """The maps of those times."""
    return data.frames(np.array([int(np.flatnonzero(data.fields.minutes == m)[0]) for m in minutes.tolist()]))


def forecast(data: WeatherData, sample: Callable, **options) -> dict:
    return scores_of(data).conditional_metrics(sample, "val", **{"starts": 5, "members": 3, "leads": (1, 2), **options})


# ---- forecasts


def test_perfect_forecasts(sea):
    """They have no error, no CRPS, and the spectrum and physics of what came."""
    asked = []

    def sample(cond: dict[str, Tensor], seed: int) -> Tensor:
        asked.append(seed)
        return truth_of(sea, cond["minutes"])

    found = forecast(sea, sample, starts=11)
    for lead in ("lead_1", "lead_2"):
        assert found["forecast"]["msl"][lead]["rmse"] < 1e-9 * STD
        assert found["forecast"]["msl"][lead]["crps"] < 1e-9 * STD
        assert sum(found["forecast"]["msl"][lead]["ranks"]) == pytest.approx(1, abs=1e-3)
    assert found["spectrum"]["lead_2"]["msl"]["largest_error_to_two_thirds"] < 1e-9
    assert set(found["spectrum"]["lead_2"]["msl"]["over_real"]) == {1.0}
    assert (found["forecast"]["starts"], found["forecast"]["members"]) == (11, 3)
    assert found["forecast"]["hours_a_step"] == 24
    assert len(set(asked)) == 4, "two pieces of starts, two leads, each with a seed of its own"
    assert len(asked) == 8, "and the first step twice more with its seed, for the controls"
    assert found["one_step"]["told"]["msl"]["rmse"] < 1e-9 * STD


def test_forecasts_of_the_true_law(sea):
    """Members drawn from the law itself: error sqrt(1 - r^(2 lead)), CRPS that over sqrt(pi), spread like skill, every
    rank as often."""
    generator = torch.Generator().manual_seed(3)

    def sample(cond: dict[str, Tensor], seed: int) -> Tensor:
        noise = torch.randn(cond["past"][:, -1].shape, generator=generator)
        return MEMORY * cond["past"][:, -1] + math.sqrt(1 - MEMORY**2) * noise

    whole = forecast(sea, sample, starts=400, members=7, leads=[3, 1])
    found = whole["forecast"]
    assert list(found["msl"]) == ["lead_1", "lead_3"]
    one = {name: scores["msl"]["crps"] for name, scores in whole["one_step"].items()}
    assert one["told"] == pytest.approx(found["msl"]["lead_1"]["crps"])
    assert one["withheld"] == pytest.approx(STD / math.sqrt(math.pi), rel=0.2), "without a past: the last map is 0"
    assert one["swapped"] > 1.2 * one["told"]
    for lead in (1, 3):
        scores, error = found["msl"][f"lead_{lead}"], STD * math.sqrt(1 - MEMORY ** (2 * lead))
        assert scores["crps"] == pytest.approx(error / math.sqrt(math.pi), rel=0.05)
        assert scores["rmse"] == pytest.approx(error * math.sqrt(1 + 1 / 7), rel=0.05)
        assert scores["spread_skill"] == pytest.approx(1, abs=0.05)
        assert scores["ranks"] == pytest.approx([1 / 8] * 8, abs=0.02)
    json.dumps(found)


def test_sure_and_wrong_forecasts(sea):
    """The last map for all members: the error of persistence, and no spread at all."""
    found = forecast(sea, lambda cond, seed: cond["past"][:, -1], starts=400, leads=[1])
    scores = found["forecast"]["msl"]["lead_1"]
    error = STD * math.sqrt(2 - 2 * MEMORY)
    assert scores["rmse"] == pytest.approx(error, rel=0.05)
    assert scores["crps"] == pytest.approx(error * math.sqrt(2 / math.pi), rel=0.05)
    assert scores["spread_skill"] == 0
    assert scores["ranks"][0] + scores["ranks"][-1] == pytest.approx(1)
    assert scores["rmse"] == pytest.approx(found["baselines"]["persistence"]["msl"]["lead_1"]["rmse"], rel=1e-4)


def test_rollout_inside_the_score(sea):
    """Each step is asked for with the map before it as its past and its own time."""
    asked = []

    def sample(cond: dict[str, Tensor], seed: int) -> Tensor:
        asked.append(cond)
        return cond["past"][:, -1] + 1

    forecast(sea, sample, starts=2, members=2, leads=[3])
    withheld, swapped = asked[1:3]
    assert withheld["known"].max() == withheld["past"].abs().max() == 0
    assert torch.equal(swapped["past"], asked[0]["past"].roll(2, 0)), "of the other start"
    assert torch.equal(swapped["minutes"], asked[0]["minutes"])
    del asked[1:3]
    assert len(asked) == 3
    for before, after in itertools.pairwise(asked):
        assert torch.equal(after["past"][:, -1], before["past"][:, -1] + 1)
        assert torch.equal(after["minutes"], before["minutes"] + 24 * 60)
        assert (after["known"] == 1).all()
    first = asked[0]
    assert torch.equal(first["past"][:, -1], truth_of(sea, first["minutes"] - 24 * 60)), "it starts from real maps"
    assert torch.equal(first["past"][0], first["past"][1]), "the members of one start are side by side"
    assert not torch.equal(first["past"][1], first["past"][2])


def test_baselines(sea):
    """Climatology, persistence and damped persistence have the errors that the law says, at each lead; the modes can do
    no better than damped persistence here, and lose little. A normal law's CRPS is its error over sqrt(pi)."""
    first = sea.starts("val", 2)
    truth = {lead: sea.examples_at(first, lead=lead) for lead in (1, 2)}
    found = metrics.baselines(sea, sea.examples_at(first), truth)
    assert set(found) == {"climatology", "persistence", "damped", "linear"}
    for lead in (1, 2):
        want = {
            "climatology": 1.0,
            "persistence": math.sqrt(2 - 2 * MEMORY**lead),
            "damped": math.sqrt(1 - MEMORY ** (2 * lead)),
            "linear": math.sqrt(1 - MEMORY ** (2 * lead)),
        }
        for name, error in want.items():
            scores = found[name]["msl"][f"lead_{lead}"]
            assert scores["rmse"] == pytest.approx(STD * error, rel=0.07), name
            assert scores["crps"] == pytest.approx(scores["rmse"] / math.sqrt(math.pi), rel=0.03), name


def test_baseline_of_several_maps(sea):
    """Where the model is told two maps, one baseline is told them too, and the others still take the last."""
    data = WeatherData(path=sea.path, val_fraction=0.3, past=2)
    data.prepare()
    first = data.starts("val")
    found = metrics.baselines(data, data.examples_at(first), {1: data.examples_at(first)})
    assert "linear_past" in found
    error = STD * math.sqrt(1 - MEMORY**2)
    for name in ("damped", "linear", "linear_past"):
        assert found[name]["msl"]["lead_1"]["rmse"] == pytest.approx(error, rel=0.07)


@pytest.mark.parametrize(
    "options", [{"members": 1}, {"leads": []}, {"leads": [0]}, {"starts": -1}, {"leads": [100_000]}], ids=str
)
def test_refused_scoring(sea, options):
    """Too few members or starts, and leads that are none or that the split does not reach."""
    with pytest.raises(ValueError, match="scoring|leads"):
        forecast(sea, lambda cond, seed: cond["past"][:, -1], **options)


def test_no_starts_no_forecasts(sea):
    assert forecast(sea, lambda cond, seed: pytest.fail("asked"), starts=0) == {}


# ---- physics


def test_physics_of_a_flow_in_balance():
    """A solid rotation with the depth that balances it: no divergence, a vorticity of 2 U sin(latitude) / a, wind that
    is geostrophic, and the energy of the closed form."""
    grid, speed = globe(), 20.0
    y = grid.latitude[:, None].expand(32, 64)
    depth = 8000 - EARTH_RADIUS * OMEGA * speed * y.sin() ** 2 / GRAVITY
    found = metrics.physics_of(torch.stack((speed * y.cos(), 0 * y, depth))[None], SHALLOW, grid)
    rows = grid.rows(30, 75, both=True)
    vorticity = math.sqrt(float(grid.mean((2 * speed * y.sin() / EARTH_RADIUS) ** 2, rows)))
    assert found["rms_vorticity_per_s"] == pytest.approx(vorticity, rel=0.01)
    assert found["rms_divergence_per_s"] < 1e-3 * vorticity
    assert found["ageostrophic_ratio"] < 0.02
    assert found["mean_depth_m"] == pytest.approx(float(grid.mean(depth)), rel=1e-9)
    # over the sphere: sin^2 -> 1/3, sin^4 -> 1/5, cos^2 sin^2 -> 2/15
    drop = EARTH_RADIUS * OMEGA * speed / GRAVITY
    kinetic = speed**2 / 2 * (8000 * 2 / 3 - drop * 2 / 15)
    potential = GRAVITY / 2 * (8000**2 - 2 * 8000 * drop / 3 + drop**2 / 5)
    assert found["energy_m3_per_s2"] == pytest.approx(kinetic + potential, rel=2e-3)
    against = metrics.physics_of(torch.stack((-speed * y.cos(), 0 * y, depth))[None], SHALLOW, grid)
    assert against["ageostrophic_ratio"] == pytest.approx(2, abs=0.03)


def test_physics_of_levels():
    """Wind and geopotential level by level, and layers as thick as their temperature says."""
    grid, levels = globe(), (1000.0, 500.0, 250.0)
    variables = [Variable(name, "", level) for level in levels for name in ("z", "t", "u", "v")]
    y = grid.latitude[:, None].expand(32, 64)
    fields = []
    for level in levels:
        height = R_DRY * 260 * math.log(1000 / level)
        fields += [
            height - EARTH_RADIUS * OMEGA * 10 * y.sin() ** 2,
            torch.full_like(y, 260.0),
            10 * y.cos(),
            torch.zeros_like(y),
        ]
    found = metrics.physics_of(torch.stack(fields)[None], variables, grid)
    for level in ("1000", "500", "250"):
        assert found[f"ageostrophic_ratio_{level}"] < 0.02
        assert found[f"rms_divergence_{level}_per_s"] < 1e-9
    assert found["rms_hypsometric_1000_500_m"] == pytest.approx(0, abs=1e-6)
    fields[5] = fields[5] + 20  # 10 K on the mean of either layer
    warm = metrics.physics_of(torch.stack(fields)[None], variables, grid)
    for layer in ("1000_500", "500_250"):
        assert warm[f"rms_hypsometric_{layer}_m"] == pytest.approx(10 * R_DRY / GRAVITY * math.log(2), rel=1e-6)
    assert "mean_depth_m" not in found
    assert not any(name.startswith("energy") for name in found)


def test_physics_that_the_variables_allow():
    """Of pressure alone nothing is said; of winds near the equator no balance."""
    assert metrics.physics_of(draw(2, 1, 10, 16), SEA, EUROPE) == {}
    tropics = Grid(torch.linspace(-20, 20, 10), 2.5 * torch.arange(16))
    found = metrics.physics_of(draw(2, 3, 10, 16) + 100, SHALLOW, tropics)
    assert "ageostrophic_ratio" not in found
    assert {"rms_divergence_per_s", "rms_vorticity_per_s", "mean_depth_m"} <= set(found)


def test_mass_drift():
    """The largest relative change, of either sign; 0 where there is no depth."""
    before = torch.full((3, 3, 10, 16), 200.0)
    after = before.clone()
    after[1, 2] *= 0.99
    after[2, 2] *= 1.004
    assert metrics.mass_drift(after, before, SHALLOW, EUROPE) == pytest.approx(0.01, rel=1e-4)
    assert metrics.mass_drift(after[:, :1], before[:, :1], SEA, EUROPE) == 0


# ---- spectra


@pytest.mark.parametrize("grid", [globe(), EUROPE], ids=["globe", "region"])
def test_spectrum_over_that_of_real_maps(grid):
    """The same maps have a ratio of 1, half as strong ones of a quarter, at every wavenumber."""
    shape = (len(grid.latitude), len(grid.longitude))
    x = draw(3, 3, *shape)
    for factor in (1.0, 0.5):
        found = metrics.spectra(factor * x, x, SHALLOW, grid)
        assert set(found) == {"kinetic_energy", "h"}
        for scores in found.values():
            assert scores["over_real"] == pytest.approx([factor**2] * len(scores["over_real"]), abs=1e-3)
            assert scores["largest_error_to_two_thirds"] == pytest.approx(1 - factor**2, abs=1e-9)


def test_spectrum_finds_the_wavenumber():
    """A harmonic of degree 5 and zonal wavenumber 3: all of its variance is at 5; a solid rotation has its energy at 1,
    and the sum over wavenumbers is the mean of V^2 / 2."""
    grid = globe()
    y, x = torch.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    wave = y.cos() ** 3 * (9 * y.sin() ** 2 - 1) * (3 * x + 0.4).cos()
    transform = SphericalTransform.of(grid.latitude_deg, len(grid.longitude_deg))
    found = metrics.spectrum_of(torch.stack((30 * y.cos(), 0 * y, wave))[None], SHALLOW, grid, transform)
    variance = float(grid.mean(wave.square()))
    assert found["h"].argmax() == 5
    assert found["h"][5].item() == pytest.approx(variance, rel=0.01)
    assert found["h"].sum().item() == pytest.approx(found["h"][5].item(), rel=1e-9)
    assert found["kinetic_energy"][1].item() == pytest.approx(300, rel=1e-6)  # 30^2 / 2 * 2/3
    assert found["kinetic_energy"].sum().item() == pytest.approx(300, rel=1e-6)


def test_small_scales_that_are_missing_are_seen():
    """Maps without their waves beyond 4: the ratio falls to 0 there, and the largest error says so."""
    grid = globe()
    x = draw(4, 1, 32, 64)
    waves = torch.fft.rfft(x)
    waves[..., 2:] = 0
    found = metrics.spectra(torch.fft.irfft(waves, n=64), x, SEA, grid)["msl"]
    assert found["over_real"][0] > 0.5
    assert max(found["over_real"][12:]) < 0.3
    assert 0.7 < found["largest_error_to_two_thirds"] <= 1


# ---- climate


def test_climate(sea):
    """Real maps against themselves have no error; shifted and stretched ones that of the shift and the stretch."""
    real = sea.decode(sea.examples("val", most=50).x.double())
    same = metrics.climate(real, real, sea.variables, sea.grid)["climate"]
    assert same["msl"] == {"rms_error_of_mean": 0, "rms_error_of_std": 0}
    assert same["physics"] == {}
    assert same["spectrum"]["msl"]["largest_error_to_two_thirds"] == 0
    centre = real.mean(0)
    other = metrics.climate(centre + 100 + 1.5 * (real - centre), real, sea.variables, sea.grid)["climate"]["msl"]
    assert other["rms_error_of_mean"] == pytest.approx(100, rel=1e-6)
    half = math.sqrt(float(sea.grid.mean(real.std(0).square()))) / 2
    assert other["rms_error_of_std"] == pytest.approx(half, rel=1e-6)


def test_climate_of_samples_in_model_space(sea):
    """`metrics` of the data: the same scores of samples as they come from a model, against as many real maps."""
    x = sea.examples("val", most=40).x
    found = scores_of(sea).metrics(x, "val", sea.request(1))["climate"]
    assert found["msl"]["rms_error_of_mean"] == pytest.approx(0, abs=1e-3)
    alone = scores_of(sea).metrics(x[:1], "val", sea.request(1))["climate"]
    assert "msl" not in alone, "one sample has no spread"
    json.dumps([found, alone])


def test_climate_beside_physics():
    """Where there are winds and a depth, samples and real maps are told side by side."""
    grid = globe()
    real, made = draw(4, 3, 32, 64) + 100, draw(4, 3, 32, 64, seed=1) + 100
    found = metrics.climate(made, real, SHALLOW, grid)["climate"]
    assert found["physics"]["mean_depth_m"] == {
        "samples": pytest.approx(float(physics.mass(made[:, 2], grid).mean())),
        "real": pytest.approx(float(physics.mass(real[:, 2], grid).mean())),
    }
