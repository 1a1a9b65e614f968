"""Rewards of weather maps, and what is watched beside them: functions (x [n, C, H, W], data, cond) -> [n].

Legend: n maps in model space, C channels, H latitudes, W longitudes.
"""

from collections.abc import Mapping

from torch import Tensor

from genzoo.contract import part
from genzoo.errors import UserError
from genzoo_weather.constraints import Residual
from genzoo_weather.data import WeatherData
from genzoo_weather.files import NEAR

HEIGHTS = ("msl", "z", "h", "sp")
"""Variables whose lows are lows, the first that is there is looked at."""

WORST = 10.0
"""Of an imbalance, over that of real maps."""


@part
def low(x: Tensor, data: WeatherData, cond: Mapping[str, Tensor], *, region: list[float]) -> Tensor:
    """How much lower pressure, geopotential or depth is in a region (south, north, west, east in degrees) than in the
    mean of its latitudes, in standard deviations of the training maps."""
    channel = height_channel(data)
    rows, columns = inside(data, region)
    here = x[:, channel][:, rows]
    return here.mean(dim=(1, 2)) - here[:, :, columns].mean(dim=(1, 2))


@part
def wind(x: Tensor, data: WeatherData, cond: Mapping[str, Tensor], *, region: list[float]) -> Tensor:
    """Mean speed of the wind in a region, m/s; of the first level there is."""
    names = [variable.name for variable in data.variables]
    if not {"u", "v"} <= set(names):
        raise UserError("reward=wind needs u and v among data.variables")
    rows, columns = inside(data, region)
    maps = data.decode(x)
    u, v = (maps[:, names.index(name)][:, rows][:, :, columns] for name in "uv")
    return (u.square() + v.square() + 1e-6).sqrt().mean(dim=(1, 2))


@part
def in_balance(x: Tensor, data: WeatherData, cond: Mapping[str, Tensor]) -> Tensor:
    """Minus the mean square of the wind that is not geostrophic, poleward of 30 degrees, over that of real maps; no
    less than -`WORST`, that one map does not decide."""
    residual = getattr(data, "_residual", None)
    if residual is None:
        residual = Residual(kind="balance")
        try:
            residual.initialise(data)
        except ValueError as error:
            raise UserError(f"{error}, or set reward.gold=null to watch nothing") from error
        data._residual = residual
    return -(residual.of(x.detach().float(), None) / residual.scale).clamp(max=WORST)


def height_channel(data: WeatherData) -> int:
    names = [variable.name for variable in data.variables]
    for name in HEIGHTS:
        if name in names:
            return names.index(name)
    raise UserError(f"reward=low needs one of {', '.join(HEIGHTS)} among data.variables")


def inside(data: WeatherData, region: list[float]) -> tuple[Tensor, Tensor]:
    """Places of the rows and of the columns that lie in a region, as `data.region` has them: all meridians where west
    and east are the same one. UserError where there are none."""
    if len(region) != 4 or region[0] >= region[1]:
        raise UserError(f"reward.function.region is south, north, west and east in degrees, not {region}")
    south, north, west, east = region
    latitude, longitude = data.grid.latitude_deg, data.grid.longitude_deg
    rows = ((latitude >= south - NEAR) & (latitude <= north + NEAR)).nonzero()[:, 0]
    columns = ((longitude - west + NEAR) % 360 <= ((east - west) % 360 or 360.0) + 2 * NEAR).nonzero()[:, 0]
    if not len(rows) or not len(columns):
        raise UserError(f"reward.function.region={region} holds no point of the maps: make it larger")
    return rows, columns
