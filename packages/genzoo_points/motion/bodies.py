"""The embedded data: bodies of simple parts whose motion is known, with points that are fixed on their surfaces.

z is up, the floor is z = 0, and what has a front turns it towards -y. Lengths are in units of about a body's size,
times in seconds.

Legend: T times, P points of a part, N points of a body.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from genzoo.draws import numpy_generator
from genzoo.errors import UserError
from genzoo_points.motion.sequences import Sequences

RATE_HZ = 12.0
"""Frames a second."""

TAU = 2 * np.pi

Path = Callable[[np.ndarray], np.ndarray]
"""Times [T] -> places [T, P, 3] of the points of a part, or [T, 3] of a joint."""


@dataclass(frozen=True)
class Part:
    """A surface that moves. area: in proportion to which it is given points. draw: so many places in its own
    coordinates [P, 3]. move: times [T] and those -> where they are [T, P, 3]."""

    area: float
    draw: Callable[[int, np.random.Generator], np.ndarray]
    move: Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Body:
    """parts, and the period of the motion in seconds: after it, every point is where it was."""

    parts: Sequence[Part]
    period_s: float

    def at(self, times_s: np.ndarray, points: int, generator: np.random.Generator) -> np.ndarray:
        """[T, N, 3]: `points` on the surfaces, drawn by area, each part at least four, in random order."""
        shares = np.array([part.area for part in self.parts])
        counts = generator.multinomial(points, shares / shares.sum())
        for i in np.flatnonzero(counts < 4):
            counts[counts.argmax()] -= 4 - counts[i]
            counts[i] = 4
        drawn = [(part, part.draw(count, generator)) for part, count in zip(self.parts, counts, strict=True)]
        x = np.concatenate([part.move(times_s, own) for part, own in drawn], axis=1)
        return x[:, generator.permutation(points)]


# ---- surfaces


def ball(count: int, generator: np.random.Generator) -> np.ndarray:
    """Places [P, 3] on the unit sphere, evenly."""
    x = generator.normal(size=(count, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def rod(count: int, generator: np.random.Generator) -> np.ndarray:
    """On a cylinder of radius 1 about z from 0 to 1, its bottom closed."""
    angle, z = generator.uniform(0, TAU, count), generator.uniform(0, 1.06, count) - 0.06
    radius = np.where(z < 0, np.sqrt(generator.random(count)), 1.0)
    return np.stack((radius * np.cos(angle), radius * np.sin(angle), z.clip(min=0)), axis=1)


def sheet(count: int, generator: np.random.Generator) -> np.ndarray:
    """On the unit square x, y in 0 … 1; z tells its two sides: -1 or 1."""
    return np.column_stack((generator.random((count, 2)), generator.choice((-1.0, 1.0), count)))


# ---- motions


def about(axis: str, angle: np.ndarray) -> np.ndarray:
    """Rotations [T, 3, 3] by angles [T] in radians about x, y or z."""
    i = "xyz".index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    turn = np.zeros((len(angle), 3, 3))
    turn[:, i, i] = 1
    turn[:, j, j] = turn[:, k, k] = np.cos(angle)
    turn[:, k, j] = np.sin(angle)
    turn[:, j, k] = -turn[:, k, j]
    return turn


def placed(turn: np.ndarray, at: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Places [P, 3] turned by [T, 3, 3] about the origin and moved to [T, 3] -> [T, P, 3]."""
    return np.einsum("tij,pj->tpi", turn, own) + at[:, None]


def still(place: Sequence[float]) -> Path:
    """A joint that stays."""
    return lambda times: np.broadcast_to(np.asarray(place, float), (len(times), 3))


