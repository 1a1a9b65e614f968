"""The embedded bodies: motion that is known, points that are fixed on them."""

import numpy as np
import pytest

from genzoo.draws import numpy_generator
from genzoo.errors import UserError
from genzoo_points.motion.bodies import BODIES, RATE_HZ, Body, about, bone, embedded_bodies, make_body, still, windmill

POINTS = 96


def body(kind: str, i: int = 0) -> Body:
    return make_body(kind, numpy_generator("test", kind, i))


@pytest.mark.parametrize("kind", BODIES)
def test_motion_returns_after_a_period(kind):
    """Every point is where it was, and in between it was not."""
    for i in range(3):
        made = body(kind, i)
        start = 0.3
        times = start + made.period_s * np.array([0, 0.25, 0.5, 1, 2])
        x = made.at(times, POINTS, numpy_generator("points"))
        np.testing.assert_allclose(x[3:], x[[0, 0]], atol=1e-9)
        assert np.linalg.norm(x[1:3] - x[0], axis=-1).mean(axis=1).min() > 0.01


@pytest.mark.parametrize("kind", BODIES)
def test_motion_is_smooth_and_of_a_size(kind):
    """No point jumps: accelerations from frame to frame agree with those at twice the rate; about one unit long."""
    made = body(kind)
    times = np.arange(4 * 24) / (4 * RATE_HZ)
    x = made.at(times, POINTS, numpy_generator("points"))
    coarse = np.linalg.norm(np.diff(x[::4], n=2, axis=0), axis=-1)
    fine = np.linalg.norm(np.diff(x[::2], n=2, axis=0), axis=-1)
    assert 2.5 < coarse.mean() / fine.mean() < 4.5  # 4 for a smooth path
    assert 0.45 < np.ptp(x[0], axis=0).max() < 1.8
    assert x[..., 2].min() > -0.2


def test_blades_turn_as_rigid_bodies():
    """All distances within a blade stay; the tower stands; blades turn by equal angles in equal times."""
    made = windmill(numpy_generator("test"))
    times = np.arange(12) / RATE_HZ
    generator = numpy_generator("points")
    for part in made.parts[2:]:
        x = part.move(times, part.draw(20, generator))
        apart = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)
        np.testing.assert_allclose(apart, apart[:1].repeat(12, axis=0), atol=1e-12)
        steps = np.diff(x, axis=0)
        length = np.linalg.norm(steps, axis=-1)
        np.testing.assert_allclose(length, length[:1].repeat(11, axis=0), atol=1e-12)
        assert length.max() > 0.05
    tower = made.parts[0]
    x = tower.move(times, tower.draw(20, generator))
    assert np.array_equal(x, x[:1].repeat(12, axis=0))


def test_rotations():
    """About each axis by the right hand, and orthogonal."""
    quarter = np.array([np.pi / 2])
    for axis, (first, second) in {"x": (1, 2), "y": (2, 0), "z": (0, 1)}.items():
        turn = about(axis, quarter)[0]
        np.testing.assert_allclose(turn @ np.eye(3)[first], np.eye(3)[second], atol=1e-15)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-15)


def test_a_bone_joins_its_joints():
    """Its axis runs from one to the other, and its thickness is as asked."""
    part = bone(0.1, still((0, 0, 1)), still((0, 1, 1)))
    x = part.move(np.zeros(2), np.array([(0, 0, 0), (0, 0, 1), (1, 0, 0.5), (0, 1, 0.5)]))[1]
    np.testing.assert_allclose(x[:2], [(0, 0, 1), (0, 1, 1)])
    middle = (0, 0.5, 1)
    np.testing.assert_allclose(np.linalg.norm(x[2:] - middle, axis=1), 0.1 * 0.95)
    np.testing.assert_allclose((x[2:] - middle)[:, 1], 0, atol=1e-15)


def test_embedded_bodies():
    """The same however many there are; other ones for another seed; all classes, and their rate."""
    few, more = (embedded_bodies(points=64, sequences=count, frames=5) for count in (1, 2))
    assert few.classes == list(BODIES)
    assert few.labels == [0, 1, 2, 3, 4, 5]
    assert set(few.rates_hz) == {RATE_HZ}
    for name, x in zip(few.names, few.clips, strict=True):
        assert x.shape == (5, 64, 3)
        assert x.dtype == np.float32
        assert np.array_equal(x, more.clips[more.names.index(name)])
    other = embedded_bodies(points=64, sequences=1, frames=5, seed=1)
    assert not np.allclose(other.clips[0], few.clips[0])


def test_no_such_body():
    with pytest.raises(UserError, match="no body 'dragon': walker, bird"):
        make_body("dragon", numpy_generator("test"))
    with pytest.raises(UserError, match="at least 1 of sequences"):
        embedded_bodies(points=64, sequences=0)
