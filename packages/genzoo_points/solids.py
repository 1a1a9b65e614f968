"""Parts that shapes are put together from: closed surfaces by lofting, and their arrangement.

Legend: R rings, K corners of a ring, N points of a path. z is up.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genzoo.errors import UserError

try:
    import trimesh
    from trimesh import Trimesh
except ModuleNotFoundError as error:
    raise UserError("trimesh is not installed, and 3D shapes need it: pip install 'genzoo[points]'") from error

Parts = list[Trimesh]


def loft(rings: ArrayLike, *, caps: bool = True) -> Trimesh:
    """The surface through convex closed sections [R, K, 3], shut at both ends where `caps`; it faces outwards."""
    rings = np.asarray(rings, float)
    count, k, _ = rings.shape
    here = np.arange(count * k).reshape(count, k)
    beside, fan = np.roll(here, -1, axis=1), np.arange(1, k - 1)
    faces = [np.stack((here[:-1], beside[:-1], beside[1:]), -1), np.stack((here[:-1], beside[1:], here[1:]), -1)]
    if caps:
        faces += [np.stack((0 * fan, fan + 1, fan), -1), here[-1, 0] + np.stack((0 * fan, fan, fan + 1), -1)]
    mesh = Trimesh(rings.reshape(-1, 3), np.concatenate([face.reshape(-1, 3) for face in faces]), process=False)
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def around(power: float = 2.0, n: int = 40) -> NDArray[np.float64]:
    """A unit superellipse [n, 2]: 2 is a circle, more is squarer."""
    angle = (np.arange(n) + 0.5) / n * 2 * np.pi
    both = np.stack((np.cos(angle), np.sin(angle)), -1)
    return np.sign(both) * np.abs(both) ** (2 / power)


def turned(profile: ArrayLike, *, y: float = 1.0, power: float = 2.0, caps: bool = True) -> Trimesh:
    """A profile of (radius, z) turned about z; depth `y` of its width, squarer with a larger power."""
    radius, z = np.asarray(profile, float).T[..., None]
    unit_x, unit_y = around(power).T
    return loft(np.stack((radius * unit_x, y * radius * unit_y, z + 0 * unit_x), -1), caps=caps)


def plate(profile: ArrayLike, depth: float, *, y: float = 0.0) -> Trimesh:
    """An upright plate of this depth around y, with a profile of (half width, z)."""
    half, z = np.asarray(profile, float).T
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return loft(np.stack([np.stack((i * half, y + j * depth / 2 + 0 * half, z), -1) for i, j in corners], 1))


def box(size: ArrayLike, at: ArrayLike) -> Trimesh:
    """A block of this size [3] around a point [3]."""
    return trimesh.creation.box(size, trimesh.transformations.translation_matrix(at))


def tube(path: ArrayLike, radius: ArrayLike, sides: int = 12) -> Trimesh:
    """A rod along points [N, 3] of one plane, with one radius or one for each. Four sides make a square rod."""
    path = np.asarray(path, float)
    step = np.diff(path, axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    along = np.concatenate((step[:1], step[:-1] + step[1:], step[-1:]))
    across = np.cross(np.eye(3)[np.ptp(path, axis=0).argmin()], along)
    frame = np.stack([v / np.linalg.norm(v, axis=1, keepdims=True) for v in (across, np.cross(along, across))])
    return loft(path[:, None] + np.einsum("n,ki,inx->nkx", np.broadcast_to(radius, len(path)), around(n=sides), frame))


def wing(root: ArrayLike, tip: ArrayLike, chords: ArrayLike, *, thick: float = 0.1, upright: bool = False) -> Trimesh:
    """A wing or fin with its leading edge from root to tip [3] and chords [2] there, which run towards +y."""
    section = np.array([(0, 0), (0.08, 0.4), (0.3, 0.5), (1, 0.05), (1, -0.05), (0.3, -0.5), (0.08, -0.4)])
    flat = np.zeros((len(section), 3))
    flat[:, 1], flat[:, 0 if upright else 2] = section[:, 0], thick * section[:, 1]
    return loft(np.asarray((root, tip), float)[:, None] + np.asarray(chords)[:, None, None] * flat)


def mirrored(*parts: Trimesh, axis: int = 0) -> Parts:
    """The parts, and their reflections."""
    flip = np.diag([-1.0 if i == axis else 1.0 for i in range(4)])
    return [*parts, *(part.copy().apply_transform(flip) for part in parts)]


def pick(rng: np.random.Generator, options: str) -> str:
    """One of the words."""
    words = options.split()
    return words[rng.integers(len(words))]


def vary(rng: np.random.Generator, values: ArrayLike, by: ArrayLike) -> NDArray[np.float64]:
    """The values, each multiplied by its own factor of 1 - by to 1 + by."""
    return np.asarray(values) * (1 + np.asarray(by) * rng.uniform(-1, 1, np.shape(values)))


def star(feet: int, reach: float, high: float, radius: float, turn: float) -> Parts:
    """Feet that run from the axis at z = high out to the floor."""
    angle = turn + np.arange(feet) / feet * 2 * np.pi
    ends = zip(reach * np.cos(angle), reach * np.sin(angle), strict=True)
    return [tube([(0, 0, high), (*end, radius)], (1.3 * radius, radius)) for end in ends]


def pedestal(rng: np.random.Generator, reach: float, high: float, stem: float) -> Parts:
    """A column to z = high on a disc or on feet."""
    if rng.random() < 0.5:
        edge, waist = rng.uniform(0.015, 0.05), rng.uniform(0.08, 0.3) * high
        foot = [(reach, 0), (reach, edge), (2 * stem, 0.06 + edge), (stem, 0.06 + waist)]
        return [turned([*foot, (stem * rng.uniform(0.7, 1.3), high)])]
    at = rng.uniform(0.06, 0.14)
    column = turned([(1.3 * stem, at * 0.6), (stem, high * 0.4), (stem, high)])
    return [column, *star(int(rng.integers(3, 6)), reach, at, stem * 0.8, np.pi / 4)]


def legs(rng: np.random.Generator, x: float, y: float, high: float, radius: float, splay: float) -> Parts:
    """Four legs from (+-x, +-y) at z = high to the floor, there further out by the part `splay`; square or round."""
    foot = (x * (1 + splay), y * (1 + splay), 0)
    leg = tube([foot, (x, y, high)], (radius * rng.uniform(0.65, 1.05), radius), int(rng.choice((4, 12))))
    return mirrored(*mirrored(leg), axis=1)


def stretchers(x: float, y: float, z: float, radius: float) -> Parts:
    """An H of rods between legs."""
    return [*mirrored(tube([(x, -y, z), (x, y, z)], radius)), tube([(-x, 0, z), (x, 0, z)], radius)]
