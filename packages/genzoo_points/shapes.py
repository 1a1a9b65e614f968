"""The embedded data: everyday things put together from simple parts, no two alike, made once and kept.

z is up and the floor is z = 0. What has a front (a chair, an aeroplane's nose, a guitar's face) turns it towards -y; a
mug's handle points to +x. A builder works in units of its own, metres mostly; `make_mesh` brings all to one size.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from genzoo.download import cache_folder
from genzoo.draws import numpy_generator
from genzoo.errors import UserError
from genzoo_points.files import Shapes, keep, read_kept
from genzoo_points.solids import (
    Parts,
    Trimesh,
    around,
    box,
    legs,
    loft,
    mirrored,
    pedestal,
    pick,
    plate,
    star,
    stretchers,
    trimesh,
    tube,
    turned,
    vary,
    wing,
)

VERSION = 1
"""Of the builders: another one makes other shapes."""


def table(rng: np.random.Generator) -> Parts:
    """Rectangular or round, on legs, trestles or pedestals."""
    u, form = rng.uniform, pick(rng, "round oval square oblong oblong oblong")
    base = pick(rng, "legs legs splayed trestle pedestal")
    high, y = u(0.38, 0.5) if rng.random() < 0.25 else u(0.66, 0.95), u(0.35, 0.6)
    x, power = y * (1 if form in ("round", "square") else u(1.25, 2.1)), 2 if form in ("round", "oval") else u(6, 40)
    top, inset = high - u(0.03, 0.06), u(0.6, 0.68) if power == 2 else u(0.82, 0.93)
    made, in_x, in_y = [turned([(x, top), (x, high)], y=y / x, power=power)], x * inset, y * inset
    if base == "pedestal":
        column = pedestal(rng, y * u(0.55, 0.8), top, u(0.04, 0.08))
        return made + (column if x < 1.6 * y else mirrored(*(part.apply_translation((x / 2, 0, 0)) for part in column)))
    if base == "trestle":
        in_x, lean = x * u(0.55, 0.8), u(0.2, 0.6)
        feet = mirrored(tube([(in_x, in_y, 0), (in_x, in_y * (1 - lean), top)], 0.045, 4), axis=1)
        made += mirrored(*feet, box((0.07, 2 * in_y, 0.05), (in_x, 0, 0.025)))
        return [*made, box((2 * in_x, 0.03, 0.08), (0, 0, high * u(0.3, 0.6)))]
    splay = u(0.1, 0.3) if base == "splayed" else 0.0
    made += legs(rng, in_x / (1 + splay), in_y / (1 + splay), top, u(0.035, 0.06), splay)
    low, extra = high * u(0.15, 0.45), pick(rng, "none none shelf stretchers") if base == "legs" else "none"
    if extra == "shelf":
        made.append(box((2 * in_x, 2 * in_y, 0.025), (0, 0, low)))
    return made + (stretchers(in_x, in_y, low, 0.022) if extra == "stretchers" else [])


def chair(rng: np.random.Generator) -> Parts:
    """A seat on legs, a star, a sled or a block; a back of a plate, rungs or bars; with arms or without."""
    u, base = rng.uniform, pick(rng, "legs legs legs splayed star sled block")
    style, power = pick(rng, "plate plate round rungs bars slat"), float(pick(rng, "2.5 6 30"))
    x, y, seat, high, radius = u((0.19, 0.19, 0.4, 0.38, 0.022), (0.27, 0.26, 0.55, 0.68, 0.034))
    low, post, arm, lean = seat - u(0.025, 0.08), u(0.016, 0.026), u(0.16, 0.26), u(0, 0.3)
    made, inset = [turned([(x, low), (x, seat)], y=y / x, power=power)], 0.75 if power < 3 else 0.88
    if base in ("legs", "splayed"):
        splay = u(0.15, 0.35) if base == "splayed" else 0.0
        made += legs(rng, x * inset, y * inset, low, radius, splay)
        if rng.random() < 0.35:
            out = inset * (1 + 0.6 * splay)
            made += stretchers(x * out, y * out, 0.4 * low, 0.014)
    elif base == "star":
        made += pedestal(rng, x * u(0.95, 1.25), low, u(0.025, 0.04))
    elif base == "sled":
        far = y * rng.choice((-1, 1))  # the side that may be open
        yz = [(-far, low), (-far, radius), (far, radius), (far, low)][: int(rng.integers(3, 5))]
        made += mirrored(tube([(x * 0.9, *each) for each in yz], radius, 4))
    else:
        made += [box((2 * x, 2 * y, low * 0.55), (0, 0, low * 0.7)), *legs(rng, x * 0.85, y * 0.85, low / 2, 0.03, 0.0)]
        wide, side = u(0.06, 0.12), low * 0.55 + arm
        made += mirrored(box((wide, 2 * y, side), (x + wide / 2, 0, low * 0.42 + side / 2)))
    if base != "block" and rng.random() < 0.35:
        yz = [(-0.6 * y, low), (-0.7 * y, seat + arm), (y * 0.9 + lean * arm, seat + arm)]
        made += mirrored(tube([(x, *each) for each in yz], 0.026, 4))
    if style in ("plate", "round"):  # a back stands upright behind the seat at first
        gap, wide = 0.0 if base == "block" else u(0, 0.4) * high, x * u(0.85, 1)
        half = around(3 if style == "round" else 20)[np.r_[30:40, :10]] * (wide, (high - gap) / 2)
        back = [plate(np.add(half, (0, (high + gap) / 2)), u(0.025, 0.05))]
        back += mirrored(tube([(x / 2, 0, 0), (x / 2, 0, gap * 1.1)], post)) if gap else []
    else:
        back = mirrored(tube([(x * 0.9, 0, 0), (x * 0.9, 0, high)], post))
        count = int(rng.integers(3, 6))
        if style == "rungs":
            back += [box((x * 1.8, 0.02, high / count * 0.45), (0, 0, high * (i + 0.7) / count)) for i in range(count)]
        else:
            rail, wide, count = u(0.05, 0.12), *((0.024, count) if style == "bars" else (u(0.1, 0.2), 1))
            across = np.linspace(-0.85, 0.85, count + 2)[1:-1] * x
            back += [box((wide, 0.02, high - rail), (a, 0, (high - rail) / 2)) for a in across]
            back.append(box((x * 1.8, 0.03, rail), (0, 0, high - rail / 2)))
    for part in back:
        part.vertices[:, 1] += y * 0.9 + lean * part.vertices[:, 2]
        part.vertices[:, 2] += seat - 0.01
    return made + back


def mug(rng: np.random.Generator) -> Parts:
    """A hollow cup with a bottom, and a handle like half a ring."""
    u, style = rng.uniform, pick(rng, "ring ring square ear")
    wide, wall, s = u(0.33, 0.62), u(0.025, 0.045), np.linspace(0, 1, 13)
    forms = (
        1 + 0 * s,
        1 + u(0.1, 0.35) * (s - 1),
        1 + u(0.08, 0.2) * np.sin(np.pi * s),
        1 - u(0.1, 0.2) * np.sin(np.pi * s) ** 2,
        1 - u(0.3, 0.5) * np.exp(-(((s - 0.12) / 0.12) ** 2)),  # on a foot
        u(0.4, 0.6) + 0.5 * np.sin(np.pi / 2 * s**0.7),
    )
    radius = wide * forms[rng.integers(len(forms))]
    floor = 1.5 * wall
    inside = np.linspace(1, floor, 13)
    outer, inner = np.stack((radius, s), 1), np.stack((np.interp(inside, s, radius) - wall, inside), 1)
    across, up = around(5 if style == "square" else 2, 32)[np.r_[24:32, :8]].T  # the right half, upwards
    low, high = u(0.12, 0.3), u(0.72, 0.92)
    z = (low + high) / 2 + (high - low) / 2 * up
    reach = u(0.3, 0.46) * (across - across[0]) * (1 + (0.35 * up if style == "ear" else 0))
    start = np.linspace(*np.interp((low, high), s, radius - wall / 2), 16)
    return [turned([*outer, *inner]), tube(np.stack((start + reach, 0 * z, z), 1), u(0.05, 0.08))]


PLANES = {  # half span, chords at root and tip, sweep, and where the root begins; the fuselage is 1 long, from y = -0.5
    "airliner": (0.5, 0.2, 0.07, 0.19, -0.1),
    "business": (0.45, 0.19, 0.07, 0.17, -0.03),
    "light": (0.6, 0.17, 0.12, 0.02, -0.24),
    "twin": (0.6, 0.17, 0.11, 0.03, -0.2),
    "biplane": (0.52, 0.17, 0.14, 0.02, -0.24),
    "fighter": (0.33, 0.46, 0.09, 0.32, -0.06),
}


def propeller(rng: np.random.Generator, x: float, y: float, z: float) -> Parts:
    """A spinner with blades at (x, y, z)."""
    count, reach, at = int(rng.integers(2, 5)), rng.uniform(0.09, 0.13), (x, y, z)
    angles = rng.uniform(0, 3) + np.arange(count) * 2 * np.pi / count
    blades = [tube([at, np.add(at, (reach * np.cos(a), 0, reach * np.sin(a)))], (0.014, 0.01), 4) for a in angles]
    return [tube([(x, y - 0.03, z), (x, y + 0.01, z)], (0.004, 0.022)), *blades]


def aeroplane(rng: np.random.Generator) -> Parts:
    """Airliners, business jets, fighters, and three kinds with propellers."""
    u, style = rng.uniform, pick(rng, "airliner airliner business light light twin biplane fighter")
    half, root, tip, sweep, start = vary(rng, PLANES[style], 0.18)
    slow, jet = style in ("light", "twin", "biplane"), style in ("airliner", "business")
    r, nose, tail = u((0.05, 0.1, 0.35), (0.075, 0.16, 0.6)) * (1, 2 if style == "fighter" else 1, 1)
    s = np.linspace(0, 1, 17)
    size = r * np.sqrt(np.clip(s / nose, 0.02, 1)) * np.clip((1 - s) / tail, 0.12, 1) ** 0.8
    made = [tube(np.stack((0 * s, s - 0.5, 0.7 * (r - size) * (s > 0.5)), 1), size, 24)]
    rise, place = u(-0.01, 0.08), 0.9 if slow and rng.random() < 0.5 else -0.6
    low = r * {"biplane": -0.8, "fighter": 0}.get(style, place)
    levels = (low, low + u(0.15, 0.2)) if style == "biplane" else (low,)
    for z in levels:
        made += mirrored(wing((0, start, z), (half, start + sweep, z + rise), (root, tip)))
    if style == "biplane":
        struts = [[(0.75 * half, start + back, z + 0.75 * rise) for z in levels] for back in (0.04, 0.1)]
        made += mirrored(*(tube(strut, 0.009) for strut in struts))
    span, chord, fin, end, back = u((0.15, 0.09, 0.13, 0.34, 0.07), (0.22, 0.13, 0.21, 0.4, 0.13))
    back *= 0.4 if slow else 1
    high = style == "business" or (style == "airliner" and rng.random() < 0.25)  # a T tail
    aside = r if style == "fighter" and rng.random() < 0.6 else 0
    foot, peak = (0.6 * aside, end - chord / 2, 0.4 * r), (aside, end + back, r / 2 + fin)
    upright = wing(foot, peak, (1.6 * chord, 0.7 * chord), upright=True)
    made += mirrored(upright) if aside else [upright]
    y, z = (end + 0.9 * back, r / 2 + 0.95 * fin) if high else (end, 0.0)
    made += mirrored(wing((0, y, z), (span, y + back, z + 0.01), (chord, chord * 0.55)))
    long, wide = u(0.1, 0.16), u(0.026, 0.038)
    if jet:
        many = (0.33,) if rng.random() < 0.6 else (0.3, 0.58)
        places = [(p * half, start + p * sweep, low + p * rise - wide) for p in many]
        places = [(r + wide, u(0.24, 0.28), r / 2)] if high else places
        along = np.array((-0.5, -0.35, 0.1, 0.5))[:, None] * (0, long, 0)
        made += mirrored(*(tube(at + along, wide * np.array((0.85, 1, 1, 0.55))) for at in places))
    elif style == "twin":
        x, y = half / 3, start - 0.1
        made += mirrored(tube([(x, y, low), (x, y + 0.24, low)], (0.03, 0.02)), *propeller(rng, x, y, low))
    elif style == "fighter":
        made += mirrored(box((0.05, 0.3, 0.07), (r + 0.01, start + 0.05, -0.1 * r)))
    else:
        made += propeller(rng, 0, -0.505, 0)
    wheel = [(x, -0.2, -r - 0.06) for x in (0.11, 0.13)]
    return made + (mirrored(tube([(r / 2, -0.2, -0.6 * r), wheel[0]], 0.011), tube(wheel, 0.03)) if slow else [])


def shade(bottom: float, top: float, height: float, z: float) -> Trimesh:
    """A lampshade, open at both ends."""
    ring = [(bottom, z), (top, z + height), (top - 0.008, z + height), (bottom - 0.008, z), (bottom, z)]
    return turned(ring, caps=False)


def lamp(rng: np.random.Generator) -> Parts:
    """Floor lamps, on a disc, a tripod or an arc; table lamps; desk lamps with two arms."""
    u, style = rng.uniform, pick(rng, "floor floor tripod table table desk desk arc")
    reach, edge, pole, high, wide, tall = u((0.13, 0.02, 0.014, 0.9, 0.17, 0.18), (0.2, 0.05, 0.022, 1.45, 0.28, 0.32))
    top, foot = wide * float(pick(rng, "1 0.75 0.4")) * u(0.85, 1), turned([(reach, 0), (reach, edge), (0.02, edge)])
    if style == "floor":
        return [foot, tube([(0, 0, edge), (0, 0, high)], pole), shade(wide, top, tall, high - tall * u(0.5, 0.9))]
    if style == "tripod":
        return [*star(3, u(0.3, 0.42), high, pole, -np.pi / 2), shade(wide, top, tall, high - 0.05)]
    if style == "table":
        s, fat, high = np.linspace(0, 1, 15), u(0.07, 0.15), u(0.3, 0.5)
        forms = np.sin(np.pi * s) ** 0.7, 1 - 0.6 * s, 0.5 + 0 * s, 0.6 + 0.3 * np.cos(9 * s)
        stem = np.stack((np.maximum(fat * forms[rng.integers(4)], 0.03), 0.03 + s * high), 1)
        plinth, rod = max(fat, 0.09), tube([(0, 0, high), (0, 0, high + tall * 0.7)], 0.015)
        return [turned([(plinth, 0), (plinth, 0.025), *stem]), rod, shade(wide, top, tall, high + u(0.02, 0.08))]
    if style == "desk":
        elbow, bell, deep = np.array((0, u(0.05, 0.25), u(0.4, 0.55))), u(0.1, 0.15), u(0.14, 0.22)
        path = [(0, 0, 0.05), elbow, elbow - (0, u(0.35, 0.5), u(-0.3, 0.05))]
        tilt = trimesh.transformations.rotation_matrix(-u(0, 0.8), (1, 0, 0))
        half = 0.5 * bell
    else:
        angle, out, bell, deep = np.linspace(0, u(2.4, 2.9), 25), u(0.3, 0.45), 0.8 * wide, tall
        arc = np.stack((0 * angle, out * (np.cos(angle) - 1), high * 0.8 + out * np.sin(angle)), 1)
        path, tilt, half = [(0, 0, edge), *arc], np.eye(4), 0.85 * bell
    outer, inner = [(bell, -deep), (half, -deep / 2), (0.03, 0)], [(half - 0.01, -deep / 2), (bell - 0.01, -deep)]
    hood = turned([*outer, *inner, outer[0]], caps=False).apply_transform(tilt).apply_translation(path[-1])
    return [foot, tube(path, pole), hood]


BOTTLES = {  # radius of body and neck, and where the shoulder begins and ends; the height is 1
    "wine": (0.13, 0.045, 0.53, 0.73),
    "beer": (0.155, 0.05, 0.48, 0.73),
    "soda": (0.17, 0.058, 0.6, 0.85),
    "square": (0.21, 0.062, 0.6, 0.73),
    "jar": (0.36, 0.25, 0.68, 0.85),
    "flask": (0.3, 0.055, 0.3, 0.63),
}


def bottle(rng: np.random.Generator) -> Parts:
    """Bottles for wine, beer, soda and spirits, jars, flasks, and open vases."""
    u, style, s = rng.uniform, pick(rng, "wine beer soda square jar flask vase"), np.linspace(0, 1, 25)
    if style == "vase":
        knots = u((0.1, 0.2, 0.2, 0.07, 0.11), (0.18, 0.33, 0.3, 0.16, 0.22))
        at = (0, u(0.2, 0.3), u(0.42, 0.55), u(0.72, 0.85), 1)
        radius = np.mean([np.interp(s + d, at, knots) for d in np.linspace(-0.09, 0.09, 9)], 0)
        outer = np.stack((radius, s), 1)
        return [turned([*outer, *np.subtract(outer[:0:-1], (0.015, 0))])]
    (wide, neck), (low, high) = vary(rng, BOTTLES[style][:2], 0.17), vary(rng, BOTTLES[style][2:], 0.07)
    side = wide * (1 - (1 - s) * u(-0.08, 0.12))
    if style == "soda":
        side = wide * (1 + u(0.05, 0.15) * (np.cos(2 * np.pi * s * rng.integers(1, 3)) - 1))
    elif style == "flask":
        side = wide * np.sqrt(np.sin(np.pi * (0.12 + 0.38 * s)))
    shoulder = neck + (side[-1] - neck) * (1 + np.cos(np.pi * s)) / 2
    profile = [*zip(side, low * s, strict=True), *zip(shoulder, low + (high - low) * s, strict=True)]
    lip = neck * (1.12 if style == "jar" else u(1.15, 1.45))
    under = u(0.87, 0.9) + (0 if style in ("jar", "soda") else 0.06)
    mouth = [(neck, under), (lip, under), (lip, 1), (0.6 * neck, 1), (0.6 * neck, 0.96)]
    deep, power = (u(0.55, 1) if style in ("square", "flask") else 1), u(5, 12) if style == "square" else 2
    return [turned([*profile, *mouth], y=deep, power=power)]


CARS = {  # where windscreen, roof and boot begin and the roof ends (of the length); length, belt line and roof (m)
    "saloon": (0.29, 0.42, 0.68, 0.82, 4.6, 0.9, 1.44),
    "hatchback": (0.25, 0.4, 0.83, 0.96, 3.7, 0.92, 1.51),
    "estate": (0.28, 0.41, 0.91, 0.97, 4.7, 0.92, 1.48),
    "van": (0.11, 0.22, 0.96, 0.98, 4.9, 1.1, 2.15),
    "coupe": (0.35, 0.49, 0.61, 0.89, 4.3, 0.8, 1.22),
    "pickup": (0.26, 0.35, 0.53, 0.57, 5.0, 1.0, 1.7),
    "off-roader": (0.28, 0.35, 0.93, 0.97, 4.2, 1.1, 1.85),
}


def car(rng: np.random.Generator) -> Parts:
    """A body in one piece, and wheels; a pickup has an open bed."""
    u, style = rng.uniform, pick(rng, " ".join(CARS))
    a, b, c, d, length, belt, roof = vary(rng, CARS[style], (0.15, 0.06, 0.04, 0.01, 0.1, 0.08, 0.07))
    c = min(c, d - 0.01)
    wide, wheel = u(0.8, 0.92), u(0.38, 0.44) if style in ("pickup", "off-roader") else u(0.3, 0.36)
    low, narrow, bonnet, blunt = wheel * u(0.9, 1.15), u(0.74, 0.88), belt * u(0.82, 0.95), u(0.84, 0.96)
    deck = belt * u(0.6, 0.7) if style == "pickup" else belt
    stations = [  # of the length; half width; height of the shoulder and the top
        (0, wide * blunt, bonnet * 0.8, bonnet * 0.84),
        (0.03, wide * 0.97, bonnet * 0.88, bonnet * 0.95),
        (a, wide, belt * 0.97, belt),
        (b, wide, belt, roof * 0.98),
        ((b + c) / 2, wide, belt, roof),
        (c, wide, belt, roof * 0.98),
        (d, wide, deck * 0.98, deck),
        (0.99, wide * 0.98, deck * 0.95, deck * 0.98),
        (1, wide * 0.94, deck * 0.85, deck * 0.9),
    ]
    rings = []
    for y, w, shoulder, top in stations:
        over = w * (narrow if top > 1.02 * belt else 0.9)
        half = [(w * 0.92, low), (w, low + 0.12), (w, shoulder), (over, top * 0.99), (over * 0.85, top)]
        rings.append([(x, y * length, z) for x, z in half] + [(-x, y * length, z) for x, z in half[::-1]])
    tyre, axles, out = u(0.2, 0.28), (u(0.16, 0.2), u(0.78, 0.83)), wide
    ends = (out - tyre / 2, out + tyre / 2)
    wheels = [tube([(x, y * length, wheel) for x in ends], wheel, 32) for y in axles]
    made = [loft(rings), *mirrored(*wheels)]
    if style == "pickup":
        tall, z = belt - deck + 0.1, (belt + deck) / 2
        made += mirrored(box((0.06, (1 - d) * length, tall), (wide - 0.03, (1 + d) / 2 * length, z)))
        made.append(box((2 * wide, 0.06, tall), (0, length - 0.03, z)))
    return made


def guitar(rng: np.random.Generator) -> Parts:
    """Acoustic and electric guitars, basses and ukuleles, upright; the body is 1 high."""
    u, style = rng.uniform, pick(rng, "acoustic acoustic ukulele electric electric bass V")
    hollow, wide, slim, end = style in ("acoustic", "ukulele"), u(0.34, 0.43), u(0.045, 0.06), u(2.4, 3.4)
    neck, deep = u(1, 1.25) * {"ukulele": 0.75, "bass": 1.35}.get(style, 1), u(0.2, 0.27) if hollow else u(0.08, 0.12)

    def flat(path: ArrayLike, radius: ArrayLike) -> Trimesh:
        part = tube(path, radius)
        part.vertices[:, 1] *= deep / np.ptp(part.vertices[:, 1])
        return part

    if style == "V":
        made = mirrored(flat([(u(0.35, 0.5), 0, 0.1), (0.08, 0, 0.9)], (0.16, 0.13)))
    else:
        s = np.linspace(-1, 1, 33)
        z = (1 + np.sin(np.pi / 2 * s)) / 2
        half = wide - u(0.04, 0.1) * z - u(0.09, 0.16) * np.exp(-(((z - u(0.55, 0.63)) / 0.14) ** 2))
        half *= (1 - np.abs(2 * z - 1) ** end) ** (1 / end)
        made = [plate(np.stack((half, z if hollow else 0.9 * z), 1), deep)]
        for x in () if hollow else (-wide, wide):
            path = [(0.45 * x, 0, 0.6), (0.72 * x, 0, 0.8), (0.55 * x, 0, u(0.95, 1.15))]
            made.append(flat(path, (0.1, 0.09, 0.03)))
    nut, head, flare = 0.85 + neck, u(0.26, 0.36), slim * u(1.5, 2.3)
    face, tip, pegs = -deep / 2, flare * u(0.6, 1.1), 4 if style in ("ukulele", "bass") else 6
    in_line = not hollow and rng.random() < 0.5
    made.append(plate([(1.2 * slim, 0.62), (slim, nut)], 0.07, y=face))
    made.append(plate([(slim, nut), (flare, nut + 0.08), (tip, nut + head)], 0.06, y=face + 0.01))
    for i in range(pegs):
        place = i / (pegs - 1) if in_line else (i // 2) / (pegs / 2 - 1)
        x, z = (0.9 * flare + 0.04) * (-1 if in_line or i % 2 else 1), nut + 0.08 + (head - 0.11) * place
        made.append(box((0.09, 0.035, 0.035), (x, face + 0.02, z)))
    return [*made, box((u(0.2, 0.3), 0.05, 0.06), (0, face - 0.02, 0.55 if style == "V" else u(0.22, 0.3)))]


BUILDERS: dict[str, Callable[[np.random.Generator], Parts]] = {
    build.__name__: build for build in (table, chair, mug, aeroplane, lamp, bottle, car, guitar)
}

KINDS: tuple[str, ...] = tuple(BUILDERS)
"""The classes, in the order of their labels."""


def make_mesh(kind: str, rng: np.random.Generator) -> Trimesh:
    """A new shape of this kind: z up, the front towards -y, standing on z = 0, centred over the origin, and the longest
    side of its bounding box 1. Parts may overlap, so it need not be watertight. UserError for an unknown kind."""
    if kind not in BUILDERS:
        raise UserError(f"no shapes of kind {kind!r} are made here: take one of {', '.join(KINDS)}")
    mesh = trimesh.util.concatenate(BUILDERS[kind](rng))
    low, high = mesh.bounds
    mesh.apply_translation((*(-(low + high) / 2)[:2], -low[2]))
    return mesh.apply_scale(1 / (high - low).max())


def sampled(kind: str, i: int, points: int, seed: int) -> NDArray[np.float64]:
    """[P, 6]: points, even over the area of shape i of a kind, and the unit normals of the faces they lie on."""
    mesh = make_mesh(kind, numpy_generator("shape", seed, kind, i))
    cloud, face = trimesh.sample.sample_surface(mesh, points, seed=numpy_generator("points", seed, kind, i))[:2]
    return np.concatenate((cloud, mesh.face_normals[face]), 1)


def embedded_shapes(*, shapes: int = 250, points: int = 8192, seed: int = 0, normals: bool = False) -> Shapes:
    """`shapes` of every kind with P `points`: float32 [S, P, 3], or [S, P, 6] with unit normals; lengths in units of
    each shape's longest side. Shape i of a kind is the same however many are made. Made once (2000 of 8192 points: 20
    seconds) and kept in the cache folder in float16, exact to 0.0003. UserError for less than 1 shape or point."""
    if shapes < 1 or points < 1:
        raise UserError(f"at least 1 shape of 1 point is made, not {shapes} of {points}")
    file = cache_folder() / f"embedded_shapes_{VERSION}_{shapes}x{points}_{seed}{'_normals' if normals else ''}.npz"
    kept = read_kept(file)
    if kept is None:
        print(f"making {len(KINDS)} x {shapes} shapes of {points} points, kept in {file}", file=sys.stderr)
        which = list(product(KINDS, range(shapes)))
        x = torch.empty(len(which), points, 6 if normals else 3, dtype=torch.float16)
        for row, (kind, i) in zip(x, which, strict=True):
            row.copy_(torch.from_numpy(sampled(kind, i, points, seed)[:, : x.shape[2]]))
        names, labels = [f"{kind}_{i:04d}" for kind, i in which], [KINDS.index(kind) for kind, _ in which]
        kept = Shapes(points=x, names=names, labels=labels, classes=list(KINDS), splits=None, skipped=[])
        keep(kept, file)
    x = kept.points.float()
    x[..., 3:] = torch.nn.functional.normalize(x[..., 3:], dim=-1)
    return replace(kept, points=x)
