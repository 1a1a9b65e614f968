"""Pictures of weather: maps with winds, an ensemble's mean and spread, its spaghetti, its plume, a moving map."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from genzoo.page.items import Exhibit, film, still
from genzoo.pictures import figure, save
from genzoo_weather.output import locked
from genzoo_weather.physics import Grid
from genzoo_weather.variables import Variable

SHOWN = ("h", "msl", "z", "t2m", "t")
"""What a map shows, the first of these that is there; else the first variable."""

MAPS = 6
"""Times or members in one picture, at most."""

FRAME_MS = 400
"""Of the moving map."""


def main_channel(names: Sequence[str]) -> int:
    """The place of the variable that maps show."""
    return next((names.index(name) for name in SHOWN if name in names), 0)


def maps(x: Tensor, variables: Sequence[Variable], grid: Grid, path: Path) -> Path:
    """The first maps [n, C, H, W] in SI units, side by side, with their winds as arrows."""
    names = [v.name for v in variables]
    place, shown = main_channel(names), x[:MAPS].double().numpy()
    picture = figure(11, 2.6 * -(-len(shown) // 2))
    axes = picture.subplots(-(-len(shown) // 2), min(2, len(shown)), squeeze=False).ravel()
    limits = float(shown[:, place].min()), float(shown[:, place].max())
    for ax, fields in zip(axes, shown, strict=False):
        mesh = draw(ax, fields[place], grid.longitude_deg.numpy(), grid.latitude_deg.numpy(), limits)
        if "u" in names and "v" in names:
            arrows(ax, fields[names.index("u")], fields[names.index("v")], grid)
    for ax in axes[len(shown) :]:
        ax.axis("off")
    picture.colorbar(mesh, ax=axes.tolist(), label=f"{variables[place].key}, {variables[place].unit}")
    return save(picture, path)


def draw(ax: Any, field: np.ndarray, longitude: np.ndarray, latitude: np.ndarray, limits: tuple[float, float]) -> Any:
    ax.set_xlim(longitude[0], longitude[-1])
    ax.set_ylim(latitude[0], latitude[-1])
    ax.tick_params(labelsize=7)
    return ax.pcolormesh(longitude, latitude, field, cmap="RdYlBu_r", vmin=limits[0], vmax=limits[1], shading="gouraud")


def arrows(ax: Any, u: np.ndarray, v: np.ndarray, grid: Grid) -> None:
    step = max(1, len(grid.longitude_deg) // 24)
    ax.quiver(
        grid.longitude_deg[::step].numpy(), grid.latitude_deg[::step].numpy(), u[::step, ::step], v[::step, ::step],
        color="black", alpha=0.6, width=0.002,
    )  # fmt: skip


@locked
def main_variable(file: Path) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], str]:
    """What maps show of a file: values [members, times, H, W], minutes, longitudes and latitudes, name and unit."""
    from netCDF4 import Dataset

    with Dataset(file) as opened:
        axes = ("member", "time", "level", "latitude", "longitude")
        names = [name for name in opened.variables if name not in axes]
        name = names[main_channel(names)]
        values, unit = opened[name], opened[name].units
        if "level" in values.dimensions:
            place = opened.dimensions["level"].size // 2
            label = f"{name} at {float(opened['level'][place]):g} hPa, {unit}"
            x = np.asarray(values[:, :, place])
        else:
            label, x = f"{name}, {unit}", np.asarray(values[:])
        minutes = np.asarray(opened["time"][:])
        where = np.asarray(opened["longitude"][:]), np.asarray(opened["latitude"][:])
    return x, minutes, where, label


def of_forecast(file: Path, folder: Path) -> list[Path]:
    """forecast.png (mean and spread over time), members.png (a contour of each member, and the plume where they differ
    most) and forecast.gif, from a NetCDF file of `output.ForecastFile`. Only one variable is read."""
    x, minutes, where, label = main_variable(file)
    hours = (minutes - minutes[0]) / 60
    return [
        mean_and_spread(x, hours, where, label, folder / "forecast.png"),
        members(x, hours, where, label, folder / "members.png"),
        moving(x, hours, where, label, folder / "forecast.gif"),
    ]


def exhibits(file: Path, folder: Path) -> list[Exhibit]:
    """The same for a page."""
    x, minutes, where, label = main_variable(file)
    hours = (minutes - minutes[0]) / 60
    told = f"{len(x)} members, {hours[-1]:g} hours: {label}"
    spread = mean_and_spread(x, hours, where, label, folder / "spread.png", most=3)
    each = members(x, hours, where, label, folder / "each.png")
    return [
        film(frames_of(x, hours, where, label), 1000 / FRAME_MS, title="one member and the mean, moving", alt=told),
        still(each, title="a contour of each member, and the members where they come to differ most", alt=told),
        still(spread, title="the members' mean and their spread", alt=told),
    ]


def mean_and_spread(
    x: np.ndarray, hours: np.ndarray, where: tuple, label: str, path: Path, *, most: int = MAPS
) -> Path:
    """x: [members, times, H, W]. most: times that are shown."""
    times = np.unique(np.linspace(0, x.shape[1] - 1, min(most, x.shape[1])).astype(int))
    picture = figure(11, 1.9 * len(times))
    axes = picture.subplots(len(times), 2, squeeze=False)
    mean, std = x[:, times].mean(0), x[:, times].std(0)
    for row, i in enumerate(times):
        left = draw(axes[row, 0], mean[row], *where, (float(mean.min()), float(mean.max())))
        right = draw(axes[row, 1], std[row], *where, (0.0, float(std.max()) or 1.0))
        axes[row, 0].set_ylabel(f"+{hours[i]:g} h", fontsize=8)
    axes[0, 0].set_title(f"mean of {len(x)} members", fontsize=9)
    axes[0, 1].set_title("their standard deviation", fontsize=9)
    picture.colorbar(left, ax=axes[:, 0].tolist(), label=label)
    picture.colorbar(right, ax=axes[:, 1].tolist(), label=label)
    return save(picture, path)


def members(x: np.ndarray, hours: np.ndarray, where: tuple, label: str, path: Path) -> Path:
    """One contour of every member at the first and last time, and all members where they differ most in the end."""
    picture = figure(11, 6)
    grid = picture.add_gridspec(2, 2)
    level = float(np.median(x))
    for column, i in enumerate((0, x.shape[1] - 1)):
        ax = picture.add_subplot(grid[0, column])
        for field in x[:, i]:
            if field.min() < level < field.max():
                ax.contour(*where, field, levels=[level], colors="tab:blue", linewidths=0.6)
        mean = x[:, i].mean(0)
        if mean.min() < level < mean.max():
            ax.contour(*where, mean, levels=[level], colors="black", linewidths=1.2)
        ax.set_title(f"{level:.5g} of each member, +{hours[i]:g} h", fontsize=9)
    ax = picture.add_subplot(grid[1, :])
    row, column = np.unravel_index(x[:, -1].std(0).argmax(), x.shape[2:])
    ax.plot(hours, x[:, :, row, column].T, color="tab:blue", linewidth=0.7, marker="." if len(hours) == 1 else None)
    ax.plot(hours, x[:, :, row, column].mean(0), color="black", linewidth=1.5)
    ax.set_xlabel("hours since the first map")
    ax.set_ylabel(label)
    ax.set_title(f"where they come to differ most: {where[1][row]:.1f} N, {where[0][column]:.1f} E", fontsize=9)
    return save(picture, path)


def moving(x: np.ndarray, hours: np.ndarray, where: tuple, label: str, path: Path) -> Path:
    """The first member and the mean, moving."""
    from PIL import Image

    frames = [
        Image.fromarray(x).convert("P", palette=Image.Palette.ADAPTIVE) for x in frames_of(x, hours, where, label)
    ]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)
    return path


def frames_of(x: np.ndarray, hours: np.ndarray, where: tuple, label: str) -> np.ndarray:
    """The first member and the mean at each time, uint8 [times, pixels, pixels, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    limits = float(x.min()), float(x.max())
    frames = []
    for i, hour in enumerate(hours):
        picture = figure(9, 2.6)
        axes = picture.subplots(1, 2)
        for ax, field, title in zip(axes, (x[0, i], x[:, i].mean(0)), ("member 0", "mean"), strict=True):
            mesh = draw(ax, field, *where, limits)
            ax.set_title(f"{title}, +{hour:g} h", fontsize=9)
        picture.colorbar(mesh, ax=axes.tolist(), label=label)
        canvas = FigureCanvasAgg(picture)
        canvas.draw()
        frames.append(np.asarray(canvas.buffer_rgba())[..., :3])
    return np.stack(frames)
