"""The spherical-harmonic transform: closed forms, a second implementation, and inverses that are exact."""

import math

import pytest
import torch

from attention_core import spherical_harmonics
from genzoo_weather.transform import EARTH_RADIUS, SphericalTransform, gaussian_latitudes, legendre

T, W = 10, 24
GRIDS = {
    "gaussian": gaussian_latitudes(16)[0],
    "with poles": torch.linspace(-90, 90, 17, dtype=torch.float64),
    "without poles": torch.arange(-90 + 5.625, 90, 11.25, dtype=torch.float64),
    "uneven": torch.linspace(-1, 1, 19, dtype=torch.float64).mul(1.5).sin() / math.sin(1.5) * 88,
}


@pytest.fixture(params=GRIDS)
def transform(request: pytest.FixtureRequest) -> SphericalTransform:
    """One for each kind of latitudes."""
    return SphericalTransform(GRIDS[request.param], W, T)


def angles(transform: SphericalTransform) -> tuple[torch.Tensor, torch.Tensor]:
    """Latitude [H, 1] and longitude [1, W], radians."""
    longitude = torch.arange(transform.longitudes, dtype=torch.float64) * (2 * math.pi / transform.longitudes)
    return transform.latitude_deg.deg2rad()[:, None], longitude[None]


def coefficients(*lead: int, truncation: int = T, first: int = 0) -> torch.Tensor:
    """Random coefficients of real fields from wavenumber n = first on."""
    c = torch.randn(
        *lead, truncation + 1, truncation + 1, dtype=torch.complex128, generator=torch.Generator().manual_seed(0)
    )
    c = c.tril()
    c[..., 0] = c[..., 0].real.to(c.dtype)
    c[..., :first, :] = 0
    return c


