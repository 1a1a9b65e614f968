"""Scores of weather: forecasts against what came, climates against climates, physics against that of real maps.

Legend: S starts, M members, C channels, H latitudes, W longitudes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Batch, Sampler, Spec
from genzoo.metrics.ensemble import fair_crps, gaussian_crps, rank_counts, spread
from genzoo_weather import physics
from genzoo_weather.constants import EARTH_RADIUS, GRAVITY
from genzoo_weather.data import WeatherData
from genzoo_weather.linear import SAMPLE, LinearForecast
from genzoo_weather.physics import Grid
from genzoo_weather.transform import SphericalTransform
from genzoo_weather.variables import Variable

CHUNK = 8
"""Starts whose ensembles are rolled out together."""

BAND = (30.0, 75.0)
"""Degrees of latitude, on both hemispheres, between which balance is measured."""


def forecasts(
    data: WeatherData,
    sample: Sampler,
    split: str,
    *,
    starts: int,
    members: int,
    leads: Sequence[int],
) -> dict[str, Any]:
    """By variable and lead: RMSE of the ensemble's mean, fair CRPS, spread over skill, rank histogram, the baselines'
    RMSE and CRPS; the physics and the spectra of each lead beside those of the maps that came. In the variables' units,
    weighted by area."""
    first = data.starts(split, max(leads))
    if not len(first):
        raise ValueError(
            f"scoring.leads: no forecast of {max(leads)} steps fits into the {split} split: choose shorter ones"
        )
    first = first[np.unique(np.linspace(0, len(first) - 1, starts).astype(int))]
    found, drift, ways = Sums(data), 0.0, {}
    maps: dict[int, list[tuple[Tensor, Tensor]]] = {lead: [] for lead in leads}
    for i in range(0, len(first), CHUNK):
        chunk = first[i : i + CHUNK]
        cond = {name: value.repeat_interleave(members, 0) for name, value in data.examples_at(chunk).cond.items()}
        origin = data.decode(cond["past"][:, -1].double())
        for lead in range(1, max(leads) + 1):
            x = sample(cond, i * 1000 + lead)
            if lead == 1:
                other = data.examples_at(np.roll(first, 1)[i : i + CHUNK]).cond["past"].repeat_interleave(members, 0)
                told = {"told": x} | controls(sample, cond, other, i * 1000 + lead)
                truth = data.decode(data.examples_at(chunk, lead=1).x.double())
                for name, made in told.items():
                    ensemble = data.decode(made.double()).unflatten(0, (-1, members)).transpose(0, 1)
                    ways.setdefault(name, Sums(data)).add(1, ensemble, truth)
            cond = data.follow(x, cond)
            if lead in leads:
                made, truth = data.decode(x.double()), data.decode(data.examples_at(chunk, lead=lead).x.double())
                found.add(lead, made.unflatten(0, (-1, members)).transpose(0, 1), truth)
                drift = max(drift, mass_drift(made, origin, data.variables, data.grid))
                maps[lead].append((made.float(), truth.float()))
    physics_by_lead, spectra_by_lead = {}, {}
    for lead, pairs in maps.items():
        made, truth = (torch.cat(part).double() for part in zip(*pairs, strict=True))
        physics_by_lead[f"lead_{lead}"] = compared(made, truth, data.variables, data.grid, "forecast")
        spectra_by_lead[f"lead_{lead}"] = spectra(made, truth, data.variables, data.grid)
    return {
        "forecast": {
            "hours_a_step": data.step_minutes / 60,
            "starts": len(first),
            "members": members,
            **found.scores(),
        },
        "one_step": {name: of_one_step(sums) for name, sums in ways.items()},
        "baselines": baselines(data, data.examples_at(first), {n: data.examples_at(first, lead=n) for n in leads}),
        "physics": physics_by_lead | {"largest_mass_drift": drift},
        "spectrum": spectra_by_lead,
    }


def controls(sample: Sampler, cond: Mapping[str, Tensor], other: Tensor, seed: int) -> dict[str, Tensor]:
    """The same step with the same noise, told no past, and told that of another date."""
    nothing = {"past": torch.zeros_like(cond["past"]), "known": torch.zeros_like(cond["known"])}
    return {"withheld": sample({**cond, **nothing}, seed), "swapped": sample({**cond, "past": other}, seed)}


def of_one_step(sums: "Sums") -> dict[str, dict[str, float]]:
    return {name: {key: leads["lead_1"][key] for key in ("rmse", "crps")} for name, leads in sums.scores().items()}


def compared(made: Tensor, real: Tensor, variables: Sequence[Variable], grid: Grid, name: str) -> dict[str, Any]:
    """Each residual of maps beside the same of real ones."""
    ours, theirs = (physics_of(x, variables, grid) for x in (made, real))
    return {residual: {name: ours[residual], "real": theirs[residual]} for residual in theirs}


class Sums:
    """Means over cases that come in pieces."""

    def __init__(self, data: WeatherData) -> None:
        self.names, self.grid = [v.key for v in data.variables], data.grid
        self.by_lead: dict[int, list[list[Tensor]]] = {}

    def add(self, lead: int, members: Tensor, truth: Tensor) -> None:
        """members [M, S, C, H, W], truth [S, C, H, W]."""
        area = self.grid.area.view(-1, 1)
        ranks = [rank_counts(members[:, :, c], truth[:, c], area) for c in range(truth.shape[1])]
        each = (fair_crps(members, truth), (members.mean(0) - truth).square(), spread(members))
        row = [self.grid.mean(part).sum(0) for part in each] + [torch.stack(ranks), torch.tensor(len(truth))]
        self.by_lead.setdefault(lead, []).append(row)

    def scores(self) -> dict[str, Any]:
        """By variable, by lead."""
        found: dict[str, Any] = {name: {} for name in self.names}
        for lead, rows in sorted(self.by_lead.items()):
            crps, error, variance, ranks, count = (sum(column) for column in zip(*rows, strict=True))
            for c, name in enumerate(self.names):
                found[name][f"lead_{lead}"] = {
                    "rmse": float((error[c] / count).sqrt()),
                    "crps": float(crps[c] / count),
                    "spread_skill": float((variance[c] / error[c].clamp(min=1e-30)).sqrt()),
                    "ranks": [round(share, 4) for share in (ranks[c] / ranks[c].sum()).tolist()],
                }
        return found


def baselines(data: WeatherData, now: Batch, truth: Mapping[int, Batch]) -> dict[str, Any]:
    """Forecasts that need no network, fitted to the training split for each lead, each with the Gaussian spread of its
    errors there: {name: {variable: {lead: {rmse, crps}}}}."""
    size, past = data.spec.shape, data.past
    kinds = {"damped": (1, 0), "linear": (1, 40), "linear_past": (past, 80)}
    kinds = {name: kind for name, kind in kinds.items() if name != "linear_past" or past > 1}
    scores: dict[str, Any] = {}
    scale = data.decode(torch.ones(size).double()) - data.decode(torch.zeros(size).double())
    for lead, batch in truth.items():
        train = data.examples("train", most=SAMPLE, lead=lead)
        laws: dict[str, tuple[Tensor, Tensor]] = {}
        for name, (maps, modes) in kinds.items():
            spec = Spec(size, context={"past": (maps, *size), "known": (), "minutes": ()})
            hours = data.seasons and data.step_minutes < 24 * 60
            model = LinearForecast(spec, modes=modes, year=2 if data.seasons else 0, day=int(hours))
            model.fit(last_maps(train, maps), area=data.grid.area, step_minutes=data.step_minutes, lead=lead)
            laws[name] = model({**last_maps(now, maps).cond, "minutes": batch.cond["minutes"]})
            if name == "damped":
                laws["climatology"] = model({**last_maps(now, 1).cond, **batch.cond, "known": torch.zeros(len(now))})
        error = (train.x - train.cond["past"][:, -1]).square().mean(0).sqrt()
        laws["persistence"] = now.cond["past"][:, -1], error.clamp(min=1e-6)
        for name, (mean, std) in laws.items():
            crps = data.grid.mean(gaussian_crps(mean, std.expand_as(mean), batch.x).double() * scale).mean(0)
            rmse = data.grid.mean(((mean - batch.x).double() * scale).square()).mean(0).sqrt()
            for c, variable in enumerate(data.variables):
                of = scores.setdefault(name, {}).setdefault(variable.key, {})
                of[f"lead_{lead}"] = {"rmse": float(rmse[c]), "crps": float(crps[c])}
    return scores


def last_maps(batch: Batch, count: int) -> Batch:
    """The same examples with only the last `count` maps of their past."""
    return Batch(batch.x, {**batch.cond, "past": batch.cond["past"][:, -count:]})


def channel(variables: Sequence[Variable], name: str, level_hpa: float | None = None) -> int | None:
    """Where a variable stands among the channels."""
    return next((i for i, v in enumerate(variables) if v.name == name and v.level_hpa == level_hpa), None)


def flows(variables: Sequence[Variable]) -> list[tuple[str, int, int, int | None]]:
    """(suffix of the level, u, v, and what they balance: depth or geopotential, if it is there) of each level."""
    found = []
    for level in dict.fromkeys(v.level_hpa for v in variables if v.name == "u"):
        u, v = channel(variables, "u", level), channel(variables, "v", level)
        if v is not None:
            depth = channel(variables, "h", level)
            height = channel(variables, "z", level) if depth is None else depth
            found.append(("" if level is None else f"_{level:g}", u, v, height))
    return found


def potential(x: Tensor, variables: Sequence[Variable], place: int) -> Tensor:
    """Geopotential in m2/s2 of the channel that is a depth in m or a geopotential: [..., C, H, W] -> [..., H, W]."""
    return x[..., place, :, :] * (GRAVITY if variables[place].name == "h" else 1.0)


def band(grid: Grid) -> Tensor | None:
    """The rows where balance is measured, None where the map has none of them."""
    try:
        return grid.rows(*BAND, both=True)
    except ValueError:
        return None


def physics_of(x: Tensor, variables: Sequence[Variable], grid: Grid) -> dict[str, float]:
    """What physics says of maps [n, C, H, W] in SI units, the mean over them: 0 where they obey it exactly, except for
    what real maps have too. Only what the variables allow."""
    found: dict[str, float] = {}
    rows = band(grid)
    for suffix, u, v, height in flows(variables):
        wind = x[:, u], x[:, v]
        squares = (part(*wind, grid).square() for part in (physics.divergence, physics.vorticity))
        found[f"rms_divergence{suffix}_per_s"], found[f"rms_vorticity{suffix}_per_s"] = (
            float(grid.mean(square, rows).mean().sqrt()) for square in squares
        )
        if height is not None and rows is not None:
            phi = potential(x, variables, height)
            for name, curved in (("geostrophic", False), ("nonlinear", True)):
                off = physics.balance_residual(*wind, phi, grid, rows, curved=curved)
                found[f"rms_{name}_imbalance{suffix}_m_per_s2"] = float(off.mean().sqrt())
            found[f"ageostrophic_ratio{suffix}"] = float(physics.ageostrophic_ratio(*wind, phi, grid, rows).mean())
            if variables[height].name == "h":
                found["energy_m3_per_s2"] = float(physics.energy(*wind, x[:, height], grid).mean())
    if (depth := channel(variables, "h")) is not None:
        found["mean_depth_m"] = float(physics.mass(x[:, depth], grid).mean())
    levels = sorted({v.level_hpa for v in variables if v.name == "t" and v.level_hpa}, reverse=True)
    for below, above in pairwise(levels):
        places = [channel(variables, name, level) for name in "zt" for level in (above, below)]
        if None not in places:
            z_top, z_bottom, t_top, t_bottom = (x[:, place] for place in places)
            residual = physics.hypsometric_residual(
                z_top / GRAVITY, z_bottom / GRAVITY, t_top, t_bottom, p_top=100 * above, p_bottom=100 * below
            )
            found[f"rms_hypsometric_{below:g}_{above:g}_m"] = float(grid.mean(residual.square()).mean().sqrt())
    return found


def mass_drift(made: Tensor, origin: Tensor, variables: Sequence[Variable], grid: Grid) -> float:
    """Largest relative change of the mean depth since the start; 0 where no depth is among the variables."""
    depth = channel(variables, "h")
    if depth is None:
        return 0.0
    before, after = (physics.mass(x[:, depth], grid) for x in (origin, made))
    return float(((after - before) / before).abs().max())


def spectrum_of(
    x: Tensor, variables: Sequence[Variable], grid: Grid, transform: SphericalTransform | None
) -> dict[str, Tensor]:
    """Mean power of maps [n, C, H, W] by wavenumber: of kinetic energy where there is wind, else of each variable.
    Total wavenumbers (spherical harmonics) with a transform, zonal ones without."""
    found: dict[str, Tensor] = {}
    for suffix, u, v, _ in flows(variables):
        if transform:
            degrees = torch.arange(transform.truncation + 1, dtype=torch.float64)
            turn = (degrees * (degrees + 1)).clamp(min=1) / EARTH_RADIUS**2
            parts = transform.vorticity_divergence(x[:, u].double(), x[:, v].double())
            found[f"kinetic_energy{suffix}"] = sum(transform.spectrum(part).mean(0) for part in parts) / turn / 2
        else:
            found[f"kinetic_energy{suffix}"] = physics.kinetic_energy_spectrum(x[:, u], x[:, v], grid).mean(0)
    for c, variable in enumerate(variables):
        if variable.name not in "uv":
            if transform:
                found[variable.key] = transform.spectrum(transform.analysis(x[:, c].double())).mean(0)
            else:
                found[variable.key] = 2 * physics.kinetic_energy_spectrum(
                    x[:, c], torch.zeros_like(x[:, c]), grid
                ).mean(0)
    return found


def spectra(made: Tensor, truth: Tensor, variables: Sequence[Variable], grid: Grid) -> dict[str, Any]:
    """By variable: power of the samples over that of real maps at each wavenumber from 1, and how far from 1 it is at
    most over the first two thirds of the wavenumbers: total ones on the whole globe, zonal ones on a part of it."""
    try:
        transform = SphericalTransform.of(grid.latitude_deg, len(grid.longitude_deg)) if grid.periodic else None
    except ValueError:  # not the whole globe
        transform = None
    ours, real = (spectrum_of(x, variables, grid, transform) for x in (made, truth))
    found: dict[str, Any] = {}
    for name in real:
        ratio = (ours[name][1:] / real[name][1:].clamp(min=1e-30)).tolist()
        upto = max(1, 2 * len(ratio) // 3)
        found[name] = {
            "largest_error_to_two_thirds": max(abs(r - 1) for r in ratio[:upto]),
            "over_real": [round(r, 3) for r in ratio],
        }
    return found


def climate(made: Tensor, real: Tensor, variables: Sequence[Variable], grid: Grid) -> dict[str, Any]:
    """Samples of the climate [n, C, H, W] against real maps, in SI units: error of the mean map and of the standard
    deviation's, physics, spectra."""
    found: dict[str, Any] = {}
    if len(made) > 1:
        for c, variable in enumerate(variables):
            parts = (made[:, c].mean(0) - real[:, c].mean(0), made[:, c].std(0) - real[:, c].std(0))
            mean, std = (float(grid.mean(part.square()).sqrt()) for part in parts)
            found[variable.key] = {"rms_error_of_mean": mean, "rms_error_of_std": std}
    found["physics"] = compared(made, real, variables, grid, "samples")
    return {"climate": found | {"spectrum": spectra(made, real, variables, grid)}}
