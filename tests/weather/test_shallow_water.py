"""The shallow-water atmosphere: exact solutions, conservation, orders of convergence, and bits that stay the same."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from genzoo.draws import torch_generator
from genzoo_weather.constants import GRAVITY, OMEGA
from genzoo_weather.shallow_water import DAY, HOUR, ShallowWater, Stirring, jets, simulate
from genzoo_weather.transform import EARTH_RADIUS, SphericalTransform, gaussian_latitudes

H, W, T = 24, 48, 15


@pytest.fixture(scope="module")
def transform() -> SphericalTransform:
    """Double precision, free of quadratic aliasing."""
    return SphericalTransform(gaussian_latitudes(H)[0], W, T)


@pytest.fixture(scope="module")
def grid(transform) -> tuple[torch.Tensor, torch.Tensor]:
    """Latitude [H, 1] and longitude [1, W], radians."""
    return transform.latitude_deg.deg2rad()[:, None], torch.arange(W, dtype=torch.float64)[None] * (2 * math.pi / W)


@pytest.fixture(scope="module")
def jet(transform) -> torch.Tensor:
    """A balanced state of two jets and smooth waves on them, [3, M, 2, 1, N]."""
    zeta = jets(transform, speed=30.0, centre_deg=45.0, width_deg=20.0)
    waves = 4e-6 * torch.randn(1, T + 1, T + 1, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    n = torch.arange(T + 1)[:, None]
    waves = transform.modes(waves.tril() * ((n > 2) & (n < 7)) * (n.T > 0))
    return ShallowWater(transform, depth_m=4000.0).balanced(zeta + waves)


@pytest.fixture(scope="module")
def weather(transform, jet) -> ShallowWater:
    """With all that forces and damps."""
    return ShallowWater(
        transform,
        depth_m=4000.0,
        damping_hours=6.0,
        drag_days=8.0,
        relaxation_days=6.0,
        equilibrium=transform.synthesis_modes(jet[2])[0],
    )


@pytest.fixture
def stirring(transform) -> Callable[..., Stirring]:
    """Of trajectories named by numbers, with a step of an hour."""

    def made(*rows: int, rate: float = 3e-10) -> Stirring:
        return Stirring(transform, [torch_generator("test", row) for row in rows], step_s=HOUR, rate=rate)

    return made


def size(state: torch.Tensor) -> torch.Tensor:
    """Largest values of vorticity, divergence and geopotential."""
    return state.abs().amax((1, 2, 3, 4))


def test_williamson_2(transform, grid):
    """Steady zonal geostrophic flow (Williamson et al. 1992, test 2, alpha = 0) stays for five days."""
    latitude, _ = grid
    speed = 2 * math.pi * EARTH_RADIUS / (12 * DAY)
    u = (speed * latitude.cos()).expand(H, W)[None]
    push = EARTH_RADIUS * OMEGA * speed + speed**2 / 2
    h = ((2.94e4 - push * latitude.sin() ** 2) / GRAVITY).expand(H, W)[None]
    model = ShallowWater(transform, depth_m=2.94e4 / GRAVITY)
    start = model.state(u, torch.zeros_like(u), h)
    assert (size(model.tendency(start)) < torch.tensor([1e-20, 1e-20, 1e-12])).all()
    for found, wanted in zip(model.fields(model.run(start, 120, HOUR)), (u, torch.zeros_like(u), h), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-8)


def test_rossby_haurwitz_wave_travels_at_its_speed(transform, grid):
    """In the limit of a deep layer the flow is without divergence, and the wave of test 6 turns unchanged with the
    angular velocity of Williamson et al. 1992, eq. 142: (R (3 + R) w - 2 Omega) / ((1 + R) (2 + R))."""
    latitude, longitude = grid
    w, r, cosine, sine = 7.848e-6, 4, latitude.cos(), latitude.sin()
    velocity = (r * (3 + r) * w - 2 * OMEGA) / ((1 + r) * (2 + r))

    def vorticity(days: float) -> torch.Tensor:
        turned = longitude - velocity * days * DAY
        return 2 * w * sine - w * sine * cosine**r * (r**2 + 3 * r + 2) * (r * turned).cos()

    model = ShallowWater(transform, depth_m=1e8)
    start = model.balanced(transform.analysis_modes(vorticity(0)[None]))
    found = transform.synthesis_modes(model.run(start, 96, HOUR / 2)[0])[0]
    assert (vorticity(2) - vorticity(0)).abs().max() > 0.5 * vorticity(0).abs().max()
    torch.testing.assert_close(found, vorticity(2), rtol=0, atol=1e-3 * float(vorticity(0).abs().max()))


def test_gravity_wave_has_its_frequency(transform):
    """Of small waves without rotation: sqrt(g H n (n + 1)) / a."""
    n, depth = 8, 8000.0
    frequency = math.sqrt(GRAVITY * depth * n * (n + 1)) / EARTH_RADIUS
    model = ShallowWater(transform, depth_m=depth)
    model.coriolis_h = torch.zeros_like(model.coriolis_h)
    state = torch.zeros(3, T + 1, 2, 1, T + 1, dtype=torch.float64)
    state[2, 0, 0, 0, n] = 1e-3
    found = model.run(state, 100, 2 * math.pi / frequency / 200)  # half a period
    assert found[2, 0, 0, 0, n] == pytest.approx(-1e-3, rel=2e-3)


def test_balanced_has_no_tendency_of_divergence(transform, jet):
    """What the nonlinear balance equation says; and depths are near those of the geostrophic wind."""
    model = ShallowWater(transform, depth_m=4000.0)
    d_zeta, d_delta, _ = size(model.tendency(jet))
    assert d_delta < 1e-12 * d_zeta
    u, v, h = model.fields(jet)
    east, north = (GRAVITY * slope for slope in transform.gradient(transform.analysis(h)))
    f, far = model.coriolis_h, transform.latitude_deg.abs() > 30
    off = torch.hypot(u + north / f, v - east / f)[:, far]
    assert off.square().mean().sqrt() < 0.3 * torch.hypot(u, v)[:, far].square().mean().sqrt()


def test_state_and_fields_are_inverses(transform, jet):
    """Wind and depth to modes and back."""
    model = ShallowWater(transform, depth_m=4000.0)
    found = model.state(*model.fields(jet))
    assert (size(found - jet) < 1e-12 * size(jet).clamp(min=1e-6)).all()


def test_step_follows_the_tendency(weather, jet, stirring):
    """A short step is the tendency times its length."""
    push = stirring(0)()
    state = torch.stack((jet[0], 0.1 * jet[0], jet[2]))
    tendency = weather.tendency(state, push)
    found = (weather.step(state, 0.01, push) - state) / 0.01
    assert (size(found - tendency) < 1e-5 * size(tendency)).all()


def test_mass_is_conserved_to_the_last_bit(transform, weather, jet, stirring):
    """The mean depth, unforced and forced; and no vorticity or divergence on the whole sphere."""
    jet = jet.clone()
    jet[2, 0, 0, 0, 0] = 123.456  # a mean other than the reference
    for model, push in [(ShallowWater(transform, depth_m=4000.0), None), (weather, stirring(0))]:
        end = model.run(jet, 48, HOUR, push)
        assert not torch.equal(end, jet)
        assert torch.equal(end[2, 0, 0, 0, 0], jet[2, 0, 0, 0, 0])
        assert not end[:2, 0, :, 0, 0].any()
        depth, _, _ = model.invariants(end)
        assert float(depth) == pytest.approx(4000 + 123.456 / GRAVITY, rel=1e-14)


def test_energy_and_enstrophy_drift_with_the_order_of_the_scheme(transform):
    """Over half a day of inviscid flow, so smooth that the grid holds it: small, and about 4 times or more less with
    half the step. Of the energy, what is not the resting layer's counts."""
    model = ShallowWater(transform, depth_m=8000.0)
    zeta = torch.randn(1, T + 1, T + 1, dtype=torch.complex128, generator=torch.Generator().manual_seed(1)).tril()
    zeta[:, :, 0] = 0
    zeta[:, 4:] = 0
    zeta[:, 1, 0] = 4
    start = model.balanced(transform.modes(1e-6 * zeta))
    _, resting, _ = model.invariants(torch.zeros_like(start))
    _, energy, enstrophy = model.invariants(start)
    drifts = []
    for steps in (6, 12, 24):
        _, later, whirl = model.invariants(model.run(start, steps, 12 * HOUR / steps))
        drifts.append((abs(float((later - energy) / (energy - resting))), abs(float(whirl / enstrophy - 1))))
    for coarse, fine in pairwise(drifts):
        assert fine[0] < coarse[0] / 3.5
        assert fine[1] < coarse[1] / 3.5
    assert max(drifts[-1]) < 1e-4


