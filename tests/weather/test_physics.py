"""Balances, budgets and spectra on the sphere: closed forms, other programs' numbers, and reanalyses."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from genzoo_weather import physics
from genzoo_weather.physics import EARTH_RADIUS, GRAVITY, OMEGA, R_DRY, Grid

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "weather"
SPEED, TILT, WAVE, TURN = 40.0, 0.7, 4, 7.848e-6
"""m/s of the solid rotation, radians its axis is tilted; waves and 1/s of the Rossby-Haurwitz wave."""


def globe(high: int = 61, wide: int = 120) -> Grid:
    """With rows at both poles."""
    return Grid(torch.linspace(-90, 90, high), torch.arange(wide) * (360 / wide))


def gaussian(high: int = 64, wide: int = 96) -> Grid:
    """Rows where Gauss has them, none at a pole."""
    return Grid(
        torch.tensor(np.degrees(np.arcsin(np.polynomial.legendre.leggauss(high)[0]))), globe(5, wide).longitude_deg
    )


def angles(grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Latitude and longitude of each point, in radians."""
    return torch.meshgrid(grid.latitude, grid.longitude, indexing="ij")


def rotation(grid: Grid, tilt: float = 0.0) -> tuple[torch.Tensor, ...]:
    """Wind of a solid rotation, over the poles where it is tilted, and the sine of latitude from its own equator
    (Williamson et al. 1992, test case 2)."""
    y, x = angles(grid)
    u = SPEED * (y.cos() * math.cos(tilt) + x.cos() * y.sin() * math.sin(tilt))
    return u, -SPEED * x.sin() * math.sin(tilt), y.sin() * math.cos(tilt) - x.cos() * y.cos() * math.sin(tilt)


def haurwitz(grid: Grid) -> tuple[torch.Tensor, ...]:
    """Wind, vorticity and the geopotential in nonlinear balance of a Rossby-Haurwitz wave (Williamson et al. 1992, test
    case 6)."""
    y, x = angles(grid)
    c, s, r, k, w = y.cos(), y.sin(), WAVE, TURN, TURN
    u = EARTH_RADIUS * (w * c + k * c ** (r - 1) * (r * s**2 - c**2) * (r * x).cos())
    v = -EARTH_RADIUS * k * r * c ** (r - 1) * s * (r * x).sin()
    zeta = 2 * w * s - k * s * c**r * (r**2 + 3 * r + 2) * (r * x).cos()
    one = w / 2 * (2 * OMEGA + w) * c**2
    one = one + k**2 / 4 * (
        (r + 1) * c ** (2 * r + 2) + (2 * r**2 - r - 2) * c ** (2 * r) - 2 * r**2 * c ** (2 * r - 2)
    )
    two = 2 * (OMEGA + w) * k / ((r + 1) * (r + 2)) * c**r * ((r**2 + 2 * r + 2) - (r + 1) ** 2 * c**2)
    three = k**2 / 4 * c ** (2 * r) * ((r + 1) * c**2 - (r + 2))
    phi = GRAVITY * 8e3 + EARTH_RADIUS**2 * (one + two * (r * x).cos() + three * (2 * r * x).cos())
    return u, v, zeta, phi


