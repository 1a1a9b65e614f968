"""What all pictures share; matplotlib without a screen and without global state."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(picture: "Figure", path: Path) -> Path:
    """Writes the figure in the format of the path's suffix."""
    picture.savefig(path, dpi=120)
    return path


def training_curve(log: Path, path: Path) -> Path | None:
    """The model's own loss in a run's log.csv over its steps; None where there is none."""
    if not log.is_file():
        return None
    with open(log, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("loss")]
    if not rows:
        return None
    picture = figure(6, 4)
    axes = picture.add_subplot()
    for split, style in (("train", {"linewidth": 1}), ("val", {"marker": "o", "markersize": 4})):
        points = [(int(row["step"]), float(row.get("native") or row["loss"])) for row in rows if row["split"] == split]
        if points:
            axes.plot(*zip(*points, strict=True), label=split, **style)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return save(picture, path)
