"""Distances between point clouds: Chamfer, earth mover's, nearest neighbours, farthest point sampling.

On the CPU, neighbours come from SciPy's k-d trees: exact, without any N x M matrix, and faster there than matrix
products over all pairs of points. On a GPU they come from PyTorch3D where it is installed, else from plain torch, in
pieces. All three choose indices alone; the distances are then those of the chosen points, without cancellation
wherever the clouds lie, in the dtype of the clouds, and differentiable.

Legend: B clouds or pairs of clouds; n, m clouds of two sets; N, M points of a cloud; k neighbours. Coordinates are in
any unit of length; a squared distance is in its square.
"""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch import Tensor

Backend = Literal["auto", "torch", "pytorch3d"]
"""auto: k-d trees on the CPU; on a GPU PyTorch3D where it is installed, else torch."""

CELLS = 2**24
"""Distances between points that plain torch holds at a time: 64 MiB in float32, and a few times that in all."""

WARM = 0.02
"""Temperature of the first prices of an assignment, over the mean cost."""

LEAF = 32
"""Points in a leaf of a k-d tree: the fastest of 4 to 96 at 2,048 points."""


def chamfer(a: Tensor, b: Tensor, *, backend: Backend = "auto") -> Tensor:
    """[B, N, 3] and [B, M, 3] -> [B]: mean over a of the squared distance to the nearest point of b, plus the mean over
    b of that to the nearest of a (the field's CD: Achlioptas et al. 2018; Yang et al. 2019, eq. 11, with
    means for sums). Differentiable. ValueError as for `nearest`."""
    there, back = nearest(a, b, backend=backend)[0], nearest(b, a, backend=backend)[0]
    return there.mean(dim=(1, 2)) + back.mean(dim=(1, 2))


