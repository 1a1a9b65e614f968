"""Which point of one frame is which of the next: kept where the files say so, else found by assignment.

Legend: T frames, N points, M points of another frame, F triangles.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from genzoo.reading import Broken

NEAR = 0.5
"""Points are in the same order in two frames if they lie nearer to their own places than this, over what two points of
different places lie apart (medians)."""


def same_order(frames: Sequence[np.ndarray]) -> bool:
    """Whether clouds [N, 3] are as many points in the same order: those at equal places lie near each other from frame
    to frame. Of shuffled clouds they lie as far apart as any two points do."""
    if len({len(x) for x in frames}) > 1:
        return False
    for a, b in pairwise(frames):
        apart = np.linalg.norm(a - np.roll(a, len(a) // 2 + 1, axis=0), axis=1)
        if np.median(np.linalg.norm(a - b, axis=1)) > NEAR * np.median(apart):
            return False
    return True


def same_faces(frames: Sequence[np.ndarray]) -> bool:
    """Whether meshes, as triangles [F, 3, 3], are one that moves: as many triangles, whose corners meet where they met
    in the first frame."""
    if len({len(x) for x in frames}) > 1:
        return False
    corners = frames[0].reshape(-1, 3)
    _, first, vertex = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    lead = first[vertex.ravel()]
    return all(np.array_equal(x.reshape(-1, 3), x.reshape(-1, 3)[lead]) for x in frames)


def on_faces(frames: Sequence[np.ndarray], count: int, generator: np.random.Generator) -> np.ndarray:
    """[T, count, 3] of a mesh that moves, as triangles [F, 3, 3] of each frame: places drawn by area in the first
    frame, which then keep their face and their place in it. Broken where no triangle has an area."""
    a, b, c = frames[0].swapaxes(0, 1).astype(np.float64)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not area.sum() > 0:
        raise Broken("has no area: all its faces are degenerate")
    face = generator.choice(len(area), count, p=area / area.sum())
    u, v = np.sqrt(generator.random(count)), generator.random(count)
    weight = np.stack((1 - u, u * (1 - v), u * v), axis=1)
    return np.stack([np.einsum("nc,ncx->nx", weight, x[face]) for x in frames])


def tracked(frames: Sequence[np.ndarray], count: int, generator: np.random.Generator) -> np.ndarray:
    """[T, count, 3] of clouds [M, 3], M at least `count`, whose points do not correspond: random points of the first
    frame, then in each frame those that lie nearest to where the last step would take them, so that no two become one
    and the sum of the squared distances is least (exact assignment).

    What follows: of clouds that are the same points in another order the tracks are found again as long as a step is
    short beside the distance of neighbours. Of points that are drawn anew in each frame, tracks jump about as far as
    neighbours lie apart: accelerations are of the sampling as much as of the motion, motion along the surface itself
    (a ball that turns) may be lost, and fast parts lose points to slow ones. Denser frames help."""
    last = frames[0][generator.permutation(len(frames[0]))[:count]]
    found, step = [last], np.zeros_like(last)
    for frame in frames[1:]:
        now = frame[linear_sum_assignment(cdist(last + step, frame, "sqeuclidean"))[1]]
        last, step = now, now - last
        found.append(now)
    return np.stack(found)
