"""Forecast files as other programs see them, as context for the next forecast, and the pictures made of them.

Legend: n members, T times, C channels, H latitudes, W longitudes.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from PIL import Image
from torch import Tensor

import genzoo
from genzoo.api import Model
from genzoo.errors import UserError
from genzoo_weather import pictures
from genzoo_weather.apart import open_fields
from genzoo_weather.data import WeatherData
from genzoo_weather.output import ForecastFile, shared_levels
from genzoo_weather.physics import Grid
from genzoo_weather.variables import KNOWN, Variable

GRID = Grid(torch.tensor([-40.0, -30, -15, 20]), 5.0 * torch.arange(6) - 10)
HOUR = 60
MINUTES = [123 * 24 * HOUR, 123 * 24 * HOUR + 6 * HOUR, 123 * 24 * HOUR + 12 * HOUR]
TIMES = np.array(["2000-05-03T00:00", "2000-05-03T06:00", "2000-05-03T12:00"], "datetime64[ns]")


def variable(name: str, level: float | None = None) -> Variable:
    """One that is known, as files give it."""
    about = next(each for each in KNOWN if each.name == name)
    return Variable(name, about.unit, level, about.standard_name, name)


SURFACE = [variable("u10"), variable("v10"), variable("msl"), variable("t2m")]
LEVELS = [variable("z", 500.0), variable("z", 850.0), variable("msl"), variable("t", 500.0), variable("t", 850.0)]
RAGGED = [variable("z", 500.0), variable("z", 850.0), variable("t", 850.0)]
TYPICAL = {"u10": 3.0, "v10": -2.0, "msl": 1.01e5, "t2m": 288.0, "z": 3e4, "t": 260.0}


def maps(variables: Sequence[Variable], members: int, times: int = 3, grid: Grid = GRID) -> Tensor:
    """Plausible ones in SI units, [T, n, C, H, W]."""
    generator = torch.Generator().manual_seed(0)
    size = (times, members, len(variables), len(grid.latitude), len(grid.longitude))
    mean = torch.tensor([TYPICAL[v.name] for v in variables]).view(-1, 1, 1)
    return mean * (1 + 0.01 * torch.randn(size, generator=generator))


def written(path: Path, variables: Sequence[Variable], members: int = 2) -> Tensor:
    x = maps(variables, members)
    file = ForecastFile(path, variables, GRID, members)
    for part, minutes in zip(x, MINUTES, strict=True):
        file.append(part, minutes)
    assert file.close() == path
    return x


@pytest.fixture(scope="module")
def trained(smoke_run_of) -> Model:
    """The weather of the smoke preset."""
    return genzoo.load(smoke_run_of("weather"), device="cpu")


# ---- the file


def test_axes_and_attributes(tmp_path):
    """Axes, units, standard names and calendar after CF, times that xarray decodes, and the values in float32."""
    x = written(tmp_path / "made.nc", SURFACE)
    with xarray.open_dataset(tmp_path / "made.nc") as opened:
        assert opened.attrs["Conventions"].startswith("CF-1.")
        assert opened.attrs["source"] == f"genzoo {genzoo.__version__}"
        assert (opened.time.values == TIMES).all()
        assert opened.time.encoding["calendar"] in ("standard", "gregorian", "proleptic_gregorian")
        assert opened.member.values.tolist() == [0, 1]
        assert opened.latitude.values.tolist() == GRID.latitude_deg.tolist()
        assert opened.longitude.values.tolist() == GRID.longitude_deg.tolist()
        for c, about in enumerate(SURFACE):
            field = opened[about.name]
            assert field.dims == ("member", "time", "latitude", "longitude")
            assert field.dtype == np.float32
            assert field.attrs["units"] == about.unit
            assert field.attrs["standard_name"] == about.standard_name
            assert np.array_equal(field.values, x[:, :, c].transpose(0, 1).numpy())
        for axis, letter in (("time", "T"), ("latitude", "Y"), ("longitude", "X")):
            assert opened[axis].attrs["axis"] == letter
            assert opened[axis].attrs["standard_name"] == axis
        assert opened.member.attrs["standard_name"] == "realization"
        assert opened.latitude.attrs["units"] == "degrees_north"
        assert opened.longitude.attrs["units"] == "degrees_east"


def test_axis_attribute_is_one_of_four(tmp_path):
    """CF conventions, section 4, and its conformance document: the values of `axis` are X, Y, Z and T."""
    written(tmp_path / "made.nc", LEVELS)
    with xarray.open_dataset(tmp_path / "made.nc") as opened:
        for name, axis in opened.coords.items():
            assert axis.attrs.get("axis", "X") in tuple("XYZT"), name


def test_levels_are_an_axis(tmp_path):
    """Variables of the same levels share an axis of pressure; one without stays as it is."""
    x = written(tmp_path / "made.nc", LEVELS)
    with xarray.open_dataset(tmp_path / "made.nc") as opened:
        assert set(opened.data_vars) == {"z", "t", "msl"}
        assert opened.z.dims == opened.t.dims == ("member", "time", "level", "latitude", "longitude")
        assert opened.msl.dims == ("member", "time", "latitude", "longitude")
        assert opened.level.values.tolist() == [500, 850]
        about = {"units": "hPa", "standard_name": "air_pressure", "positive": "down", "axis": "Z"}
        assert about.items() <= opened.level.attrs.items()
        for c, each in enumerate(LEVELS):
            field = opened[each.name]
            field = field if each.level_hpa is None else field.sel(level=each.level_hpa)
            assert np.array_equal(field.values, x[:, :, c].transpose(0, 1).numpy())


def test_levels_that_are_not_shared_are_in_names(tmp_path):
    """No axis then, and no value that is missing."""
    x = written(tmp_path / "made.nc", RAGGED)
    with xarray.open_dataset(tmp_path / "made.nc") as opened:
        assert set(opened.data_vars) == {"z500", "z850", "t850"}
        for c, each in enumerate(RAGGED):
            assert np.array_equal(opened[each.key].values, x[:, :, c].transpose(0, 1).numpy())


@pytest.mark.parametrize(
    ("variables", "levels"), [(SURFACE, []), (LEVELS, [500, 850]), (RAGGED, []), (LEVELS[:1], [500]), ([], [])]
)
def test_shared_levels(variables, levels):
    assert shared_levels(variables) == levels


@pytest.mark.parametrize("variables", [SURFACE, LEVELS], ids=["surface", "levels"])
def test_our_own_reader(tmp_path, variables):
    """`open_fields` gives the same variables, grid, times and values: one member after the other."""
    x = written(tmp_path / "made.nc", variables)
    fields = open_fields(str(tmp_path / "made.nc"))
    assert {v.key for v in fields.variables} == {v.key for v in variables}
    assert fields.minutes.tolist() == MINUTES * 2
    assert fields.latitude_deg.tolist() == GRID.latitude_deg.tolist()
    assert fields.longitude_deg == pytest.approx(GRID.longitude_deg.numpy(), abs=1e-9)
    found = fields.read(np.arange(6))
    for place, about in enumerate(fields.variables):
        ours = next(c for c, v in enumerate(variables) if v.key == about.key)
        assert (about.unit, about.level_hpa) == (variables[ours].unit, variables[ours].level_hpa)
        assert torch.equal(found[:, place], x[:, :, ours].transpose(0, 1).flatten(0, 1))


def test_readable_after_every_map(tmp_path):
    """What is on the disk at any time is a whole file with the times so far: a copy, taken while it is being written,
    opens."""
    x, path = maps(SURFACE, 2), tmp_path / "made.nc"
    file = ForecastFile(path, SURFACE, GRID, 2)
    for i in range(4):
        copy = Path(shutil.copy(path, tmp_path / f"copy{i}.nc"))
        with xarray.open_dataset(copy) as opened:
            assert opened.sizes["time"] == i
            assert (opened.time.values == TIMES[:i]).all()
            assert np.array_equal(opened.msl.values, x[:i, :, 2].transpose(0, 1).numpy())
        if i < 3:
            file.append(x[i], MINUTES[i])
    file.close()


def test_written_anew(tmp_path):
    """A file that is there already, of a forecast that broke off, is begun again."""
    written(tmp_path / "made.nc", LEVELS, members=3)
    x = written(tmp_path / "made.nc", SURFACE, members=1)
    with xarray.open_dataset(tmp_path / "made.nc") as opened:
        assert set(opened.data_vars) == {v.name for v in SURFACE}
        assert np.array_equal(opened.t2m.values, x[:, :, 3].transpose(0, 1).numpy())


def test_without_netcdf(tmp_path, monkeypatch):
    """One line that names the package."""
    monkeypatch.setitem(sys.modules, "netCDF4", None)
    with pytest.raises(UserError, match="netCDF4 is not installed.*pip install"):
        ForecastFile(tmp_path / "made.nc", SURFACE, GRID, 1)
    assert not list(tmp_path.iterdir())


# ---- forecasts, and forecasts from them


@pytest.fixture(scope="module")
def rolled(trained, tmp_path_factory) -> tuple[Path, list[tuple[Tensor, dict[str, Tensor]]]]:
    """A forecast of one member, three steps, with its pieces."""
    folder = tmp_path_factory.mktemp("rolled")
    pieces = list(trained.rollout(trained.request(1, date="2010-02-03T12"), 3, seed=4))
    files = trained.data.write_rollout(iter(pieces), folder, trained.data.request(1))
    assert [file.name for file in files] == ["forecast.nc", "forecast.png", "members.png", "forecast.gif"]
    return folder / "forecast.nc", pieces


def test_forecast_in_units(trained, rolled):
    """The maps in SI units, from the date on, a step apart."""
    file, pieces = rolled
    with xarray.open_dataset(file) as opened:
        assert opened.time.values[0] == np.datetime64("2010-02-03T12:00", "ns")
        assert set(np.diff(opened.time.values)) == {np.timedelta64(trained.data.step_minutes, "m")}
        for c, about in enumerate(trained.data.variables):
            want = torch.stack([trained.data.decode(x)[:, c] for x, _ in pieces], dim=1)
            assert np.array_equal(opened[about.name].values, want.numpy())
        assert 1000 < opened.h.mean() < 20_000


def test_forecast_from_a_forecast(trained, rolled):
    """A forecast's file is the context of a further one, which begins a step later from its last map: up to the
    rounding of units, the roll-out that had not stopped."""
    file, pieces = rolled
    first, cond = next(trained.rollout(trained.request(1, context=str(file)), 1, seed=9))
    want = trained.data.follow(*pieces[-1])
    assert cond.keys() == want.keys()
    assert torch.equal(cond["minutes"], want["minutes"])
    assert torch.equal(cond["known"], want["known"])
    torch.testing.assert_close(cond["past"], want["past"], rtol=0, atol=2e-4)
    torch.testing.assert_close(first, trained.sample_given(want, 9, 0), rtol=0, atol=1e-2)
    assert (first - pieces[-1][0]).abs().max() > 0.1


def test_forecast_that_breaks_in_a_notebook(trained, tmp_path, monkeypatch):
    """Where the traceback of a break is kept, as notebooks do, the file is closed and can be begun anew."""
    monkeypatch.setattr(pictures, "of_forecast", lambda file, folder: [])
    pieces = list(trained.rollout(trained.request(1), 2))

    def breaks():
        yield pieces[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:
        trained.data.write_rollout(breaks(), tmp_path, trained.data.request(1))
    (file,) = trained.data.write_rollout(iter(pieces), tmp_path, trained.data.request(1))
    assert kept.traceback
    with xarray.open_dataset(file) as opened:
        assert opened.sizes["time"] == 2


def test_samples_share_a_file(trained, tmp_path):
    """Samples of the climate are the members of one file, and a preview; one alone is a file of its own."""
    samples = trained.sample(3, seed=1)
    x = samples.x
    file, preview = samples.write(tmp_path)
    with xarray.open_dataset(file) as opened:
        assert opened.sizes["member"] == 3
        assert np.array_equal(opened.h.values[:, 0], trained.data.decode(x)[:, 2].numpy())
    with Image.open(preview) as picture:
        assert min(picture.size) > 100
    with xarray.open_dataset(trained.data.write(x[1], tmp_path / "one", trained.data.request(1))) as opened:
        assert np.array_equal(opened.h.values[0, 0], trained.data.decode(x)[1, 2].numpy())


# ---- pictures


def drawn(path: Path) -> np.ndarray:
    """The pixels of a picture, which must not be all alike."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.std() > 1
    return pixels


