"""Rotary positions, Fourier features and spherical harmonics against closed forms.

Legend: T positions, A axes, D head width, F frequencies, L degree.
"""

import itertools
import math

import numpy as np
import pytest
import torch

from attention_core import FourierFeatures, Rotary, SphereRotary, grid_positions, rotate, spherical_harmonics

AXES = [1, 2, 3, 4]


@pytest.mark.parametrize("head_dim", [8, 10, 16])
@pytest.mark.parametrize("axes", AXES)
def test_rotation_is_a_rotation(axes, head_dim):
    """Pair p turns with axis p % A by position * base ** (-i / n), the i-th of the n pairs of that axis."""
    rotary, pairs, base = Rotary(head_dim, axes, base=100.0).double(), head_dim // 2, 100.0
    positions = torch.randn(6, axes, dtype=torch.float64)
    x = torch.randn(6, head_dim, dtype=torch.float64)
    want = torch.empty_like(x)
    for axis in range(axes):
        mine = list(range(axis, pairs, axes))
        for i, pair in enumerate(mine):
            angle = positions[:, axis] * base ** (-i / len(mine))
            a, b = x[:, 2 * pair], x[:, 2 * pair + 1]
            want[:, 2 * pair] = a * angle.cos() - b * angle.sin()
            want[:, 2 * pair + 1] = a * angle.sin() + b * angle.cos()
    torch.testing.assert_close(rotate(x, rotary(positions)), want, rtol=0, atol=1e-6)  # float32 frequencies


@pytest.mark.parametrize("axes", AXES)
def test_products_see_differences_only(axes):
    """q at m times k at n depends on m - n alone, and does depend on it along every axis."""
    rotary = Rotary(16, axes).double()
    q, k = torch.randn(2, 16, dtype=torch.float64)
    m, n, shift = 5 * torch.randn(3, axes, dtype=torch.float64)

    def product(m: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        return rotate(q, rotary(m[None])[0]) @ rotate(k, rotary(n[None])[0])

    torch.testing.assert_close(product(m + shift, n + shift), product(m, n), rtol=0, atol=1e-12)
    torch.testing.assert_close(product(m - n, torch.zeros_like(n)), product(m, n), rtol=0, atol=1e-12)
    for axis in range(axes):
        step = torch.eye(axes, dtype=torch.float64)[axis]
        assert (product(m + step, n) - product(m, n)).abs() > 1e-3


@pytest.mark.parametrize("axes", AXES)
def test_rotation_keeps_norms_and_the_origin(axes):
    """Lengths stay; at position zero nothing moves, bit for bit."""
    rotary, x = Rotary(16, axes), torch.randn(3, 9, 16)
    turned = rotate(x, rotary(20 * torch.randn(9, axes)))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-6, atol=0)
    assert rotate(x, rotary(torch.zeros(9, axes))).equal(x)


def test_half_a_turn():
    """The first pair turns one radian a position: at pi it points the other way."""
    turned = rotate(torch.tensor([[1.0, 2.0, 0.0, 0.0]]), Rotary(4)(torch.tensor([math.pi])))
    torch.testing.assert_close(turned, torch.tensor([[-1.0, -2.0, 0.0, 0.0]]))


def test_shapes_of_positions():
    """Positions are [..., T, axes]; with one axis [T] will do. A plain [B, T] would be ambiguous and is refused."""
    rotary = Rotary(8)
    places = torch.tensor([3.0, 5.0, 8.0])
    assert rotary(places).equal(rotary(places[:, None]))
    assert rotary(places.long()).equal(rotary(places))
    rows = torch.stack((places, places + 1))
    assert rotary(rows[..., None]).equal(torch.stack((rotary(rows[0]), rotary(rows[1]))))
    assert rotary(rows[:, :1, None]).shape == (2, 1, 4)
    with pytest.raises(ValueError, match="positions have 3 axes, this rotary 1"):
        rotary(rows)
    with pytest.raises(ValueError, match="positions have 3 axes, this rotary 2"):
        Rotary(8, axes=2)(torch.zeros(5, 3))