def ellipsoid(radii: Sequence[float], at: Path, turn: Callable[[np.ndarray], np.ndarray] | None = None) -> Part:
    """Of half axes `radii` [3], its middle at a joint, turned by [T, 3, 3]."""
    a, b, c = radii
    area = 4 * np.pi * (((a * b) ** 1.6 + (a * c) ** 1.6 + (b * c) ** 1.6) / 3) ** (1 / 1.6)
    turned = turn or (lambda times: about("z", np.zeros(len(times))))
    return Part(area, ball, lambda times, own: placed(turned(times), at(times), own * radii))


def bone(radius: float, begin: Path, end: Path) -> Part:
    """A rod between two joints, thicker where it begins."""

    def move(times: np.ndarray, own: np.ndarray) -> np.ndarray:
        first, along = begin(times), end(times) - begin(times)
        along_unit = along / np.linalg.norm(along, axis=1, keepdims=True)
        across = np.cross(along_unit, (1.0, 0.0, 0.0))  # no bone lies along x
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        third = np.cross(along_unit, across)
        thick = radius * (1.1 - 0.3 * own[:, 2])
        return (
            first[:, None]
            + own[None, :, 2:] * along[:, None]
            + (thick * own[:, 0])[None, :, None] * across[:, None]
            + (thick * own[:, 1])[None, :, None] * third[:, None]
        )

    length = float(np.linalg.norm(end(np.zeros(1)) - begin(np.zeros(1))))
    return Part(TAU * radius * length, rod, move)


# ---- bodies


def walker(rng: np.random.Generator) -> Body:
    """On four legs that swing in pairs and bend at the knee, walking on the spot; the head nods, the tail wags."""
    u, period = rng.uniform, rng.uniform(0.8, 1.5)
    long, wide, deep = u(0.36, 0.5), u(0.11, 0.17), u(0.12, 0.18)
    upper, lower, thick = u(0.16, 0.24), u(0.16, 0.24), u(0.035, 0.055)
    swing, bend, bob, start = u(0.35, 0.6), u(0.4, 0.8), u(0.01, 0.03), u(0, TAU)
    high = upper + lower

    def phase(times: np.ndarray) -> np.ndarray:
        return TAU * times / period + start

    def middle(times: np.ndarray) -> np.ndarray:
        rise = high + 0.4 * deep + bob * np.sin(2 * phase(times))
        return np.stack((0 * times, 0 * times, rise), axis=1)

    def leg(x: float, y: float, offset: float) -> list[Part]:
        def hip(times: np.ndarray) -> np.ndarray:
            return middle(times) + np.array((x, y, -0.4 * deep))

        def knee(times: np.ndarray) -> np.ndarray:
            angle = swing * np.sin(phase(times) + offset)
            return hip(times) + upper * np.stack((0 * angle, -np.sin(angle), -np.cos(angle)), axis=1)

        def foot(times: np.ndarray) -> np.ndarray:
            angle = swing * np.sin(phase(times) + offset)
            angle = angle - bend * (0.5 + 0.5 * np.cos(phase(times) + offset))
            return knee(times) + lower * np.stack((0 * angle, -np.sin(angle), -np.cos(angle)), axis=1)

        return [bone(thick, hip, knee), bone(0.85 * thick, knee, foot)]

    head, neck = u(0.08, 0.12), u(0.1, 0.2)

    def skull(times: np.ndarray) -> np.ndarray:
        nod = 0.02 * np.sin(2 * phase(times) + 1)
        return middle(times) + np.stack((0 * nod, -long - 0.4 * head + 0 * nod, neck + nod), axis=1)

    def tail(times: np.ndarray) -> np.ndarray:
        wag = 0.12 * np.sin(phase(times))
        return middle(times) + np.stack((wag, long + 0.16 + 0 * wag, 0.12 + 0 * wag), axis=1)

    parts = [
        ellipsoid((wide, long, deep), middle),
        ellipsoid((0.8 * head, 1.3 * head, head), skull),
        bone(0.03, lambda times: middle(times) + np.array((0, 0.9 * long, 0.05)), tail),
    ]
    for x, y, offset in ((1, -1, 0), (-1, -1, np.pi), (1, 1, np.pi), (-1, 1, 0)):
        parts += leg(0.8 * x * wide, 0.75 * y * long, offset)
    return Body(parts, period)