def test_order_in_time(weather, jet):
    """Second: half the step leaves a quarter of the error, in each variable."""
    ends = [weather.run(jet, steps, 12 * HOUR / steps) for steps in (12, 24, 192)]
    ratio = size(ends[0] - ends[2]) / size(ends[1] - ends[2])
    assert ((ratio > 3.4) & (ratio < 6)).all()


def test_commutes_with_turns_of_longitude(transform, jet):
    """Unforced flow started 5 longitudes further east is the same flow 5 longitudes further east."""
    model = ShallowWater(transform, depth_m=4000.0, damping_hours=6.0)
    fields = model.fields(jet)
    turned = model.state(*(f.roll(5, -1) for f in fields))
    for here, there in zip(
        model.fields(model.run(jet, 24, HOUR)), model.fields(model.run(turned, 24, HOUR)), strict=True
    ):
        torch.testing.assert_close(there, here.roll(5, -1), rtol=0, atol=1e-9)


def test_hyperdiffusion_takes_the_smallest_scale(transform):
    """n = T by 1/e in damping_hours, smaller n by the order's power, to second order of the step."""
    model = ShallowWater(transform, depth_m=4000.0, damping_hours=6.0, order=4)
    small = torch.zeros(3, T + 1, 2, 1, T + 1, dtype=torch.float64)
    small[0, T, 0, 0, T] = small[0, 0, 0, 0, 7] = 1e-12
    end = model.run(small, 12, HOUR / 2)
    assert end[0, T, :, 0, T].norm() == pytest.approx(math.exp(-1) * 1e-12, rel=2e-3)
    rate = (7 * 8 / (T * (T + 1))) ** 2
    assert end[0, 0, 0, 0, 7] == pytest.approx(math.exp(-rate) * 1e-12, rel=2e-2)


