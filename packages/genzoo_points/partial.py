"""Parts of shapes, as a scanner or a knife leaves them.

Legend: N points of a shape, P of a part.
"""

import numpy as np
from scipy.spatial import ConvexHull

KEPT = (0.25, 0.75)
"""Least and largest share of the points that a cut leaves."""

RADIUS = 30.0
"""Of the sphere that points are flipped at, over the cloud's: larger ones see farther round corners."""


def random_part(points: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """[N, 3] -> [count, 3]: either what lies on one side of a plane, or what is seen from one side. Points are repeated
    where the part has fewer than `count`."""
    direction = generator.normal(size=3)
    direction /= np.linalg.norm(direction)
    if generator.random() < 0.5:
        part = points[cut(points, direction, generator.uniform(*KEPT))]
    else:
        part = points[seen_from(points, direction)]
    return resampled(part, count, generator)


def cut(points: np.ndarray, direction: np.ndarray, share: float) -> np.ndarray:
    """Indices of the `share` of the points [N, 3] that lie farthest along a direction."""
    along = points @ direction
    return np.flatnonzero(along >= np.quantile(along, 1 - share))


def seen_from(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Indices of the points [N, 3] that are seen from far away in a direction (Katz et al. 2007, hidden point removal:
    points flipped at a sphere round the eye are seen if they lie on the convex hull)."""
    middle = points.mean(axis=0)
    size = np.linalg.norm(points - middle, axis=1).max()
    eye = middle + 4 * size * direction
    ray = points - eye
    distance = np.linalg.norm(ray, axis=1, keepdims=True)
    flipped = ray + 2 * (RADIUS * 4 * size - distance) * ray / distance
    hull = ConvexHull(np.concatenate((flipped, np.zeros((1, 3)))), qhull_options="QJ")
    return hull.vertices[hull.vertices < len(points)]


def resampled(points: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """So many of the points, each once while there are enough, else some again."""
    order = generator.permutation(len(points))
    return points[np.resize(order, count)]
