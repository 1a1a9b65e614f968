"""Scores of generated shapes by the field's protocol: does a set of clouds look drawn from the law of another?

Legend: n samples; m reference shapes; t training shapes; N points of a cloud. Clouds lie in the unit sphere, so that
distances are in its radius: EMD in that, CD in its square.
"""

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Sampler
from genzoo.draws import torch_generator
from genzoo.metrics import nearest_neighbour_accuracy_of
from genzoo.metrics.controls import agreement as asked_and_seen
from genzoo.metrics.controls import another, three_ways
from genzoo_points.data import PointsData
from genzoo_points.distances import chamfer, check, nearest, pairwise_chamfer, pairwise_emd, pairwise_sinkhorn

RETRIEVED = 1000
"""Training shapes that are looked through for one like a part, at most."""

GRID = 28
"""Cells along each side of the cube on which JSD counts points (Achlioptas et al. 2018)."""


EMD = {"exact": pairwise_emd, "sinkhorn": pairwise_sinkhorn}

SQUARED = "squared, mean over points, both directions added"


def score_sets(
    samples: Tensor,
    reference: Tensor,
    *,
    cd_shapes: int = 200,
    emd: Literal["exact", "sinkhorn"] = "exact",
    emd_points: int = 512,
    emd_shapes: int = 100,
    extent: float = 1.0,
    seed: int = 0,
) -> dict[str, Any]:
    """1-NNA (Yang et al. 2019: 0.5 is best), coverage (1 is best) and MMD, each by CD and by EMD, and JSD, of
    samples [n, N, 3] beside reference shapes [m, N, 3]; and the protocol, without which they compare with nothing.

    CD looks at the first `cd_shapes` of each set, and all their points; EMD, by assignment ("exact", on the CPU) or by
    entropy-regularised transport ("sinkhorn"), at the first `emd_shapes`, and `emd_points` of each cloud's, drawn at
    random for `seed`; 0 shapes leave it out. 1-NNA needs sets of equal size and takes the first of the larger one. The
    time goes as the square of those numbers: with n = m shapes 2 n^2 pairs, at 2,048 points 2.5 to 5 ms a pair for CD,
    at 512 points 10 ms for EMD, on one core. JSD counts all points of all clouds. ValueError for sets without a cloud,
    clouds of different N, NaN, and other words or numbers."""
    check_sets(samples, reference)
    if min(cd_shapes, emd_shapes) < 0 or emd_points < 1 or emd not in EMD:
        raise ValueError("cd_shapes and emd_shapes are 0 or more, emd_points 1 or more, emd is exact or sinkhorn")
    points = min(emd_points, samples.shape[1])
    thinned = [
        thin(x[:emd_shapes], points, torch_generator("emd points", name, seed))
        for name, x in (("samples", samples), ("reference", reference))
    ]
    scores: dict[str, Any] = {"1-nna": {}, "coverage": {}, "mmd": {}}
    protocol: dict[str, Any] = {}
    for name, how, a, b, distances in (
        ("cd", SQUARED, samples[:cd_shapes], reference[:cd_shapes], pairwise_chamfer),
        ("emd", f"{emd}, mean over points, not squared", *thinned, EMD[emd]),
    ):
        equal = min(len(a), len(b))
        if not equal:
            continue
        first, second = a[:equal], b[:equal]
        ab = distances(a, b)
        scores["1-nna"][name] = nearest_neighbour_accuracy_of(
            distances(first, first), ab[:equal, :equal], distances(second, second)
        )
        scores["coverage"][name], scores["mmd"][name] = coverage(ab), mmd(ab)
        sizes = {"samples": len(a), "reference": len(b), "1-nna": equal, "points": a.shape[1]}
        protocol[name] = {"distance": how, **sizes, "device": a.device.type}
    if "emd" in protocol:
        protocol["emd"]["seed"] = seed
    return scores | {
        "jsd": jsd(samples, reference, extent=extent),
        "protocol": protocol
        | {
            "jsd": {
                "base": 2,
                "cells": GRID**3,
                "extent": extent,
                "samples": len(samples),
                "reference": len(reference),
            },
        },
    }


def novelty(samples: Tensor, train: Tensor, test: Tensor, *, points: int = 512, seed: int = 0) -> dict[str, float]:
    """Medians of the CD to the nearest training shape [t, N, 3], over samples [n, N, 3] and over test shapes [m, N, 3],
    and their ratio: near 1 where samples are as new as the test's shapes, far below where they are learnt by heart.
    All on so many random points of each cloud; (n + m) t pairs, at 512 points 0.6 ms each on one core. ValueError as
    for `score_sets`."""
    named = {"samples": samples, "train": train, "test": test}
    for x in named.values():
        check(x, train)
    points = min(points, *(x.shape[1] for x in named.values()))
    few = {name: thin(x, points, torch_generator("novelty", name, seed)) for name, x in named.items()}
    for name in ("samples", "test"):
        check_sets(few[name], few["train"])
    ours, theirs = (pairwise_chamfer(few[x], few["train"]).amin(dim=1).median().item() for x in ("samples", "test"))
    return {"samples_to_train": ours, "test_to_train": theirs, "ratio": ours / max(theirs, 1e-30)}


def coverage(ab: Tensor) -> float:
    """Share of reference shapes that are the nearest of at least one sample, from distances [n, m] of samples (rows) to
    the reference (Achlioptas et al. 2018). At most n / m; of equal distances the first reference counts."""
    return len(ab.argmin(dim=1).unique()) / ab.shape[1]


