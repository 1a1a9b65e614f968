"""Correspondence: what is known is kept, what is not is found where it can be."""

import numpy as np

from genzoo_points.motion.tracks import on_faces, same_faces, same_order, tracked


def turning(frames: int = 8, n: int = 120, step: float = 0.05) -> np.ndarray:
    """A flat cloud that turns about z and moves along x."""
    x = np.random.default_rng(0).uniform(-1, 1, (n, 3))
    angle = step * np.arange(frames)
    turn = np.stack([np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) for a in angle])
    return np.einsum("tij,nj->tni", turn, x) + (step * np.arange(frames))[:, None, None] * (1, 0, 0)


def shuffled(x: np.ndarray) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [frame[generator.permutation(len(frame))] for frame in x]


def test_order_is_seen():
    """The same points in order move little; shuffled they lie anywhere; other numbers are no order."""
    x = turning()
    assert same_order(list(x))
    assert not same_order(shuffled(x))
    assert not same_order([x[0], x[1][:-1]])


def test_tracks_of_shuffled_points_are_found():
    """Exactly, where steps are short beside the distance of neighbours: the same trajectories, in another order."""
    x = turning()
    found = tracked(shuffled(x), 120, np.random.default_rng(2))
    order = np.lexsort(found[0].T), np.lexsort(x[0].T)
    np.testing.assert_array_equal(found[:, order[0]], x[:, order[1]])


def test_no_two_tracks_become_one():
    """Of frames drawn anew each point is a point of its frame, and is used once."""
    generator = np.random.default_rng(3)
    frames = [generator.normal(size=(50, 3)) for _ in range(4)]
    found = tracked(frames, 30, generator)
    assert found.shape == (4, 30, 3)
    for frame, x in zip(frames, found, strict=True):
        assert len(np.unique(x, axis=0)) == 30
        assert (x[:, None] == frame).all(axis=-1).any(axis=1).all()


def box() -> np.ndarray:
    """Two squares that share an edge, as triangles [4, 3, 3]."""
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 1, 1), (1, 1, 1)], dtype=float)
    return corners[[(0, 1, 2), (1, 3, 2), (2, 3, 4), (3, 5, 4)]]


def test_faces_that_move():
    """A mesh that is moved and sheared has the same faces; other meshes have not."""
    mesh = box()
    moved = mesh @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 2]]) + (1, 2, 3)
    assert same_faces([mesh, moved])
    assert not same_faces([mesh, mesh[:3]])
    torn = moved.copy()
    torn[1, 0] += 0.1
    assert not same_faces([mesh, torn])


def test_points_keep_their_place_on_a_face():
    """Under an affine motion each point goes where the motion takes it; more lie on larger faces."""
    mesh, shear = box(), np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 2]])
    x = on_faces([mesh, mesh @ shear + (1, 2, 3)], 4000, np.random.default_rng(4))
    np.testing.assert_allclose(x[1], x[0] @ shear + (1, 2, 3), atol=1e-12)
    flat = (x[0, :, 2] == 0).mean()
    assert abs(flat - 0.5) < 0.03
    assert np.abs(x[0, x[0, :, 2] == 0].mean(axis=0) - (0.5, 0.5, 0)).max() < 0.03