def same(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-12) -> None:
    """Equal to a tolerance relative to the largest value."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance * float(wanted.abs().max()))


def test_gaussian_latitudes_integrate_polynomials():
    """n of them are exact to degree 2 n - 1, and not beyond."""
    latitude, weight = gaussian_latitudes(5)
    sine = latitude.deg2rad().sin()
    means = [float((weight * sine**k).sum()) for k in range(11)]
    assert means[:10] == pytest.approx([(k % 2 == 0) / (k + 1) for k in range(10)], abs=1e-14)
    assert abs(means[10] - 1 / 11) > 1e-4
    assert (latitude.diff() > 0).all()


def test_legendre_is_orthonormal():
    """The area mean of P[n, m] P[k, m] is 1 where n = k and 0 elsewhere."""
    latitude, weight = gaussian_latitudes(T + 1)
    p, _, _ = legendre(latitude.deg2rad(), T)
    gram = p.transpose(0, 1) * weight @ p.permute(1, 2, 0)  # [m, n, n]
    for m in range(T + 1):
        there = (torch.arange(T + 1) >= m).double().diag()
        torch.testing.assert_close(gram[m], there, rtol=0, atol=1e-13)


def test_legendre_derivatives():
    """Central differences, and a division by the cosine, to high degree."""
    latitude, small = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64), 1e-5
    p, slope, over = legendre(latitude, 40)
    differences = (legendre(latitude + small, 40)[0] - legendre(latitude - small, 40)[0]) / (2 * small)
    torch.testing.assert_close(slope, differences, rtol=0, atol=1e-7 * float(slope.abs().max()))
    m = torch.arange(41, dtype=torch.float64)[:, None]
    torch.testing.assert_close(over, m * p / latitude.cos(), rtol=1e-9, atol=1e-11)


def test_same_harmonics_as_attention_core(transform):
    """Real and imaginary parts of single coefficients are the real harmonics of the other implementation."""
    y = spherical_harmonics(*angles(transform), T)
    for n, m in [(0, 0), (1, 0), (1, 1), (4, 3), (10, 1), (10, 10)]:
        c = torch.zeros(2, T + 1, T + 1, dtype=torch.complex128)
        c[0, n, m], c[1, n, m] = 1, -1j
        cosine, sine = transform.synthesis(c) / math.sqrt(4 * math.pi)
        same(cosine, y[..., n * n + n + m] * (math.sqrt(2) if m else 1))
        if m:
            same(sine, y[..., n * n + n - m] * math.sqrt(2))


def test_round_trip(transform):
    """Analysis undoes synthesis, for scalars and winds, with leading axes kept."""
    c = coefficients(2, 3)
    assert transform.synthesis(c).shape == (2, 3, transform.latitudes, W)
    same(transform.analysis(transform.synthesis(c)), c)
    zeta, delta = coefficients(4, first=1), coefficients(4, first=1).flip(0)
    found = transform.vorticity_divergence(*transform.wind(zeta, delta))
    same(found[0], zeta)
    same(found[1], delta)


def test_analysis_is_gauss_quadrature():
    """Of any field, also one that is not band-limited; by a Fourier transform and a sum."""
    latitude, weight = gaussian_latitudes(16)
    f = torch.randn(16, W, dtype=torch.float64)
    p, _, _ = legendre(latitude.deg2rad(), T)
    waves = torch.fft.rfft(f, norm="forward")[:, : T + 1]
    wanted = (p * weight * waves.T).sum(-1)
    same(SphericalTransform(latitude, W, T).analysis(f), wanted)


def test_a_sum_over_modes_and_a_fourier_transform(transform):
    """Synthesis as a second implementation has it."""
    c = coefficients()
    p, _, _ = legendre(transform.latitude_deg.deg2rad(), T)
    wanted = torch.fft.irfft((p * c[..., None]).sum(0).T, n=W, norm="forward")
    same(transform.synthesis(c), wanted)


def test_solid_body_rotation(transform):
    """u = U cos(latitude) has the vorticity 2 U sin(latitude) / a and no divergence; also tilted, over the poles."""
    latitude, longitude = angles(transform)
    speed, tilt = 20.0, 0.7
    u = speed * (latitude.cos() * math.cos(tilt) + longitude.cos() * latitude.sin() * math.sin(tilt))
    v = -speed * longitude.sin() * math.sin(tilt) * torch.ones_like(latitude)
    zeta, delta = transform.vorticity_divergence(u, v)
    wanted = latitude.sin() * math.cos(tilt) - longitude.cos() * latitude.cos() * math.sin(tilt)
    same(transform.synthesis(zeta), 2 * speed / EARTH_RADIUS * wanted)
    assert delta.abs().max() < 1e-12 * zeta.abs().max()
    for found, given in zip(transform.wind(zeta, delta), (u, v), strict=True):
        same(found, given)


def test_rossby_haurwitz_wave(transform):
    """psi = a^2 K cos^4(latitude) sin(latitude) cos(4 longitude) has its wind in closed form, and n = 5."""
    latitude, longitude = angles(transform)
    k, cosine, sine = 7.848e-6, latitude.cos(), latitude.sin()
    psi = EARTH_RADIUS**2 * k * cosine**4 * sine * (4 * longitude).cos()
    u = -EARTH_RADIUS * k * (cosine**5 - 4 * cosine**3 * sine**2) * (4 * longitude).cos()
    v = -4 * EARTH_RADIUS * k * cosine**3 * sine * (4 * longitude).sin()
    zeta, delta = transform.vorticity_divergence(u, v)
    same(transform.synthesis(zeta), -30 * psi / EARTH_RADIUS**2)
    assert delta.abs().max() < 1e-12 * zeta.abs().max()
    same(transform.synthesis(transform.inverse_laplacian(zeta)), psi)
    same(transform.laplacian(transform.analysis(psi)), zeta)
    power = transform.spectrum(zeta)
    assert power[5] > 0
    assert power.sum() - power[5] < 1e-20 * power[5]


def test_gradient(transform):
    """Of cos^2(latitude) sin(2 longitude), and of cos(latitude) cos(longitude), which does not vanish at the poles."""
    latitude, longitude = angles(transform)
    for field, east, north in [
        (
            latitude.cos() ** 2 * (2 * longitude).sin(),
            2 * latitude.cos() * (2 * longitude).cos(),
            -2 * latitude.sin() * latitude.cos() * (2 * longitude).sin(),
        ),
        (
            latitude.cos() * longitude.cos(),
            -longitude.sin() * torch.ones_like(latitude),
            -latitude.sin() * longitude.cos(),
        ),
    ]:
        found = transform.gradient(transform.analysis(field))
        same(found[0], east / EARTH_RADIUS)
        same(found[1], north / EARTH_RADIUS)


def test_gradient_has_no_vorticity_and_the_laplacian_as_divergence(transform):
    """Which also ties the radius of one operator to the other's."""
    c = coefficients(3)
    zeta, delta = transform.vorticity_divergence(*transform.gradient(c))
    same(delta, transform.laplacian(c))
    assert zeta.abs().max() < 1e-12 * delta.abs().max()


