"""The embedded data: a shallow-water atmosphere, simulated once and kept in the user's cache folder."""

import inspect
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genzoo.draws import seed_of
from genzoo.errors import user_errors
from genzoo_weather.fields import Fields
from genzoo_weather.variables import Variable

VERSION = 1
"""Of the simulator: another one makes other weather."""

CHANNELS = [
    Variable("u", "m s-1", None, "eastward_wind", "u"),
    Variable("v", "m s-1", None, "northward_wind", "v"),
    Variable("h", "m", None, "atmosphere_layer_thickness", "h"),
]


def simulated_fields(options: Mapping[str, Any]) -> Fields:
    """The maps of `shallow_water.simulate` with these options, one trajectory after another, as members. UserError for
    options that it has not, or cannot do."""
    from genzoo.config import check_options
    from genzoo.download import cache_folder
    from genzoo_weather.shallow_water import simulate

    known = {name: p for name, p in inspect.signature(simulate).parameters.items() if name != "progress"}
    check_options(options, {name: p.annotation for name, p in known.items()}, "data.simulation")
    told = {name: p.default for name, p in known.items()} | dict(options)
    name = f"shallow_water_{VERSION}_{seed_of(json.dumps(told)):016x}"
    file = cache_folder() / f"{name}.npz"
    try:
        kept = load(file)
    except Exception:  # there is none, or a damaged one: it is made anew
        print(f"simulating {told['trajectories']} x {told['days']:g} days of weather, kept in {file}", file=sys.stderr)
        with user_errors("data.simulation: "):
            made = simulate(**told)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{os.getpid()}-{file.name}")
        np.savez(
            part, maps=made.fields.numpy(), latitude=made.latitude_deg.numpy(), longitude=made.longitude_deg.numpy()
        )
        os.replace(part, file)
        kept = load(file)
    maps, latitude, longitude = torch.from_numpy(kept["maps"]), kept["latitude"], kept["longitude"]
    times = np.arange(maps.shape[1]) * round(told["every_hours"] * 60)
    flat = maps.flatten(0, 1)
    minutes, member = np.tile(times, len(maps)).astype(np.int64), np.repeat(np.arange(len(maps)), len(times))
    return Fields(CHANNELS, latitude, longitude, minutes, member, lambda i: flat[torch.from_numpy(i)])


def load(file: Path) -> dict[str, np.ndarray]:
    """All that is in an NPZ file."""
    with np.load(file) as kept:
        return {"maps": kept["maps"], **{axis: kept[axis].astype(float) for axis in ("latitude", "longitude")}}
