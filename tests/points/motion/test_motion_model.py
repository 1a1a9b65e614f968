"""The flow of trajectories: bases, the law it starts from, and what no order of points changes."""

from functools import partial
from itertools import pairwise

import pytest
import torch

from genzoo.contract import Batch, Spec
from genzoo.draws import GeneratorNoise
from genzoo.families import Flow
from genzoo_points.motion.basis import (
    STATE,
    Basis,
    cosines,
    haar,
    order_of,
    own_places,
    placed,
    reordered,
    sines,
    states,
    summary_of,
)
from genzoo_points.motion.data import MotionData
from genzoo_points.motion.law import TrajectoryLaw, motion_of
from genzoo_points.motion.model import MotionFlow
from genzoo_points.motion.net import TrajectoryNet
from genzoo_points.net import CellReader, PointNet

T, P, N, C = 8, 4, 64, 8


@pytest.fixture(scope="module")
def data() -> MotionData:
    made = MotionData(frames=T, past=P, points=N, dense=N, embedded={"sequences": 12, "frames": 24})
    made.prepare()
    return made


@pytest.fixture(scope="module")
def model(data) -> MotionFlow:
    torch.manual_seed(0)
    made = flow(data.spec)
    made.initialise(data)
    return made.eval()


def flow(spec: Spec, **options) -> MotionFlow:
    net = partial(TrajectoryNet, dim=16, depth=1, heads=2, patch=options.pop("patch", 4))
    outline = partial(Flow, net=net, base=options.pop("base", TrajectoryLaw))
    reader = partial(CellReader, dim=16, depth=1, heads=2, patch=1, out=8)
    detail = partial(Flow, net=partial(PointNet, dim=16, depth=1))
    return MotionFlow(spec, **{"outline": outline, "reader": reader, "detail": detail, "cells": C, **options})


@pytest.mark.parametrize("make", [cosines, sines, haar])
@pytest.mark.parametrize("n", [1, 2, 8, 16])
def test_bases_are_orthonormal(make, n):
    """Rows are of unit length and at right angles."""
    matrix = make(n)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(n, dtype=torch.float64))


def test_sines_are_the_axes_of_a_random_walk():
    """They diagonalise min(s, t), the covariance of steps that add up, with the largest variance first."""
    times = torch.arange(1, 13, dtype=torch.float64)
    spread = sines(12) @ torch.minimum(times[:, None], times) @ sines(12).T
    assert (spread - spread.diag().diag()).abs().max() < 1e-10
    assert (spread.diag().diff() < 0).all()


def test_the_basis_is_its_own_inverse():
    """Coefficients lose nothing, keep lengths, and the first is the mean of all where there is no past."""
    basis, x = Basis(T, C), torch.randn(3, T, C, STATE)
    known = torch.tensor([0.0, 2, 0])
    found = basis(x, known)
    torch.testing.assert_close(basis.inverse(found, known), x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))
    torch.testing.assert_close(found[0, 0, 0], x[0].mean((0, 1)) * (T * C) ** 0.5, atol=1e-5, rtol=1e-5)


def moved(x: torch.Tensor) -> torch.Tensor:
    """Points [B, C, K, 3], turned, sheared and carried along differently in each of T frames and each cell."""
    t = torch.linspace(0, 1, T)
    turn = torch.linalg.matrix_exp(t.view(1, -1, 1, 1, 1) * torch.randn(len(x), 1, C, 3, 3))
    return x[:, None] @ turn + t.view(1, -1, 1, 1, 1) * torch.randn(len(x), 1, C, 1, 3)


def test_cells_that_deform_evenly_are_described_exactly():
    """Whatever their map; points in a plane too. At the reference the map is the root of the covariance."""
    torch.manual_seed(0)
    x = torch.randn(2, C, 20, 3) * 0.3 + torch.randn(2, C, 1, 3)
    x[1, ..., 2] = 0.5
    whole = moved(x)
    places, cells = own_places(whole[:, 0])
    found = states(whole, places, cells)
    assert found.shape == (2, T, C, STATE)
    torch.testing.assert_close(placed(found, places)[:, 0], whole[:, 0], atol=1e-4, rtol=1e-3)
    assert (placed(found, places)[0] - whole[0]).abs().max() < 0.05
    assert (placed(found, places) - whole).abs().mean() < 0.005
    torch.testing.assert_close(summary_of(found[:, 0]), cells, atol=1e-4, rtol=1e-3)
    assert (places[0].var(dim=1, correction=0) - 1).abs().max() < 0.05


