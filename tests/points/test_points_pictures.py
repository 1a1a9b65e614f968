"""Pictures of clouds: where things are, what hides what, what turns with what, and files that open."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from genzoo.errors import UserError
from genzoo_points.pictures import FARTHEST, SHOWN, contact_sheet, enclosing, fitting, render, turntable

UNIT = (np.zeros(3), 1.0)
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def cloud(n=600, seed=0):
    """Nothing about it is symmetric."""
    return np.random.default_rng(seed).normal(size=(n, 3)) * (1.0, 0.5, 0.25) + (0.3, 0.0, 0.1)


def seen(picture):
    """Where something is drawn."""
    return (picture < 250).any(axis=2)


def middle(picture):
    """(column, row) of what is drawn, in pixels."""
    rows, columns = np.nonzero(seen(picture))
    return columns.mean(), rows.mean()


def spin(points, degrees):
    """About z, against the clock as seen from above."""
    a = np.radians(degrees)
    return points @ np.array([(np.cos(a), np.sin(a), 0), (-np.sin(a), np.cos(a), 0), (0, 0, 1)])


# ---- one picture


@pytest.mark.parametrize("point", [(0, 0, 0), (5e3, -2, 1e-3)])
def test_single_point_is_in_the_middle(point):
    picture = render(np.array([point]), size=65)
    assert picture.shape == (65, 65, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(middle(picture), (32, 32), atol=0.5)


@pytest.mark.parametrize(
    ("camera", "axis", "where"),
    [
        ((0, 0), (0, 1, 0), (1, 0)),
        ((0, 0), (0, 0, 1), (0, -1)),
        ((90, 0), (1, 0, 0), (-1, 0)),
        ((0, 90), (1, 0, 0), (0, 1)),
        ((-90, 90), (1, 0, 0), (1, 0)),
        ((0, 30), (0, 0, 1), (0, -np.cos(np.pi / 6))),
        ((0, 30), (1, 0, 0), (0, 0.5)),
    ],
)
def test_places(camera, axis, where):
    """From x, y is to the right and z above; from y, x is to the left; from above, x points down, and from -y to the
    right, as on a map."""
    azimuth, elevation = camera
    picture = render(0.8 * np.array([axis]), azimuth=azimuth, elevation=elevation, size=100, frame=UNIT, radius=0.05)
    np.testing.assert_allclose((np.array(middle(picture)) - 49.5) / 50, 0.8 * np.array(where) / 1.04, atol=0.011)


def test_nearer_hides_farther():
    """Whatever the order of the points, and from behind it is the other one."""
    points = np.array([(0.5, 0, 0), (-0.5, 0, 0)])
    for order in ((0, 1), (1, 0)):
        colours = np.array([RED, BLUE])[list(order)]
        front, back = (
            render(points[list(order)], azimuth=a, elevation=0, size=64, frame=UNIT, radius=0.3, colour=colours)
            for a in (0, 180)
        )
        assert front[32, 32, 0] > 2 * front[32, 32, 2]
        assert back[32, 32, 2] > 2 * back[32, 32, 0]


def test_balls_cut_each_other():
    """A ball whose middle is farther away still stands out where its own surface is nearer."""
    points = np.array([(0.0, -0.25, 0), (-0.02, 0.25, 0)])
    picture = render(points, azimuth=0, elevation=0, size=64, frame=UNIT, radius=0.4, colour=np.array([RED, BLUE]))
    assert picture[32, 26, 0] > picture[32, 26, 2]
    assert picture[32, 37, 2] > picture[32, 37, 0]


@pytest.mark.parametrize("angle", [90, 37.3])
def test_turning_the_cloud_is_turning_the_camera(angle):
    points = cloud()
    by_camera, by_cloud = render(points, azimuth=20 + angle), render(spin(points, -angle), azimuth=20)
    off = np.abs(by_camera.astype(int) - by_cloud)
    assert np.quantile(off, 0.995) <= 4
    assert np.abs(render(points, azimuth=20).astype(int) - by_camera).mean() > 10 * max(off.mean(), 0.01)


def test_order_and_place_change_nothing():
    points = cloud()
    picture = render(points)
    assert np.array_equal(render(np.random.default_rng(1).permutation(points)), picture)
    moved = np.abs(render(1e3 * points + (1e5, -3e4, 7)).astype(int) - picture)
    assert np.quantile(moved, 0.999) <= 2


def test_up():
    """The same view, whichever axis is called up; colours go with the height."""
    points = cloud()
    for up, shift in (("y", -1), ("x", -2)):
        other = render(np.roll(points, shift, axis=1), up=up)
        assert np.quantile(np.abs(other.astype(int) - render(points)), 0.999) <= 2
        assert np.abs(render(points, up=up).astype(int) - render(points)).mean() > 1
    with pytest.raises(ValueError, match="up='w'"):
        render(points, up="w")


def test_size_follows_the_extent():
    """In one frame, twice the cloud is twice the silhouette; a plate twice as wide as high looks so; a ball fills its
    part of the picture."""
    sphere = np.random.default_rng(0).normal(size=(20_000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)

    def extent(points, frame=UNIT):
        rows, columns = np.nonzero(seen(render(points, elevation=0, azimuth=0, frame=frame, radius=0.01)))
        return np.ptp(columns) + 1, np.ptp(rows) + 1

    small, large = extent(0.4 * sphere), extent(0.8 * sphere)
    np.testing.assert_allclose(small, 0.41 * 256 / 1.04, atol=2.5)
    np.testing.assert_allclose(large, 0.81 * 256 / 1.04, atol=2.5)
    wide, high = extent(sphere * (0, 0.8, 0.4))
    assert wide / high == pytest.approx(0.81 / 0.41, rel=0.03)
    area = seen(render(0.8 * sphere, frame=UNIT, radius=0.03)).mean()
    assert area == pytest.approx(np.pi / 4 * (0.83 / 1.04) ** 2, rel=0.03)


def test_default_frames_hold_the_cloud():
    """Nothing is cut off at any angle, and the tight frame is filled to its margin."""
    points = cloud() * (1, 1, 0.2)
    for azimuth in (0, 50, 130):
        drawn = seen(render(points, azimuth=azimuth))
        assert drawn.sum() == drawn[1:-1, 1:-1].sum()
        tight = seen(render(points, azimuth=azimuth, elevation=28, frame=fitting(points, azimuth, 28, "z")))
        rows, columns = np.nonzero(tight)
        assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(256 / 1.04, abs=4)
        assert rows.min() + rows.max() == pytest.approx(255, abs=4)
        assert columns.min() + columns.max() == pytest.approx(255, abs=4)


def test_enclosing_sphere():
    """Of a cube it is the one through its corners, wherever most points are."""
    corners = np.stack(np.meshgrid((0, 1), (0, 1), (0, 1)), axis=-1).reshape(-1, 3)
    centre, radius = enclosing(np.concatenate((corners, np.full((500, 3), 0.1))))
    assert 0.75**0.5 <= radius < 0.75**0.5 * 1.03
    np.testing.assert_allclose(centre, 0.5, atol=0.03)


def test_depth_is_legible():
    """Of the same colour, the farther is paler; and a thing before another has a dark rim."""
    points = np.array([(0.8, -0.5, 0), (-0.8, 0.5, 0)])
    picture = render(points, azimuth=0, elevation=0, size=64, frame=UNIT, radius=0.2, colour=(0.3, 0.4, 0.6))
    assert picture[:, :32].min() + 20 < picture[:, 32:].min()
    wall = np.stack(np.meshgrid((-0.7,), np.linspace(-0.9, 0.9, 60), np.linspace(-0.9, 0.9, 60)), -1).reshape(-1, 3)
    options = {"azimuth": 0, "elevation": 0, "size": 64, "frame": UNIT, "radius": 0.06, "colour": (0.5, 0.5, 0.5)}
    alone, both = (render(x, **options).astype(int) for x in (wall, np.concatenate((wall, [(0.7, 0, 0)]))))
    assert (both[32, 34] < alone[32, 34] - 15).all()
    assert (both[32, 50] == alone[32, 50]).all()


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.full((5, 3), np.nan)])
def test_nothing_to_see(points):
    assert (render(points, size=32) == 255).all()


def test_values_that_are_not_finite():
    """They are left out; equal points, and points far out of the frame, do no harm."""
    points = cloud()
    broken = np.concatenate((points[:300], [(np.nan, 0, 0), (0, np.inf, 0)], points[300:]))
    assert np.array_equal(render(broken), render(points))
    assert seen(render(np.zeros((50, 3)))).any()
    assert not seen(render(np.full((3, 3), 1e6 * FARTHEST), frame=UNIT, azimuth=20)).any()


def test_refusals():
    with pytest.raises(ValueError, match=r"points \[N, 3\], not \[4, 6\]"):
        render(np.zeros((4, 6)))
    with pytest.raises(ValueError, match="colour"):
        render(np.zeros((4, 3)), colour=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="backend='auto'"):
        render(np.zeros((4, 3)), backend="auto")


# ---- with PyTorch3D


def test_pytorch3d_sees_the_same():
    pytest.importorskip("pytorch3d", reason="pytorch3d has no wheel for most machines; it is optional")
    ours, theirs = (seen(render(cloud(), backend=b)) for b in ("numpy", "pytorch3d"))
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.8


@pytest.mark.skipif(importlib.util.find_spec("pytorch3d") is not None, reason="pytorch3d is installed")
def test_pytorch3d_is_missing():
    with pytest.raises(UserError, match='backend="numpy"'):
        render(cloud(), backend="pytorch3d")


# ---- many pictures


def test_sheet(tmp_path):
    """Seven clouds in rows of three; each has its colour in its own place, and every title is written."""
    clouds = np.stack([cloud(64, seed) for seed in range(7)])
    titles = ["chair", "mug", "a title that is much too long for its place", "", "aeroplane", "é", "last"]
    path = contact_sheet(clouds, tmp_path / "sheet.png", titles=titles, columns=3, size=64)
    with Image.open(path) as image:
        assert image.format == "PNG"
        wide, high = image.size
        pixels = np.asarray(image.convert("RGB"))
    assert wide == 3 * 64 + 4 * 5
    line, row = 8, (high - 5) // 3
    for i in range(9):
        x, y = 5 + i % 3 * 69, 5 + i // 3 * row
        assert seen(pixels[y : y + row - 5 - line, x : x + 64]).any() == (i < 7)
        assert (pixels[y + row - 5 - line : y + row - 5, x : x + 64] < 150).any() == (i < 7 and titles[i] != "")
    assert (pixels[:5] == 255).all()
    assert (pixels[:, :5] == 255).all()


def test_sheet_has_a_limit(tmp_path):
    clouds = np.stack([cloud(8, seed) for seed in range(SHOWN + 3)])
    path = contact_sheet(clouds, tmp_path / "a.png", size=16)
    same = contact_sheet(clouds[:SHOWN], tmp_path / "b.png", size=16)
    assert path.read_bytes() == same.read_bytes()
    one = contact_sheet(np.full((1, 4, 3), np.nan), tmp_path / "c.png", size=16, titles=["nothing"])
    with Image.open(one) as image:
        image.verify()


@pytest.mark.parametrize(("clouds", "titles"), [(np.zeros((0, 4, 3)), None), (np.zeros((2, 4, 3)), ["one"])])
def test_refused_sheets(clouds, titles, tmp_path):
    with pytest.raises(ValueError, match="a title for each"):
        contact_sheet(clouds, tmp_path / "a.png", titles=titles)
    assert not list(tmp_path.iterdir())


def frames_of(path):
    with Image.open(path) as image:
        assert image.format == "GIF"
        assert image.info["loop"] == 0
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")).astype(int))
    return frames


def test_turntable(tmp_path):
    """All frames in one file of little weight; each is the picture from its angle, and the last leads to the first."""
    points = cloud()
    path = turntable(points, tmp_path / "a.gif", frames=8, size=96)
    frames = frames_of(path)
    assert len(frames) == 8
    assert all(frame.shape == (96, 96, 3) for frame in frames)
    want = [render(points, azimuth=35 + 45 * i, size=96).astype(int) for i in range(8)]
    for i, frame in enumerate(frames):
        off = [np.abs(frame - other).mean() for other in want]
        assert np.argmin(off) == i
        assert off[i] < 4
        assert frame[0, 0].tolist() == [255, 255, 255]
    assert path.stat().st_size < 8 * 96 * 96


def test_turntable_is_small(tmp_path):
    """The usual one: 2,048 points, 36 frames of 256 pixels. A full ball is the worst of shapes."""
    points = np.random.default_rng(0).normal(size=(2048, 3))
    path = turntable(points / np.linalg.norm(points, axis=1, keepdims=True), tmp_path / "a.gif")
    with Image.open(path) as image:
        assert (image.n_frames, image.size) == (36, (256, 256))
    assert path.stat().st_size < 1.5e6


def test_moving_cloud(tmp_path):
    """Frame t shows the points of time t, and no frame is fitted to its own points alone."""
    points = np.stack([cloud(200) * size for size in (0.25, 0.5, 1.0)])
    frames = frames_of(turntable(points, tmp_path / "a.gif", size=96))
    assert len(frames) == 3
    areas = [seen(frame).sum() for frame in frames]
    assert areas[0] * 1.5 < areas[1]
    assert areas[1] * 1.5 < areas[2]


@pytest.mark.parametrize("points", [np.zeros((1, 3)), np.full((4, 3), np.nan), np.zeros((2, 1, 3))])
def test_turntable_of_little(points, tmp_path):
    with Image.open(turntable(points, tmp_path / "a.gif", frames=3, size=16)) as image:
        assert image.size == (16, 16)


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros((4, 2)), np.zeros(3)])
def test_refused_turntables(points, tmp_path):
    with pytest.raises(ValueError, match="turning picture"):
        turntable(points, tmp_path / "a.gif")
