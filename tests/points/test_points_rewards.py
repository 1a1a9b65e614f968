"""Rewards of shapes and of motion: clouds of which symmetry, balance, speed and stiffness are known, and where their
gradients point.

Legend: n samples, N points, T frames.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from genzoo.errors import UserError
from genzoo_points import rewards
from genzoo_points.data import PointsData
from genzoo_points.distances import chamfer

FLOOR = 1e-4
"""What is left of a distance of 0, so that its root has a slope."""

RATE_HZ = 8.0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def told(up: str = "z") -> SimpleNamespace:
    """All that these rewards ask of their data."""
    return SimpleNamespace(fitted={"up": up, "rate_hz": RATE_HZ})


def of(function: Callable[..., Tensor], *clouds: Tensor, up: str = "z", **options: str) -> list[float]:
    return function(torch.stack(clouds), told(up), {}, **options).tolist()


def half(points: int = 40, axis: int = 1) -> Tensor:
    """Points at least 0.2 from each other on one side of a plane through the middle, 0.5 from it on the mean."""
    grid = torch.cartesian_prod(*(torch.arange(k) * 0.2 for k in (5, 2, points // 10)))
    grid = grid - grid.mean(dim=0)
    grid[:, 1] += 0.5
    return grid.roll(axis - 1, dims=1)


def mirrored(x: Tensor, axis: int = 1) -> Tensor:
    return torch.cat((x, x * torch.ones(3).index_fill(0, torch.tensor(axis), -1)))


def upward(function: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-3) -> Tensor:
    """The gradient, after asserting that it is finite, and that a step along it raises every sample's reward."""
    x = x.clone().requires_grad_()
    reward = function(x)
    (slope,) = torch.autograd.grad(reward.sum(), x)
    assert slope.isfinite().all()
    length = slope.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
    with torch.no_grad():
        assert (function(x + step * slope / length.clamp(min=1e-12)) > reward).all()
    return slope


# Symmetry


@pytest.mark.parametrize(("axis", "place"), [("x", 0), ("y", 1), ("z", 2)])
def test_the_largest_symmetry(axis, place):
    """Of a cloud and its mirror image: none is larger, wherever the cloud stands; along another axis it is smaller."""
    whole = mirrored(half(axis=place) + 0.05 * torch.randn(40, 3, generator=seeded()), place)
    moved = whole + torch.tensor([3.0, -1.0, 2.0])
    other = "xyz"[(place + 1) % 3]
    assert of(rewards.symmetric, whole, moved, axis=axis) == pytest.approx([-FLOOR, -FLOOR], abs=2e-5)
    assert of(rewards.symmetric, whole, axis=other)[0] < -0.01


@pytest.mark.parametrize("shift", [0.02, 0.05, 0.08])
def test_symmetry_of_a_half_that_moved(shift):
    """The mirrored half moved by d, less than half the way to the next point: each point's image lies d from its
    partner. (Along the plane: the middle moves as well, by d / 2, but not across it.)"""
    whole = mirrored(half())
    whole[40:, 0] += shift
    assert of(rewards.symmetric, whole)[0] == pytest.approx(-shift, rel=1e-4)


def test_symmetry_falls_with_what_is_moved():
    """By order: a cloud as it is, with a tenth of its points moved, with half of them, and one sided."""
    whole, noise = mirrored(half()), torch.randn(80, 3, generator=seeded(1))
    few, many = (whole + 0.3 * noise * (torch.arange(80) % every == 0)[:, None] for every in (10, 2))
    lopsided = whole.clone()
    lopsided[40:] = lopsided[40:] * 0.3 + torch.tensor([0.0, -3.0, 0.0])
    found = of(rewards.symmetric, whole, few, many, lopsided)
    assert found == sorted(found, reverse=True)
    assert found[1] > 2 * found[2] > 4 * found[3]


def test_symmetry_pulls_a_point_to_its_image():
    """One of a pair moved out by d in x: its image and it are drawn together along x, and no pair that is whole is."""
    whole = mirrored(half())
    whole[40, 0] += 0.05
    slope = upward(partial(rewards.symmetric, data=told(), cond={}), whole[None])[0]
    assert slope[40, 0] < 0 < slope[0, 0]
    assert slope[[0, 40], 1:].abs().max() < 0.01 * slope[40, 0].abs()
    rest = [*range(1, 40), *range(41, 80)]
    assert slope[rest].abs().max() < 0.1 * slope[40, 0].abs()