def test_pictures_of_a_forecast(rolled):
    """All three are drawn; the moving one has a frame for each time."""
    file, pieces = rolled
    for name in ("forecast.png", "members.png"):
        drawn(file.with_name(name))
    with Image.open(file.with_name("forecast.gif")) as moving:
        assert moving.n_frames == len(pieces)
        assert moving.info["duration"] == pictures.FRAME_MS


@pytest.mark.parametrize(("variables", "members", "times"), [(LEVELS, 3, 2), (RAGGED, 1, 1)])
def test_pictures_of_other_files(tmp_path, variables, members, times):
    """Of levels the middle one; of one time, one member, one variable too."""
    file = ForecastFile(tmp_path / "forecast.nc", variables, GRID, members)
    for part, minutes in zip(maps(variables, members, times), MINUTES, strict=False):
        file.append(part, minutes)
    found = pictures.of_forecast(file.close(), tmp_path)
    for path in found[:2]:
        drawn(path)
    with Image.open(found[2]) as moving:
        assert getattr(moving, "n_frames", 1) == times


def test_pictures_of_a_calm(tmp_path):
    """A forecast that never changes has one frame a time all the same, and no contour to draw."""
    file = ForecastFile(tmp_path / "forecast.nc", [variable("msl")], GRID, 2)
    for minutes in MINUTES[:2]:
        file.append(torch.full((2, 1, 4, 6), 1e5), minutes)
    found = pictures.of_forecast(file.close(), tmp_path)
    with Image.open(found[2]) as moving:
        assert moving.n_frames == 2