def test_spectrum_is_parseval():
    """It adds up to the area mean of the square."""
    latitude, weight = gaussian_latitudes(16)
    transform = SphericalTransform(latitude, W, T)
    f = transform.synthesis(coefficients(5))
    power = transform.spectrum(transform.analysis(f))
    assert power.shape == (5, T + 1)
    torch.testing.assert_close(power.sum(-1), (f.square().mean(-1) * weight).sum(-1), rtol=1e-12, atol=0)


def test_gradients():
    """First and second derivatives of every operation, against differences."""
    transform = SphericalTransform(gaussian_latitudes(4)[0], 8, 2, radius=1.5)
    fields = [torch.randn(2, 4, 8, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    modes = [coefficients(2, truncation=2, first=1).requires_grad_() for _ in range(2)]
    check = torch.autograd.gradcheck
    assert check(transform.analysis, fields[:1])
    assert check(transform.synthesis, modes[:1])
    assert check(transform.vorticity_divergence, fields)
    assert check(transform.wind, modes)
    assert check(transform.gradient, modes[:1])
    assert check(transform.spectrum, modes[:1])
    square = lambda u, v: sum(transform.spectrum(c).square().sum() for c in transform.vorticity_divergence(u, v))  # noqa: E731
    assert torch.autograd.gradgradcheck(square, fields)


def test_modes_hold_the_same_numbers():
    """The inner layout gives, bit for bit, what the complex one gives."""
    transform = SphericalTransform(gaussian_latitudes(16)[0], W, T)
    c = coefficients(2, 3)
    modes = transform.modes(c)
    assert modes.shape == (T + 1, 2, 6, T + 1)
    assert torch.equal(transform.coefficients(modes, (2, 3)), c)
    f = transform.synthesis_modes(modes)
    assert torch.equal(f.reshape(2, 3, 16, W), transform.synthesis(c))
    assert torch.equal(transform.coefficients(transform.analysis_modes(f), (6,)), transform.analysis(f))


def test_precision_follows_the_module():
    """float() makes all of it single, and the two are not mixed; nothing is stored."""
    transform = SphericalTransform(gaussian_latitudes(16)[0], W, T).float()
    f = transform.synthesis(coefficients().to(torch.complex64))
    assert f.dtype == torch.float32
    same(transform.synthesis(transform.analysis(f)), f, 1e-5)
    with pytest.raises(ValueError, match="convert one of them"):
        transform.analysis(f.double())
    with pytest.raises(ValueError, match="convert one of them"):
        transform.synthesis(coefficients())
    assert not transform.state_dict()


@pytest.mark.parametrize(
    ("latitudes", "longitudes", "truncation", "said"),
    [
        (GRIDS["gaussian"].flip(0), W, T, "rise from south to north"),
        (GRIDS["gaussian"] * 2, W, T, "between -90 and 90"),
        (GRIDS["gaussian"][:, None], W, T, r"must be \[H\]"),
        (GRIDS["gaussian"], 2 * T, T, "at least 21 longitudes"),
        (GRIDS["with poles"], 40, 15, "needs 16 latitudes beside the poles, not 15"),
        (GRIDS["gaussian"], W, -1, "truncation must be 0 or more"),
        (torch.linspace(0, 80, 40), W, T, "must cover the globe"),
    ],
)
def test_grids_that_cannot_be(latitudes, longitudes, truncation, said):
    """Refused with what is wanted."""
    with pytest.raises(ValueError, match=said):
        SphericalTransform(latitudes, longitudes, truncation)


def test_sizes_that_do_not_fit(transform):
    """Fields of another grid, coefficients of another truncation, and no latitudes at all."""
    with pytest.raises(ValueError, match="must be the grid"):
        transform.analysis(torch.zeros(transform.latitudes, W + 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="last axes must be"):
        transform.wind(coefficients(truncation=T - 1), coefficients())
    with pytest.raises(ValueError, match="at least 1 latitude"):
        gaussian_latitudes(0)
