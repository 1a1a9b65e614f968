"""Opening NetCDF, GRIB and Zarr, and bringing their axes to one form."""

import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genzoo.errors import UserError
from genzoo.reading import Broken, breaking, judge, reading

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

ROWS = 10_000
"""Latitudes or longitudes of a map, at most."""


@contextmanager
def at(path: str) -> Iterator[None]:
    """Around all that a library does with a file or a store: whatever is raised inside is a UserError that names it."""
    try:
        with breaking():
            yield
    except Broken as error:
        raise UserError(f"data.path={path} {error}") from error


def files_of(path: str) -> list[str]:
    """The files that a path means: absolute, or an address. UserError where there are none, or none may be read."""
    place = Path(path).absolute()
    if "://" in path:
        if path.partition("://")[0] not in CLOUD or "::" in path:
            raise UserError(f"data.path={path}: addresses begin with {', '.join(f'{known}://' for known in CLOUD)}")
        return [path]
    if place.is_dir() and not is_zarr(place):
        files = sorted(f for f in place.rglob("*") if f.is_file() and f.suffix.lower() in ENGINES)
    elif has_magic(path) and not place.exists():
        files = sorted(Path(place.anchor).glob(str(place.relative_to(place.anchor))))
    else:
        files = [place] if place.exists() else []
    if not files:
        raise UserError(f"data.path={path}: there is no such file, nor one of {', '.join(ENGINES)} in such a folder")
    return [str(file) for file in files]


def size_of(file: str) -> int:
    """Bytes on the disk; 0 of an address. UserError for what is no file, and for a store that leads out of itself."""
    if "://" in file:
        return 0
    with reading(file) as path:
        if not path.is_dir():
            return path.stat().st_size
        size = 0
        for part in path.rglob("*"):
            about = part.lstat()
            if stat.S_ISREG(about.st_mode):
                size += about.st_size
            elif not stat.S_ISDIR(about.st_mode):
                raise Broken(f"has {part.relative_to(path)} in it, which is no file of its own: copy what it leads to")
        return size


def open_datasets(path: str, max_mb: float, tell: Callable[[str], None]) -> "Iterator[tuple[str, xarray.Dataset]]":
    """What xarray makes of a path, a data set for each file (of GRIB, for each kind of level) with its name; nothing
    but the axes is read, and those only where they take no more than so many MB. UserError where it cannot be."""
    try:
        import xarray  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError("xarray is not installed, and weather files need it: pip install 'genzoo[weather]'") from error
    for file in files_of(path):
        tell(file)
        for dataset in open_one(file, max_mb):
            yield file, dataset


def open_one(file: str, max_mb: float) -> "list[xarray.Dataset]":
    import xarray

    engine = "zarr" if "://" in file or is_zarr(Path(file)) else ENGINES.get(Path(file).suffix.lower())
    if engine is None:
        raise UserError(f"data.path={file}: known endings are {', '.join(ENGINES)}")
    with at(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two fill values, no consolidated metadata: the file is read all the same
        try:
            if engine == "cfgrib":
                import cfgrib

                # An index beside the file would be a pickle: none is read, and none is written.
                datasets = cfgrib.open_datasets(file, backend_kwargs={"indexpath": ""})
            else:
                with xarray.open_dataset(file, engine=engine, chunks=None, create_default_indexes=False) as claimed:
                    judge_claims(claimed, max_mb)
                datasets = [xarray.open_dataset(file, engine=engine, chunks=None)]
        except ImportError as error:
            needed = CLOUD.get(file.partition("://")[0]) or getattr(error, "name", None) or engine
            raise UserError(
                f"{needed} is not installed, and data.path={file} needs it: pip install {needed}"
            ) from error
        if not datasets:
            raise Broken("has no maps that can be read: is it damaged, or of another kind?")
        return datasets


def judge_claims(dataset: "xarray.Dataset", max_mb: float) -> None:
    """Broken where the axes together, or what must be unpacked to read one value of a variable, are too large."""
    judge(sum(8 * array.size for array in dataset.coords.values() if array.ndim == 1), max_mb)
    for array in dataset.data_vars.values():
        chunk = array.encoding.get("chunksizes") or array.encoding.get("chunks") or ()
        judge(np.prod(chunk, dtype=float) * array.dtype.itemsize, max_mb)


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
    check_axes(dataset, path)
    return dataset.sortby("latitude").sortby("time")


def check_axes(dataset: "xarray.Dataset", path: str) -> None:
    """UserError where an axis has what is no number, or no time, or latitudes that come twice."""
    for axis in ("latitude", "longitude", "time", "level"):
        values = dataset[axis].values if axis in dataset.coords else np.zeros(0)
        if np.isnat(values).any() if axis == "time" else not np.isfinite(values.astype(float)).all():
            raise UserError(f"data.path={path} has a {axis} that is none: is it damaged?")
    if len(np.unique(dataset["latitude"].values)) < dataset["latitude"].size:
        raise UserError(f"data.path={path} has a latitude twice")


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
    if max(dataset.sizes["latitude"], dataset.sizes["longitude"]) > ROWS:
        raise UserError(f"data.path={path} has more than {ROWS} latitudes or longitudes: choose some by data.region")
    steps = np.diff(dataset["longitude"].values)
    if not np.allclose(steps, steps[0], rtol=1e-3, atol=NEAR):
        raise UserError(f"data.path={path}: its longitudes are not equally spaced")
    return dataset
