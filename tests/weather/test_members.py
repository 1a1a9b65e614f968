"""Ensembles and splits: members stay apart, baselines see no validation map, a winter makes no season.

Legend: N maps, H latitudes, W longitudes.
"""

import numpy as np
import pytest
import torch

from genzoo.contract import Spec
from genzoo_weather.apart import open_fields
from genzoo_weather.data import WeatherData
from genzoo_weather.linear import LinearForecast

xarray = pytest.importorskip("xarray")


def write(path, start, steps, members=None, seed=0):
    """Temperature at 6-hour steps; the member is its thousands."""
    time = np.datetime64(start, "ns") + np.arange(steps) * np.timedelta64(6, "h")
    shape = ((members,) if members else ()) + (steps, 4, 6)
    x = 250 + np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    if members:
        x += 5 * np.arange(members, dtype=np.float32).reshape(-1, 1, 1, 1)
    coordinates = {"time": time, "latitude": [-30.0, 0, 30, 60], "longitude": np.arange(0, 360, 60.0)}
    axes = ("time", "latitude", "longitude")
    if members:
        axes, coordinates["number"] = ("number", *axes), np.arange(members)
    xarray.Dataset({"t": (axes, x, {"units": "K"})}, coordinates).to_netcdf(path, engine="netcdf4")


def test_members_of_two_files_go_on_in_their_own(tmp_path):
    """January and February of two members: each member's February follows its own January."""
    write(tmp_path / "a.nc", "2001-01-01", 4, members=2)
    write(tmp_path / "b.nc", "2001-01-02", 4, members=2, seed=1)
    fields = open_fields(str(tmp_path))
    assert fields.member.tolist() == [0] * 8 + [1] * 8
    assert np.diff(fields.minutes.reshape(2, 8)).tolist() == [[360] * 7] * 2
    means = fields.read(np.arange(16)).mean((1, 2, 3))
    assert (means[:8] < 252.5).all()
    assert (means[8:] > 252.5).all()


def test_validation_of_an_ensemble_is_its_last_days(tmp_path):
    """No date is both trained on and validated on, in any member."""
    write(tmp_path / "a.nc", "2001-01-01", 20, members=3)
    data = WeatherData(path=str(tmp_path / "a.nc"), val_fraction=0.25)
    data.prepare()
    train, val = (data.examples(split, most=1000).cond["minutes"] for split in ("train", "val"))
    assert train.max() < val.min()
    assert len(train) + len(val) == 3 * 19


@pytest.mark.parametrize("lead", [1, 3])
def test_baselines_are_fitted_to_no_validation_map(tmp_path, lead):
    """However far ahead a training example looks."""
    write(tmp_path / "a.nc", "2001-01-01", 40)
    data = WeatherData(path=str(tmp_path / "a.nc"))
    data.prepare()
    first = data.examples("val", most=1000).cond["minutes"].min()
    assert data.examples("train", most=1000, lead=lead).cond["minutes"].max() < first


def test_a_winter_makes_no_season(tmp_path):
    """Fitted to 50 days, the climatology of July is that of the 50 days; fitted to two years, it has a season."""
    spec = Spec((1, 4, 6), context={"past": (1, 1, 4, 6), "known": (), "minutes": ()})
    july = torch.tensor([190 * 24 * 60])
    for days, far in ((50, False), (730, True)):
        write(tmp_path / f"{days}.nc", "2000-01-01", days * 4)
        data = WeatherData(path=str(tmp_path / f"{days}.nc"))
        data.prepare()
        base = LinearForecast(spec, modes=0)
        base.initialise(data)
        season = base.climate(july)[0] - base.climatology[0]
        assert (season.abs().max() > 1e-3) == far
        assert base.climate(july).abs().max() < 1