def test_rotary_in_low_precision():
    """Frequencies are no weights: a model cast to bfloat16 turns by the same angles, and checkpoints hold none."""
    positions = torch.arange(1000)
    assert Rotary(16).bfloat16()(positions).equal(Rotary(16)(positions))
    assert not Rotary(16).state_dict()
    assert rotate(torch.randn(5, 16, dtype=torch.bfloat16), Rotary(16)(torch.arange(5))).dtype == torch.float32


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((7,), "even head width, not 7"),
        ((8, 5), "axes must be 1 to 4"),
        ((8, 0), "axes must be 1 to 4"),
        ((4, 3), "at most half the head width, not 3 for width 4"),
    ],
)
def test_refused_rotary(args, message):
    """Odd widths, and more axes than pairs, are refused."""
    with pytest.raises(ValueError, match=message):
        Rotary(*args)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 1, 3), (2, 2, 2, 3)])
def test_grid_positions(shape):
    """All indices, the last axis fastest."""
    want = [list(map(float, index)) for index in itertools.product(*(range(n) for n in shape))]
    assert grid_positions(shape).tolist() == want


def test_fourier_features():
    """cos, then sin, of each coordinate times 2, 4, 8, 16."""
    features = FourierFeatures(3, bands=4, min_frequency=2.0, max_frequency=16.0)
    x = torch.rand(2, 5, 3, dtype=torch.float64)
    got = features(x)
    assert got.shape == (2, 5, features.out_dim) == (2, 5, 24)
    for axis, band in itertools.product(range(3), range(4)):
        phase = x[..., axis] * 2.0 ** (band + 1)
        torch.testing.assert_close(got[..., 4 * axis + band], phase.cos(), rtol=0, atol=1e-5)
        torch.testing.assert_close(got[..., 12 + 4 * axis + band], phase.sin(), rtol=0, atol=1e-5)


def test_fourier_features_of_one_band_and_in_low_precision():
    """One band is the lowest frequency; casting the model to bfloat16 does not move the frequencies."""
    x = torch.rand(7, 1)
    torch.testing.assert_close(
        FourierFeatures(1, bands=1, min_frequency=3.0)(x), torch.cat(((3 * x).cos(), (3 * x).sin()), dim=-1)
    )
    assert FourierFeatures(1).bfloat16()(x).equal(FourierFeatures(1)(x))


@pytest.mark.parametrize("options", [{"bands": 0}, {"min_frequency": 0.0}, {"min_frequency": 3.0, "max_frequency": 2}])
def test_refused_fourier_features(options):
    """No bands, or frequencies out of order, are refused."""
    with pytest.raises(ValueError, match="bands >= 1 and 0 < min_frequency <= max_frequency"):
        FourierFeatures(2, **options)


def test_harmonics_closed_forms():
    """The first nine harmonics as any table has them, without the Condon-Shortley phase."""
    lat, lon = torch.rand(20, dtype=torch.float64) * 3 - 1.5, torch.rand(20, dtype=torch.float64) * 6 - 3
    x, y, z = lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()
    table = [
        torch.full_like(x, 1 / 2),
        *(math.sqrt(3) / 2 * c for c in (y, z, x)),
        *(math.sqrt(15) / 2 * c for c in (x * y, y * z)),
        math.sqrt(5) / 4 * (3 * z**2 - 1),
        *(math.sqrt(15) / 2 * c for c in (x * z, (x**2 - y**2) / 2)),
    ]
    want = torch.stack(table, dim=-1) / math.sqrt(math.pi)
    torch.testing.assert_close(spherical_harmonics(lat, lon, 2), want, rtol=0, atol=1e-14)


