"""What weather variables are called, and the units they are brought to: SI, always."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from genzoo.errors import UserError
from genzoo_weather.constants import GRAVITY


class Known(NamedTuple):
    """A variable that many files have. plausible: between which values its mean over a map must lie, in its unit."""

    name: str
    unit: str
    standard_name: str
    aliases: tuple[str, ...]
    plausible: tuple[float, float]


KNOWN = (
    Known(
        "z", "m2 s-2", "geopotential", ("geopotential", "phi", "geopotential_height", "gh", "zg", "hgt"), (-1e4, 6e5)
    ),
    Known("t", "K", "air_temperature", ("temperature", "ta", "air"), (150, 350)),
    Known("u", "m s-1", "eastward_wind", ("u_component_of_wind", "ua", "uwnd"), (-150, 150)),
    Known("v", "m s-1", "northward_wind", ("v_component_of_wind", "va", "vwnd"), (-150, 150)),
    Known("w", "Pa s-1", "lagrangian_tendency_of_air_pressure", ("vertical_velocity", "omega", "wap"), (-50, 50)),
    Known("q", "kg kg-1", "specific_humidity", ("specific_humidity", "hus", "shum"), (-1e-3, 0.1)),
    Known(
        "msl", "Pa", "air_pressure_at_mean_sea_level", ("mean_sea_level_pressure", "slp", "prmsl", "psl"), (8e4, 1.1e5)
    ),
    Known("sp", "Pa", "surface_air_pressure", ("surface_pressure", "ps"), (3e4, 1.1e5)),
    Known("t2m", "K", "air_temperature", ("2m_temperature", "tas", "2t"), (150, 350)),
    Known("u10", "m s-1", "eastward_wind", ("10m_u_component_of_wind", "uas", "10u"), (-100, 100)),
    Known("v10", "m s-1", "northward_wind", ("10m_v_component_of_wind", "vas", "10v"), (-100, 100)),
    Known("sst", "K", "sea_surface_temperature", ("sea_surface_temperature", "tos"), (260, 320)),
    Known("h", "m", "atmosphere_layer_thickness", ("depth",), (0, 1e5)),
)

CELSIUS = ("degc", "celsius", "c", "degreec", "degreecelsius")

SAME = {
    "Pa": {
        "pa": 1.0,
        "pascal": 1.0,
        "pascals": 1.0,
        "hpa": 100.0,
        "mb": 100.0,
        "mbar": 100.0,
        "millibar": 100.0,
        "millibars": 100.0,
        "kpa": 1000.0,
    },
    "m2 s-2": {
        "m2s-2": 1.0,
        "jkg-1": 1.0,
        "m": GRAVITY,
        "gpm": GRAVITY,
        "meter": GRAVITY,
        "meters": GRAVITY,
        "metre": GRAVITY,
        "metres": GRAVITY,
        "dam": 10 * GRAVITY,
        "dagpm": 10 * GRAVITY,
    },
    "K": dict.fromkeys(("k", "kelvin", "degk", "degreek", *CELSIUS), 1.0),
    "m s-1": {"ms-1": 1.0, "kt": 0.514444, "knot": 0.514444, "knots": 0.514444, "kmh-1": 1 / 3.6},
    "Pa s-1": {"pas-1": 1.0, "pascals-1": 1.0, "hpas-1": 100.0},
    "kg kg-1": {"kgkg-1": 1.0, "1": 1.0, "gkg-1": 1e-3},
    "m": {"m": 1.0, "meter": 1.0, "meters": 1.0, "metre": 1.0, "metres": 1.0, "km": 1000.0},
}
"""By SI unit: the factors of the units that can be turned into it, spelled without blanks, stars and carets."""


@dataclass(frozen=True)
class Variable:
    """One channel of a map. level_hpa: of its pressure level, None where it has none. source: its name in the file."""

    name: str
    unit: str
    level_hpa: float | None = None
    standard_name: str = ""
    source: str = ""

    @property
    def key(self) -> str:
        """z500, msl …"""
        return self.name if self.level_hpa is None else f"{self.name}{self.level_hpa:g}"


def known(name: str, standard_name: str = "") -> Known | None:
    """The known variable of a file's name for it, or of its CF standard name, where only one has that."""
    for each in KNOWN:
        if name.lower() in (each.name, *each.aliases):
            return each
    same = [each for each in KNOWN if standard_name and standard_name in (each.standard_name, *each.aliases)]
    return same[0] if len(same) == 1 else None


def conversion(name: str, unit: str, to: str) -> tuple[float, float]:
    """(factor, offset) that bring values of a file's unit to the SI unit `to`; UserError where the unit is another."""
    spelled = re.sub(r"[\s*^._]", "", unit.lower()).replace("°", "deg").replace("degrees", "degree")
    spelled = re.sub(r"/([a-z]+)(\d?)", lambda found: f"{found[1]}-{found[2] or 1}", spelled)
    factors = SAME.get(to, {})
    if spelled not in factors:
        raise UserError(
            f"{name} is in {unit or 'no unit'!r}, and {to} is needed: say what it is by data.units={{{name}: "
            f"{next(iter(factors), to)}}}; known: {', '.join(factors)}"
        )
    return factors[spelled], 273.15 if spelled in CELSIUS else 0.0