def test_symmetry_sees_a_large_cloud_evenly():
    """Of more points than are looked at, it is that of a part which goes through all of them."""
    x = torch.randn(1, 5 * rewards.LOOKED_AT + 1, 6, generator=seeded())
    assert rewards.some(x).shape == (1, -(-x.shape[1] // 6), 3)
    assert torch.equal(rewards.some(x)[0, -1], x[0, -(-x.shape[1] // 6) * 6 - 6, :3])
    assert torch.equal(rewards.some(x[:, : rewards.LOOKED_AT]), x[:, : rewards.LOOKED_AT, :3])
    assert rewards.symmetric(x, told(), {}).item() == rewards.symmetric(rewards.some(x), told(), {}).item()


@pytest.mark.parametrize("axis", ["w", "xy", ""])
def test_a_wrong_axis(axis):
    with pytest.raises(UserError, match=r"reward\.function\.axis is x, y or z"):
        of(rewards.symmetric, half(), axis=axis)


# Standing


def on_feet(middle: tuple[float, float], *, up: int = 2) -> Tensor:
    """100 points: five feet in a cross of arms of 0.3 around (0, 0) at height 0, the rest at height 1, such that the
    middle of all lies above `middle`."""
    x = torch.zeros(100, 3)
    x[:4, :2] = torch.tensor([[0.3, 0.0], [-0.3, 0.0], [0.0, 0.3], [0.0, -0.3]])
    x[5:, 2] = 1 + 0.001 * torch.arange(95)
    x[5:, :2] = torch.tensor(middle) * 100 / 95
    return x.roll(up - 2, dims=1)


def test_balance():
    """The middle's distance from that of the feet; it does not matter where the shape stands, nor which way is up, as
    long as the data says so."""
    shapes = [on_feet((0.3, 0.4)), on_feet((0.03, 0.04)), on_feet((0.0, 0.0)), on_feet((0.3, 0.4)) + 5.0]
    want = [-0.5, -0.05, -FLOOR, -0.5]
    assert of(rewards.balanced, *shapes) == pytest.approx(want, abs=1e-5)
    assert of(rewards.balanced, on_feet((0.3, 0.4), up=1), up="y") == pytest.approx([-0.5], abs=1e-5)
    assert of(rewards.balanced, on_feet((0.3, 0.4), up=0), up="x") == pytest.approx([-0.5], abs=1e-5)


def test_what_stands():
    """The middle above the square of the feet, whose side is 0.3 sqrt 2, just within it and just without."""
    shapes = [on_feet(place) for place in ((0.0, 0.0), (0.14, 0.14), (0.16, 0.16), (0.29, 0.0), (0.31, 0.0))]
    assert of(rewards.stands, *shapes) == [1, 1, 0, 1, 0]
    assert of(rewards.stands, on_feet((0.14, 0.14), up=1), up="y") == [1]
    assert of(rewards.stands, on_feet((0.14, 0.16), up=0), up="x") == [1]
    line = on_feet((0.0, 0.0))
    line[:5, 0] = 0
    assert of(rewards.stands, line) == [0], "feet on a line"


def test_balance_pulls_the_middle_over_the_feet():
    """Feet and body go towards each other, and nothing goes up or down."""
    slope = upward(partial(rewards.balanced, data=told(), cond={}), on_feet((0.3, 0.0))[None])[0]
    assert (slope[:5, 0] > 0).all()
    assert (slope[5:, 0] < 0).all()
    assert slope[:, 1:].abs().max() == 0


# Real shapes


@cache
def shapes() -> PointsData:
    """A few embedded ones."""
    data = PointsData(points=128, dense=128, val_fraction=0.25, embedded={"shapes": 4})
    data.prepare()
    return data


def test_near_real():
    """0 of a shape of the validation split, with normals or without; of one moved by d no less than -2 d^2, as each
    point lies d from where it was; minus the least of the distances one by one; the farther the less."""
    real = shapes().reference(rewards.REFERENCE, "val")
    assert rewards.near_real(real[:3], shapes(), {}).tolist() == pytest.approx([0, 0, 0], abs=1e-7)
    moved = torch.stack([real[1] + torch.tensor([d, 0.0, 0.0]) for d in (0.01, 0.3, 3.0, 30.0)])
    found = rewards.near_real(moved, shapes(), {})
    assert found.dtype == torch.float32
    every = torch.stack([chamfer(moved, other.expand_as(moved)) for other in real])
    torch.testing.assert_close(found, -every.amin(dim=0), rtol=1e-4, atol=1e-7)
    assert found[0] >= -2 * 0.01**2
    assert found.tolist() == sorted(found.tolist(), reverse=True)
    with_normals = torch.cat((real[:2], torch.ones_like(real[:2])), dim=2)
    assert rewards.near_real(with_normals, shapes(), {}).abs().max() < 1e-7


# Motion


def moving(path: Callable[[Tensor], Tensor], frames: int = 9, points: int = 24) -> Tensor:
    """A cloud whose points are moved by path(t [T, 1, 1], in seconds), which gives [T, 1, 3]."""
    start = torch.randn(1, points, 3, generator=seeded())
    return start + path((torch.arange(frames) / RATE_HZ).view(-1, 1, 1))


def along(x: float, y: float, z: float) -> Callable[[Tensor], Tensor]:
    return lambda t: t * torch.tensor([x, y, z])


def turning(radians_a_second: float, frames: int = 9) -> Tensor:
    """A square of side 2 that turns about its middle."""
    angle = radians_a_second * torch.arange(frames)[:, None] / RATE_HZ + torch.arange(4) * math.pi / 2 + math.pi / 4
    return math.sqrt(2) * torch.stack((angle.cos(), angle.sin(), torch.zeros_like(angle)), dim=-1)


def test_speed():
    """Of straight flight: its speed in units a second, along any axis; of a turn, the chord of a step: twice the radius
    times the sine of half the angle, in the time of a frame; of rest: next to nothing."""
    assert of(rewards.speed, moving(along(0.3, 0.0, 0.4)), moving(along(0, -3, 0))) == pytest.approx([0.5, 3], rel=1e-5)
    chord = 2 * math.sqrt(2) * math.sin(1.2 / RATE_HZ / 2) * RATE_HZ
    assert of(rewards.speed, turning(1.2)) == pytest.approx([chord], rel=1e-5)
    assert chord == pytest.approx(math.sqrt(2) * 1.2, rel=1e-2)
    assert of(rewards.speed, moving(along(0, 0, 0)))[0] == pytest.approx(0, abs=1e-4)
    half_of_them = moving(along(1, 0, 0))
    half_of_them[:, ::2] = half_of_them[:1, ::2]
    assert of(rewards.speed, half_of_them) == pytest.approx([0.5], rel=1e-5)


def test_speed_pushes_the_ends_apart():
    """Of straight flight: the last frame forward and the first one back, by the rate over points and steps; what lies
    between is pushed by neither side. At rest, where there is no way to go, it is finite."""
    slope = upward(partial(rewards.speed, data=told(), cond={}), moving(along(2, 0, 0))[None])[0]
    torch.testing.assert_close(slope[-1, :, 0], torch.full((24,), RATE_HZ / 24 / 8), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(slope[0], -slope[-1], rtol=1e-4, atol=1e-6)
    assert slope[1:-1].abs().max() < 1e-4 * slope[-1].abs().max()
    still = moving(along(0, 0, 0))[None].requires_grad_()
    assert torch.autograd.grad(rewards.speed(still, told(), {}).sum(), still)[0].isfinite().all()


def test_rise():
    """A leap of closed form, v t - g t^2 / 2 at the frames there are; what falls does not rise; up is as the data
    says."""
    leap = moving(lambda t: (3 * t - 8 * t**2 / 2) * torch.tensor([0.0, 0.0, 1.0]))
    height = max(3 * k / RATE_HZ - 4 * (k / RATE_HZ) ** 2 for k in range(9))
    assert height == pytest.approx(9 / 16)
    rising = of(rewards.rise, leap, moving(along(1, 1, 0.25)), moving(along(0, 0, -1)))
    assert rising == pytest.approx([height, 0.25, 0], abs=1e-5)
    assert of(rewards.rise, leap.roll(1, dims=-1), up="x") == pytest.approx([height], abs=1e-5)
    slope = upward(partial(rewards.rise, data=told(), cond={}), leap[None])[0]
    torch.testing.assert_close(slope[3, :, 2], torch.full((24,), 1 / 24))
    torch.testing.assert_close(slope[0, :, 2], torch.full((24,), -1 / 24))
    assert slope[..., :2].eq(0).all()


def test_what_holds_together():
    """Rigid motion, straight or round, is whole. A cloud that swells from 1 to 2 evenly in T frames: every distance has
    the deviation over the mean of those factors. The farther one half flies from the other, the less it holds."""
    start = torch.randn(24, 3, generator=seeded())
    factors = torch.linspace(1, 2, 9)
    swelling, more = (start * (1 + k * (factors - 1)).view(-1, 1, 1) for k in (1, 2))
    found = of(rewards.holds_together, moving(along(2, 1, -1)), swelling, more)
    assert found[0] == pytest.approx(0, abs=1e-5)
    assert found[1] == pytest.approx(-float(factors.std() / factors.mean()), rel=1e-5)
    assert found[2] == pytest.approx(-float(2 * factors.std() / (2 * factors.mean() - 1)), rel=1e-5)
    assert of(rewards.holds_together, turning(3.0)) == pytest.approx([0], abs=1e-5)
    torn = [moving(along(0, 0, 0)) for _ in range(4)]
    for x, far in zip(torn, (0.0, 0.5, 2.0, 50.0), strict=True):
        x[:, :12, 0] += torch.linspace(0, far, 9)[:, None]
    found = of(rewards.holds_together, *torn)
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[3] < 3 * found[1] < 0


def test_neighbours_are_those_of_the_first_frame():
    """Pairs far from each other that part are not torn; the two of a pair are, once they part."""
    pairs = torch.arange(10.0)[:, None, None] * torch.tensor([100.0, 0.0, 0.0]) + 0.01 * torch.randn(
        10, 5, 3, generator=seeded()
    )
    apart = torch.stack([pairs + t * torch.arange(10.0)[:, None, None] for t in range(4)]).flatten(1, 2)
    inside = torch.stack([pairs + t * torch.arange(5.0)[:, None] for t in range(4)]).flatten(1, 2)
    assert of(rewards.holds_together, apart)[0] == pytest.approx(0, abs=1e-3)
    assert of(rewards.holds_together, inside)[0] < -0.3


# What is hardly a shape


@pytest.mark.parametrize("points", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["apart", "one place"])
def test_few_points(points, kind):
    """From a single point on, and where all lie in one place: finite numbers and slopes; no one or two points stand."""
    x = torch.randn(2, points, 3, generator=seeded()) if kind == "apart" else torch.full((2, points, 3), 0.3)
    for function in (rewards.symmetric, rewards.balanced):
        some = x.clone().requires_grad_()
        found = function(some, told(), {})
        assert found.isfinite().all()
        assert torch.autograd.grad(found.sum(), some)[0].isfinite().all()
    assert rewards.stands(x, told(), {}).tolist() == [0, 0] or (kind == "apart" and points > 2)
    assert rewards.near_real(x, shapes(), {}).isfinite().all()


@pytest.mark.parametrize("points", [2, 3, 4, 5])
@pytest.mark.parametrize("frames", [2, 3])
def test_few_points_that_move(points, frames):
    """As few points and frames as there can be: finite numbers and slopes; two points that part are torn."""
    x = torch.randn(2, frames, points, 3, generator=seeded())
    for film in (x, torch.zeros_like(x)):
        for function in (rewards.speed, rewards.rise, rewards.holds_together):
            some = film.clone().requires_grad_()
            found = function(some, told(), {})
            assert found.isfinite().all()
            assert torch.autograd.grad(found.sum(), some)[0].isfinite().all()
    assert (rewards.holds_together(x, told(), {}) < -0.01).all()
