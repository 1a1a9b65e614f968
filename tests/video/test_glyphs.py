"""The embedded clips move as their law says, and the tracker finds them there."""

import numpy as np
import pytest
import torch

from genzoo.errors import UserError
from genzoo_video.glyphs import GLYPHS, SHARE, Motion, drawn, embedded_glyphs, folded, kinds
from genzoo_video.tracking import bounces, physics, track


def test_bounces_are_mirrors():
    """Between two mirrors: the distance to the nearest even multiple of the reach, whichever way it is counted."""
    x = np.linspace(-40, 60, 1001)
    want = np.abs(x[:, None] - 2 * 7.0 * np.arange(-9, 10)).min(axis=1)
    np.testing.assert_allclose(folded(x, 7.0), want, atol=1e-12)


def test_motion_step_by_step():
    """The closed form is what a ball does that is moved and turned round at the walls."""
    rng = np.random.default_rng(0)
    start, velocity, reach = rng.uniform(0, 18, (50, 1, 2)), rng.uniform(-3, 3, (50, 1, 2)), 18.0
    place, speed, seen = start.copy(), velocity.copy(), [start.copy()]
    for _ in range(47):
        place = place + speed
        for wall, outside in ((0.0, place < 0), (reach, place > reach)):
            place = np.where(outside, 2 * wall - place, place)
            speed = np.where(outside, -speed, speed)
        seen.append(place.copy())
    np.testing.assert_allclose(Motion(start, velocity, reach).at(48), np.stack(seen, axis=1), atol=1e-9)


@pytest.mark.parametrize(("size", "glyphs"), [(32, 1), (32, 2), (64, 2)])
def test_clips(size, glyphs):
    x, labels, motion = embedded_glyphs(clips=40, frames=9, size=size, glyphs=glyphs, seed=3)
    assert x.shape == (40, 9, size, size)
    assert x.dtype == np.uint8
    assert x.max() == 255
    assert set(labels) <= set(kinds(glyphs))
    places = motion.at(9)
    assert places.min() >= 0
    assert places.max() <= size - round(SHARE * size)
    again = embedded_glyphs(clips=40, frames=9, size=size, glyphs=glyphs, seed=3)
    assert (x == again[0]).all()
    assert labels == again[1]
    assert (x != embedded_glyphs(clips=40, frames=9, size=size, glyphs=glyphs, seed=4)[0]).any()


def test_kinds():
    assert kinds(1) == list(GLYPHS)
    assert len(kinds(2)) == len(set(kinds(2))) == 55


def test_centre_of_mass_moves_with_the_glyph():
    """Wherever it is between pixels, a glyph has the same weight, and its centre lies where it was put, to an eighth of
    a pixel's rounding."""
    places = np.array([[[[3.0, 4.0]], [[3.25, 4.5]], [[9.875, 17.0]], [[18.0, 18.0]]]])
    x = drawn(np.array([[4]]), places, 32)[0].astype(float)
    mass = x.sum((1, 2))
    np.testing.assert_allclose(mass / mass[0], 1, atol=0.005)
    centre = np.stack([(x.sum(2) @ np.arange(32)), (x.sum(1) @ np.arange(32))], axis=1) / mass[:, None]
    np.testing.assert_allclose(centre - centre[0], places[0, :, 0] - places[0, 0, 0], atol=0.02)


@pytest.mark.parametrize("options", [{"glyphs": 3}, {"size": 8}, {"clips": 0}])
def test_refused(options):
    with pytest.raises(UserError, match=r"data\.embedded"):
        embedded_glyphs(**options)


def clips(n: int, *, glyphs: int = 1, size: int = 32, frames: int = 16, seed: int = 5):
    x, labels, motion = embedded_glyphs(clips=n, frames=frames, size=size, glyphs=glyphs, seed=seed)
    return torch.from_numpy(x).float() / 255, torch.tensor([kinds(glyphs).index(i) for i in labels]), motion


def test_one_glyph_is_tracked():
    x, label, motion = clips(60)
    found = track(x)
    assert torch.equal(found.labels(1), label)
    assert found.kept.all()
    assert found.fit.min() > 0.97
    assert np.abs(found.place.numpy() - motion.at(16)).max() < 0.13  # an eighth of a pixel's rounding, each way


def test_two_glyphs_are_tracked():
    """Most of the time: where they lie on one another, they cannot be told apart."""
    x, label, motion = clips(40, glyphs=2, size=64)
    found = track(x, 2)
    assert (found.labels(2) == label).float().mean() > 0.95
    error = (found.place.numpy()[:, :, :, None] - motion.at(16)[:, :, None]) ** 2
    assert np.median(np.sqrt(error.sum(-1)).min(axis=3)) < 0.5


def test_the_law_is_fitted():
    """Phase and speed of coordinates that keep to it, whichever way they move and however often they bounce."""
    rng = np.random.default_rng(1)
    start, velocity = rng.uniform(0, 18, (200, 1, 2)), rng.uniform(-2, 2, (200, 1, 2))
    path = torch.from_numpy(Motion(start, velocity, 18.0).at(16)[:, :, 0].transpose(0, 2, 1).reshape(-1, 16))
    law = bounces(path, 18.0)
    assert law.rest.abs().max() < 1e-6
    torch.testing.assert_close(law.speed, torch.from_numpy(np.abs(velocity).reshape(-1)), atol=1e-6, rtol=0)


def test_physics_of_real_clips():
    found = physics(clips(60)[0])
    assert found["residual_px_p90"] < 0.1
    assert found["identity_kept"] == 1
    assert found["changes_a_clip"] == 0
    assert found["bounces_kept"] > 0.98
    assert found["turns_in_the_open"] < 0.1
    assert found["fit"] > 0.99


def test_physics_sees_what_is_wrong():
    """Frames out of order leave the law; a glyph that becomes another loses its identity; one that turns round in the
    open is counted; noise fits no glyph."""
    x, _, _ = clips(40)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    assert physics(x[:, order])["residual_px"] > 2
    other = torch.cat((x[:, :8], x[torch.arange(40).roll(1)][:, 8:]), dim=1)
    assert physics(other)["identity_kept"] < 0.3
    assert physics(other)["changes_a_clip"] > 0.7
    there_and_back = torch.cat((x[:, :8], x[:, :7].flip(1)), dim=1)
    assert physics(there_and_back)["turns_in_the_open"] > 0.5
    assert physics(torch.rand(4, 16, 32, 32))["fit"] < 0.7
