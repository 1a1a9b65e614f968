"""Distances between clouds: explicit loops, POT, PyTorch3D where it is, and what any distance must obey.

Legend: B clouds; N, M points.
"""

import itertools
import tracemalloc
from types import SimpleNamespace

import numpy as np
import ot
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from genzoo_points import distances
from genzoo_points.distances import (
    chamfer,
    emd,
    farthest_points,
    nearest,
    pairwise_chamfer,
    pairwise_emd,
    sinkhorn_emd,
)

BACKENDS = ("auto", "torch")


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def shuffled(x: Tensor) -> Tensor:
    return x[:, torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(9))]


def loop_chamfer(a: Tensor, b: Tensor) -> float:
    """Of one pair, in float64."""
    a, b = a.double(), b.double()
    there = [min(float((p - q).square().sum()) for q in b) for p in a]
    back = [min(float((p - q).square().sum()) for p in a) for q in b]
    return sum(there) / len(a) + sum(back) / len(b)


def loop_emd(a: Tensor, b: Tensor) -> float:
    """Of one pair: the best of all permutations."""
    ways = itertools.permutations(range(len(a)))
    return min(float((a - b[list(way)]).norm(dim=1).mean()) for way in ways)


# Chamfer


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chamfer_against_loops(backend, dtype):
    """Clouds of unequal size, in the dtype they came in."""
    a, b = draw(4, 9, dtype=dtype), draw(4, 13, seed=1, dtype=dtype)
    found = chamfer(a, b, backend=backend)
    assert found.dtype == dtype
    assert found.tolist() == pytest.approx([loop_chamfer(p, q) for p, q in zip(a, b, strict=True)], rel=1e-6)
    table = pairwise_chamfer(a, b[:3], backend=backend)
    assert table.dtype == dtype
    assert table.numpy() == pytest.approx(np.array([[loop_chamfer(p, q) for q in b[:3]] for p in a]), rel=1e-6)


def test_chamfer_by_hand():
    """One point against two, at squared distances 1 and 4: 1 there, (1 + 4) / 2 back."""
    a, b = torch.zeros(1, 1, 3), torch.tensor([[[1.0, 0, 0], [0, 2, 0]]])
    assert chamfer(a, b).item() == chamfer(b, a).item() == 3.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_pairs_of_a_set_with_itself(backend):
    """The short cut by symmetry changes nothing; the diagonal is 0."""
    a = draw(5, 20)
    table = pairwise_chamfer(a, a, backend=backend)
    torch.testing.assert_close(table, pairwise_chamfer(a, a.clone(), backend=backend), rtol=1e-12, atol=0)
    assert torch.equal(table, table.T)
    assert not table.diagonal().any()
    assert (table + torch.eye(5) > 0).all()


def test_half_the_pairs(monkeypatch):
    """Of a set with itself only pairs i < j are computed."""
    seen = []
    monkeypatch.setattr(distances, "linear_sum_assignment", lambda cost: seen.append(cost) or ([0], [0]))
    pairwise_emd(a := draw(6, 2), a)
    assert len(seen) == 15


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_far_away(backend):
    """At 1,000 times their size from the origin, float32 distances are still those of the very numbers."""
    a, b = (draw(3, 40, seed=s, dtype=torch.float32) + 1000 for s in (0, 1))
    want = chamfer(a.double(), b.double())
    torch.testing.assert_close(chamfer(a, b, backend=backend).double(), want, rtol=1e-6, atol=0)
    torch.testing.assert_close(pairwise_chamfer(a, b).double().diagonal(), want, rtol=1e-6, atol=0)
    torch.testing.assert_close(emd(a, b).double(), emd(a.double(), b.double()), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "distance",
    [
        chamfer,
        lambda a, b: pairwise_chamfer(a, b).diagonal(),
        emd,
        lambda a, b: sinkhorn_emd(a, b, epsilon=0.1),  # converged: before that, the sides differ
    ],
)
def test_invariance(distance):
    """Neither the order of points nor a shift or turn of both clouds matters; the sides can be exchanged."""
    a, b = draw(2, 30), draw(2, 30, seed=1) * 0.5
    want = distance(a, b)
    turn = torch.linalg.qr(draw(3, seed=5)).Q
    for other in ((shuffled(a), b), (a, shuffled(b)), (a + 7, b + 7), (a @ turn, b @ turn), (b, a)):
        torch.testing.assert_close(distance(*other), want, rtol=1e-5, atol=0)


