"""What the tests of weather files and examples share: maps in closed form, written as anything xarray writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genzoo.errors import UserError
from genzoo_weather.apart import open_fields
from genzoo_weather.fields import Fields, to_minutes

BASE = {
    "z": ("m2 s-2", 5e4, 2e3),
    "t": ("K", 270.0, 10.0),
    "u": ("m s-1", 5.0, 8.0),
    "msl": ("Pa", 101000.0, 800.0),
    "t2m": ("K", 285.0, 9.0),
}
"""Unit, mean and size of the variables of `maps`."""

START = np.datetime64("2001-01-01T00", "m")
LATITUDE, LONGITUDE = np.linspace(-80, 80, 5), np.arange(0, 360, 45.0)


def weather(
    name: str, latitude: np.ndarray, longitude: np.ndarray, hours: float, level_hpa: float | None, member: int
) -> np.ndarray:
    """[H, W] in SI units: of each place, whatever its longitude is called; no two maps are alike."""
    _, base, size = BASE[name]
    y, x = np.radians(latitude)[:, None], np.radians(longitude)
    wave = np.cos(y) * np.cos(x - 0.02 * hours) + 0.5 * np.sin(y) + 0.001 * hours
    return base + size * (wave + (level_hpa or 0.0) / 2000 + 0.1 * member)


@pytest.fixture
def maps() -> Callable[..., Any]:
    """Makes a dataset as it is told; variables with levels are z, t and u."""
    import xarray

    def made(
        names: tuple[str, ...] = ("msl",),
        *,
        latitude: Any = LATITUDE,
        longitude: Any = LONGITUDE,
        hours: Any = range(0, 48, 6),
        levels: tuple[float, ...] = (),
        members: int = 0,
    ) -> "xarray.Dataset":
        latitude, longitude, hours = np.asarray(latitude), np.asarray(longitude), np.asarray(hours)
        axes = {"number": range(members)} if members else {}
        axes["time"] = (START + (hours * 60).astype("timedelta64[m]")).astype("datetime64[ns]")
        made = xarray.Dataset(coords={**axes, "latitude": latitude, "longitude": longitude})
        for name in names:
            own = levels if name in ("z", "t", "u") else ()
            values = np.array(
                [
                    [[weather(name, latitude, longitude, h, p, m) for p in own or (None,)] for h in hours]
                    for m in range(members or 1)
                ]
            )
            dims = ["number", "time", "level", "latitude", "longitude"]
            gone = [i for i, there in enumerate((members, True, own)) if not there]
            values = np.squeeze(values, tuple(gone))
            kept = [dim for i, dim in enumerate(dims) if i not in gone]
            made[name] = (kept, values.astype(np.float32), {"units": BASE[name][0]})
            if own:
                made = made.assign_coords(level=list(own))
        return made

    return made


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """Writes a dataset as NetCDF, or as Zarr where the name ends so, and returns its path."""

    def to_file(dataset: Any, name: str = "maps.nc", **options: Any) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".zarr":
            dataset.to_zarr(path, **{"zarr_format": 2, "consolidated": True, **options})
        else:
            dataset.to_netcdf(path, **{"engine": "netcdf4", **options})
        return str(path)

    return to_file


@pytest.fixture
def agree() -> Callable[..., None]:
    """Asserts that every map is what `weather` says of its variable, level, places, time and member."""

    def check(fields: Fields, *, members: int = 1) -> None:
        hours = (fields.minutes - to_minutes(np.array(START))[()]) / 60
        each = len(hours) // members
        assert (np.diff(fields.latitude_deg) > 0).all()
        assert (np.diff(fields.longitude_deg) > 0).all()
        want = [
            [
                weather(v.name, fields.latitude_deg, fields.longitude_deg, hour, v.level_hpa, i // each)
                for v in fields.variables
            ]
            for i, hour in enumerate(hours)
        ]
        got = torch.as_tensor(fields.read(np.arange(len(hours))))
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), torch.tensor(np.array(want)), rtol=1e-6, atol=1e-5)

    return check


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Opens a path that must be refused with one line; returns that line."""

    def run(path: str, **options: Any) -> str:
        with pytest.raises(UserError) as error:
            open_fields(path, **options)
        assert "\n" not in str(error.value)
        return str(error.value)

    return run