@torch.no_grad()
def pairwise_chamfer(a: Tensor, b: Tensor, *, backend: Backend = "auto") -> Tensor:
    """`chamfer` of every cloud of a [n, N, 3] with every one of b [m, M, 3] -> [n, m], without gradient. Where b is a
    itself, half the pairs are computed. On the CPU with torch's number of threads: 2.5 to 5 ms of one core a pair at
    2,048 points, and memory for a tree a cloud. ValueError as for `nearest`."""
    check(a, b)
    if chosen(backend, a) == "trees":
        ours = [cKDTree(x, LEAF) for x in arrays(a)]
        theirs = ours if b is a else [cKDTree(x, LEAF) for x in arrays(b)]

        def of_pair(i: int, j: int) -> float:
            there, back = theirs[j].query(ours[i].data)[0], ours[i].query(theirs[j].data)[0]
            return np.square(there).mean() + np.square(back).mean()

        return of_pairs(of_pair, a, b)
    rows, columns = torch.ones(len(a), len(b), device=a.device).triu(1 if b is a else -len(a)).nonzero(as_tuple=True)
    found, step = a.new_zeros(len(a), len(b)), max(1, CELLS // (a.shape[1] * b.shape[1]))
    for i, j in zip(rows.split(step), columns.split(step), strict=True):
        found[i, j] = chamfer(a[i], b[j], backend=backend)
    return found + found.T if b is a else found


def emd(a: Tensor, b: Tensor) -> Tensor:
    """[B, N, 3] twice -> [B]: exact earth mover's distance, the mean over points of the Euclidean distance to their
    partners in the best one-to-one assignment, in the unit of the coordinates (Achlioptas et al. 2018; Yang et
    al. 2019, eq. 12, divided by N). Differentiable, the assignment held fixed. Time goes as about N^3: 10 ms at 512
    points. ValueError for clouds of unequal size, or of the wrong shape, or not finite."""
    check(a, b, paired=True)
    check_equal(a, b)
    columns = in_threads(lambda pair: assigned(cdist(*pair))[1], zip(arrays(a), arrays(b), strict=True))
    index = torch.from_numpy(np.array(columns, dtype=np.int64).reshape(a.shape[:2])).to(b.device)
    return torch.linalg.vector_norm(a - gathered(b, index), dim=-1).mean(dim=1)


@torch.no_grad()
def pairwise_emd(a: Tensor, b: Tensor) -> Tensor:
    """`emd` of every cloud of a [n, N, 3] with every one of b [m, N, 3] -> [n, m], without gradient, on the CPU with
    torch's number of threads. Where b is a itself, half the pairs are computed. ValueError as for `emd`."""
    check(a, b)
    check_equal(a, b)
    ours, theirs = arrays(a), arrays(b)

    def of_pair(i: int, j: int) -> float:
        cost = cdist(ours[i], theirs[j])
        return cost[assigned(cost)].mean()

    return of_pairs(of_pair, a, b)


def sinkhorn_emd(a: Tensor, b: Tensor, *, epsilon: float = 0.02, iterations: int = 500) -> Tensor:
    """[B, N, 3] and [B, M, 3] -> [B]: <P, C>, where C are Euclidean distances and P is the plan of entropy-regularised
    transport between uniform weights (Cuturi 2013), by Sinkhorn's steps in the log domain (Peyré & Cuturi 2019,
    sec. 4.4), with epsilon in units of the mean of C, and P rounded to exact marginals (Altschuler et al. 2017,
    algorithm 2). So it is never below the exact distance, and falls to it with epsilon, given iterations enough: some
    10 / epsilon. The gradient holds P fixed. Memory: a few [B, N, M]. ValueError as for `nearest`, and for an epsilon
    or iterations not above 0."""
    check(a, b, paired=True)
    if epsilon <= 0 or iterations < 1:
        raise ValueError(f"epsilon and iterations are above 0, not {epsilon} and {iterations}")
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    with torch.no_grad():
        n, m = cost.shape[1:]
        tiny = torch.finfo(cost.dtype).tiny
        scaled = cost / (epsilon * cost.mean(dim=(1, 2), keepdim=True)).clamp(min=tiny)
        g = torch.zeros_like(scaled[:, :1])
        for _ in range(iterations):
            f = -(g - scaled).logsumexp(dim=2, keepdim=True) - math.log(n)
            g = -(f - scaled).logsumexp(dim=1, keepdim=True) - math.log(m)
        plan = (f + g - scaled).exp()
        plan *= (1 / n / plan.sum(dim=2, keepdim=True)).clamp(max=1)
        plan *= (1 / m / plan.sum(dim=1, keepdim=True)).clamp(max=1)
        rows, columns = 1 / n - plan.sum(dim=2, keepdim=True), 1 / m - plan.sum(dim=1, keepdim=True)
        plan += rows * columns / rows.sum(dim=1, keepdim=True).clamp(min=tiny)
    return (plan * cost).sum(dim=(1, 2))


@torch.no_grad()
def pairwise_sinkhorn(a: Tensor, b: Tensor) -> Tensor:
    """`sinkhorn_emd` of every cloud of a [n, N, 3] with every one of b [m, M, 3] -> [n, m], on their device."""
    check(a, b)
    found = a.new_zeros(len(a), len(b))
    rows, columns = (i.flatten() for i in torch.meshgrid(torch.arange(len(a)), torch.arange(len(b)), indexing="ij"))
    step = max(1, CELLS // (a.shape[1] * b.shape[1]))
    for i, j in zip(rows.split(step), columns.split(step), strict=True):
        found[i, j] = sinkhorn_emd(a[i], b[j])
    return found


def nearest(a: Tensor, b: Tensor, *, k: int = 1, backend: Backend = "auto") -> tuple[Tensor, Tensor]:
    """For every point of a [B, N, 3], the k nearest of b [B, M, 3]: squared distances, rising, and indices, both
    [B, N, k]. The distances are differentiable. ValueError for clouds of the wrong shape or not finite, for k outside
    1 … M, and for the backend pytorch3d where that is not installed."""
    check(a, b, paired=True)
    if not 1 <= k <= b.shape[1]:
        raise ValueError(f"k is between 1 and the {b.shape[1]} points of a cloud, not {k}")
    how = chosen(backend, a)
    with torch.no_grad():
        if how == "trees":
            index = by_trees(a, b, k)
        elif how == "pytorch3d":
            index = pytorch3d().knn_points(a, b, K=k).idx
        else:
            index = by_torch(a, b, k)
    return (a.unsqueeze(2) - gathered(b, index)).square().sum(dim=-1), index


@torch.no_grad()
def farthest_points(x: Tensor, n: int, *, backend: Backend = "auto") -> Tensor:
    """Indices [B, n] into x [B, N, 3]: point 0, then always the one farthest from all before it (Eldar et al. 1997).
    Where fewer than n points differ, indices come twice. ValueError for clouds of the wrong shape or not finite, for n
    outside 1 … N, and for the backend pytorch3d where that is not installed."""
    check(x, x)
    if not 1 <= n <= x.shape[1]:
        raise ValueError(f"n is between 1 and the {x.shape[1]} points of a cloud, not {n}")
    if chosen(backend, x) == "pytorch3d":
        return pytorch3d().sample_farthest_points(x, K=n)[1]
    index = torch.zeros(len(x), n, dtype=torch.long, device=x.device)
    distance = x.new_full(x.shape[:2], torch.inf)
    for i in range(1, n):
        last = gathered(x, index[:, i - 1 : i])
        distance = torch.minimum(distance, (x - last).square().sum(dim=-1))
        index[:, i] = distance.argmax(dim=1)
    return index


def pytorch3d() -> ModuleType | None:
    """`pytorch3d.ops` (Ravi et al. 2020) where it is installed and loads, else None."""
    try:
        return import_module("pytorch3d.ops")
    except (ImportError, OSError):
        return None


def chosen(backend: Backend, x: Tensor) -> Literal["trees", "torch", "pytorch3d"]:
    """What a backend means for clouds on this device; ValueError where it is not there."""
    if backend == "auto":
        return "trees" if not x.is_cuda else "pytorch3d" if pytorch3d() else "torch"
    if backend not in ("torch", "pytorch3d"):
        raise ValueError(f"backend is auto, torch or pytorch3d, not {backend!r}")
    if backend == "pytorch3d" and pytorch3d() is None:
        raise ValueError(
            "backend: pytorch3d is not installed; it has no wheels and is built from source "
            "(github.com/facebookresearch/pytorch3d): do that, or take auto"
        )
    return backend


def by_trees(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Indices [B, N, k] of the k nearest, by a k-d tree a cloud."""
    ranks = np.arange(1, k + 1)
    pairs = zip(arrays(a), arrays(b), strict=True)
    found = in_threads(lambda pair: cKDTree(pair[1], LEAF).query(pair[0], k=ranks)[1], pairs)
    return torch.from_numpy(np.array(found, dtype=np.int64).reshape(*a.shape[:2], k)).to(a.device)


def by_torch(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Indices [B, N, k] of the k nearest, by all distances, `CELLS` at a time. By differences and no matrix product,
    whose rounding (on a GPU perhaps to TF32) would choose other points."""
    found = []
    for part in a.split(max(1, CELLS // (b.shape[0] * b.shape[1] or 1)), dim=1):
        distance = sum((part[:, :, None, c] - b[:, None, :, c]).square() for c in range(3))
        found.append(distance.topk(k, largest=False).indices if k > 1 else distance.argmin(dim=2, keepdim=True))
    return torch.cat(found, dim=1)


def gathered(b: Tensor, index: Tensor) -> Tensor:
    """Points of b [B, M, 3] at indices [B, …] -> [B, …, 3]."""
    return b.gather(1, index.flatten(1).unsqueeze(-1).expand(-1, -1, 3)).view(*index.shape, 3)


def assigned(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the best assignment of costs [N, N], exact. Prices taken off rows and columns change no
    assignment's rank; with those of a few of Sinkhorn's steps it is found in half the time."""
    scaled = cost / max(WARM * cost.mean(), np.finfo(float).tiny)
    kernel = np.exp(-scaled)
    v = np.ones(len(cost))
    for _ in range(50):
        u = 1 / np.maximum(kernel @ v, np.finfo(float).tiny)
        v = 1 / np.maximum(u @ kernel, np.finfo(float).tiny)
    return linear_sum_assignment(scaled - np.log(u)[:, None] - np.log(v))


def arrays(x: Tensor) -> np.ndarray:
    """Clouds for SciPy, in float64."""
    return x.detach().cpu().double().numpy()


def in_threads(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """work of each item, by torch's number of threads: SciPy's trees and assignments let go of the GIL."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(work, items))


def of_pairs(of_pair: Callable[[int, int], float], a: Tensor, b: Tensor) -> Tensor:
    """A distance of all pairs -> [n, m], in a's dtype and on its device; of half the pairs where b is a."""
    found = np.zeros((len(a), len(b)))

    def row(i: int) -> None:
        for j in range(i + 1 if b is a else 0, len(b)):
            found[i, j] = of_pair(i, j)

    in_threads(row, range(len(a)))
    return torch.from_numpy(found + found.T if b is a else found).to(a)


def check(a: Tensor, b: Tensor, *, paired: bool = False) -> None:
    """ValueError for what is no cloud of points, or holds NaN or infinity, or has no partner."""
    if any(x.ndim != 3 or x.shape[2] != 3 or not x.shape[1] for x in (a, b)):
        raise ValueError(f"clouds are [B, N, 3] with N of 1 or more, not {list(a.shape)} and {list(b.shape)}")
    if paired and len(a) != len(b):
        raise ValueError(f"as many clouds on both sides, not {len(a)} and {len(b)}: pairwise_… takes all pairs")
    if not all(x.isfinite().all() for x in (a, b)):
        raise ValueError("a cloud holds NaN or infinity")


def check_equal(a: Tensor, b: Tensor) -> None:
    """ValueError for clouds that cannot be assigned one to one."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"emd assigns points one to one: {a.shape[1]} and {b.shape[1]} points; cut them to equal size")