def test_order_does_not_depend_on_order():
    """Shuffled points come into the same order; its cells are small."""
    x = torch.rand(2, N, 3)
    mixed = torch.randperm(N)
    first, second = (reordered(y[:, None], order_of(y, C))[:, 0] for y in (x, x[:, mixed]))
    assert torch.equal(first, second)
    assert first.view(2, C, -1, 3).std(dim=2).mean() < 0.7 * x.std()
    with pytest.raises(ValueError, match="power of two"):
        order_of(x, 6)


def test_what_is_known_of_motion():
    """Velocity and acceleration of x = v t + a t^2 / 2, as far as states are given."""
    t = torch.arange(4.0).view(1, 4, 1, 1)
    past = (2 * t + 0.5 * t**2).expand(4, 4, C, STATE)
    moves, speed = motion_of(past, torch.tensor([1.0, 2, 3, 4]))
    assert moves[:, 0, 0, 0].tolist() == [0, 4.5, 4.5, 4.5]
    assert moves[:, 1, 0, 0].tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(speed.flatten(), torch.tensor([1.0, *[4.5 * STATE**0.5] * 3]))


class Parabolas:
    """Points that move as x + v t + a t^2 / 2: a linear forecast from three frames is exact."""

    def batch(self, step: int, size: int, split: str) -> Batch:
        generator = torch.Generator().manual_seed(step)
        x, v, a = torch.randn(3, size, 1, N, 3, generator=generator)
        t = torch.arange(-P, T).view(1, -1, 1, 1)
        whole = x + 0.1 * v * t + 0.005 * a * t**2
        known = torch.randint(0, P + 1, (size,), generator=generator).float()
        there = (torch.arange(P, 0, -1) <= known[:, None]).view(size, P, 1, 1)
        return Batch(whole[:, P:], {"past": whole[:, :P] * there, "known": known})


def test_the_law_of_continuations():
    """Its mean is what least squares can say: all of a parabola from three frames, less from fewer; and its standard
    deviation shrinks with what is known."""
    spec = Spec((T, C, STATE), context={"past": (P, C, STATE), "known": ()})
    law, source = TrajectoryLaw(spec), Parabolas()
    law.initialise(source)
    batch = source.batch(1, 200, "train")
    sizes = []
    for known in range(4):
        rows = batch.cond["known"] == known if known < 3 else batch.cond["known"] >= 3
        x, past = (part[rows].unflatten(2, (C, -1)) for part in (batch.x, batch.cond["past"]))
        places, cells = own_places(past[:, -1] if known else x[:, 0])
        told = {"known": batch.cond["known"][rows], "past": states(past, places, cells)}
        mean, std = law(told)
        away = states(x, places, cells) - law.basis.inverse(mean, told["known"])
        sizes.append((away.square().mean().sqrt().item(), std.mean().item()))
    assert sizes[3][0] < 0.02 * sizes[2][0]
    for more, less in pairwise(sizes):
        assert more[0] > 1.2 * less[0]
        assert more[1] > less[1]


def test_the_law_knows_what_goes_together():
    """Of coefficients that are one number times a pattern, and a little noise, it finds the pattern and both sizes;
    its noise has them too, and what was not fitted is white."""
    generator = torch.Generator().manual_seed(0)
    law = TrajectoryLaw(Spec((T, C, STATE), context={"past": (P, C, STATE), "known": ()}), axes=3)
    pattern = torch.randn(T * C * STATE, generator=generator)
    pattern /= pattern.norm()
    size = 20 * torch.randn(4000, 1, generator=generator)
    y = (size * pattern + 0.5 * torch.randn(4000, len(pattern), generator=generator)).view(-1, T, C, STATE)
    law._components(0, 0, y)
    assert (law.axes[0, 0, :, 0] * law.size[0, 0, 0, 0] @ pattern).abs() > 0.999
    assert law.stretch[0, 0, 0] == pytest.approx(20, rel=0.05)
    assert law.rest[0, 0] == pytest.approx(0.5, rel=0.02)
    cond = {"past": torch.zeros(4000, P, C, STATE), "known": torch.zeros(4000)}
    noise = law.noise(cond, GeneratorNoise(generator)).flatten(1)
    assert (noise @ pattern).std() == pytest.approx(20, rel=0.05)
    away = noise - (noise @ pattern)[:, None] * pattern
    assert away.square().sum(1).mean().sqrt() == pytest.approx(0.5 * (len(pattern) - 1) ** 0.5, rel=0.02)
    other = law.noise({**cond, "known": torch.ones(4000)}, GeneratorNoise(generator))
    assert other.std() == pytest.approx(1, rel=0.01)