@pytest.mark.parametrize("count", [1, 8])
def test_maps_side_by_side(tmp_path, count):
    """At most six, with winds where there are some, in the colours of one scale."""
    data = [variable("msl"), Variable("u", "m s-1"), Variable("v", "m s-1")]
    x = torch.cat((maps(data[:1], count, 1)[0], torch.randn(count, 2, 4, 6)), dim=1)
    drawn(pictures.maps(x, data, GRID, tmp_path / "maps.png"))


@pytest.mark.parametrize(
    ("names", "place"), [(["u", "v", "h"], 2), (["t2m", "msl"], 1), (["q", "w"], 0), (["t", "z"], 1)]
)
def test_what_is_shown(names, place):
    assert pictures.main_channel(names) == place


def test_forecast_of_nothing_known(tmp_path):
    """A variable that is not in our table is written under its own name, and read back with its unit."""
    odd = Variable("ozone", "kg m-2", None, "", "ozone")
    file = ForecastFile(tmp_path / "made.nc", [odd], GRID, 1)
    file.append(torch.rand(1, 1, 4, 6), 0)
    fields = open_fields(str(file.close()))
    assert [(v.name, v.unit) for v in fields.variables] == [("ozone", "kg m-2")]


def test_context_of_another_kind(trained, tmp_path):
    """A forecast of other variables is refused as context by what they are."""
    written(tmp_path / "made.nc", SURFACE)
    with pytest.raises(UserError, match="the model makes u, v, h: no u"):
        trained.data.request(1, context=str(tmp_path / "made.nc"))
    assert isinstance(trained.data, WeatherData)