def bird(rng: np.random.Generator) -> Body:
    """Flaps wings of two joints, and rises and sinks with them."""
    u, period = rng.uniform, rng.uniform(0.7, 1.3)
    long, thick, span, chord = u(0.22, 0.32), u(0.07, 0.1), u(0.5, 0.75), u(0.16, 0.26)
    flap, fold, lag, lift, start = u(0.45, 0.8), u(0.3, 0.6), u(0.6, 1.2), u(0.03, 0.07), u(0, TAU)
    sweep = u(0.0, 0.3)

    def phase(times: np.ndarray) -> np.ndarray:
        return TAU * times / period + start

    def middle(times: np.ndarray) -> np.ndarray:
        rise = 0.55 - lift * np.sin(phase(times) + 0.5)
        return np.stack((0 * times, 0 * times, rise), axis=1)

    def wing(side: int) -> Part:
        def move(times: np.ndarray, own: np.ndarray) -> np.ndarray:
            out, back, face = own.T
            inner = np.minimum(out, 0.5) * span
            outer = np.maximum(out - 0.5, 0) * span
            first = flap * np.sin(phase(times))[:, None]
            second = first + fold * np.sin(phase(times) - lag)[:, None]
            width = chord * (1 - 0.6 * out**2)
            x = inner * np.cos(first) + outer * np.cos(second)
            z = inner * np.sin(first) + outer * np.sin(second) + 0.008 * face
            y = np.broadcast_to((back - 0.5) * width + sweep * out**2 * chord, x.shape)
            return middle(times)[:, None] + np.stack((side * (x + 0.7 * thick), y, z + 0.3 * thick), axis=2)

        return Part(2 * span * chord * 0.8, sheet, move)

    def tail(times: np.ndarray, own: np.ndarray) -> np.ndarray:
        across, along, face = own.T
        tilt = 0.15 * np.sin(phase(times) - 1)[:, None]
        x = np.broadcast_to((across - 0.5) * (0.06 + 0.16 * along), (len(times), len(own)))
        y, z = long * 0.85 + 0.22 * along * np.cos(tilt), 0.22 * along * np.sin(tilt) + 0.008 * face
        return middle(times)[:, None] + np.stack((x, y, z), axis=2)

    head = still((0, -long - 0.03, 0.04))
    return Body(
        [
            ellipsoid((thick, long, thick), middle),
            ellipsoid((0.06, 0.085, 0.06), lambda times: middle(times) + head(times)),
            wing(1),
            wing(-1),
            Part(0.1, sheet, tail),
        ],
        period,
    )


def snake(rng: np.random.Generator) -> Body:
    """A wave runs down its body."""
    u, period = rng.uniform, rng.uniform(0.9, 1.8)
    long, thick, waves, wide, start = u(1.1, 1.4), u(0.05, 0.08), u(0.9, 1.7), u(0.09, 0.17), u(0, TAU)

    def move(times: np.ndarray, own: np.ndarray) -> np.ndarray:
        s = own[:, 2]
        phase = TAU * (waves * s - (times / period)[:, None]) + start
        swing = wide * (0.35 + 0.65 * s)  # the head swings least
        slope = swing * TAU * waves / long * np.cos(phase) + 0.65 * wide / long * np.sin(phase)
        radius = thick * np.sqrt(np.minimum(1, 12 * s + 0.25)) * np.sqrt(1.02 - s**3)
        tilt = 1 / np.sqrt(1 + slope**2)
        x = swing * np.sin(phase) + radius * own[:, 0] * tilt
        y = (s - 0.5) * long - radius * own[:, 0] * slope * tilt
        z = np.broadcast_to(thick + radius * own[:, 1], x.shape)
        return np.stack((x, y, z), axis=2)

    return Body([Part(1.0, rod, move)], period)


