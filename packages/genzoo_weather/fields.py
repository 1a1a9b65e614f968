"""Maps over time, from files that xarray opens: NetCDF, Zarr, GRIB. Latitudes from south to north, SI units.

Legend: N times, C channels (variable and level), H latitudes, W longitudes.
"""

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from genzoo.errors import UserError
from genzoo_weather.files import NEAR, cut, open_datasets, rename
from genzoo_weather.variables import Variable, conversion, known

if TYPE_CHECKING:
    import xarray

EPOCH = np.datetime64("2000-01-01T00:00", "m")
"""Times are whole minutes since then."""


@dataclass
class Fields:
    """Maps of the same variables on one grid, member by member (of an ensemble; else all are of member 0), each in the
    order of time. read: gives the maps of some positions, float32 [n, C, H, W]."""

    variables: list[Variable]
    latitude_deg: np.ndarray
    longitude_deg: np.ndarray
    minutes: np.ndarray
    member: np.ndarray
    read: Callable[[np.ndarray], Tensor]

    def select(self, keep: np.ndarray) -> "Fields":
        """Only the positions in `keep`, in that order."""
        return replace(self, minutes=self.minutes[keep], member=self.member[keep], read=lambda i: self.read(keep[i]))

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
    like: Sequence[Variable] | None = None,
) -> Fields:
    """The maps in a file, a folder or a pattern of files, or a Zarr store (local, or gs://, s3://, https://), which are
    read as they are needed. Files of the same variables are joined along time, others side by side.

    variables: names as in the file or as here (z, msl …); default: all that have latitude and longitude.
    levels_hpa: pressure levels; default all. region: south, north, west, east in degrees.
    units: of variables whose file does not say, or says it wrongly. missing: "stop" or "fill" (the nearest value).
    like: channels to take, in this order, in place of variables and levels_hpa.
    """
    if missing not in ("stop", "fill"):
        raise UserError(f"data.missing is stop or fill, not {missing!r}")
    datasets = [rename(dataset, path) for dataset in open_datasets(path)]
    wanted = [*variables] if variables else []
    if like:
        names = dict.fromkeys(name for v in like for name in (v.source, v.name, v.key))
        wanted = [name for name in names if any(same(name, found, d) for d in datasets for found in d.data_vars)]
    there = {found: d for d in datasets for found in d.data_vars}
    for name in wanted:
        if not any(same(name, found, d) for found, d in there.items()):
            raise UserError(f"data.path={path} has no variable {name}; it has: {', '.join(map(str, there))}")
    chosen = [(d, [f for n in wanted for f in d.data_vars if same(n, f, d)] if wanted else mapped(d)) for d in datasets]
    chosen = [(d, list(dict.fromkeys(names))) for d, names in chosen if names]
    if not chosen:
        raise UserError(f"data.path={path} has no variable with latitude and longitude; see data.variables")
    for d, names in chosen:
        if bare := [name for name in names if name not in mapped(d)]:
            raise UserError(f"{bare[0]} of data.path={path} is no map: it has no latitude and longitude")
    for key in units or {}:
        if not any(key in (name, getattr(known(str(name)), "name", None)) for name in there):
            raise UserError(f"data.units={{{key}: …}}: data.path={path} has no such variable")
    if levels_hpa:
        levels = {float(x) for d, _ in chosen if "level" in d.coords for x in np.atleast_1d(d["level"].values)}
        if absent := [level for level in levels_hpa if level not in levels] if levels else []:
            there_are = ", ".join(f"{x:g}" for x in sorted(levels, reverse=True))
            raise UserError(f"data.path={path} has no level {absent[0]:g} hPa; it has: {there_are}")
    parts = [
        part for d, names in chosen if (part := of_dataset(cut(d[names], region, path), names, levels_hpa, units, path))
    ]
    groups: dict[tuple[str, ...], list[Fields]] = {}
    for part in parts:
        groups.setdefault(tuple(v.key for v in part.variables), []).append(part)
    fields = side_by_side([in_time(group, path) for group in groups.values()], path)
    keys = [v.key for v in fields.variables]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise UserError(f"data.path={path} has {twice[0]} twice, under two names: choose one by data.variables")
    if like and (absent := [v.key for v in like if v.key not in keys]):
        ours = ", ".join(v.key for v in like)
        raise UserError(
            f"data.path={path}: these maps have {', '.join(keys)}, and the model makes {ours}: no {absent[0]}"
        )
    order = [keys.index(v.key) for v in like] if like else wanted_order(fields.variables, wanted, levels_hpa)
    read = fields.read
    fields = replace(
        fields,
        variables=[fields.variables[c] for c in order],
        read=lambda i: whole(read(i)[:, order], fields.variables, to_datetime(fields.minutes[i]), missing, path),
    )
    check_plausible(fields, path)
    return fields


def mapped(dataset: "xarray.Dataset") -> list[Hashable]:
    return [name for name, array in dataset.data_vars.items() if {"latitude", "longitude"} <= set(array.dims)]


def same(wanted: str, found: Hashable, dataset: "xarray.Dataset") -> bool:
    """Whether a file's variable is the wanted one, by its own name or by ours."""
    about = known(str(found), str(dataset[found].attrs.get("standard_name", "")))
    return wanted == found or (about is not None and known(wanted) == about and wanted not in dataset)


