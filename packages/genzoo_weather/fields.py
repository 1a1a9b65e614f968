"""Maps over time, from files that xarray opens: NetCDF, Zarr, GRIB. Latitudes from south to north, SI units.

This is the side of the process that decodes (see `decoder`); the other is `apart`.

Legend: N times, C channels (variable and level), H latitudes, W longitudes.
"""

import hashlib
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from genzoo.errors import UserError
from genzoo.reading import judge
from genzoo_weather.files import NEAR, at, cut, open_datasets, rename
from genzoo_weather.variables import Variable, conversion, known

if TYPE_CHECKING:
    import xarray

EPOCH = np.datetime64("2000-01-01T00:00", "m")
"""Times are whole minutes since then."""

PIECE = 64e6
"""Bytes of maps that are read at once, where many are gone through."""


@dataclass
class Fields:
    """Maps of the same variables on one grid, member by member (of an ensemble; else all are of member 0), each in the
    order of time. read: gives the maps of some positions, float32 [n, C, H, W]. remote: whether they come over a
    network."""

    variables: list[Variable]
    latitude_deg: np.ndarray
    longitude_deg: np.ndarray
    minutes: np.ndarray
    member: np.ndarray
    read: Callable[[np.ndarray], Any]
    remote: bool = False

    def select(self, keep: np.ndarray) -> "Fields":
        """Only the positions in `keep`, in that order."""
        return replace(self, minutes=self.minutes[keep], member=self.member[keep], read=lambda i: self.read(keep[i]))

    def pieces(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """Positions, so many at once as are read without need of much memory."""
        size = 4 * len(self.variables) * len(self.latitude_deg) * len(self.longitude_deg)
        at_once = max(1, int(PIECE // size))
        for i in range(0, len(places), at_once):
            yield places[i : i + at_once]

    def fingerprint(self, places: np.ndarray, read: Callable[[np.ndarray], Any] | None = None) -> str:
        """SHA-256 of the grid, and of the times and all values at these positions (over a network, of at most 64 maps).
        read: in place of the files'."""
        digest = hashlib.sha256(repr([(v.key, v.unit) for v in self.variables]).encode())
        for part in (self.latitude_deg, self.longitude_deg, self.minutes[places], self.member[places]):
            digest.update(np.ascontiguousarray(part))
        if self.remote:
            places = places[np.unique(np.linspace(0, len(places) - 1, min(64, len(places))).astype(int))]
        for piece in self.pieces(places):
            digest.update(np.ascontiguousarray((read or self.read)(piece)))
        return digest.hexdigest()


def to_minutes(times: np.ndarray) -> np.ndarray:
    """datetime64 -> int64 minutes since 2000."""
    return (times.astype("datetime64[m]") - EPOCH).astype(np.int64)


def to_datetime(minutes: np.ndarray) -> np.ndarray:
    """The other way round, as datetime64[ns]."""
    return (EPOCH + minutes.astype("timedelta64[m]")).astype("datetime64[ns]")


def day_of(text: str, key: str) -> np.ndarray:
    """A date as numpy has it; UserError where it is none."""
    try:
        if not re.match(r"\d{4}-\d\d-\d\d($|[T ])", str(text)):
            raise ValueError(text)
        return np.datetime64(str(text))
    except ValueError as error:
        raise UserError(f"{key}={text} is no date such as 2009-01-31 or 2009-01-31T12") from error


def open_here(
    path: str,
    *,
    variables: Sequence[str] | None = None,
    levels_hpa: Sequence[float] | None = None,
    region: Sequence[float] | None = None,
    units: Mapping[str, str] | None = None,
    missing: str = "stop",
    max_mb: float = 1000.0,
    like: Sequence[Variable] | None = None,
    tell: Callable[[str], None] = lambda file: None,
) -> Fields:
    """What `apart.open_fields` says, in this process. tell: is called with each file's name before it is touched."""
    if missing not in ("stop", "fill"):
        raise UserError(f"data.missing is stop or fill, not {missing!r}")
    opened = [(file, rename(dataset, file)) for file, dataset in open_datasets(path, max_mb, tell)]
    wanted, chosen = choose([dataset for _, dataset in opened], variables, like, path)
    there = [found for _, dataset in opened for found in dataset.data_vars]
    for key in units or {}:
        if not any(key in (name, getattr(known(str(name)), "name", None)) for name in there):
            raise UserError(f"data.units={{{key}: …}}: data.path={path} has no such variable")
    if levels_hpa:
        levels = {float(x) for d in chosen if "level" in d.coords for x in np.atleast_1d(d["level"].values)}
        if absent := [level for level in levels_hpa if level not in levels] if levels else []:
            there_are = ", ".join(f"{x:g}" for x in sorted(levels, reverse=True))
            raise UserError(f"data.path={path} has no level {absent[0]:g} hPa; it has: {there_are}")
    groups: dict[tuple[str, ...], list[Fields]] = {}
    for (file, _), dataset in zip(opened, chosen, strict=True):
        part = of_dataset(cut(dataset, region, file), levels_hpa, units, file, max_mb, tell) if dataset else None
        if part:
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
        remote="://" in path,
    )
    check_plausible(fields, path)
    return fields


def choose(
    datasets: "Sequence[xarray.Dataset]", variables: Sequence[str] | None, like: Sequence[Variable] | None, path: str
) -> "tuple[list[str], list[xarray.Dataset]]":
    """The names that are wanted, and of each data set (which may be empty) what is."""
    wanted = [*variables] if variables else []
    if like:
        names = dict.fromkeys(name for v in like for name in (v.source, v.name, v.key))
        wanted = [name for name in names if any(same(name, found, d) for d in datasets for found in d.data_vars)]
    there = {found: d for d in datasets for found in d.data_vars}
    for name in wanted:
        if not any(same(name, found, d) for found, d in there.items()):
            raise UserError(f"data.path={path} has no variable {name}; it has: {', '.join(map(str, there))}")
    chosen = []
    for d in datasets:
        names = [f for n in wanted for f in d.data_vars if same(n, f, d)] if wanted else mapped(d)
        if bare := [name for name in names if name not in mapped(d)]:
            raise UserError(f"{bare[0]} of data.path={path} is no map: it has no latitude and longitude")
        chosen.append(d[list(dict.fromkeys(names))])
    if not any(map(len, chosen)):
        raise UserError(f"data.path={path} has no variable with latitude and longitude; see data.variables")
    return wanted, chosen


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
    levels_hpa: Sequence[float] | None,
    units: Mapping[str, str] | None,
    path: str,
    max_mb: float,
    tell: Callable[[str], None],
) -> Fields | None:
    """The maps of one data set whose axes have our names; None where it has none of the levels."""
    channels: list[tuple[Hashable, int | None, float, float]] = []
    described: list[Variable] = []
    for name, array in dataset.data_vars.items():
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
    with at(path):
        judge(4 * len(channels) * len(latitude) * len(longitude) + 16 * len(times) * members, max_mb)

    def read(indices: np.ndarray) -> np.ndarray:
        import xarray

        tell(path)
        indices = np.atleast_1d(indices)
        which = {"member": indices // len(times), "time": indices % len(times)}
        maps = np.empty((len(indices), len(channels), len(latitude), len(longitude)), np.float32)
        for name, array in dataset.data_vars.items():
            mine = [c for c, channel in enumerate(channels) if channel[0] == name]
            if "level" in array.dims:
                array = array.isel(level=[channels[c][1] for c in mine])
            picked = array.isel({k: xarray.DataArray(v, dims="sample") for k, v in which.items() if k in array.dims})
            if "sample" not in picked.dims:
                picked = picked.expand_dims(sample=len(indices))
            levels = ("level",) if "level" in picked.dims else ()
            with at(path):
                values = picked.transpose("sample", *levels, "latitude", "longitude").values
            for place, c in enumerate(mine):
                _, _, factor, offset = channels[c]
                maps[:, c] = (values[:, place] if levels else values) * factor + offset
        return maps

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

    def read(indices: np.ndarray) -> np.ndarray:
        owner = np.searchsorted(ends, indices, side="right")
        shape = len(group[0].variables), len(group[0].latitude_deg), len(group[0].longitude_deg)
        maps = np.empty((len(indices), *shape), np.float32)
        for i in np.unique(owner):
            mine = owner == i
            maps[mine] = group[i].read(indices[mine] - (ends[i] - len(group[i].minutes)))
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
    return replace(group[0], variables=every, read=lambda i: np.concatenate([p.read(i) for p in group], axis=1))


def whole(x: np.ndarray, variables: Sequence[Variable], times: np.ndarray, missing: str, path: str) -> np.ndarray:
    """Maps without gaps: refused, or filled with the nearest value of the same map."""
    gaps = ~np.isfinite(x)
    if not gaps.any():
        return x
    holed = np.argwhere(gaps.any((2, 3))).tolist()
    sample, channel = holed[0]
    where = f"{variables[channel].key} of data.path={path} at {np.datetime_as_string(times[sample], 'm')}"
    if missing == "stop":
        raise UserError(
            f"{where} has missing values: data.missing=fill takes the nearest value, or choose data.variables"
        )
    from scipy.ndimage import distance_transform_edt

    for i, c in holed:
        if gaps[i, c].all():
            raise UserError(
                f"{variables[c].key} of data.path={path} at {np.datetime_as_string(times[i], 'm')} is empty"
            )
        nearest = distance_transform_edt(gaps[i, c], return_distances=False, return_indices=True)
        x[i, c] = x[i, c][tuple(nearest)]
    return x


def check_plausible(fields: Fields, path: str) -> None:
    """UserError where the first map cannot be in the unit that the file says."""
    first = fields.read(np.array([0]))[0]
    for variable, value in zip(fields.variables, first.mean((1, 2), dtype=float).tolist(), strict=True):
        about = known(variable.name)
        if about and not about.plausible[0] <= value <= about.plausible[1]:
            raise UserError(
                f"{variable.key} of data.path={path} has a mean of {value:.4g} {variable.unit}, which cannot be: say "
                f"its true unit by data.units={{{variable.name}: …}}"
            )