def windmill(rng: np.random.Generator) -> Body:
    """A tower that stands, and blades that turn about the axis y at one speed: each is a rigid body."""
    u, period = rng.uniform, rng.uniform(1.2, 2.6)
    tall, foot, blades, long, chord = u(0.65, 0.8), u(0.08, 0.12), int(rng.integers(3, 6)), u(0.38, 0.5), u(0.07, 0.12)
    pitch, start, way = u(0.2, 0.5), u(0, TAU), rng.choice((-1, 1))
    hub = np.array((0, -0.1, tall))

    def blade(i: int) -> Part:
        def move(times: np.ndarray, own: np.ndarray) -> np.ndarray:
            out, across, face = own.T
            across = (across - 0.5) * chord * (1.2 - 0.5 * out)
            flat = np.stack((across * np.cos(pitch), across * np.sin(pitch) + 0.008 * face, 0.05 + out * long), axis=1)
            turn = about("y", way * TAU * times / period + start + TAU * i / blades)
            return placed(turn, still(hub)(times), flat)

        return Part(2 * long * chord, sheet, move)

    def tower(times: np.ndarray, own: np.ndarray) -> np.ndarray:
        radius = foot * (1 - 0.45 * own[:, 2:])
        place = np.concatenate((own[:, :2] * radius, own[:, 2:] * tall), axis=1)
        return np.broadcast_to(place, (len(times), *place.shape))

    parts = [Part(TAU * 0.8 * foot * tall, rod, tower), ellipsoid((0.06, 0.11, 0.06), still((0, -0.05, tall)))]
    return Body([*parts, *(blade(i) for i in range(blades))], period)


def jellyfish(rng: np.random.Generator) -> Body:
    """A bell that closes fast and opens slowly, and arms that follow it late."""
    u, period = rng.uniform, rng.uniform(1.1, 2.0)
    wide, tall, pulse, rise, start = u(0.32, 0.46), u(0.24, 0.36), u(0.18, 0.34), u(0.04, 0.08), u(0, TAU)
    arms, reach, sway, first = int(rng.integers(4, 7)), u(0.4, 0.6), u(0.04, 0.09), u(0, TAU)

    def closing(phase: np.ndarray) -> np.ndarray:
        return np.sin(phase + 0.5 * np.sin(phase))

    def phase(times: np.ndarray) -> np.ndarray:
        return TAU * times / period + start

    def height(times: np.ndarray) -> np.ndarray:
        return 0.62 + rise * np.sin(phase(times) - 0.9)

    def bell(times: np.ndarray, own: np.ndarray) -> np.ndarray:
        dome = np.stack((own[:, 0], own[:, 1], np.abs(own[:, 2])), axis=1)
        low = 1 - dome[:, 2]  # 0 at the top, 1 at the rim
        squeeze = 1 - pulse * low * closing(phase(times)[:, None] - 0.6 * low)
        xy = dome[None, :, :2] * wide * squeeze[..., None]
        z = height(times)[:, None] + tall * dome[:, 2] * (1 + 0.25 * pulse * closing(phase(times))[:, None])
        return np.concatenate((xy, z[..., None]), axis=2)

    def arm(i: int) -> Part:
        angle = TAU * i / arms + first

        def move(times: np.ndarray, own: np.ndarray) -> np.ndarray:
            s = own[:, 2]
            late = phase(times)[:, None] - 0.6 - 2.2 * s
            out = wide * 0.72 * (1 - 0.35 * s - pulse * (1 - 0.5 * s) * closing(late)) + sway * s * np.sin(late)
            x, y = (out * np.cos(angle) + 0.022 * own[:, 0], out * np.sin(angle) + 0.022 * own[:, 1])
            z = height(times)[:, None] - reach * s * (1 + 0.1 * np.sin(late))
            return np.stack((x, y, z), axis=2)

        return Part(TAU * 0.022 * reach * 1.3, rod, move)

    return Body([Part(TAU * wide * tall * 1.2, ball, bell), *(arm(i) for i in range(arms))], period)


