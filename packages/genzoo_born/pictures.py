"""Pictures of bit strings and of their laws."""

from pathlib import Path

import torch
from torch import Tensor

from genzoo.pictures import figure, save
from genzoo_born.hypercube import numbers

LIKELIEST = 96
"""Strings of the law that are drawn as bars."""


def preview(samples: Tensor, path: Path, *, shape: tuple[int, int] | None, law: Tensor | None, shown: int) -> Path:
    """The first `shown` samples as pictures (or as rows of bits where they have no shape), and beside them the
    frequencies of the law's likeliest strings among all samples."""
    picture = figure(10 if law is not None else 5, 5)
    grid = picture.add_subplot(1, 2 if law is not None else 1, 1)
    first = samples[:shown]
    if shape is None:
        grid.imshow(first.numpy(), cmap="binary", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        grid.set_xlabel("bit")
        grid.set_ylabel("sample")
    else:
        side = max(1, int(len(first) ** 0.5))
        rows, columns = shape
        canvas = torch.full((-(-len(first) // side) * (rows + 1) + 1, side * (columns + 1) + 1), 0.35)
        for i, x in enumerate(first):
            top, left = i // side * (rows + 1) + 1, i % side * (columns + 1) + 1
            canvas[top : top + rows, left : left + columns] = x.view(shape).float()
        grid.imshow(canvas.numpy(), cmap="binary", vmin=0, vmax=1, interpolation="nearest")
        grid.axis("off")
    grid.set_title(f"{len(first)} samples")
    if law is not None:
        top = law.topk(min(LIKELIEST, len(law)))
        found = torch.bincount(numbers(samples), minlength=len(law))[top.indices] / len(samples)
        bars = picture.add_subplot(1, 2, 2)
        bars.bar(range(len(found)), found.tolist(), color="tab:orange", label=f"{len(samples)} samples")
        bars.step(range(len(found)), top.values.tolist(), where="mid", color="black", linewidth=1, label="law")
        bars.set_xlabel("strings, the likeliest first")
        bars.set_ylabel("probability")
        bars.legend(frameon=False)
    return save(picture, path)
