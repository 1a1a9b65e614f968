"""Opening NetCDF, GRIB and Zarr, and bringing their axes to one form."""

import warnings
from collections.abc import Sequence
from glob import has_magic
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


NEAR = 1e-4
"""Degrees within which two places are the same: the rounding of 32-bit files."""

CLOUD = {"gs": "gcsfs", "s3": "s3fs", "http": "aiohttp", "https": "aiohttp"}
"""What reads each protocol."""


def open_datasets(path: str) -> "list[xarray.Dataset]":
    """What xarray makes of a path, a data set for each file (of GRIB, for each kind of level); nothing but the axes is
    read. UserError where it cannot be."""
    try:
        import xarray  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError("xarray is not installed, and weather files need it: pip install 'genzoo[weather]'") from error
    place = Path(path)
    if "://" in path:
        files: list[str | Path] = [path]
    elif place.is_dir() and not is_zarr(place):
        files = sorted(f for f in place.rglob("*") if f.is_file() and f.suffix.lower() in ENGINES)
    elif has_magic(path) and not place.exists():
        files = sorted(Path(place.anchor or ".").glob(str(place.relative_to(place.anchor or "."))))
    else:
        files = [place] if place.exists() else []
    if not files:
        raise UserError(f"data.path={path}: there is no such file, nor one of {', '.join(ENGINES)} in such a folder")
    return [dataset for file in files for dataset in open_one(file)]


def open_one(file: str | Path) -> "list[xarray.Dataset]":
    import xarray

    engine = "zarr" if isinstance(file, str) or is_zarr(file) else ENGINES.get(file.suffix.lower())
    if engine is None:
        raise UserError(f"data.path={file}: known endings are {', '.join(ENGINES)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # two fill values, no consolidated metadata: the file is read all the same
            if engine == "zarr":
                return [xarray.open_zarr(file, chunks=None)]
            if engine == "cfgrib":
                import cfgrib

                return cfgrib.open_datasets(str(file), backend_kwargs={"indexpath": ""})
            return [xarray.open_dataset(file, engine=engine)]
    except (ModuleNotFoundError, ImportError) as error:
        needed = CLOUD.get(str(file).partition("://")[0]) or getattr(error, "name", None) or engine
        raise UserError(f"{needed} is not installed, and data.path={file} needs it: pip install {needed}") from error
    except Exception as error:  # every engine has errors of its own
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"data.path={file} cannot be read ({type(error).__name__}: {reason})") from error


def is_zarr(path: Path) -> bool:
    return path.is_dir() and any((path / name).exists() for name in (".zgroup", ".zmetadata", "zarr.json"))


def axis_of(dataset: "xarray.Dataset", axis: str) -> str | None:
    """What this dataset calls an axis."""
    return next((name for name in NAMES[axis] if name in dataset.coords), None)


def rename(dataset: "xarray.Dataset", path: str) -> "xarray.Dataset":
    """With our names for the axes, latitudes and times rising, levels in hPa."""
    found = {axis: axis_of(dataset, axis) for axis in NAMES}
    for axis in ("latitude", "longitude"):
        name = found[axis]
        if (
            name is None
            or dataset[name].ndim != 1
            or dataset[name].attrs.get("units") in ("m", "km", "metre", "meters")
        ):
            raise UserError(f"data.path={path} has no axis of {axis}s: a grid of latitudes and longitudes is needed")
    dataset = dataset.rename(
        {name: axis for axis, name in found.items() if name and name != axis and axis not in dataset}
    )
    if not (abs(dataset["latitude"].values) <= 90 + NEAR).all():
        raise UserError(f"data.path={path} has latitudes beyond 90 degrees")
    if "time" not in dataset.coords or dataset["time"].dtype.kind != "M":
        kind = dataset["time"].dtype if "time" in dataset.coords else "none"
        raise UserError(
            f"data.path={path} has no time on the standard calendar ({kind}): one is needed, even for a single map"
        )
    if "time" not in dataset.dims:
        dataset = dataset.expand_dims("time")
    if "level" in dataset.coords:
        levels, unit = dataset["level"].values.astype(float), str(dataset["level"].attrs.get("units", "")).lower()
        if unit not in ("", "pa", "pascal", "hpa", "mb", "mbar", "millibar", "millibars"):
            raise UserError(f"data.path={path} has levels in {unit}: pressure levels in hPa or Pa are needed")
        if unit in ("pa", "pascal") or (not unit and levels.max() > 2000):
            levels = levels / 100
        dataset = dataset.assign_coords(level=levels if levels.ndim == 0 else ("level", levels))
    return dataset.sortby("latitude").sortby("time")


def cut(dataset: "xarray.Dataset", region: Sequence[float] | None, path: str) -> "xarray.Dataset":
    """The region, with longitudes that rise by equal steps, wherever the file's own begin."""
    if region is not None and (len(region) != 4 or region[0] >= region[1]):
        raise UserError(f"data.region is south, north, west, east in degrees, not {list(region)}")
    longitude = dataset["longitude"].values.astype(float)
    west = longitude.min() if region is None else region[2]
    beyond = (longitude - west + NEAR) % 360 - NEAR
    order = np.argsort(beyond, kind="stable")
    order = order[np.diff(beyond[order], prepend=-1.0) > NEAR]  # a meridian that comes twice, as 0 and 360
    rising = west + beyond[order]
    keep = np.ones(len(order), bool)
    if region is not None:
        keep = beyond[order] <= ((region[3] - west) % 360 or 360.0) + NEAR
        dataset = dataset.sel(latitude=slice(region[0] - NEAR, region[1] + NEAR))
    elif len(order) > 1:  # a part of the globe across the file's own seam: it begins after the widest gap
        gaps = np.diff(rising, append=rising[0] + 360)
        if gaps.max() > 1.5 * np.median(gaps) and gaps.argmax() < len(gaps) - 1:
            start = int(gaps.argmax()) + 1
            order = np.roll(order, -start)
            rising = np.concatenate((rising[start:] - 360, rising[:start]))
    dataset = dataset.isel(longitude=order[keep]).assign_coords(longitude=rising[keep].round(6))
    if min(dataset.sizes["latitude"], dataset.sizes["longitude"]) < 2:
        raise UserError(f"data.region={list(region or [])} leaves no map of data.path={path}")
    steps = np.diff(dataset["longitude"].values)
    if not np.allclose(steps, steps[0], rtol=1e-3, atol=NEAR):
        raise UserError(f"data.path={path}: its longitudes are not equally spaced")
    return dataset