def test_noise_moves_as_the_data(data, model):
    """Samples before any training: accelerations of the data's size, and points of a cell that stay together."""
    batch = data.batch(3, 128, "train")
    cond = {name: value for name, value in batch.cond.items()}
    cond |= {"past": torch.zeros_like(cond["past"]), "known": torch.zeros(128)}
    made = model.sample(128, cond, GeneratorNoise(torch.Generator().manual_seed(0)), steps=1)
    mine, real = ((x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2]).norm(dim=-1).mean() for x in (made, batch.x))
    assert 0.7 < mine / real < 1.5
    white = torch.randn_like(batch.x) * batch.x.std()
    assert (white[:, 2:] - 2 * white[:, 1:-1] + white[:, :-2]).norm(dim=-1).mean() > 10 * real


def test_order_of_points_changes_nothing(data, model):
    """Continuations have the order of their past's points; the loss is the same in any."""
    batch = data.batch(0, 6, "val")
    batch.cond["known"][:] = P
    batch.cond["past"] = batch.x[:, :P].clone()
    mixed = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    other = Batch(batch.x[:, :, mixed], {**batch.cond, "past": batch.cond["past"][:, :, mixed]})
    losses = [model.loss(b, torch.Generator().manual_seed(2)) for b in (batch, other)]
    torch.testing.assert_close(losses[0].value, losses[1].value)
    torch.testing.assert_close(losses[0].x_hat[:, :, mixed], losses[1].x_hat)
    made = [model.sample(6, b.cond, GeneratorNoise(torch.Generator().manual_seed(3)), steps=2) for b in (batch, other)]
    torch.testing.assert_close(made[0][:, :, mixed], made[1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(made[0], made[1])


def test_only_given_frames_are_seen(data, model):
    """What lies before the known frames does not matter; what is known does."""
    cond = data.batch(0, 4, "val").cond
    cond = {**cond, "past": torch.randn(4, P, N, 3), "known": torch.tensor([0.0, 1, 2, 4])}

    def sample(past):
        return model.sample(4, {**cond, "past": past}, GeneratorNoise(torch.Generator().manual_seed(0)), steps=2)

    first = sample(cond["past"])
    hidden = (torch.arange(P, 0, -1) > cond["known"][:, None]).view(4, P, 1, 1)
    assert torch.equal(first, sample(cond["past"].masked_fill(hidden, 7.0)))
    changed = sample(cond["past"] + 0.1)
    assert torch.equal(first[0], changed[0])
    assert all(not torch.allclose(first[i], changed[i]) for i in (1, 2, 3))


def test_one_label_is_not_another(data, model):
    """Guided or not, samples depend on the label."""
    cond = {"past": torch.zeros(2, P, N, 3), "known": torch.zeros(2)}

    def sample(label, **options):
        told = {**cond, "label": torch.full((2,), label)}
        return model.sample(2, told, GeneratorNoise(torch.Generator().manual_seed(0)), steps=2, **options)

    assert not torch.allclose(sample(0), sample(1))
    assert sample(0, guidance=2.0).shape == (2, T, N, 3)


def test_refusals(data):
    spec = data.spec
    with pytest.raises(ValueError, match=r"model\.cells=6 must be a power of two that divides data\.points=64"):
        flow(spec, cells=6)
    with pytest.raises(ValueError, match=r"patch=3 of model\.outline\.net must divide data\.frames=8"):
        flow(spec, patch=3)
    with pytest.raises(ValueError, match=r"model\.outline\.base must be genzoo_points\.TrajectoryLaw"):
        flow(spec, base=None)