def mmd(ab: Tensor) -> float:
    """Minimum matching distance: mean over the reference of the distance to the nearest sample, from distances [n, m]
    of samples (rows) to the reference (Achlioptas et al. 2018). Falls with n."""
    return ab.double().amin(dim=0).mean().item()


def jsd(samples: Tensor, reference: Tensor, *, extent: float = 1.0) -> float:
    """Jensen-Shannon divergence, base 2 (0 equal, 1 apart), of where the points of all samples [n, N, 3] lie from where
    those of all reference shapes [m, M, 3] do: shares of `GRID`^3 cells of the cube [-extent, extent]^3, points outside
    it counted in its outermost cells. Achlioptas et al. 2018 count at as many nodes of the cube
    [-0.5, 0.5]^3 that lie in its inscribed sphere; ours is the same at twice the size, without that cut."""
    p, q = occupancy(samples, extent), occupancy(reference, extent)
    entropy = [torch.special.entr(x).sum() for x in ((p + q) / 2, p, q)]
    return max(0.0, (entropy[0] - (entropy[1] + entropy[2]) / 2).item() / math.log(2))


def occupancy(x: Tensor, extent: float) -> Tensor:
    """Share of all points [n, N, 3] in each cell -> [GRID^3], float64."""
    counts = torch.zeros(GRID**3, dtype=torch.float64, device=x.device)
    for clouds in x.split(256):
        cell = ((clouds.double() / extent + 1) * (GRID / 2)).floor().long().clamp(0, GRID - 1)
        counts += torch.bincount(
            ((cell[..., 0] * GRID + cell[..., 1]) * GRID + cell[..., 2]).flatten(), minlength=GRID**3
        )
    return counts / counts.sum()


def thin(x: Tensor, points: int, generator: torch.Generator) -> Tensor:
    """So many points of each cloud [n, N, 3], a random set of its own for each."""
    index = torch.rand(x.shape[:2], generator=generator).argsort(dim=1)[:, :points]
    return x.gather(1, index.to(x.device).unsqueeze(-1).expand(-1, -1, 3))


def check_sets(a: Tensor, b: Tensor) -> None:
    """ValueError for sets that cannot be told apart by their shapes alone."""
    check(a, b)
    if not len(a) or not len(b):
        raise ValueError(f"a score needs shapes on both sides, not {len(a)} and {len(b)}")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"clouds of {a.shape[1]} and {b.shape[1]} points differ by that alone: cut them to equal size")


def completion(data: PointsData, sample: Sampler, split: str, count: int) -> dict[str, Any]:
    """Parts of `count` shapes of a split, completed without their label, as `genzoo sample partial=` does: CD of the
    result to the whole shape, told the part, told nothing and told a part of another class (or shape), beside that of
    the part itself and that of the training shape which lies nearest to the part; means over the shapes."""
    rows = data.rows[split]
    places = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]
    found = [data.example(place, split, "completion", int(place), parts=1.0) for place in places]
    whole = torch.stack([x[:, :3] for x, _ in found])
    cond = data.told([part for _, part in found])
    kinds = torch.from_numpy(data.labels[places]) if data.classes else None
    if kinds is not None:
        cond["label"] = torch.full_like(kinds, len(data.classes))
    ways = {"nothing": data.told([None] * len(found)), "others": another(len(found), kinds)}
    made = {name: x[..., :3] for name, x in three_ways(sample, cond, 0, **ways).items()}
    train = data.reference(RETRIEVED, "train")
    scores: dict[str, list[float]] = {name: [] for name in (*made, "part", "nearest_training_shape")}
    for i, (x, (_, part)) in enumerate(zip(whole, found, strict=True)):
        distances = nearest(part.expand(len(train), -1, -1), train)[0].mean(dim=(1, 2))
        guesses = {name: y[i] for name, y in made.items()}
        guesses |= {"part": part.unique(dim=0), "nearest_training_shape": train[distances.argmin()]}
        for name, guess in guesses.items():
            scores[name].append(chamfer(guess[None], x[None]).item())
    means = {name: sum(values) / len(values) for name, values in scores.items()}
    over = {name: means[name] / means["part"] for name in made}
    return {"cd": means, "over_part": over, "shapes": len(places), "label": "not told"}


def agreement(data: PointsData, sample: Sampler, split: str, a_class: int) -> dict[str, Any]:
    """Share of samples, `a_class` of each class, in which a classifier sees the class that was asked for; beside it how
    often it is right on real shapes of the split. It is trained on the training split (`classifier.classifier`)."""
    from genzoo_points.classifier import VERSION, classifier, read

    net = classifier(data)
    label = torch.arange(len(data.classes)).repeat_interleave(a_class)
    cond = {**data.told([None] * len(label)), "label": label}
    shares, right = asked_and_seen(sample, lambda x: read(net, x), cond, classes=len(data.classes), seed=1)
    batches = [(read(net, batch.x) == batch.cond["label"]).double() for batch in data.sweep(split, 64)]
    return {
        "asked_label": shares,
        "by_class": dict(zip(data.classes, right.double().view(-1, a_class).mean(1).tolist(), strict=True)),
        "real": torch.cat(batches).mean().item(),
        "samples": len(label),
        "classifier": f"PointNet without transforms, version {VERSION}, trained on the training split",
    }


def coverage_of_classes(data: PointsData, sample: Sampler, n: int) -> dict[str, Any]:
    """Which classes a classifier sees in n samples that were drawn without a label."""
    from genzoo.metrics import class_coverage
    from genzoo_points.classifier import classifier, read

    none = torch.full((n,), len(data.classes))
    made = sample({**data.told([None] * n), "label": none}, 2)
    return class_coverage(read(classifier(data), made), len(data.classes))