def wanted_order(variables: Sequence[Variable], wanted: Sequence[str], levels: Sequence[float] | None) -> list[int]:
    """Channels in the order in which they were asked for."""

    def rank(c: int) -> tuple[int, int]:
        v = variables[c]
        names = [i for i, name in enumerate(wanted) if name in (v.source, v.name) or known(name) == known(v.name)]
        level = [*levels].index(v.level_hpa) if levels and v.level_hpa in levels else 0
        mine = next(i for i, other in enumerate(variables) if (other.name, other.source) == (v.name, v.source))
        return (names[0] if names else mine, level)

    return sorted(range(len(variables)), key=rank)


def of_dataset(
    dataset: "xarray.Dataset",
    names: Sequence[Hashable],
    levels_hpa: Sequence[float] | None,
    units: Mapping[str, str] | None,
    path: str,
) -> Fields | None:
    """The maps of one data set whose axes have our names; None where it has none of the levels."""
    channels: list[tuple[Hashable, int | None, float, float]] = []
    described: list[Variable] = []
    for name in names:
        array = dataset[name]
        if odd := set(array.dims) - {"latitude", "longitude", "time", "level", "member"}:
            raise UserError(
                f"{name} of data.path={path} has an axis {sorted(map(str, odd))[0]!r}: select one place of it first"
            )
        about = known(str(name), str(array.attrs.get("standard_name", "")))
        unit = (units or {}).get(str(name)) or (units or {}).get(about.name if about else "")
        unit = unit or str(array.attrs.get("units", ""))
        to = about.unit if about else unit
        factor, offset = conversion(str(name), unit, to) if about else (1.0, 0.0)
        for place, level in level_places(array, levels_hpa):
            channels.append((name, place, factor, offset))
            ours = (about.name, to, level, about.standard_name) if about else (str(name), to, level, "")
            described.append(Variable(*ours, source=str(name)))
    if not channels:
        return None
    latitude, longitude = (dataset[axis].values.astype(float) for axis in ("latitude", "longitude"))
    times, members = to_minutes(dataset["time"].values), dataset.sizes.get("member", 1)

    def read(indices: np.ndarray) -> Tensor:
        import xarray

        indices = np.atleast_1d(indices)
        which = {"member": indices // len(times), "time": indices % len(times)}
        maps = np.empty((len(indices), len(channels), len(latitude), len(longitude)), np.float32)
        for name in names:
            mine = [c for c, channel in enumerate(channels) if channel[0] == name]
            array = dataset[name]
            if "level" in array.dims:
                array = array.isel(level=[channels[c][1] for c in mine])
            picked = array.isel({k: xarray.DataArray(v, dims="sample") for k, v in which.items() if k in array.dims})
            if "sample" not in picked.dims:
                picked = picked.expand_dims(sample=len(indices))
            levels = ("level",) if "level" in picked.dims else ()
            values = picked.transpose("sample", *levels, "latitude", "longitude").values
            for place, c in enumerate(mine):
                _, _, factor, offset = channels[c]
                maps[:, c] = (values[:, place] if levels else values) * factor + offset
        return torch.from_numpy(maps)

    member = np.repeat(np.arange(members), len(times))
    return Fields(described, latitude, longitude, np.tile(times, members), member, read)


def level_places(array: "xarray.DataArray", wanted: Sequence[float] | None) -> list[tuple[int | None, float | None]]:
    """Places of the wanted pressure levels (hPa) on the level axis; none where it has no wanted one."""
    if "level" not in array.dims:
        level = float(array["level"]) if "level" in array.coords else None
        return [] if wanted and level is not None and level not in wanted else [(None, level)]
    there = [float(level) for level in array["level"].values]
    return [(there.index(level), float(level)) for level in (wanted or there) if level in there]


def same_grid(group: Sequence[Fields], path: str) -> None:
    """UserError where maps lie in different places."""
    first = group[0]
    for other in group[1:]:
        for axis in ("latitude_deg", "longitude_deg"):
            mine, theirs = getattr(first, axis), getattr(other, axis)
            if len(mine) != len(theirs) or abs(mine - theirs).max() > NEAR:
                raise UserError(f"data.path={path}: its maps are on different grids ({axis}); choose files of one")


def in_time(group: Sequence[Fields], path: str) -> Fields:
    """Maps of the same variables in several files, member by member, in the order of time."""
    if len(group) == 1:
        return group[0]
    same_grid(group, path)
    ends = np.cumsum([len(part.minutes) for part in group])

    def read(indices: np.ndarray) -> Tensor:
        owner = np.searchsorted(ends, indices, side="right")
        maps = torch.empty(
            len(indices), len(group[0].variables), len(group[0].latitude_deg), len(group[0].longitude_deg)
        )
        for i in np.unique(owner):
            mine = owner == i
            maps[torch.from_numpy(mine)] = group[i].read(indices[mine] - (ends[i] - len(group[i].minutes)))
        return maps

    minutes, member = (np.concatenate([getattr(part, name) for part in group]) for name in ("minutes", "member"))
    return replace(group[0], minutes=minutes, member=member, read=read).select(np.lexsort((minutes, member)))


def side_by_side(group: Sequence[Fields], path: str) -> Fields:
    """Maps of different variables at the same times."""
    if len(group) == 1:
        return group[0]
    same_grid(group, path)
    for part in group[1:]:
        if not (np.array_equal(part.minutes, group[0].minutes) and np.array_equal(part.member, group[0].member)):
            raise UserError(
                f"data.path={path}: {part.variables[0].key} and {group[0].variables[0].key} are not of the same times; "
                "choose by data.variables, or files of the same times"
            )
    every = [variable for part in group for variable in part.variables]
    return replace(group[0], variables=every, read=lambda i: torch.cat([part.read(i) for part in group], dim=1))


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