def hopper(rng: np.random.Generator) -> Body:
    """A ball that bounces, is pressed flat on the floor and long in flight, and rocks about z; it bears a ring."""
    u, period = rng.uniform, rng.uniform(0.8, 1.4)
    radius, high, press, start = u(0.2, 0.3), u(0.3, 0.55), u(0.2, 0.38), u(0, 1)
    band, rock, tilt = u(1.25, 1.5), u(0.1, 0.5), u(-0.3, 0.3)

    def shape(own: np.ndarray, times: np.ndarray) -> np.ndarray:
        when = np.mod(times / period + start, 1.0)
        ground = 0.28  # share of the time that it touches the floor
        fly = np.clip((when - ground) / (1 - ground), 0, 1)
        flat = np.where(when < ground, np.sin(np.pi * when / ground) ** 2, 0.0)
        tall = 1 - press * flat + 0.5 * press * np.sin(np.pi * fly) ** 2
        up = radius * tall + high * 4 * fly * (1 - fly)
        turned = placed(about("z", rock * np.sin(TAU * times / period)), np.zeros((len(times), 3)), own)
        size = np.stack((1 / np.sqrt(tall), 1 / np.sqrt(tall), tall), axis=1)
        return turned * radius * size[:, None] + np.stack((0 * up, 0 * up, up), axis=1)[:, None]

    def ring(times: np.ndarray, own: np.ndarray) -> np.ndarray:
        angle, r = TAU * own[:, 0], 0.5 * (1 + own[:, 1])
        place = np.stack((r * band * np.cos(angle), r * band * np.sin(angle), 0.03 * own[:, 2]), axis=1)
        place = np.maximum(1.0, 0.95 / np.linalg.norm(place[:, :2], axis=1))[:, None] * place
        return shape(place @ about("x", np.array([tilt]))[0].T, times)

    return Body(
        [
            Part(4 * np.pi * radius**2, ball, lambda times, own: shape(own, times)),
            Part(2 * np.pi * (band**2 - 0.9) * radius**2, sheet, ring),
        ],
        period,
    )


BODIES: dict[str, Callable[[np.random.Generator], Body]] = {
    "walker": walker,
    "bird": bird,
    "snake": snake,
    "windmill": windmill,
    "jellyfish": jellyfish,
    "hopper": hopper,
}


def make_body(kind: str, generator: np.random.Generator) -> Body:
    """One of `BODIES`, with proportions, tempo and phase of its own; UserError for another name."""
    if kind not in BODIES:
        raise UserError(f"there is no body {kind!r}: {', '.join(BODIES)}")
    return BODIES[kind](generator)


def embedded_bodies(*, points: int, sequences: int = 150, frames: int = 40, seed: int = 0) -> Sequences:
    """`sequences` of each body, `frames` long at `RATE_HZ`, of so many points fixed on it. Sequence i of a body is the
    same however many there are. About 4 ms each. UserError for less than one of anything, or fewer than 64 points."""
    if min(sequences, frames) < 1 or points < 64:
        raise UserError("data.embedded: at least 1 of sequences and frames is needed, and data.points of 64")
    times_s = np.arange(frames) / RATE_HZ
    found = []
    for kind in BODIES:
        for i in range(sequences):
            generator = numpy_generator("body", seed, kind, i)
            x = make_body(kind, generator).at(times_s, points, generator)
            found.append(x.astype(np.float32))
    return Sequences(
        clips=found,
        names=[f"{kind}_{i:04d}" for kind in BODIES for i in range(sequences)],
        labels=[label for label in range(len(BODIES)) for _ in range(sequences)],
        classes=list(BODIES),
        splits=[None] * len(found),
        rates_hz=[RATE_HZ] * len(found),
        matched=[],
    )
