"""The preset for ERA5 works on a small store of WeatherBench 2's schema, from training to a forecast from a file."""

import numpy as np
import pytest

import genzoo
from genzoo_weather.apart import open_fields

xarray = pytest.importorskip("xarray")

LEVELS = [500, 850]
MEANS = {"geopotential": 3e4, "temperature": 260.0, "u_component_of_wind": 5.0, "v_component_of_wind": 0.0}
FLAT = {"2m_temperature": 285.0, "mean_sea_level_pressure": 1.01e5}
UNITS = {"geopotential": "m**2 s**-2", "temperature": "K", "2m_temperature": "K", "mean_sea_level_pressure": "Pa"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Dimensions time, level, longitude, latitude, as WeatherBench 2 has them."""
    random = np.random.default_rng(0)
    time = np.arange("2017-12-20", "2018-01-12", np.timedelta64(6, "h"), dtype="datetime64[ns]")
    latitude, longitude = np.linspace(-80, 80, 9), np.arange(0, 360, 30.0)
    size = {"time": len(time), "level": 2, "longitude": len(longitude), "latitude": len(latitude)}
    data = {}
    for name, mean in {**MEANS, **FLAT}.items():
        axes = [axis for axis in size if axis != "level" or name in MEANS]
        noise = random.standard_normal([size[axis] for axis in axes]).astype(np.float32)
        data[name] = (axes, np.float32(mean) * (1 + 0.01 * noise) + noise, {"units": UNITS.get(name, "m s**-1")})
    path = tmp_path_factory.mktemp("era5") / "era5.zarr"
    coordinates = {"time": time, "level": LEVELS, "longitude": longitude, "latitude": latitude}
    xarray.Dataset(data, coordinates).to_zarr(path, zarr_format=2, consolidated=True)
    return path


def test_preset(store, tmp_path, capsys):
    """Ten channels, two maps of the past, 12-hour steps, validated from 2018 on; a forecast from the store's last maps
    has their levels and goes on from their last date."""
    small = ["model.net={dim: 16, depth: 1, heads: 2, patch: [3, 4], features: 8, degree: 2}", "model.base.modes=5"]
    short = ["trainer.steps=2", "trainer.batch_size=4", "trainer.val_batches=1", "sampling.steps=1"]
    run = genzoo.train("weather_era5", [f"data.path={store}", f"out={tmp_path / 'run'}", *small, *short])
    trained = genzoo.load(run)
    data = trained.data
    assert data.spec.shape == (10, 9, 12)
    assert [v.key for v in data.variables][:3] == ["z850", "z500", "t850"]
    assert (data.past, data.step_minutes) == (2, 720)
    data.prepare()
    first_of_2018 = (np.datetime64("2018-01-01T00:00") - np.datetime64("2000-01-01T00:00")).astype(int)
    assert (data.examples("val", most=1000).cond["minutes"] >= first_of_2018).all()
    assert (data.examples("train", most=1000).cond["minutes"] < first_of_2018).all()

    from genzoo.cli import main

    main(["sample", f"checkpoint={run}", "n=2", "rollout=2", f"context={store}", f"out={tmp_path / 'made'}"])
    assert "forecast.nc" in capsys.readouterr().out
    made = open_fields(str(tmp_path / "made" / "forecast.nc"))
    assert len(made.variables) == 10
    hours = (
        made.minutes[:2] - (np.datetime64("2018-01-11T18:00") - np.datetime64("2000-01-01T00:00")).astype(int)
    ) / 60
    assert hours.tolist() == [12, 24]