def test_harmonics_are_orthonormal():
    """Integrals over the sphere by Gauss-Legendre quadrature, exact for products of harmonics of this degree."""
    degree = 12
    nodes, weights = (torch.from_numpy(z) for z in np.polynomial.legendre.leggauss(degree + 1))
    lon = torch.arange(2 * degree + 2, dtype=torch.float64) * 2 * math.pi / (2 * degree + 2)
    lat, lon = torch.meshgrid(nodes.asin(), lon, indexing="ij")
    values = spherical_harmonics(lat, lon, degree)
    area = weights[:, None].expand_as(lat) * 2 * math.pi / (2 * degree + 2)
    gram = torch.einsum("tpi,tp,tpj->ij", values, area, values)
    torch.testing.assert_close(gram, torch.eye((degree + 1) ** 2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_harmonics_against_scipy():
    """scipy's complex harmonics, made real, up to degree 20; scipy carries the Condon-Shortley phase (-1)^m."""
    special = pytest.importorskip("scipy.special")
    if not hasattr(special, "sph_harm_y"):
        pytest.skip("scipy before 1.15 has no sph_harm_y")
    degree = 20
    lat, lon = torch.rand(2, 30, dtype=torch.float64) * torch.tensor([[math.pi], [2 * math.pi]])
    lat = lat - math.pi / 2
    want = []
    for n in range(degree + 1):
        for m in range(-n, n + 1):
            y = special.sph_harm_y(n, abs(m), (math.pi / 2 - lat).numpy(), lon.numpy())
            part = y.imag if m < 0 else y.real
            want.append(part * (math.sqrt(2) * (-1) ** m if m else 1))
    got = spherical_harmonics(lat, lon, degree)
    torch.testing.assert_close(got, torch.from_numpy(np.stack(want, axis=-1)), rtol=0, atol=1e-11)


def test_harmonics_addition_theorem():
    """The sum over m of Y_lm(a) Y_lm(b) is (2 l + 1) / 4 pi P_l(cos of the angle between a and b), to degree 60."""
    degree, points = 60, 12
    lat, lon = (torch.rand(2, points, dtype=torch.float64) - 0.5) * torch.tensor([[math.pi], [2 * math.pi]])
    unit = torch.stack((lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()), dim=-1)
    cosine = (unit @ unit.T).clamp(-1, 1)
    values = spherical_harmonics(lat, lon, degree)
    before, legendre = torch.zeros_like(cosine), torch.ones_like(cosine)
    for n in range(degree + 1):
        mine = values[:, n**2 : (n + 1) ** 2]
        torch.testing.assert_close(mine @ mine.T, (2 * n + 1) / (4 * math.pi) * legendre, rtol=0, atol=1e-10)
        before, legendre = legendre, ((2 * n + 1) * cosine * legendre - n * before) / (n + 1)


def test_harmonics_have_no_seam():
    """The same place has one value: at longitudes -pi and pi, and at the pole from every side."""
    lat, pi = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64), torch.full((7,), math.pi, dtype=torch.float64)
    torch.testing.assert_close(spherical_harmonics(lat, -pi, 8), spherical_harmonics(lat, pi, 8), rtol=0, atol=1e-12)
    pole, lon = torch.full((9,), math.pi / 2, dtype=torch.float64), torch.linspace(0, 6, 9, dtype=torch.float64)
    at_pole = spherical_harmonics(pole, lon, 8)
    torch.testing.assert_close(at_pole, at_pole[:1].expand_as(at_pole), rtol=0, atol=1e-12)


def test_harmonics_of_a_grid():
    """Rows of latitudes and columns of longitudes broadcast, and float32 in gives float32 out."""
    lat, lon = torch.linspace(-1.5, 1.5, 4)[:, None], torch.linspace(0, 6, 5)[None]
    got = spherical_harmonics(lat, lon, 3)
    assert got.dtype == torch.float32
    assert got.equal(spherical_harmonics(lat.expand(4, 5), lon.expand(4, 5), 3))


def test_refused_degree():
    """There is no negative degree."""
    with pytest.raises(ValueError, match="degree must not be negative, got -1"):
        spherical_harmonics(torch.zeros(1), torch.zeros(1), -1)


def product_on_sphere(rotary: SphereRotary, q, k, here, there) -> torch.Tensor:
    """A query at (latitude, longitude) `here` times a key `there`, in radians."""
    at = [rotary(*(torch.tensor([x], dtype=torch.float64) for x in place))[0] for place in (here, there)]
    return rotate(q, at[0]) @ rotate(k, at[1])


@pytest.mark.parametrize("turn", [0.4, -2.0, math.pi, 17.3])
@pytest.mark.parametrize("wavenumber", [1.0, 7.0, 90.0])
def test_sphere_rotary_sees_differences_of_longitude(turn, wavenumber):
    """Turning both places by any angle changes no product; turning one of them, or moving it north, does."""
    rotary = SphereRotary(24, max_wavenumber=wavenumber)
    q, k = torch.randn(2, 24, dtype=torch.float64)
    for (a, x), (b, y) in [((0.3, 1.0), (-1.2, 4.0)), ((1.57, 0.0), (1.5, 6.2)), ((0.0, 3.0), (0.0, -3.0))]:
        want = product_on_sphere(rotary, q, k, (a, x), (b, y))
        turned = product_on_sphere(rotary, q, k, (a, x + turn), (b, y + turn))
        torch.testing.assert_close(turned, want, rtol=0, atol=1e-10)
        assert (product_on_sphere(rotary, q, k, (a, x + 0.1), (b, y)) - want).abs() > 1e-3
        assert (product_on_sphere(rotary, q, k, (a + 0.1, x), (b, y)) - want).abs() > 1e-3


def test_sphere_rotary_has_no_seam():
    """A whole turn changes nothing, so 0 and 360 degrees, and -180 and 180, are one place; half a turn is another."""
    rotary = SphereRotary(32, max_wavenumber=180)
    lat, lon = torch.rand(2, 9, dtype=torch.float64) * 3 - 1.5
    torch.testing.assert_close(rotary(lat, lon + 2 * math.pi), rotary(lat, lon), rtol=0, atol=1e-12)
    torch.testing.assert_close(rotary(lat, lon * 0 - math.pi), rotary(lat, lon * 0 + math.pi), rtol=0, atol=1e-12)
    assert (rotary(lat, lon + math.pi) - rotary(lat, lon)).abs().max() > 1
    single = rotary(lat.float(), (lon + 2 * math.pi).float()) - rotary(lat.float(), lon.float())
    assert single.abs().max() < 1e-3


@pytest.mark.parametrize("wavenumber", [1, 5, 64])
def test_sphere_rotary_waves(wavenumber):
    """Half the pairs stand still where only the longitude turns, the others go round a whole number of times, from once
    to `max_wavenumber` times; the other half does the same with the latitude."""
    rotary = SphereRotary(32, max_wavenumber=wavenumber)
    angle = torch.linspace(0, 2 * math.pi, 1001, dtype=torch.float64)
    for places in ((angle, angle * 0), (angle * 0, angle)):
        turned = rotary(*places)
        assert turned.shape == (1001, 16)
        rounds = (turned[1:] / turned[:-1]).angle().sum(0) / (2 * math.pi)
        torch.testing.assert_close(rounds, rounds.round(), rtol=0, atol=1e-9)
        moved = sorted(rounds.round().int().tolist())
        assert moved[:8] == [0] * 8
        assert moved[8] == 1 or wavenumber == 1
        assert moved[15] == wavenumber
        torch.testing.assert_close(turned.abs(), torch.ones(1001, 16, dtype=torch.float64))


def test_sphere_rotary_in_low_precision():
    """Wavenumbers are no weights; places of more axes keep them, and float32 gives float32."""
    rotary, lat, lon = SphereRotary(8, max_wavenumber=9), torch.rand(2, 5), torch.rand(2, 5)
    assert SphereRotary(8, max_wavenumber=9).bfloat16()(lat, lon).equal(rotary(lat, lon))
    assert not rotary.state_dict()
    assert rotary(lat, lon).shape == (2, 5, 4)
    assert rotary(lat, lon).dtype == torch.complex64
    assert rotary(lat.double(), lon.double()).dtype == torch.complex128
    assert rotary(lat * 0, lon * 0).equal(torch.ones(2, 5, 4, dtype=torch.complex64))


@pytest.mark.parametrize("head_dim", [2, 6, 7, 18])
def test_refused_sphere_rotary(head_dim):
    """Widths without as many pairs for either angle are refused, and so are waves longer than the circle."""
    with pytest.raises(ValueError, match=f"head width in fours, not {head_dim}"):
        SphereRotary(head_dim, max_wavenumber=8)
    with pytest.raises(ValueError, match="max_wavenumber must be at least 1, not 0.5"):
        SphereRotary(8, max_wavenumber=0.5)
