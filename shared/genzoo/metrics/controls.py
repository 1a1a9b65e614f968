"""Does a sample follow what it was told? Whatever claims it is scored three times, with the same noise: told, told
nothing, told another's.

Legend: n samples.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from genzoo.contract import Sampler


def three_ways(
    sample: Sampler, cond: Mapping[str, Tensor], seed: int, *, nothing: Mapping[str, Tensor | None], others: Tensor
) -> dict[str, Tensor]:
    """Samples, the rows of each with equal noise: "told" the conditions `cond`; "withheld", with `nothing` in their
    place (what the model takes for being told nothing; None leaves a condition out); and "swapped", told those of
    another row, `others` [n], of the conditions that `nothing` names."""
    without = {name: value for name, value in {**cond, **nothing}.items() if value is not None}
    swapped = {name: value[others] if name in nothing else value for name, value in cond.items()}
    return {"told": sample(cond, seed), "withheld": sample(without, seed), "swapped": sample(swapped, seed)}


def another(n: int, kinds: Tensor | None = None) -> Tensor:
    """For each of n rows the next one, int64 [n]; where their kinds are given [n], the next one of another kind, or
    the next one at all where there is none."""
    here = torch.arange(n)
    if kinds is None or len(kinds.unique()) < 2:
        return (here + 1) % n
    ahead = (here[:, None] + torch.arange(1, n)) % n
    first = (kinds[ahead] != kinds[:, None]).long().argmax(dim=1)
    return ahead[here, first]


def by_label(sample: Sampler, cond: Mapping[str, Tensor], seed: int, *, classes: int) -> dict[str, Tensor]:
    """Samples told cond["label"], none (`classes`), and that of a row with another one."""
    label = cond["label"]
    nothing = {"label": torch.full_like(label, classes)}
    return three_ways(sample, cond, seed, nothing=nothing, others=another(len(label), label.cpu()))


def agreement(
    sample: Sampler, read: Callable[[Tensor], Tensor], cond: Mapping[str, Tensor], *, classes: int, seed: int
) -> tuple[dict[str, float], Tensor]:
    """Share of samples in which `read` (samples [n, *shape] -> labels [n]) sees cond["label"]: told it, told none, told
    another; and where those that were told it are right, bool [n]."""
    made = by_label(sample, cond, seed, classes=classes)
    right = {name: read(x) == cond["label"] for name, x in made.items()}
    return {name: found.double().mean().item() for name, found in right.items()}, right["told"]
