"""Maps over time, from files that xarray opens: NetCDF, Zarr, GRIB. Latitudes from south to north, SI units.

Legend: N times, C channels (variable and level), H latitudes, W longitudes.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from genzoo.errors import UserError
from genzoo_weather.files import cut, open_dataset, rename
from genzoo_weather.variables import Variable, conversion, known

if TYPE_CHECKING:
    import xarray

EPOCH = np.datetime64("2000-01-01T00:00", "m")
"""Times are whole minutes since then."""


@dataclass
class Fields:
    """Maps of the same variables on one grid, in the order of their times; after a break (another member, a missing
    day) time jumps. read: gives the maps of some positions, float32 [n, C, H, W]."""

    variables: list[Variable]
    latitude_deg: np.ndarray
    longitude_deg: np.ndarray
    minutes: np.ndarray
    read: Callable[[np.ndarray], Tensor]

    def select(self, keep: np.ndarray) -> "Fields":
        """Only the positions in `keep` (indices, rising)."""
        return Fields(
            self.variables, self.latitude_deg, self.longitude_deg, self.minutes[keep], lambda i: self.read(keep[i])
        )

    def fingerprint(self) -> str:
        """SHA-256 of the grid, the times and at most 64 of the maps."""
        digest = hashlib.sha256(repr(self.variables).encode())
        for part in (self.latitude_deg, self.longitude_deg, self.minutes):
            digest.update(np.ascontiguousarray(part).tobytes())
        some = np.unique(np.linspace(0, len(self.minutes) - 1, min(64, len(self.minutes))).astype(int))
        digest.update(self.read(some).numpy().tobytes())
        return digest.hexdigest()


def to_minutes(times: np.ndarray) -> np.ndarray:
    """datetime64 -> int64 minutes since 2000."""
    return (times.astype("datetime64[m]") - EPOCH).astype(np.int64)


def to_datetime(minutes: np.ndarray) -> np.ndarray:
    """The other way round, as datetime64[ns]."""
    return (EPOCH + minutes.astype("timedelta64[m]")).astype("datetime64[ns]")


def open_fields(
    path: str,
    *,
    variables: Sequence[str] | None = None,
    levels_hpa: Sequence[float] | None = None,
    region: Sequence[float] | None = None,
    units: Mapping[str, str] | None = None,
    missing: str = "stop",
) -> Fields:
    """The maps in a file, a folder or a pattern of files, or a Zarr store (local, or gs://, s3://, https://), which is
    read as it is needed.

    variables: names as in the file or as here (z, msl …); default: all that have latitude and longitude.
    levels_hpa: pressure levels; default all. region: south, north, west, east in degrees.
    units: of variables whose file does not say, or says it wrongly. missing: "stop" or "fill" (the nearest value).
    """
    dataset = rename(open_dataset(path), path)
    names = list(variables or [])
    by_name = {wanted: found for wanted in names for found in dataset.data_vars if same(wanted, found, dataset)}
    if absent := [name for name in names if name not in by_name]:
        raise UserError(
            f"data.path={path} has no variable {absent[0]}; it has: {', '.join(map(str, dataset.data_vars))}"
        )
    chosen = [by_name[name] for name in names] or [
        name for name, array in dataset.data_vars.items() if {"latitude", "longitude"} <= set(array.dims)
    ]
    if not chosen:
        raise UserError(f"data.path={path} has no variable with latitude and longitude; see data.variables")
    dataset = cut(dataset[chosen], region, path)
    stacked = [axis for axis in ("member", "time") if axis in dataset.dims]
    if "time" not in dataset.coords:
        raise UserError(f"data.path={path} has no time: one is needed, even for a single map")
    channels: list[tuple[str, int | None]] = []
    described: list[Variable] = []
    scale: list[tuple[float, float]] = []
    for name in chosen:
        array = dataset[name]
        if odd := set(array.dims) - {"latitude", "longitude", "time", "level", "member"}:
            raise UserError(
                f"{name} of data.path={path} has an axis {sorted(map(str, odd))[0]!r}: select one place of it first"
            )
        about = known(str(name), str(array.attrs.get("standard_name", "")))
        unit = (units or {}).get(str(name)) or (units or {}).get(about.name if about else "")
        unit = unit or str(array.attrs.get("units", ""))
        to = about.unit if about else unit
        scale_of = conversion(str(name), unit, to) if about else (1.0, 0.0)
        chosen_levels = level_places(array, levels_hpa, path)
        for place, level in chosen_levels:
            channels.append((str(name), place))
            scale.append(scale_of)
            ours = (about.name, to, level, about.standard_name) if about else (str(name), to, level, "")
            described.append(Variable(*ours, source=str(name)))
    latitude, longitude = (dataset[axis].values.astype(float) for axis in ("latitude", "longitude"))
    times = to_minutes(np.atleast_1d(dataset["time"].values))
    members = dataset.sizes.get("member", 1)
    factor, offset = (torch.tensor(column, dtype=torch.float32).view(-1, 1, 1) for column in zip(*scale, strict=True))

    def read(indices: np.ndarray) -> Tensor:
        indices = np.atleast_1d(indices)
        which = {"member": indices // len(times), "time": indices % len(times)}
        maps = np.empty((len(indices), len(channels), len(latitude), len(longitude)), np.float32)
        for name in dict.fromkeys(name for name, _ in channels):
            places = {axis: ("sample", which[axis]) for axis in stacked if axis in dataset[name].dims}
            import xarray

            picked = dataset[name].isel({k: xarray.DataArray(v[1], dims="sample") for k, v in places.items()})
            if "sample" not in picked.dims:
                picked = picked.expand_dims(sample=len(indices))
            axes = ("sample", *(["level"] if "level" in picked.dims else []), "latitude", "longitude")
            values = picked.transpose(*axes).values
            for channel, (owner, place) in enumerate(channels):
                if owner == name:
                    maps[:, channel] = values if place is None else values[:, place]
        x = torch.from_numpy(maps) * factor + offset
        return whole(x, described, to_datetime(times[which["time"]]), missing, path)

    fields = Fields(described, latitude, longitude, np.tile(times, members), read)
    check_plausible(fields, path)
    return fields


def same(wanted: str, found: Any, dataset: "xarray.Dataset") -> bool:
    """Whether a file's variable is the wanted one, by its own name or by ours."""
    about = known(str(found), str(dataset[found].attrs.get("standard_name", "")))
    return wanted == found or (about is not None and known(wanted) == about and wanted not in dataset)


def level_places(
    array: "xarray.DataArray", wanted: Sequence[float] | None, path: str
) -> list[tuple[int | None, float | None]]:
    """Places of the wanted pressure levels (hPa) on the level axis."""
    if "level" not in array.dims:
        level = float(array["level"]) if "level" in array.coords else None
        return [(None, level)]
    there = [float(level) for level in array["level"].values]
    for level in wanted or []:
        if level not in there:
            raise UserError(
                f"data.path={path} has no level {level:g} hPa; it has: {', '.join(f'{x:g}' for x in there)}"
            )
    return [(there.index(level), float(level)) for level in (wanted or there)]


def whole(x: Tensor, variables: Sequence[Variable], times: np.ndarray, missing: str, path: str) -> Tensor:
    """Maps without gaps: refused, or filled with the nearest value of the same map."""
    gaps = ~torch.isfinite(x)
    if not gaps.any():
        return x
    sample, channel = (int(i) for i in gaps.flatten(2).any(-1).nonzero()[0])
    where = f"{variables[channel].key} of data.path={path} at {np.datetime_as_string(times[sample], 'm')}"
    if missing == "stop":
        raise UserError(
            f"{where} has missing values: data.missing=fill takes the nearest value, or choose data.variables"
        )
    from scipy.ndimage import distance_transform_edt

    for i, c in gaps.flatten(2).any(-1).nonzero().tolist():
        if gaps[i, c].all():
            raise UserError(
                f"{variables[c].key} of data.path={path} at {np.datetime_as_string(times[i], 'm')} is empty"
            )
        nearest = distance_transform_edt(gaps[i, c].numpy(), return_distances=False, return_indices=True)
        x[i, c] = x[i, c][tuple(torch.from_numpy(part) for part in nearest)]
    return x


def check_plausible(fields: Fields, path: str) -> None:
    """UserError where the first map cannot be in the unit that the file says."""
    first = fields.read(np.array([0]))[0]
    for variable, value in zip(fields.variables, first.mean((1, 2)).tolist(), strict=True):
        about = known(variable.name)
        if about and not about.plausible[0] <= value <= about.plausible[1]:
            raise UserError(
                f"{variable.key} of data.path={path} has a mean of {value:.4g} {variable.unit}, which cannot be: say "
                f"its true unit by data.units={{{variable.name}: …}}"
            )
