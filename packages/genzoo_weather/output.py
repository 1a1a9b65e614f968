"""Forecasts as NetCDF files after the CF conventions, which grow by a time at once.

Legend: n members, C channels, H latitudes, W longitudes.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from genzoo.errors import UserError
from genzoo_weather.physics import Grid
from genzoo_weather.variables import Variable

MISSING = "netCDF4 is not installed, and weather files need it: pip install 'genzoo[weather]'"


def locked(method: Callable[..., Any]) -> Callable[..., Any]:
    """Holds xarray's lock: HDF5 is not safe among threads, and xarray may be reading in the one of the batches."""

    @functools.wraps(method)
    def alone(*args: Any, **options: Any) -> Any:
        try:
            from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK
        except ModuleNotFoundError as error:
            raise UserError(MISSING) from error
        with NETCDF4_PYTHON_LOCK:
            return method(*args, **options)

    return alone


class ForecastFile:
    """A NetCDF-4 file with the axes member, time (level) latitude, longitude (CF-1.11), open for writing.

    It is on the disk, readable, after each map that is appended. path: is written anew.
    """

    @locked
    def __init__(self, path: Path, variables: Sequence[Variable], grid: Grid, members: int) -> None:
        try:
            from netCDF4 import Dataset
        except ModuleNotFoundError as error:
            raise UserError(MISSING) from error
        from genzoo import __version__

        self.path, self.variables, self.times = path, list(variables), 0
        file = self.file = Dataset(path, "w", format="NETCDF4")
        file.Conventions, file.source = "CF-1.11", f"genzoo {__version__}"
        levels = self.levels = shared_levels(variables)
        sizes = {
            "member": members,
            "time": None,
            "latitude": len(grid.latitude_deg),
            "longitude": len(grid.longitude_deg),
        }
        for axis, size in sizes.items():
            file.createDimension(axis, size)
        self._axis("member", "i4", np.arange(members), standard_name="realization", units="1")
        self._axis(
            "time",
            "f8",
            [],
            standard_name="time",
            units="minutes since 2000-01-01 00:00",
            calendar="standard",
            axis="T",
        )
        self._axis(
            "latitude", "f8", grid.latitude_deg.numpy(), standard_name="latitude", units="degrees_north", axis="Y"
        )
        self._axis(
            "longitude", "f8", grid.longitude_deg.numpy(), standard_name="longitude", units="degrees_east", axis="X"
        )
        if levels:
            file.createDimension("level", len(levels))
            self._axis("level", "f8", levels, standard_name="air_pressure", units="hPa", positive="down", axis="Z")
        for variable in variables:
            name = variable.name if variable.level_hpa in levels else variable.key
            if name in file.variables:
                continue
            axes = ("member", "time", *(["level"] if variable.level_hpa in levels else []), "latitude", "longitude")
            made = file.createVariable(name, "f4", axes, zlib=True, complevel=1)
            made.units = variable.unit
            if variable.standard_name:
                made.standard_name = variable.standard_name
        file.sync()

    def _axis(self, name: str, kind: str, values: object, **attributes: str) -> None:
        made = self.file.createVariable(name, kind, (name,))
        made.setncatts(attributes)
        if len(values):
            made[:] = values

    @locked
    def append(self, x: Tensor, minutes: int) -> None:
        """The members' maps of one time, minutes since 2000, [n, C, H, W] in SI units."""
        i, self.times = self.times, self.times + 1
        self.file["time"][i] = minutes
        for c, variable in enumerate(self.variables):
            if variable.level_hpa in self.levels:
                self.file[variable.name][:, i, self.levels.index(variable.level_hpa)] = x[:, c].numpy()
            else:
                self.file[variable.key][:, i] = x[:, c].numpy()
        self.file.sync()

    @locked
    def close(self) -> Path:
        if self.file.isopen():
            self.file.close()
        return self.path


def shared_levels(variables: Sequence[Variable]) -> list[float]:
    """The levels of all variables that have some, if those are the same; else none, and names bear the levels."""
    by_name: dict[str, list[float]] = {}
    for variable in variables:
        if variable.level_hpa is not None:
            by_name.setdefault(variable.name, []).append(variable.level_hpa)
    each = list(by_name.values())
    return each[0] if each and all(levels == each[0] for levels in each) else []
