"""Scores of moving clouds: do they accelerate as real ones do, is every frame a whole shape, do they go on rightly?

Legend: n samples, T frames, N points, D disjoint sets of real sequences. Lengths are in model space, where the data lie
in the unit sphere; times in frames.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Sampler
from genzoo.draws import torch_generator
from genzoo.metrics.controls import agreement as asked_and_seen
from genzoo.metrics.controls import another, three_ways
from genzoo_points.distances import chamfer, pairwise_chamfer
from genzoo_points.metrics import thin
from genzoo_points.motion.data import MotionData

QUANTILES = 200
"""Places at which the quantile functions of two sets are compared."""

SETS = 8
"""Disjoint sets of training sequences that are compared with the split, at most: the mean of them is "real"."""

FEW, CANDIDATES = 64, 16
"""Points by which near frames are found, and how many of those are measured by all points."""

LEADS = (1, 4, 8, 16, 32)
"""Frames ahead for which continuations are shown by themselves."""


def acceleration(x: Tensor) -> Tensor:
    """[..., T, N, 3] -> [..., T - 2, N]: |x(t + 1) - 2 x(t) + x(t - 1)| of each point's trajectory."""
    return (x[..., 2:, :, :] - 2 * x[..., 1:-1, :, :] + x[..., :-2, :, :]).norm(dim=-1)