def weather(grid: Grid, *batch: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Wind and geopotential that are smooth and nothing else."""
    y, x = angles(grid)
    draw = torch.Generator().manual_seed(seed)
    fields = []
    for size in (15.0, 15.0, 3000.0):
        a, b, c = (torch.randn(*batch, 1, 1, generator=draw, dtype=torch.float64) for _ in range(3))
        fields.append(
            size * ((3 * x + a).cos() * y.cos() ** 3 + (2 * y + b).sin() + c * (5 * x + y).sin() * y.cos() ** 5)
        )
    return tuple(fields)


def rms(grid: Grid, x: torch.Tensor) -> float:
    return float(grid.mean(x.square()).mean().sqrt())


def order(error, *sizes: tuple[int, int]) -> float:
    """The power of the grid step with which an error falls from the first size to the second of half the step."""
    coarse, fine = (error(globe(*size)) for size in sizes or ((46, 90), (91, 180)))
    return math.log2(coarse / fine)


# ---- the grid ----


@pytest.mark.parametrize(
    ("latitude", "longitude", "said"),
    [
        ([10.0, 0.0], [0.0, 1.0], "latitude_deg must ascend: flip it"),
        ([0.0, 10.0], [359.0, 0.0], "longitude_deg must ascend: add 360"),
        ([0.0, 10.0], [0.0, 1.0, 3.0], "equal steps"),
        ([0.0, 91.0], [0.0, 1.0], "-90 to 90"),
        ([0.0, float("nan")], [0.0, 1.0], "ascend"),
        ([0.0], [0.0, 1.0], "latitude_deg must be one row of at least 2"),
        ([0.0, 1.0], [[0.0, 1.0]], "longitude_deg must be one row of at least 2"),
        ([0.0, 1.0], [0.0, 90.0, 180.0, 270.0, 360.0], "more than once"),
    ],
)
def test_a_wrong_grid_is_refused(latitude, longitude, said):
    with pytest.raises(ValueError, match=said):
        Grid(torch.tensor(latitude), torch.tensor(longitude))


def test_wrong_fields_and_numbers_are_refused():
    grid = globe(7, 12)
    u, v, phi = weather(grid)
    with pytest.raises(ValueError, match=r"\(7, 12\); this one is \(12, 7\)"):
        physics.vorticity(u.T, v, grid)
    with pytest.raises(ValueError, match=r"x\.float\(\)"):
        grid.mean(torch.ones(7, 12, dtype=torch.long))
    with pytest.raises(ValueError, match="no row lies from 31 to 59"):
        grid.rows(31, 59)
    with pytest.raises(ValueError, match="rows must be 7 booleans"):
        grid.mean(u, torch.ones(7))
    with pytest.raises(ValueError, match="rows must be 7 booleans"):
        grid.mean(u, torch.zeros(7, dtype=torch.bool))
    with pytest.raises(ValueError, match="from the equator"):
        physics.ageostrophic_ratio(u, v, phi, grid, grid.rows(0, 60))
    with pytest.raises(ValueError, match="min_latitude"):
        physics.geostrophic_wind(phi, grid, min_latitude=0)
    for pressures in ((5e4, 8.5e4), (5e4, 0.0), (float("nan"), 5e4)):
        with pytest.raises(ValueError, match="p_bottom must be more than p_top"):
            physics.thickness(phi, p_bottom=pressures[0], p_top=pressures[1])


def test_a_grid_is_frozen_and_its_own():
    latitude = torch.linspace(-90, 90, 7, dtype=torch.float64)
    grid = Grid(latitude, torch.arange(12) * 30)
    latitude += 1
    assert grid.latitude_deg[0] == -90
    with pytest.raises(AttributeError):
        grid.step = 1.0


@pytest.mark.parametrize("step", [0.25, 0.75, 3.0])
def test_files_of_32_bits_go_round_the_circle(step):
    there = torch.arange(-180, 180, step, dtype=torch.float32)
    latitude = torch.linspace(-90, 90, 5, dtype=torch.float32)
    assert Grid(latitude, there).periodic
    assert not Grid(latitude, there[:-1]).periodic
    assert Grid(latitude, there).pole.tolist() == [True, False, False, False, True]


def test_area():
    """Whole globe: bands of sin; a mean over the sphere of sin^2 is 1/3; Gauss's own weights nearly."""
    grid = globe(61)
    half = math.radians(1.5)
    inner = 2 * math.sin(half) * grid.latitude.cos()[1:-1]
    assert torch.allclose(grid.area[1:-1] / 61, inner / 2, atol=0, rtol=1e-12)
    assert float(grid.area[0] / 61) == pytest.approx((1 - math.cos(half)) / 2, rel=1e-9)
    assert float(grid.area.mean()) == pytest.approx(1)
    assert order(lambda g: abs(float(g.mean(angles(g)[0].sin() ** 2)) - 1 / 3)) == pytest.approx(2, abs=0.1)
    weights = torch.tensor(np.polynomial.legendre.leggauss(64)[1])
    assert torch.allclose(gaussian(64).area[2:-2], 32 * weights[2:-2], rtol=2e-3)


def test_means_and_rows():
    grid = globe(61)
    y, _ = angles(grid)
    assert float(grid.mean(torch.ones_like(y))) == pytest.approx(1)
    north, both = grid.rows(30, 75), grid.rows(30, 75, both=True)
    assert grid.latitude_deg[north].tolist() == list(range(30, 76, 3))
    assert torch.equal(both, north | north.flip(0))
    assert float(grid.mean(y, both)) == pytest.approx(0, abs=1e-12)
    by_hand = np.average(grid.latitude[north].numpy(), weights=grid.area[north].numpy())
    assert float(grid.mean(y, north)) == pytest.approx(by_hand)


# ---- derivatives ----


@pytest.mark.parametrize(
    "grid", [globe(31, 48), gaussian(30, 48), Grid(torch.tensor([20.0, 23, 29, 31]), torch.arange(5))]
)
def test_derivatives_are_those_of_numpy(grid):
    """numpy.gradient, on rows that are repeated on both sides where the grid goes round."""
    (x, *_) = weather(grid, 2)
    y, step = EARTH_RADIUS * grid.latitude.numpy(), EARTH_RADIUS * math.radians(grid.step)
    assert np.allclose(physics.d_dy(x, grid), np.gradient(x.numpy(), y, axis=-2, edge_order=2), rtol=1e-9, atol=1e-15)
    if grid.periodic:
        wide = np.gradient(np.concatenate([x[..., -1:], x, x[..., :1]], -1), step, axis=-1)[..., 1:-1]
    else:
        wide = np.gradient(x.numpy(), step, axis=-1, edge_order=2)
    inner = ~grid.pole
    wanted = wide[..., inner, :] / np.cos(grid.latitude[inner].numpy())[:, None]
    assert np.allclose(physics.d_dx(x, grid)[..., inner, :], wanted, rtol=1e-9, atol=1e-15)
    assert not physics.d_dx(x, grid)[..., grid.pole, :].any()


def test_two_rows_and_two_columns_suffice():
    grid = Grid(torch.tensor([40.0, 41.0]), torch.tensor([5.0, 6.0]))
    y, x = angles(grid)
    assert torch.allclose(physics.d_dy(y, grid), torch.tensor(1 / EARTH_RADIUS).double())
    assert torch.allclose(physics.d_dx(x, grid) * y.cos(), torch.tensor(1 / EARTH_RADIUS).double())


# ---- vorticity, divergence ----


@pytest.mark.parametrize("tilt", [0.0, TILT, math.pi / 2])
@pytest.mark.parametrize("grid", [globe(91, 180), gaussian(90, 180)], ids=["poles", "gaussian"])
def test_solid_rotation(grid, tilt):
    """No divergence, vorticity 2 omega sin(lat from its equator), and turning omega sin(that); over the poles too."""
    u, v, sine = rotation(grid, tilt)
    spin = SPEED / EARTH_RADIUS
    assert rms(grid, physics.divergence(u, v, grid)) < 2e-3 * spin
    assert rms(grid, physics.vorticity(u, v, grid) - 2 * spin * sine) < 2e-3 * spin
    there = grid.pole
    assert torch.allclose(physics.vorticity(u, v, grid)[there], 2 * spin * sine[there], atol=1e-3 * spin)
    assert float(physics.divergence(u, v, grid)[there].abs().sum()) < 1e-9 * spin
    calm = (u.square() + v.square()) < 25
    off = (physics.turning(u, v, grid) - spin * sine).masked_fill(calm | grid.pole[:, None], 0)
    assert rms(grid, off) < 5e-3 * spin


def test_rossby_haurwitz_wave():
    """Vorticity as it should be and no divergence, with errors that fall as the square of the step."""

    def error(grid):
        u, v, zeta, _ = haurwitz(grid)
        return rms(grid, physics.vorticity(u, v, grid) - zeta)

    def leak(grid):
        u, v, *_ = haurwitz(grid)
        return rms(grid, physics.divergence(u, v, grid))

    grid = globe(91, 180)
    assert error(grid) < 0.01 * rms(grid, haurwitz(grid)[2])
    assert leak(grid) < 0.01 * rms(grid, haurwitz(grid)[2])
    assert order(error) == pytest.approx(2, abs=0.1)
    assert order(leak) == pytest.approx(2, abs=0.1)


def test_divergence_of_a_gradient():
    """phi = sin(lat) has the Laplacian -2 sin(lat) / a^2, its poles included; nothing flows out of the whole globe."""

    def error(grid):
        y, _ = angles(grid)
        off = physics.divergence(torch.zeros_like(y), y.cos() / EARTH_RADIUS, grid) + 2 * y.sin() / EARTH_RADIUS**2
        return float(off.abs().max()) * EARTH_RADIUS**2

    assert error(globe(91)) < 2e-3
    assert order(error) == pytest.approx(2, abs=0.1)
    grid = globe(91)
    u, v, _ = weather(grid)
    found = physics.divergence(u, v * grid.latitude.cos()[:, None], grid)
    assert abs(float(grid.mean(found))) < 1e-3 * rms(grid, found)


def test_absolute_and_potential_vorticity():
    grid = globe()
    u, v, _ = weather(grid)
    rest = torch.zeros_like(u)
    f = 2 * OMEGA * grid.latitude.sin()[:, None].expand_as(u)
    assert torch.allclose(physics.absolute_vorticity(rest, rest, grid), f)
    assert torch.allclose(physics.absolute_vorticity(u, v, grid) - f, physics.vorticity(u, v, grid))
    depth = 8000 + rest
    assert torch.allclose(physics.potential_vorticity(rest, rest, depth, grid), f / 8000)


# ---- balances ----


def test_geostrophic_wind():
    """phi of a zonal flow, and of a wave, whose winds are known; none in the tropics."""
    grid = globe(181, 360)
    y, x = angles(grid)
    spin = SPEED / EARTH_RADIUS
    u, v = physics.geostrophic_wind(-(EARTH_RADIUS**2) * OMEGA * spin * y.sin() ** 2, grid)
    out = grid.rows(10, 89, both=True)
    assert torch.allclose(u[out], SPEED * y.cos()[out], rtol=1e-3)
    assert v.abs().max() < 1e-9
    assert not u[~grid.rows(10, 90, both=True)].any()
    assert physics.geostrophic_wind(y, grid, min_latitude=3.0)[0][grid.rows(3, 10)].all()
    _, v = physics.geostrophic_wind(3000 * y.cos() * (4 * x).sin(), grid)
    f = grid.coriolis.expand_as(y)
    assert torch.allclose(v[out], (3000 * 4 * (4 * x).cos() / EARTH_RADIUS / f)[out], rtol=1e-3, atol=1e-9)


def test_gradient_balance_of_a_zonal_flow():
    """u = U cos(lat) with phi = -(a OMEGA U + U^2 / 2) sin(lat)^2: gradient wind, steady, not geostrophic."""

    def fields(grid):
        u, v, sine = rotation(grid)
        return u, v, -(EARTH_RADIUS * OMEGA * SPEED + SPEED**2 / 2) * sine**2

    def error(grid):
        return rms(grid, torch.stack(physics.imbalance(*fields(grid), grid, curved=True)))

    grid = globe(91, 180)
    u, v, phi = fields(grid)
    out = grid.rows(10, 85, both=True)
    ug, _ = physics.geostrophic_wind(phi, grid)
    ur, vr = physics.gradient_wind(phi, grid)
    assert torch.allclose(ur[out], u[out], rtol=2e-3)
    assert vr[out].abs().max() < 1e-9
    assert torch.allclose(ug[out] / u[out], torch.tensor(1 + SPEED / (2 * EARTH_RADIUS * OMEGA)).double(), rtol=2e-3)
    assert order(error) == pytest.approx(2, abs=0.1)
    assert order(lambda g: rms(g, physics.nonlinear_balance(*fields(g), g))) == pytest.approx(2, abs=0.2)
    left = SPEED / (2 * EARTH_RADIUS * OMEGA + SPEED)  # of grad phi, the centrifugal force
    assert float(physics.balance_residual(u, v, phi, grid, relative=True)) == pytest.approx(left**2, rel=0.05)
    assert float(physics.balance_residual(u, v, phi, grid, curved=True, relative=True)) < 1e-3 * left**2
    ratio = physics.ageostrophic_ratio(u, v, phi, grid, out)
    assert float(ratio) == pytest.approx(SPEED / (2 * EARTH_RADIUS * OMEGA), rel=0.02)


def test_gradient_wind_is_the_regular_root():
    """V^2 / R + f V = f Vg: lows slower than geostrophic and highs faster, at most twice, north and south."""
    grid = globe(91, 180)
    phi = 0.3 * weather(grid, 3)[2]
    ug, vg = physics.geostrophic_wind(phi, grid)
    ur, vr = physics.gradient_wind(phi, grid)
    out = grid.rows(10, 85, both=True)
    factor = (ur * ug + vr * vg)[:, out] / (ug.square() + vg.square())[:, out]
    bend, f = physics.turning(ug, vg, grid)[:, out], grid.coriolis[out]
    possible = 1 + 4 * bend / f > 1e-5
    assert 0.5 < possible.double().mean() < 1
    assert torch.allclose((factor**2 * bend / f + factor)[possible], torch.tensor(1.0).double(), atol=1e-6)
    assert torch.equal(factor < 1, bend / f > 0)
    assert factor.max() <= 2
    assert factor[~possible].min() > 1.99


def test_nonlinear_balance_of_the_rossby_haurwitz_wave():
    """Its geopotential was made to balance it (Williamson et al. 1992); to the second order, and nothing less does."""

    def error(grid):
        u, v, _, phi = haurwitz(grid)
        return rms(grid, physics.nonlinear_balance(u, v, phi, grid))

    grid = globe(91, 180)
    u, v, _, phi = haurwitz(grid)
    alone = rms(grid, physics.nonlinear_balance(0 * u, 0 * v, phi, grid))
    assert error(grid) < 0.01 * alone
    assert rms(grid, physics.nonlinear_balance(u, v, 1.1 * phi, grid)) > 0.08 * alone
    assert order(error) == pytest.approx(2, abs=0.1)


def test_balance_residual_is_per_example():
    grid = globe(31, 48)
    u, v, phi = weather(grid, 2, 3)
    rows = grid.rows(30, 75)
    found = physics.balance_residual(u, v, phi, grid, rows)
    assert found.shape == (2, 3)
    x, y = -grid.coriolis * v + physics.d_dx(phi, grid), grid.coriolis * u + physics.d_dy(phi, grid)
    weight = (grid.area * rows).numpy()
    by_hand = np.average((x**2 + y**2).mean(-1).numpy(), axis=-1, weights=weight)
    assert np.allclose(found, by_hand)
    assert torch.allclose(found[1, 2], physics.balance_residual(u[1, 2], v[1, 2], phi[1, 2], grid, rows))
    none = physics.ageostrophic_ratio(*physics.geostrophic_wind(phi, grid), phi, grid, rows)
    assert torch.allclose(none, torch.tensor(1e-6).double())
    for curved in (False, True):
        found = torch.stack(physics.imbalance(u, v, phi, grid, curved=curved))
        assert found[..., 1:-1, :].all()
        assert not found[..., [0, -1], :].any()  # no east, no north


# ---- columns and budgets ----


def test_thickness_of_an_isothermal_atmosphere():
    """p = p0 exp(-g z / (R T))."""
    t = torch.tensor([200.0, 250.0, 300.0], dtype=torch.float64)
    z_bottom, z_top = (-R_DRY * t / GRAVITY * math.log(p / 1e5) for p in (8.5e4, 5e4))
    pressures = {"p_bottom": 8.5e4, "p_top": 5e4}
    assert torch.allclose(physics.thickness(t, **pressures), z_top - z_bottom)
    assert float(physics.hypsometric_residual(z_top, z_bottom, t, t, **pressures).abs().max()) < 1e-9
    apart = physics.hypsometric_residual(z_top, z_bottom, t - 15, t + 15, **pressures)
    assert float(apart.abs().max()) < 1e-9
    warm = physics.hypsometric_residual(z_top, z_bottom, t + 1, t + 1, **pressures)
    assert torch.allclose(warm, -physics.thickness(torch.ones_like(t), **pressures))
    assert torch.allclose(physics.thickness(t, **pressures, g=9.81) * 9.81, physics.thickness(t, **pressures) * GRAVITY)


def test_mass_and_energy():
    """At rest g h^2 / 2; moving, the solid rotation's mean of U^2 cos^2 being 2/3 U^2."""
    grid = globe(181, 36)
    depth = torch.full((2, 181, 36), 3000.0, dtype=torch.float64)
    rest = torch.zeros_like(depth)
    assert torch.allclose(physics.mass(depth, grid), torch.tensor([3000.0, 3000.0]).double())
    assert torch.allclose(physics.mass(depth, grid, density=1000.0), torch.tensor([3e6, 3e6]).double())
    assert torch.allclose(physics.energy(rest, rest, depth, grid), torch.tensor(GRAVITY * 4.5e6).double())
    u, v, _ = rotation(grid, TILT)
    moving = physics.energy(u, v, depth, grid) - physics.energy(rest, rest, depth, grid)
    assert torch.allclose(moving, torch.tensor(3000 * SPEED**2 / 3).double(), rtol=1e-3)


# ---- spectra ----


@pytest.mark.parametrize("wide", [48, 49])
def test_parseval(wide):
    grid = globe(31, wide)
    noise = torch.randn(2, 3, 31, wide, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for rows in (None, grid.rows(30, 75, both=True)):
        found = physics.kinetic_energy_spectrum(*noise, grid, rows)
        assert found.shape == (3, wide // 2 + 1) == (3, *physics.wavenumbers(grid).shape)
        assert torch.allclose(found.sum(-1), grid.mean(noise.square().sum(0) / 2, rows))


def test_a_wave_falls_in_its_wavenumber():
    grid = globe(31, 48)
    _, x = angles(grid)
    for wave, energy in ((0, 100.0), (1, 50.0), (7, 50.0), (24, 100.0)):
        found = physics.kinetic_energy_spectrum(10 * (wave * x).cos(), 10 * (wave * x).cos(), grid)
        assert int(found.argmax()) == wave == physics.wavenumbers(grid)[wave]
        assert float(found[wave]) == pytest.approx(energy)
        assert float(found.sum()) == pytest.approx(energy)


def test_a_wave_over_a_part_of_the_circle():
    """A third of the circle, wave 15 on a trend: its energy is near to it, and the trend's nowhere."""
    grid = Grid(torch.linspace(30, 60, 11), torch.arange(0, 120, 1.0))
    _, x = angles(grid)
    numbers = physics.wavenumbers(grid)
    found = physics.kinetic_energy_spectrum(10 * (15 * x).cos() + 40 * x + 7, 0 * x, grid)
    assert float(numbers[found.argmax()]) == pytest.approx(15)
    near = (numbers - 15).abs() < 3.1
    assert float(found[near].sum()) == pytest.approx(25, rel=0.02)
    assert float(found[~near].sum()) < 0.5


# ---- all of it ----


def everything(u, v, phi, grid, rows) -> dict[str, torch.Tensor]:
    """All that is made of wind and geopotential."""
    depth = 6000 + phi / GRAVITY
    return {
        "geostrophic": torch.stack(physics.geostrophic_wind(phi, grid)),
        "gradient": torch.stack(physics.gradient_wind(phi, grid)),
        "turning": physics.turning(u, v, grid),
        "vorticity": physics.vorticity(u, v, grid),
        "divergence": physics.divergence(u, v, grid),
        "potential": physics.potential_vorticity(u, v, depth, grid),
        "imbalance": torch.stack(physics.imbalance(u, v, phi, grid, curved=True)),
        "nonlinear": physics.nonlinear_balance(u, v, phi, grid),
        "residual": physics.balance_residual(u, v, phi, grid, rows),
        "relative": physics.balance_residual(u, v, phi, grid, rows, relative=True, curved=True),
        "ratio": physics.ageostrophic_ratio(u, v, phi, grid, rows),
        "mass": physics.mass(depth, grid),
        "energy": physics.energy(u, v, depth, grid),
        "spectrum": physics.kinetic_energy_spectrum(u, v, grid, rows),
    }


def test_turning_the_globe_turns_the_answer():
    grid = globe(31, 48)
    rows = grid.rows(30, 75)
    fields = weather(grid, 2)
    still = everything(*fields, grid, rows)
    for name, x in everything(*(f.roll(11, -1) for f in fields), grid, rows).items():
        wanted = still[name].roll(11, -1) if still[name].shape[-2:] == (31, 48) else still[name]
        assert torch.allclose(x, wanted, rtol=1e-9, atol=1e-18), name


def test_a_part_is_the_cut_out_of_the_globe():
    """But for its outermost points, or two of them for second derivatives."""
    whole = globe(61, 120)
    part = Grid(whole.latitude_deg[35:55], whole.longitude_deg[20:60])
    cut = (..., slice(35, 55), slice(20, 60))
    fields = weather(whole)
    large = everything(*fields, whole, whole.rows(30, 75))
    small = everything(*(f[cut] for f in fields), part, part.rows(30, 60))
    assert not part.periodic
    for name in (
        "geostrophic",
        "turning",
        "vorticity",
        "divergence",
        "potential",
        "imbalance",
        "nonlinear",
        "gradient",
    ):
        inside = (..., slice(2, -2), slice(2, -2))
        assert torch.allclose(small[name][inside], large[name][cut][inside], rtol=1e-7, atol=1e-18), name


@pytest.mark.parametrize("rest", [False, True], ids=["moving", "rest"])
@pytest.mark.parametrize(
    "grid",
    [globe(31, 48), gaussian(30, 48), Grid(torch.linspace(60, 90, 11), torch.arange(20)), globe(3, 2)],
    ids=["poles", "gaussian", "polar", "tiny"],
)
def test_gradients_are_finite(grid, rest):
    """At poles and equator, in 32 bits, and for air at rest, where roots and quotients would fail."""
    u, v, phi = ((0.0 if rest else 1.0) * f.float() for f in weather(grid, 2))
    u, v, phi = u.requires_grad_(), v.requires_grad_(), phi.requires_grad_()
    rows = grid.rows(30, 90, both=True)
    for name, x in everything(u, v, phi, grid, rows).items():
        assert x.dtype == torch.float32, name
        assert x.isfinite().all(), name
        slopes = torch.autograd.grad(x.square().sum(), (u, v, phi), allow_unused=True, retain_graph=True)
        assert all(s is None or s.isfinite().all() for s in slopes), name


def test_gradient_of_the_penalty():
    """Against finite differences, and a descent on it that lessens it."""
    grid = globe(5, 6)
    rows = grid.rows(30, 60, both=True)
    fields = [f.requires_grad_() for f in weather(grid)]
    assert torch.autograd.gradcheck(
        lambda u, v, phi: 1e6 * physics.balance_residual(u, v, phi, grid, rows, curved=True),
        fields,
        atol=1e-4,
        fast_mode=True,
    )
    before = physics.balance_residual(*fields, grid, rows)
    slopes = torch.autograd.grad(before, fields[:2])
    after = [f - 1e6 * s for f, s in zip(fields, slopes, strict=False)]
    assert physics.balance_residual(*after, fields[2], grid, rows) < before


def test_32_bits_are_enough():
    grid = globe(91, 180)
    u, v, _, phi = haurwitz(grid)
    rows = grid.rows(30, 75, both=True)
    exact = everything(u, v, phi, grid, rows)
    for name, x in everything(u.float(), v.float(), phi.float(), grid, rows).items():
        if name not in ("divergence", "nonlinear", "imbalance", "relative"):  # near 0, of terms that cancel
            assert (x - exact[name]).abs().max() < 3e-3 * exact[name].abs().max(), name


# ---- reanalyses ----


def opened(name: str, engine: str, **options):
    """A file of shared/data/weather, south to north, if it is there."""
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not here")
    xarray = pytest.importorskip("xarray")
    pytest.importorskip(engine)
    return xarray.open_dataset(DATA / name, engine=engine.lower(), **options).sortby("latitude")


@pytest.mark.filterwarnings("ignore")
def test_reanalysis_winds_are_nearly_geostrophic():
    """ERA-Interim monthly means: 200, 500, 850 hPa in January and July, 30 to 75 degrees of both hemispheres."""
    file = opened("era_interim_uvz_jan_jul_means.nc", "netCDF4")
    u, v, phi = (torch.tensor(file[name].values) for name in "uvz")
    grid = Grid(torch.tensor(file.latitude.values), torch.tensor(file.longitude.values))
    found = physics.ageostrophic_ratio(u, v, phi, grid, grid.rows(30, 75, both=True))
    assert np.allclose(found, [[0.072, 0.085, 0.299], [0.054, 0.071, 0.469]], rtol=0.05, atol=0)


@pytest.mark.filterwarnings("ignore")
def test_reanalysis_columns_are_nearly_hydrostatic():
    """ERA5 at 850 and 500 hPa, over all points alike."""
    file = opened("era5_10_members_zt_850_500.grib", "cfgrib", backend_kwargs={"indexpath": ""})
    z = {p: torch.tensor(file.z.sel(isobaricInhPa=p).values).double() / GRAVITY for p in (850, 500)}
    t = {p: torch.tensor(file.t.sel(isobaricInhPa=p).values).double() for p in (850, 500)}
    off = physics.hypsometric_residual(z[500], z[850], t[500], t[850], p_top=5e4, p_bottom=8.5e4)
    assert float((z[500] - z[850]).mean()) == pytest.approx(4101, abs=1)
    assert float(off.mean()) == pytest.approx(17, abs=0.5)
    assert float(off.square().mean().sqrt()) == pytest.approx(25, abs=0.5)