def test_units():
    """Twice the size is twice the EMD and four times the CD; a small shift of d is d, and d^2 twice."""
    a, b = draw(2, 25), draw(2, 25, seed=1)
    torch.testing.assert_close(emd(2 * a, 2 * b), 2 * emd(a, b))
    torch.testing.assert_close(sinkhorn_emd(2 * a, 2 * b), 2 * sinkhorn_emd(a, b))
    torch.testing.assert_close(chamfer(2 * a, 2 * b), 4 * chamfer(a, b))
    step = torch.tensor([1e-4, 0, 0], dtype=torch.float64)
    assert emd(a, a + step).tolist() == pytest.approx([1e-4, 1e-4])
    assert chamfer(a, a + step).tolist() == pytest.approx([2e-8, 2e-8])


@pytest.mark.parametrize("distance", [chamfer, emd])
def test_gradients(distance):
    """By finite differences, where no two points are equally near; and 0, not NaN, where clouds coincide."""
    a, b = draw(2, 5).requires_grad_(), draw(2, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(distance, (a, b))
    distance(a, a.detach()).sum().backward()
    assert not a.grad.any()
    assert not pairwise_chamfer(a, b).requires_grad
    assert not pairwise_emd(a, b).requires_grad


def test_sinkhorn_gradient_is_a_plan():
    """The gradient on a's points sums to that of moving the whole cloud, and goes downhill."""
    a, b = draw(1, 20).requires_grad_(), draw(1, 20, seed=1) + 1
    cost = sinkhorn_emd(a, b)
    cost.backward()
    assert sinkhorn_emd(a - 0.1 * a.grad, b) < cost
    assert a.grad.sum(dim=(0, 1)).norm() <= 1 + 1e-9, "a mean of unit vectors"


# Earth mover's


def test_emd_against_all_permutations():
    """Six points: 720 ways."""
    a, b = draw(3, 6), draw(3, 6, seed=1)
    assert emd(a, b).tolist() == pytest.approx([loop_emd(p, q) for p, q in zip(a, b, strict=True)])
    want = np.array([[loop_emd(p, q) for q in b[:2]] for p in a])
    assert pairwise_emd(a, b[:2]).numpy() == pytest.approx(want)
    table = pairwise_emd(a, a)
    assert torch.equal(table, table.T)
    torch.testing.assert_close(table, pairwise_emd(a, a.clone()))


@pytest.mark.parametrize("n", [1, 50, 130])
def test_emd_against_pot(n):
    """POT's network simplex, with uniform weights."""
    a, b = draw(2, n), draw(2, n, seed=1) * 0.5 + 0.2
    want = [ot.emd2([], [], ot.dist(p.numpy(), q.numpy(), metric="euclidean")) for p, q in zip(a, b, strict=True)]
    assert emd(a, b).tolist() == pytest.approx(want, rel=1e-9)
    assert emd(a.float(), b.float()).tolist() == pytest.approx(want, rel=1e-5)


def test_sinkhorn_falls_to_exact():
    """Never below the exact distance, whatever the iterations; nearer with every epsilon, within 1 % at the last."""
    a, b = draw(3, 32), draw(3, 32, seed=1) * 0.7
    exact = emd(a, b)
    last = torch.full_like(exact, torch.inf)
    for epsilon in (0.3, 0.1, 0.03, 0.01):
        found = sinkhorn_emd(a, b, epsilon=epsilon, iterations=1500)
        assert (found < last).all()
        last = found
    torch.testing.assert_close(last, exact, rtol=0.01, atol=0)
    for iterations in (1, 3, 30):
        assert (sinkhorn_emd(a, b, epsilon=0.01, iterations=iterations) >= exact * (1 - 1e-12)).all()
    single = sinkhorn_emd(a.float(), b.float(), epsilon=0.01, iterations=300)
    assert (single >= exact * (1 - 1e-5)).all()


def test_sinkhorn_against_pot():
    """The same plan, once converged, where clouds are of unequal size."""
    a, b = draw(1, 12), draw(1, 17, seed=1)
    cost = ot.dist(a[0].numpy(), b[0].numpy(), metric="euclidean")
    plan = ot.sinkhorn([], [], cost, reg=0.05 * cost.mean(), method="sinkhorn_log", numItermax=5000, stopThr=1e-13)
    assert sinkhorn_emd(a, b, epsilon=0.05, iterations=3000).item() == pytest.approx((plan * cost).sum(), rel=1e-6)


@pytest.mark.parametrize("distance", [chamfer, emd, sinkhorn_emd])
def test_clouds_without_extent(distance):
    """All points in one place, on one side or both."""
    same, other = torch.ones(1, 40, 3), torch.zeros(1, 40, 3)
    assert distance(same, same).item() == pytest.approx(0, abs=1e-6)
    assert distance(same, other).item() == pytest.approx(6.0 if distance is chamfer else 3**0.5, rel=1e-5)


# Neighbours


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("k", [1, 4, 11])
def test_nearest_against_sorting(backend, k):
    """All distances, sorted; up to all the points there are."""
    a, b = draw(3, 7), draw(3, 11, seed=1)
    squared, index = nearest(a, b, k=k, backend=backend)
    want = (a[:, :, None] - b[:, None]).square().sum(dim=-1).sort(dim=2)
    torch.testing.assert_close(squared, want.values[..., :k])
    assert torch.equal(index, want.indices[..., :k])


def test_farthest_points_against_loops():
    """Index 0, then the farthest from all before; on a line of 5 the ends, the middle, the rest."""
    x = draw(3, 20)
    for cloud, found in zip(x, farthest_points(x, 20), strict=True):
        want = [0]
        while len(want) < 20:
            far = [min(float((p - cloud[i]).norm()) for i in want) for p in cloud]
            want.append(far.index(max(far)))
        assert found.tolist() == want
    line = torch.zeros(1, 5, 3)
    line[0, :, 0] = torch.arange(5)
    assert farthest_points(line, 3).tolist() == [[0, 4, 2]]
    assert farthest_points(torch.ones(2, 4, 3), 3).shape == (2, 3), "equal points are no obstacle"


# Memory


class Largest(TorchDispatchMode):
    """Watches the numbers of every tensor that is made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.numbers = max(self.numbers, out.numel())
        return out


@pytest.mark.parametrize("cells", [1, 100, 1000, 10**6])
def test_pieces_change_nothing(monkeypatch, cells):
    """Plain torch holds `CELLS` distances at most, or what one point needs, and finds the same."""
    a, b = draw(6, 31), draw(6, 23, seed=1)
    want = nearest(a, b, k=2), pairwise_chamfer(a, b)
    monkeypatch.setattr(distances, "CELLS", cells)
    with Largest() as watched:
        found = nearest(a, b, k=2, backend="torch"), pairwise_chamfer(a, b, backend="torch")
    torch.testing.assert_close(found, want, rtol=1e-12, atol=0)
    assert watched.numbers <= max(cells, a.numel(), 6 * 6 * 3 * 31)


def test_trees_hold_no_matrix():
    """The pairs of 8 clouds of 2,048 points need less than one matrix of distances between two of them, 32 MiB."""
    a = draw(8, 2048, dtype=torch.float32)
    tracemalloc.start()
    pairwise_chamfer(a, a)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_threads_change_nothing():
    """One thread or three: bit for bit."""
    a, b = draw(5, 40), draw(4, 40, seed=1)
    want = pairwise_chamfer(a, b), pairwise_emd(a, b), nearest(a[:4], b, k=2)[0]
    torch.set_num_threads(3)
    try:
        assert all(map(torch.equal, (pairwise_chamfer(a, b), pairwise_emd(a, b), nearest(a[:4], b, k=2)[0]), want))
    finally:
        torch.set_num_threads(1)


# What is refused


def test_unequal_clouds_have_no_assignment():
    """And the message says what to do."""
    for distance in (emd, pairwise_emd):
        with pytest.raises(ValueError, match="5 and 6 points; cut them to equal size"):
            distance(draw(2, 5), draw(2, 6))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("distance", [chamfer, pairwise_chamfer, emd, pairwise_emd, sinkhorn_emd, nearest])
def test_not_finite(distance, bad):
    """A model that diverged gets no score."""
    a, b = draw(2, 5), draw(2, 5)
    b[1, 3, 2] = bad
    for pair in ((a, b), (b, a)):
        with pytest.raises(ValueError, match="NaN or infinity"):
            distance(*pair)
    with pytest.raises(ValueError, match="NaN or infinity"):
        farthest_points(b, 2)


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 2), (2, 0, 3)])
def test_no_clouds(shape):
    """Missing axes, two coordinates, no points."""
    for distance in (chamfer, pairwise_chamfer, emd, pairwise_emd, sinkhorn_emd, nearest):
        with pytest.raises(ValueError, match=r"clouds are \[B, N, 3\]"):
            distance(torch.zeros(shape), draw(2, 5))


def test_counts_out_of_range():
    """More neighbours than points, more points than there are, clouds without a partner."""
    a = draw(2, 5)
    for k in (0, 6):
        with pytest.raises(ValueError, match=f"between 1 and the 5 points of a cloud, not {k}"):
            nearest(a, a, k=k)
        with pytest.raises(ValueError, match=f"between 1 and the 5 points of a cloud, not {k}"):
            farthest_points(a, k)
    with pytest.raises(ValueError, match="2 and 3: pairwise"):
        chamfer(a, draw(3, 5))
    for options in ({"epsilon": 0.0}, {"iterations": 0}):
        with pytest.raises(ValueError, match="above 0"):
            sinkhorn_emd(a, a, **options)
    with pytest.raises(ValueError, match="not 'cuda'"):
        nearest(a, a, backend="cuda")


# PyTorch3D


def test_without_pytorch3d(monkeypatch):
    """Where it is asked for and not there, the message says where it comes from; a broken build is as none."""
    a = draw(2, 5)
    for error in (ImportError, OSError):

        def broken(name: str, error: type[Exception] = error) -> None:
            raise error(name)

        monkeypatch.setattr(distances, "import_module", broken)
        assert distances.pytorch3d() is None
        for ask in (lambda: nearest(a, a, backend="pytorch3d"), lambda: farthest_points(a, 2, backend="pytorch3d")):
            with pytest.raises(ValueError, match="built from source"):
                ask()


def test_pytorch3d_is_called_by_its_signatures(monkeypatch):
    """A stand-in with PyTorch3D's signatures is asked for indices only, so that gradients and float64 are ours."""
    calls = []

    def knn_points(p1, p2, lengths1=None, lengths2=None, norm=2, K=1):
        calls.append("knn")
        found = torch.cdist(p1, p2).topk(K, largest=False)
        return SimpleNamespace(dists=None, idx=found.indices)

    def sample_farthest_points(points, lengths=None, K=50, random_start_point=False):
        calls.append("far")
        return None, farthest_points(points, K)

    ops = SimpleNamespace(knn_points=knn_points, sample_farthest_points=sample_farthest_points)
    monkeypatch.setattr(distances, "pytorch3d", lambda: ops)
    a, b = draw(2, 6).requires_grad_(), draw(2, 6, seed=1)
    torch.testing.assert_close(nearest(a, b, k=2, backend="pytorch3d"), nearest(a, b, k=2))
    assert torch.autograd.gradcheck(lambda x: chamfer(x, b, backend="pytorch3d"), a)
    assert torch.equal(farthest_points(a, 4, backend="pytorch3d"), farthest_points(a, 4, backend="torch"))
    assert calls.count("far") == 1
    count = len(calls)
    nearest(a, b)
    assert len(calls) == count, "the CPU has trees"
    cuda = SimpleNamespace(is_cuda=True)
    assert distances.chosen("auto", cuda) == "pytorch3d"
    monkeypatch.setattr(distances, "pytorch3d", lambda: None)
    assert distances.chosen("auto", cuda) == "torch"


def test_parity_with_pytorch3d():
    """The real one finds the same, within 1e-5: its loss, its neighbours, its farthest points."""
    pytest.importorskip("pytorch3d", reason="PyTorch3D has no wheels: build it from source to compare with it")
    from pytorch3d.loss import chamfer_distance

    a, b = draw(3, 200, dtype=torch.float32), draw(3, 150, seed=1, dtype=torch.float32)
    theirs = chamfer_distance(a, b, batch_reduction=None, point_reduction="mean")[0]
    for backend in ("auto", "torch", "pytorch3d"):
        torch.testing.assert_close(chamfer(a, b, backend=backend), theirs, rtol=1e-5, atol=1e-5)
        squared, index = nearest(a, b, k=5, backend=backend)
        knn = distances.pytorch3d().knn_points(a, b, K=5)
        torch.testing.assert_close(squared, knn.dists, rtol=1e-5, atol=1e-5)
        assert torch.equal(index, knn.idx)
    ours = farthest_points(a, 60, backend="torch")
    assert torch.equal(ours, farthest_points(a, 60, backend="pytorch3d"))
    torch.testing.assert_close(
        pairwise_chamfer(a, a, backend="pytorch3d"), pairwise_chamfer(a, a), rtol=1e-5, atol=1e-5
    )
