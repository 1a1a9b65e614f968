"""Weather maps as examples for a model, and samples as maps in SI units.

Legend: B batch, n samples (members), K past maps, C channels (variable and level), H latitudes, W longitudes, T leads.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Batch, Data, Piece, Request, Spec
from genzoo.draws import items_in_epochs, numpy_generator
from genzoo.errors import UserError, user_errors
from genzoo.folders import check_share
from genzoo.page.items import Exhibit, still
from genzoo.reading import reason
from genzoo_weather.apart import open_fields
from genzoo_weather.fields import Fields, day_of, to_minutes
from genzoo_weather.physics import Grid
from genzoo_weather.variables import Variable

FITTED = 512
"""Maps that mean and standard deviation are taken from, at most."""


class WeatherData(Data):
    """Pairs of the last maps and the next one.

    path: "simulated", or a file, a folder or a pattern of files, or a Zarr store (see `apart.open_fields`, also for
        variables, levels, region, units, missing and max_mb).
    past: maps that a forecast is given. step_hours: between two maps; default: as the file has them.
    start, end: the first and the last day of the data that are used; val_from: the day that validation begins, default
        so that it gets the last `val_fraction`.
    select_fraction: share of what is left to train on that chooses the weights, so that figures are of others; else the
        last weights are scored.
    unconditional: share of examples without a past, from which the model learns the climate.
    simulation: options of `shallow_water.simulate`.
    memory_gb: maps are kept in memory if they take no more, else read as they are needed.
    seed: of the order of examples.
    """

    scores = "genzoo_weather.scores.WeatherScores"
    unit = "value"

    def __init__(
        self,
        *,
        path: str = "simulated",
        variables: list[str] | None = None,
        levels_hpa: list[float] | None = None,
        region: list[float] | None = None,
        units: dict[str, str] | None = None,
        missing: Literal["stop", "fill"] = "stop",
        past: int = 1,
        step_hours: float | None = None,
        start: str | None = None,
        end: str | None = None,
        val_from: str | None = None,
        val_fraction: float = 0.1,
        select_fraction: float = 0.0,
        unconditional: float = 0.1,
        simulation: dict[str, int] | None = None,
        memory_gb: float = 4.0,
        max_mb: float = 1000.0,
        seed: int = 0,
    ) -> None:
        if past < 1:
            raise UserError(f"data.past must be at least 1, not {past}")
        if not 0 < val_fraction < 1 or not 0 <= unconditional <= 1:
            raise UserError("data.val_fraction must lie between 0 and 1, and data.unconditional from 0 to 1")
        if missing not in ("stop", "fill"):
            raise UserError(f"data.missing is stop or fill, not {missing!r}")
        if step_hours is not None and step_hours <= 0:
            raise UserError(f"data.step_hours must be above 0, not {step_hours:g}")
        self.path, self.past, self.step_hours, self.unconditional = path, past, step_hours, unconditional
        self.choice = {"variables": variables, "levels_hpa": levels_hpa, "region": region, "units": units}
        self.choice["max_mb"] = max_mb
        self.missing, self.simulation, self.memory_gb, self.seed = missing, dict(simulation or {}), memory_gb, seed
        self.days = {"data.start": start, "data.end": end, "data.val_from": val_from}
        check_share(select_fraction)
        self.val_fraction, self.select_fraction = val_fraction, select_fraction
        self.fitted: dict[str, Any] | None = None
        self.first: dict[str, np.ndarray] = {}
        self.kept: Tensor | None = None

    # ---- what is there

    def prepare(self) -> None:
        fields = self._open(self.path)
        times = fields.minutes
        between = {key: to_minutes(day_of(day, key))[()] for key, day in self.days.items() if day}
        last = between.get("data.end", times.max())
        if self.days["data.end"] and len(str(self.days["data.end"])) == len("2001-01-31"):
            last += 24 * 60 - 1  # the whole day
        inside = (times >= between.get("data.start", times.min())) & (times <= last)
        fields = fields.select(np.flatnonzero(inside))
        times = fields.minutes
        if len(times) < 2:
            raise UserError(f"data.path={self.path} has {len(times)} maps from data.start to data.end: two are needed")
        gaps = np.diff(times)
        own = int(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 0
        step = round(self.step_hours * 60) if self.step_hours else own
        if not own or step < 1 or step % own:
            raise UserError(f"data.step_hours={step / 60:g} is no multiple of the {own / 60:g} hours between the maps")
        stride = step // own
        whole = np.arange(max(0, len(times) - self.past * stride))
        for k in range(self.past):
            whole = whole[follows(fields, whole + k * stride, whole + (k + 1) * stride, step)]
        cut = int(len(whole) * (1 - self.val_fraction))
        aim = times[whole + self.past * stride]
        if "data.val_from" in between:
            late = aim >= between["data.val_from"]
        elif self.path == "simulated":  # the last trajectories; members of an ensemble would be too much alike
            late = np.arange(len(whole)) >= cut
        else:
            late = aim >= np.sort(aim)[cut] if len(aim) else np.zeros(0, bool)
        self.first = self._parted(whole, aim, late)
        if min(map(len, self.first.values())) < 1:
            raise UserError(f"data.path={self.path} leaves no maps to {'train on' if late.all() else 'validate on'}")
        self.fields, self.stride = fields, stride
        if self.fitted is None:
            self._fit(step)
        elif self.fitted["step_minutes"] != step:
            raise UserError(f"data.step_hours: the model makes {self.fitted['step_minutes'] / 60:g}-hour steps")
        self._check(fields)
        size = len(times) * int(np.prod(self.spec.shape)) * 4 / 1e9
        pieces = fields.pieces(np.arange(len(times))) if size <= self.memory_gb else ()
        self.kept = torch.cat([fields.read(piece) for piece in pieces]) if pieces else None

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.first)

    def _parted(self, first: np.ndarray, aim: np.ndarray, late: np.ndarray) -> dict[str, np.ndarray]:
        """Examples by split, of which the late ones are held out. What chooses is the end of the others."""
        early, held = first[~late], first[late]
        if not self.select_fraction or not len(early):
            return {"train": early, "val": held}
        times = aim[~late]
        chooses = times >= np.sort(times)[int(len(times) * (1 - self.select_fraction))]
        return {"train": early[~chooses], "val": early[chooses], "test": held}

    def _open(self, path: str) -> Fields:
        if path == "simulated":
            from genzoo_weather.simulated import simulated_fields

            return simulated_fields(self.simulation)
        like = self.variables if self.fitted is not None else None
        return open_fields(path, missing=self.missing, like=like, **self.choice)

    def _fit(self, step: int) -> None:
        """Mean and standard deviation of every channel over the training maps, in its unit."""
        places = np.unique(self.first["train"])
        places = places[np.unique(np.linspace(0, len(places) - 1, FITTED).astype(int))]
        with user_errors(f"data.path={self.path}: "):
            grid = Grid(torch.from_numpy(self.fields.latitude_deg), torch.from_numpy(self.fields.longitude_deg))
        means, squares = [], []  # of each map, and about its mean
        for piece in self.fields.pieces(places):
            x = self.fields.read(piece).double()
            means.append(grid.mean(x))
            squares.append(grid.mean((x - means[-1][..., None, None]).square()))
        means = torch.cat(means)
        mean = means.mean(0)
        std = (torch.cat(squares) + (means - mean).square()).mean(0).sqrt()
        still = std <= 1e-6 * mean.abs()
        if still.any():
            still = self.fields.variables[int(still.nonzero()[0])].key
            raise UserError(f"{still} of data.path={self.path} is the same everywhere: leave it out of data.variables")
        self.load_state_dict(
            {
                "variables": [
                    {"name": v.name, "unit": v.unit, "level_hpa": v.level_hpa, "standard_name": v.standard_name}
                    | {"mean": m, "std": s, "source": v.source or v.name}
                    for v, m, s in zip(self.fields.variables, mean.tolist(), std.tolist(), strict=True)
                ],
                "latitude_deg": self.fields.latitude_deg.tolist(),
                "longitude_deg": self.fields.longitude_deg.tolist(),
                "step_minutes": step,
                "past": self.past,
            }
        )

    def _check(self, fields: Fields) -> None:
        """UserError where maps are not of the kind that the model was trained on."""
        theirs, ours = ([f"{v.key} in {v.unit}" for v in kinds] for kinds in (fields.variables, self.variables))
        if theirs != ours:
            raise UserError(f"these maps have {', '.join(theirs)}, and the model makes {', '.join(ours)}")
        same = (len(fields.latitude_deg), len(fields.longitude_deg)) == self.spec.shape[1:]
        if same:
            turn = (fields.longitude_deg - self.grid.longitude_deg.numpy() + 180) % 360 - 180
            same = max(abs(turn).max(), abs(fields.latitude_deg - self.grid.latitude_deg.numpy()).max()) < 0.01
        if not same:
            size = f"{len(fields.latitude_deg)} x {len(fields.longitude_deg)}"
            corner = f"{fields.latitude_deg[0]:g} N, {fields.longitude_deg[0]:g} E"
            raise UserError(f"these maps have {size} points from {corner}; the model has another grid: see data.region")

    def _read(self, places: np.ndarray) -> Tensor:
        return self.fields.read(places) if self.kept is None else self.kept[torch.from_numpy(places)]

    def frames(self, places: np.ndarray) -> Tensor:
        """Maps at positions of the data, in model space [B, C, H, W]."""
        return self.encode(self._read(places))

    @property
    def seasons(self) -> bool:
        """Whether the maps have a season that could be learned."""
        return self.path != "simulated"

    # ---- model space and SI units

    def _scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kinds = self.fitted["variables"]
        return tuple(torch.tensor([v[key] for v in kinds]).to(x).view(-1, 1, 1) for key in ("mean", "std"))

    def encode(self, x: Tensor) -> Tensor:
        """SI units [..., C, H, W] -> model space."""
        mean, std = self._scale(x)
        return (x - mean) / std

    def decode(self, x: Tensor) -> Tensor:
        """Model space [..., C, H, W] -> SI units."""
        mean, std = self._scale(x)
        return x * std + mean

    @property
    def spec(self) -> Spec:
        size = (len(self.fitted["variables"]), len(self.fitted["latitude_deg"]), len(self.fitted["longitude_deg"]))
        return Spec(shape=size, context={"past": (self.past, *size), "known": (), "minutes": ()})

    def state_dict(self) -> dict[str, Any]:
        return self.fitted

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        try:
            self.fitted, self.past, self.step_minutes = dict(state), state["past"], state["step_minutes"]
            names = ("name", "unit", "level_hpa", "standard_name", "source")
            self.variables = [Variable(*(v[name] for name in names)) for v in state["variables"]]
            axes = (state["latitude_deg"], state["longitude_deg"])
            self.grid = Grid(*(torch.tensor(axis, dtype=torch.float64) for axis in axes))
        except Exception as error:
            raise UserError(f"this checkpoint is not one of weather maps ({reason(error)})") from error

    # ---- examples

    def starts(self, split: str, lead: int = 1) -> np.ndarray:
        """Positions where the past of an example begins that has a map `lead` steps after it, in this split."""
        first = self._split(split)
        end = first + (self.past - 1 + lead) * self.stride
        other = self.first["val" if split == "train" else "train"] + self.past * self.stride
        inside = (end < len(self.fields.minutes)) & ~np.isin(end, other)  # no map that the other split forecasts
        first, end = first[inside], end[inside]
        return first[follows(self.fields, first, end, (self.past - 1 + lead) * self.step_minutes)]

    def examples_at(self, first: np.ndarray, known: np.ndarray | None = None, *, lead: int = 1) -> Batch:
        """The examples whose past begins at positions `first`. known: which of them are told their past. lead: how many
        steps after its past an example's map is."""
        ages = np.append(np.arange(self.past), self.past - 1 + lead) * self.stride
        maps = self.frames((first[:, None] + ages).ravel()).unflatten(0, (len(first), -1))
        is_known = torch.ones(len(first)) if known is None else torch.from_numpy(known.astype(np.float32))
        minutes = torch.from_numpy(self.fields.minutes[first + ages[-1]])
        past = maps[:, :-1] * is_known.view(-1, 1, 1, 1, 1)
        return Batch(maps[:, -1], {"past": past, "known": is_known, "minutes": minutes})

    def examples(self, split: str, *, most: int, lead: int = 1) -> Batch:
        """At most so many examples, evenly from the whole split."""
        first = self.starts(split, lead)
        return self.examples_at(first[np.unique(np.linspace(0, len(first) - 1, most).astype(int))], lead=lead)

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        first, rows = self._split(split), rows if rows is not None else range(size)
        places = range(step * size + rows.start, step * size + rows.stop, rows.step)
        chosen = first[items_in_epochs(places, len(first), self.seed, split)]
        known = numpy_generator("known", self.seed, split, step).random(size)[list(rows)] >= self.unconditional
        return self.examples_at(chosen, known if split == "train" else None)

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        first = self._split(split)
        for i in range(0, len(first), size):
            yield self.examples_at(first[i : i + size])

    def _split(self, split: str) -> np.ndarray:
        self.check_split(split)
        return self.first[split]

    def fingerprint(self, split: str) -> str:
        ages = np.arange(self.past + 1) * self.stride
        return self.fields.fingerprint(np.unique(self._split(split)[:, None] + ages), self._read)

    # ---- forecasts

    def request(self, n: int, *, context: str | None = None, date: str | None = None) -> Request:
        """context: a file with the last maps, or "simulated": the last of those; without it samples are of the climate.
        date: day (and hour) of the first map that is made, default one step after the context, else a random one for
        each sample; a file of samples bears the first one's."""
        size = self.spec.shape
        if context is None:
            start = numpy_generator("date", self.seed).integers(0, 365 * 24 * 60, n)
            minutes = torch.from_numpy(start // self.step_minutes * self.step_minutes)
            past, known = torch.zeros(n, self.past, *size), torch.zeros(n)
        else:
            try:
                fields = self._open(context)
                self._check(fields)
            except UserError as error:
                raise UserError(str(error).replace("data.path=", "context=")) from error
            ages = fields.minutes[-1] - np.arange(self.past - 1, -1, -1) * self.step_minutes
            last = fields.member == fields.member[-1]
            places = [np.flatnonzero(last & (fields.minutes == age)) for age in ages]
            if not all(map(len, places)):
                raise UserError(
                    f"context={context}: {self.past} maps up to its last are needed, "
                    f"{self.step_minutes / 60:g} hours apart"
                )
            past = self.encode(fields.read(np.array([p[-1] for p in places])))[None].expand(n, -1, -1, -1, -1)
            known, minutes = torch.ones(n), torch.full((n,), int(ages[-1]) + self.step_minutes)
        if date is not None:
            minutes = torch.full((n,), int(to_minutes(day_of(date, "date"))))
        return Request(n, {"past": past, "known": known, "minutes": minutes})

    def follow(self, x: Tensor, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        past = torch.cat((cond["past"][:, 1:], x[:, None].to(cond["past"])), dim=1)
        if self.past > 1:  # after a lone climate map there is no second one: it stands for the other
            past = torch.where(cond["known"].view(-1, 1, 1, 1, 1) > 0, past, x[:, None].to(past).expand_as(past))
        return {"past": past, "known": torch.ones_like(cond["known"]), "minutes": cond["minutes"] + self.step_minutes}

    # ---- files and pictures

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        """One map as a NetCDF file."""
        return self._write(x[None], path)

    def write_all(self, samples: Tensor, folder: Path, request: Request) -> list[Path]:
        """All maps in one NetCDF file, as members; its time means nothing."""
        return [self._write(samples, folder / "samples")]

    def _write(self, samples: Tensor, path: Path) -> Path:
        from genzoo_weather.output import ForecastFile

        file = ForecastFile(path.with_name(f"{path.name}.nc"), self.variables, self.grid, len(samples))
        file.append(self.decode(samples), 0)
        return file.close()

    def write_rollout(self, pieces: Iterator[Piece], folder: Path, request: Request) -> list[Path]:
        """forecast.nc, which grows by a time with each piece, and pictures of it."""
        from genzoo_weather import pictures

        written = self.write_forecast(pieces, folder / "forecast.nc")
        return [written, *pictures.of_forecast(written, folder)]

    def write_forecast(self, pieces: Iterable[Piece], path: Path) -> Path:
        """All pieces as one NetCDF file."""
        from genzoo_weather.output import ForecastFile

        file = None
        try:
            for x, cond in pieces:
                if file is None:
                    file = ForecastFile(path, self.variables, self.grid, len(x))
                file.append(self.decode(x), int(cond["minutes"][0]))
        finally:
            written = file.close() if file else None
        return written

    def preview(self, samples: Tensor, path: Path, request: Request) -> Path:
        from genzoo_weather import pictures

        return pictures.maps(self.decode(samples), self.variables, self.grid, path.with_suffix(".png"))

    def exhibits(self, pieces: Sequence[Piece], folder: Path, request: Request) -> list[Exhibit]:
        """Of a forecast, its mean and spread, its members, and both moving; else the maps themselves."""
        from genzoo_weather import pictures

        if len(pieces) == 1:
            return [still(self.preview(pieces[0][0], folder / "maps", request), alt="maps")]
        return pictures.exhibits(self.write_forecast(pieces, folder / "forecast.nc"), folder)

    # ---- scores


def follows(fields: Fields, first: np.ndarray, second: np.ndarray, minutes: int) -> np.ndarray:
    """Whether the maps at positions `second` are of the same member as those at `first`, so many minutes later."""
    return (fields.member[first] == fields.member[second]) & (fields.minutes[second] - fields.minutes[first] == minutes)