def test_stirring_has_its_rate_band_and_memory(transform):
    """Without storm tracks: the rms asked for, power in the band alone, and a correlation of exp(-t / memory)."""
    generators = [torch_generator("test", row) for row in range(64)]
    made = Stirring(transform, generators, step_s=12 * HOUR, rate=2e-10, memory_days=1.0, width_deg=1e9)
    draws = [transform.coefficients(made(), (64,)) for _ in range(20)]
    power = transform.spectrum(torch.stack(draws)).mean((0, 1))
    assert power.sum().sqrt() == pytest.approx(2e-10, rel=0.03)
    assert power[6:13].tolist() == pytest.approx([float(power.sum()) / 7] * 7, rel=0.2)
    assert power[:6].sum() + power[13:].sum() < 1e-20 * power.sum()
    first, later = torch.stack(draws[:-1]), torch.stack(draws[1:])
    both = transform.spectrum(first + later).sum(-1).mean() / transform.spectrum(first).sum(-1).mean()
    assert float(both) / 2 - 1 == pytest.approx(math.exp(-0.5), abs=0.06)


def test_stirring_keeps_to_the_storm_tracks(transform, stirring):
    """Strong at 45 degrees, weak on the equator."""
    made = stirring(*range(32))
    square = transform.synthesis_modes(made()).square().mean((0, 2))
    latitude = transform.latitude_deg.abs()
    assert square[latitude < 10].mean() < 0.05 * square[(latitude - 45).abs() < 8].mean()


def test_stirring_parts_what_began_together(weather, jet, stirring):
    """Two trajectories from one state differ by more every 8 hours; those of the same stream do not."""
    state, push, apart = jet.expand(-1, -1, -1, 3, -1), stirring(0, 1, 0), []
    for _ in range(4):
        state = weather.run(state, 8, HOUR, push)
        u, _, _ = weather.fields(state)
        apart.append(float((u[0] - u[1]).square().mean().sqrt()))
        torch.testing.assert_close(u[2], u[0], rtol=0, atol=1e-9)
    assert 0 < apart[0] < apart[1] < apart[2] < apart[3]
    assert apart[3] > 1


SHORT = {"latitudes": 20, "truncation": 12, "days": 2, "spin_up_days": 1}


def test_simulate_is_a_function_of_its_seed():
    """Bit-equal again, whatever runs beside a trajectory and however long; other seeds and trajectories differ."""
    seen = []
    fields, latitude_deg, longitude_deg = simulate(
        trajectories=17, **SHORT, progress=lambda done, whole: seen.append((done, whole))
    )
    assert fields.shape == (17, 4, 3, 20, 40)
    assert fields.dtype == torch.float32
    assert torch.equal(latitude_deg, gaussian_latitudes(20)[0])
    assert longitude_deg.tolist() == [9.0 * k for k in range(40)]
    assert seen == [(k, 12) for k in range(1, 13)]
    assert torch.equal(simulate(trajectories=2, **SHORT | {"days": 1})[0], fields[:2, :2])
    assert not torch.equal(fields[0], fields[16])
    assert not torch.equal(simulate(trajectories=1, **SHORT, seed=1)[0], fields[:1])


def test_simulate_conserves_mass_and_looks_like_weather():
    """Mean depth of every frame in single precision; westerly jets; winds and heights of the right size."""
    fields, latitude_deg, _ = simulate(trajectories=4, latitudes=20, truncation=12, days=10, spin_up_days=20)
    u, v, h = fields.double().unbind(2)
    weight = gaussian_latitudes(20)[1]
    assert (h.mean(-1) @ weight - 4000).abs().max() < 1e-2
    assert 8 < (((u**2 + v**2).mean(-1) @ weight).mean().sqrt()) < 25
    jet_rows = (latitude_deg.abs() - 45).abs() < 8
    assert u.mean((0, 1, 3))[jet_rows].min() > 5
    assert 30 < h.std((0, 1))[jet_rows].mean() < 500


def test_what_cannot_be_is_refused(transform, stirring):
    """With the mend."""
    with pytest.raises(ValueError, match="depth must be positive"):
        ShallowWater(transform, depth_m=0.0)
    with pytest.raises(ValueError, match="order of diffusion even"):
        ShallowWater(transform, depth_m=1.0, order=3)
    with pytest.raises(ValueError, match="both relaxation_days and equilibrium"):
        ShallowWater(transform, depth_m=1.0, relaxation_days=3.0)
    with pytest.raises(ValueError, match="wavenumbers 1 to 15"):
        Stirring(transform, [], step_s=HOUR, rate=1e-10, band=(6, 16))
    with pytest.raises(ValueError, match="at least 1 trajectory"):
        simulate(trajectories=0)
