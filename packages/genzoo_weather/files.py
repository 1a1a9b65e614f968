"""Opening NetCDF, GRIB and Zarr, and bringing their axes to one form."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genzoo.errors import UserError

if TYPE_CHECKING:
    import xarray

NAMES = {
    "latitude": ("latitude", "lat", "nav_lat", "y"),
    "longitude": ("longitude", "lon", "nav_lon", "x"),
    "time": ("time", "valid_time", "t"),
    "level": ("level", "isobaricInhPa", "pressure_level", "plev", "lev", "isobaricInPa"),
    "member": ("number", "member", "ensemble", "realization"),
}
"""What files call the axes."""

ENGINES = {
    **dict.fromkeys((".nc", ".nc4", ".cdf"), "netcdf4"),
    **dict.fromkeys((".grib", ".grb", ".grib2", ".grb2"), "cfgrib"),
    ".zarr": "zarr",
}


def open_dataset(path: str) -> "xarray.Dataset":
    """What xarray makes of a path; UserError where it cannot be read."""
    try:
        import xarray
    except ModuleNotFoundError as error:
        raise UserError("xarray is not installed, and weather files need it: pip install 'genzoo[weather]'") from error
    cloud = "://" in path
    place = Path(path)
    if not cloud and place.is_dir() and not zarr_store(place):
        files = sorted(f for f in place.rglob("*") if f.suffix in ENGINES and f.suffix != ".zarr")
    elif not cloud and any(c in path for c in "*?["):
        files = sorted(Path(place.anchor or ".").glob(str(place.relative_to(place.anchor or "."))))
    else:
        files = [place]
    if not files or not (cloud or all(f.exists() for f in files)):
        raise UserError(f"data.path={path}: there is no such file, nor one of {', '.join(ENGINES)} in such a folder")
    try:
        if cloud or zarr_store(files[0]):
            return xarray.open_zarr(path, chunks=None)
        engine = ENGINES.get(files[0].suffix.lower())
        if engine is None:
            raise UserError(f"data.path={path}: known endings are {', '.join(ENGINES)}")
        if engine == "cfgrib":
            import cfgrib

            opened = [
                xarray.merge(cfgrib.open_datasets(str(f), backend_kwargs={"indexpath": ""}), compat="override")
                for f in files
            ]
        else:
            opened = [xarray.open_dataset(f, engine=engine) for f in files]
        return opened[0] if len(opened) == 1 else xarray.concat(opened, dim=axis_of(opened[0], "time") or "time")
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed, and data.path={path} needs it: pip install {error.name}"
        ) from error
    except Exception as error:  # every engine has errors of its own
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"data.path={path} cannot be read ({type(error).__name__}: {reason})") from error


def zarr_store(path: Path) -> bool:
    return path.is_dir() and any((path / name).exists() for name in (".zgroup", ".zmetadata", "zarr.json"))


def axis_of(dataset: "xarray.Dataset", axis: str) -> str | None:
    """What this dataset calls an axis."""
    return next((name for name in NAMES[axis] if name in dataset.dims or name in dataset.coords), None)


def rename(dataset: "xarray.Dataset", path: str) -> "xarray.Dataset":
    """With our names for the axes, latitudes rising, levels in hPa."""
    found = {axis: axis_of(dataset, axis) for axis in NAMES}
    if found["time"] == "t" and "t" not in dataset.dims:
        found["time"] = None
    for axis in ("latitude", "longitude"):
        if found[axis] is None or dataset[found[axis]].ndim != 1:
            raise UserError(f"data.path={path} has no axis of {axis}s: a grid of latitudes and longitudes is needed")
    dataset = dataset.rename(
        {name: axis for axis, name in found.items() if name and name != axis and axis not in dataset}
    )
    if "time" in dataset.coords and "time" not in dataset.dims:
        dataset = dataset.expand_dims("time")
    if "level" in dataset.coords:
        levels = dataset["level"].values.astype(float)
        unit = str(dataset["level"].attrs.get("units", ""))
        if unit.lower() in ("pa", "pascal") or (not unit and levels.max() > 2000):
            levels = levels / 100
        dataset = dataset.assign_coords(level=levels)
    return dataset.sortby("latitude")


def cut(dataset: "xarray.Dataset", region: Sequence[float] | None, path: str) -> "xarray.Dataset":
    """The region, with longitudes that rise by equal steps, wherever the file's own begin."""
    longitude = dataset["longitude"].values.astype(float)
    west = longitude.min() if region is None else region[2]
    order = np.argsort((longitude - west + 1e-6) % 360)
    rising = west + (longitude[order] - west + 1e-6) % 360 - 1e-6
    keep = np.ones(len(order), bool)
    if region is not None:
        if len(region) != 4 or region[0] >= region[1]:
            raise UserError(f"data.region is south, north, west, east in degrees, not {list(region)}")
        keep = rising <= west + ((region[3] - west) % 360 or 360.0) + 1e-6
        dataset = dataset.sel(latitude=slice(region[0] - 1e-6, region[1] + 1e-6))
    elif (
        len(order) > 1
    ):  # a seam in the middle of the map, as from 0 to 360 around Greenwich: begin after the widest gap
        gaps = np.diff(rising, append=rising[0] + 360)
        if gaps.max() > 1.5 * np.median(gaps) and gaps.argmax() < len(gaps) - 1:
            start = int(gaps.argmax()) + 1
            order = np.roll(order, -start)
            rising = np.concatenate((rising[start:] - 360, rising[:start]))
    dataset = dataset.isel(longitude=order[keep]).assign_coords(longitude=rising[keep])
    if min(dataset.sizes["latitude"], dataset.sizes["longitude"]) < 2:
        raise UserError(f"data.region={list(region or [])} leaves no map of data.path={path}")
    steps = np.diff(dataset["longitude"].values)
    if not np.allclose(steps, steps[0], rtol=1e-3):
        raise UserError(f"data.path={path}: its longitudes are not equally spaced")
    return dataset