def quantile_distance(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of the quantile functions of two sets of numbers: the 1-Wasserstein distance of their
    laws, in their unit. 0 for equal sets, and never negative."""
    place = (np.arange(QUANTILES) + 0.5) / QUANTILES
    first, second = (np.quantile(x.detach().cpu().double().numpy().ravel(), place) for x in (a, b))
    return float(np.abs(first - second).mean())


def acceleration_error(a: Tensor, b: Tensor, labels: tuple[Tensor, Tensor] | None = None) -> float:
    """How differently the points of two sets of motions [n, T, N, 3] and [m, T, N, 3] are accelerated: the
    `quantile_distance` of the magnitudes of all points at all times; with labels [n] and [m], within each label that
    both have, and their mean.

    It looks at whole laws, so that what is right on average alone does not help: shapes that stand still get the mean
    acceleration of the others, jitter and motion that is too slow or too smooth are counted, and so is a set in which
    all move alike. Points of two sequences need not correspond."""
    if labels is None:
        return quantile_distance(acceleration(a), acceleration(b))
    return float(np.mean([*errors_by_label(a, b, labels).values()]))


def errors_by_label(a: Tensor, b: Tensor, labels: tuple[Tensor, Tensor]) -> dict[int, float]:
    """`acceleration_error` within each label that both sets have."""
    kinds = sorted(set(labels[0].tolist()) & set(labels[1].tolist()))
    return {kind: acceleration_error(a[labels[0] == kind], b[labels[1] == kind]) for kind in kinds}


def score(
    data: MotionData, samples: Tensor, labels: Tensor | None, split: str, *, cd_frames: int, cd_train: int
) -> dict[str, Any]:
    """`accelerations` and `wholeness` of samples [n, T, N, 3] with labels [n], if there are any."""
    scores = {"acceleration": accelerations(data, samples, labels, split)}
    if cd_frames and len(data.rows["train"]):
        scores["chamfer"] = wholeness(data, samples, split, frames=cd_frames, train=cd_train)
    return scores


def accelerations(data: MotionData, samples: Tensor, labels: Tensor | None, split: str) -> dict[str, Any]:
    """`acceleration_error` of samples beside as many sequences of the split; beside it, as "real", that of up to `SETS`
    disjoint sets of as many training sequences (mean), and as "frozen" that of shapes that stand still.
    "samples_over_real" is 1 for samples as good as real ones."""
    reference, kinds = data.reference(len(samples), split)
    pair = None if labels is None else (labels, kinds)
    scores: dict[str, Any] = {"samples": acceleration_error(samples, reference, pair)}
    scores["frozen"] = acceleration_error(samples[:, :1].expand_as(samples), reference, pair)
    scores["mean"] = {"samples": acceleration(samples).mean().item(), "real": acceleration(reference).mean().item()}
    count = min(SETS, len(data.rows["train"]) // len(samples))
    sets = [data.reference(len(samples), "train", turn=i) for i in range(count)]
    if sets:
        real = [acceleration_error(x, reference, labels if labels is None else (own, kinds)) for x, own in sets]
        scores["real"] = float(np.mean(real))
        scores["samples_over_real"] = scores["samples"] / max(scores["real"], 1e-30)
    if pair:
        each = [errors_by_label(x, reference, (own, kinds)) for x, own in sets]
        scores["by_class"] = {
            data.classes[kind]: {"samples": error}
            | ({"real": float(np.mean([errors[kind] for errors in each if kind in errors]))} if each else {})
            for kind, error in errors_by_label(samples, reference, pair).items()
        }
    unit = "model length / frame^2, 1-Wasserstein distance of the magnitudes, mean over classes"
    return scores | {"protocol": {"unit": unit, "samples": len(samples), "real_sets": len(sets)}}


def wholeness(data: MotionData, samples: Tensor, split: str, *, frames: int, train: int) -> dict[str, Any]:
    """Chamfer distance (`distances.chamfer`) of single frames to the nearest of `train` frames of training sequences:
    mean over `frames` of each sample, evenly spread in time, and by time; beside it the same of the split's sequences.
    A sample whose points fly apart, or between two shapes, lies far from all of them."""
    reference = data.reference(len(samples), split)[0]
    times = np.unique(np.linspace(0, samples.shape[1] - 1, frames).round().astype(int))
    each = -(-train // len(times))
    pool = data.reference(each, "train")[0][:, times].flatten(0, 1)[:train]
    scores: dict[str, Any] = {}
    for name, x in (("samples", samples), ("real", reference)):
        found = to_nearest(x[:, times].flatten(0, 1), pool).view(len(x), -1)
        scores[name] = found.mean().item()
        scores[f"{name}_by_frame"] = dict(zip(map(str, times.tolist()), found.mean(0).tolist(), strict=True))
    scores["samples_over_real"] = scores["samples"] / max(scores["real"], 1e-30)
    protocol = {"distance": "squared, mean over points, both directions added", "train_frames": len(pool)}
    protocol |= {"looked_at": f"the {CANDIDATES} nearest by {FEW} points"}
    return scores | {"protocol": protocol | {"points": samples.shape[2], "frames": len(samples) * len(times)}}


def to_nearest(x: Tensor, pool: Tensor) -> Tensor:
    """Chamfer distance of clouds [n, N, 3] to the nearest of others [m, N, 3] -> [n]. Which one that is, is looked for
    among the `CANDIDATES` that are nearest when all have but `FEW` points."""
    few = [thin(part, FEW, torch_generator("few points", name)) for name, part in (("one", x), ("other", pool))]
    rows = pairwise_chamfer(*few).topk(min(CANDIDATES, len(pool)), largest=False).indices
    return torch.stack(
        [chamfer(one.expand(rows.shape[1], -1, -1), pool[row]).amin() for one, row in zip(x, rows, strict=True)]
    )


def continuation(data: MotionData, sample: Sampler, split: str, count: int) -> dict[str, Any]:
    """Continuations of `count` sequences of a split from P frames, without their label, told those frames, told none
    and told another sequence's, beside what really came: mean distance of each point from where it was (by frames
    ahead, and of all), chamfer distance frame by frame, and mean |difference| of the accelerations; each
    beside holding the last frame ("held") and going on with its velocity ("constant_velocity")."""
    rows = data.rows[split]
    places = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]
    found = [data.example(at, split, "continuation", int(at)) for at in places]
    truth, past = (torch.stack(part) for part in zip(*found, strict=True))
    cond = data.told(past, torch.full((len(past),), past.shape[1]))
    kinds = None
    if data.classes:
        kinds = torch.from_numpy(data.labels[places])
        cond["label"] = torch.full_like(kinds, len(data.classes))
    last = past[:, -1:]
    ahead = torch.arange(1, truth.shape[1] + 1).view(1, -1, 1, 1)
    speed = last - past[:, -2:-1] if past.shape[1] > 1 else torch.zeros_like(last)
    nothing = {"past": torch.zeros_like(cond["past"]), "known": torch.zeros_like(cond["known"])}
    guesses = {
        **three_ways(sample, cond, 0, nothing=nothing, others=another(len(past), kinds)),
        "held": last.expand_as(truth),
        "constant_velocity": last + ahead * speed,
    }
    scores: dict[str, Any] = {}
    for name, x in guesses.items():
        away = (x - truth).norm(dim=-1).mean(dim=(0, 2))
        whole = torch.cat((past[:, -2:], x), dim=1), torch.cat((past[:, -2:], truth), dim=1)
        of_acceleration = torch.stack([part.diff(n=2, dim=1) for part in whole]).diff(dim=0).norm(dim=-1).mean()
        scores[name] = {
            "distance": away.mean().item(),
            "distance_at": {str(lead): away[lead - 1].item() for lead in LEADS if lead <= len(away)},
            "chamfer": chamfer(x.flatten(0, 1), truth.flatten(0, 1)).mean().item(),
            "acceleration": of_acceleration.item(),
        }
    best = min(scores[name]["distance"] for name in ("held", "constant_velocity"))
    scores["told_over_best"] = scores["told"]["distance"] / max(best, 1e-30)
    return scores | {"protocol": {"sequences": len(places), "given_frames": past.shape[1], "label": "not told"}}


def agreement(data: MotionData, sample: Sampler, split: str, a_class: int) -> dict[str, Any]:
    """Share of samples, `a_class` of each class, in which a classifier of trajectories sees the class that was asked
    for; beside it how often it is right on real sequences. It is trained on the training split
    (`motion.classifier.classifier`)."""
    from genzoo_points.motion.classifier import VERSION, classifier, read

    net = classifier(data)
    label = torch.arange(len(data.classes)).repeat_interleave(a_class)
    nothing = torch.zeros(len(label), *data.spec.context["past"])
    cond = data.told(nothing, torch.zeros(len(label), dtype=torch.long))
    cond |= {"label": label}
    shares, right = asked_and_seen(sample, lambda x: read(net, x), cond, classes=len(data.classes), seed=1)
    batches = [(read(net, batch.x) == batch.cond["label"]).double() for batch in data.sweep(split, 64)]
    return {
        "asked_label": shares,
        "by_class": dict(zip(data.classes, right.double().view(-1, a_class).mean(1).tolist(), strict=True)),
        "real": torch.cat(batches).mean().item(),
        "samples": len(label),
        "classifier": f"PointNet of trajectories, version {VERSION}, trained on the training split",
    }
