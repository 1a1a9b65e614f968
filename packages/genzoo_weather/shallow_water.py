"""A rotating shallow-water atmosphere on the sphere: vorticity, divergence and geopotential, spectral, semi-implicit.

Equations as in Hack & Jakob 1992 (NCAR/TN-343) and Williamson et al. 1992 (J. Comput. Phys. 102, sec. 2). SI units:
wind m/s, height m, geopotential m2/s2, vorticity and divergence 1/s; state is what `SphericalTransform` calls modes.

Legend: B trajectories, H latitudes, W longitudes, M zonal and N total wavenumbers, C = 2 real and imaginary part,
S = 3 vorticity, divergence, geopotential less the mean depth's; K times.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from genzoo.draws import torch_generator
from genzoo_weather.constants import GRAVITY, OMEGA
from genzoo_weather.transform import SphericalTransform, gaussian_latitudes

HOUR, DAY = 3600.0, 86400.0
"""s."""

GAMMA = 1 - math.sqrt(0.5)
DELTA = -2 * math.sqrt(2) / 3
"""Of the time step: Ascher, Ruuth & Spiteri 1997 (Appl. Numer. Math. 25), sec. 2.5."""

TOGETHER = 16
"""Trajectories that `simulate` runs at once, always: matrix products of other sizes round in other ways."""

LONGEST_STEP_S = 4800.0
"""Time step of `simulate` at truncation 21, s; finer ones take shorter steps. 3600 s gives the same climate."""


class ShallowWater:
    """The dynamics of B independent trajectories; with drag, relaxation or stirring also a climate.

    transform: grid and truncation. depth_m: mean depth H; gravity waves in a layer so deep are implicit in time.
    damping_hours: e-folding time of the smallest scale by hyperdiffusion, 0 for none. order: of its derivative.
    drag_days: e-folding time of the wind by drag, 0 for none.
    relaxation_days: e-folding time of the height towards `equilibrium`, 0 for none.
    equilibrium: geopotential [H, W] to relax to, m2/s2; its mean is left out, so that mass is conserved.

    State is real [S, M, C, B, N]; `state` and `fields` convert. The time step is the implicit-explicit Runge-Kutta
    scheme (2, 3, 2) of Ascher et al. 1997: second order, three tendencies a step, gravity waves of the mean depth and
    hyperdiffusion implicit and damped as the step grows, all else explicit.
    """

    def __init__(
        self,
        transform: SphericalTransform,
        *,
        depth_m: float,
        damping_hours: float = 0.0,
        order: int = 4,
        drag_days: float = 0.0,
        relaxation_days: float = 0.0,
        equilibrium: Tensor | None = None,
    ) -> None:
        if depth_m <= 0 or min(damping_hours, drag_days, relaxation_days) < 0 or order < 2 or order % 2:
            raise ValueError("the depth must be positive, times not negative, and the order of diffusion even")
        if (relaxation_days > 0) != (equilibrium is not None):
            raise ValueError("relaxation needs both relaxation_days and equilibrium, or neither")
        self.transform, self.reference = transform, GRAVITY * depth_m
        self.eigenvalue_n = transform.eigenvalue
        like = {"dtype": self.eigenvalue_n.dtype, "device": self.eigenvalue_n.device}
        n = torch.arange(transform.truncation + 1, **like)
        self.damping_n = (n * (n + 1)) ** (order // 2) / (n[-1] * (n[-1] + 1)) ** (order // 2)
        self.damping_n = self.damping_n / (damping_hours * HOUR) if damping_hours else torch.zeros_like(n)
        self.coriolis_h = 2 * OMEGA * transform.latitude_deg.deg2rad().sin()[:, None]
        self.drag = 1 / (drag_days * DAY) if drag_days else 0.0
        self.relaxation_n = (n > 0) / (relaxation_days * DAY) if relaxation_days else None
        self.equilibrium = None if equilibrium is None else transform.analysis_modes(equilibrium[None])

    def state(self, u: Tensor, v: Tensor, h: Tensor) -> Tensor:
        """Modes of wind, m/s, and depth, m: [B, H, W] thrice -> [S, M, C, B, N]."""
        phi = self.transform.analysis_modes(GRAVITY * h - self.reference)
        return torch.stack((*self.transform.vorticity_divergence_modes(u, v), phi))

    def fields(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Wind u, v, m/s, and depth h, m, of a state: [B, H, W] thrice."""
        phi = self.transform.synthesis_modes(state[2])
        return *self.transform.wind_modes(state[0], state[1]), (self.reference + phi) / GRAVITY

    def balanced(self, zeta: Tensor) -> Tensor:
        """The state without divergence, nor a tendency of it, that has this vorticity, modes [M, C, B, N]: the
        nonlinear balance equation (Charney 1955)."""
        still = torch.stack((zeta, torch.zeros_like(zeta), torch.zeros_like(zeta)))
        phi = self.transform.inverse_eigenvalue * self._slow(still, None, forced=False)[1]
        return torch.stack((zeta, torch.zeros_like(zeta), phi))

    def tendency(self, state: Tensor, stirring: Tensor | None = None) -> Tensor:
        """Time derivative of a state, per s; stirring: of the vorticity, 1/s2, modes [M, C, B, N]."""
        zeta, delta, phi = state
        fast = torch.stack((torch.zeros_like(zeta), -self.eigenvalue_n * phi, -self.reference * delta))
        return self._slow(state, stirring) + fast - self.damping_n * state

    def step(self, state: Tensor, step_s: float, stirring: Tensor | None = None) -> Tensor:
        """The state step_s seconds later, with stirring held."""
        first = self._slow(state, stirring)
        known = state + (step_s * GAMMA) * first
        middle = self._implicit(known, step_s)
        pushed = (middle - known) / GAMMA  # the implicit part of the tendency, times the step
        second = self._slow(middle, stirring)
        known = state + (step_s * DELTA) * first + (step_s * (1 - DELTA)) * second + (1 - GAMMA) * pushed
        last = self._implicit(known, step_s)
        explicit = (1 - GAMMA) * second + GAMMA * self._slow(last, stirring)
        return state + step_s * explicit + (1 - GAMMA) * pushed + (last - known)

    def run(self, state: Tensor, steps: int, step_s: float, stirring: Callable[[], Tensor] | None = None) -> Tensor:
        """The state after so many steps; stirring is called once for each of them."""
        for _ in range(steps):
            state = self.step(state, step_s, stirring() if stirring else None)
        return state

    def invariants(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Area means, each [B], of what an inviscid, unforced flow conserves: depth, m; energy h V^2 / 2 + g h^2 / 2
        per unit density, m3/s2; potential enstrophy (vorticity + f)^2 / (2 h), 1/(m s2)."""
        u, v, h = self.fields(state)
        absolute = self.transform.synthesis_modes(state[0]) + self.coriolis_h
        energy = h * (u.square() + v.square()) / 2 + GRAVITY * h.square() / 2
        means = (self.transform.analysis_modes(f)[0, 0, :, 0] for f in (h, energy, absolute.square() / (2 * h)))
        depth, energy, enstrophy = means
        return depth, energy, enstrophy

    def _slow(self, state: Tensor, stirring: Tensor | None, *, forced: bool = True) -> Tensor:
        """The explicit part of the tendency."""
        zeta, delta, phi = state
        size = zeta.shape[2]
        u, v = self.transform.wind_modes(zeta, delta)
        vorticity, geopotential = self.transform.synthesis_modes(torch.cat((zeta, phi), dim=2)).split(size)
        absolute = vorticity + self.coriolis_h
        curl, divergence = self.transform.vorticity_divergence_modes(
            torch.cat((absolute * v, geopotential * u)), torch.cat((-absolute * u, geopotential * v))
        )
        kinetic = self.transform.analysis_modes((u.square() + v.square()) / 2)
        d_zeta = curl[:, :, :size]
        d_delta = divergence[:, :, :size] - self.eigenvalue_n * kinetic
        d_phi = -divergence[:, :, size:]
        if forced and self.drag:
            d_zeta, d_delta = d_zeta - self.drag * zeta, d_delta - self.drag * delta
        if forced and self.relaxation_n is not None:
            d_phi = d_phi + self.relaxation_n * (self.equilibrium - phi)
        if stirring is not None:
            d_zeta = d_zeta + stirring
        return torch.stack((d_zeta, d_delta, d_phi))

    def _implicit(self, known: Tensor, step_s: float) -> Tensor:
        """Solves x - GAMMA step (gravity waves and hyperdiffusion of x) = known, for each n."""
        time = GAMMA * step_s
        damp_n = 1 + time * self.damping_n
        zeta, delta, phi = known
        delta = (delta - (time * self.eigenvalue_n / damp_n) * phi) / (
            damp_n - time**2 * self.reference * self.eigenvalue_n / damp_n
        )
        return torch.stack((zeta / damp_n, delta, (phi - (time * self.reference) * delta) / damp_n))


class Stirring:
    """Random vorticity sources: an Ornstein-Uhlenbeck process for each harmonic of a band, cut out to the storm tracks
    (Vallis et al. 2004, J. Atmos. Sci. 61; Scott & Polvani 2007, J. Atmos. Sci. 64).

    Called, it gives the next step's sources, modes [M, C, B, N] in 1/s2.

    generators: one for each of B trajectories, which makes them independent of one another. step_s: time step, s.
    rate: rms over the sphere before the storm tracks are cut out, 1/s2. band: first and last total wavenumber, all with
    the same power. memory_days: decorrelation time. track_deg, width_deg: latitude of the storm tracks on either
    hemisphere and their half-width, as a Gaussian.
    """

    def __init__(
        self,
        transform: SphericalTransform,
        generators: Sequence[torch.Generator],
        *,
        step_s: float,
        rate: float,
        band: tuple[int, int] = (6, 12),
        memory_days: float = 1.5,
        track_deg: float = 45.0,
        width_deg: float = 15.0,
    ) -> None:
        if not 1 <= band[0] <= band[1] <= transform.truncation:
            raise ValueError(f"the band must lie in wavenumbers 1 to {transform.truncation}, not {band}")
        self.generators = list(generators)
        like = {"dtype": transform.eigenvalue.dtype, "device": transform.eigenvalue.device}
        n = torch.arange(transform.truncation + 1, **like)
        scale_n = ((n >= band[0]) & (n <= band[1])) * rate / (2 * (band[1] - band[0] + 1) * (2 * n + 1)).sqrt()
        scale_mcn = scale_n * (n >= n[:, None])[:, None] * torch.ones(1, 2, 1, **like)
        scale_mcn[0] *= torch.tensor([[math.sqrt(2)], [0.0]], **like)  # waves of m = 0 are real
        self.scale = scale_mcn[:, :, None]
        track_h = torch.exp(-(((transform.latitude_deg.abs() - track_deg) / width_deg) ** 2))
        self.tracks = (transform.scalar * track_h) @ transform.scalar_inverse  # [M, N, N]
        self.tracks[:, :, 0] = 0  # no vorticity on the whole sphere
        self.keep = math.exp(-step_s / (memory_days * DAY))
        self.value = self._noise()

    def _noise(self) -> Tensor:
        """White noise of unit variance in every mode."""
        shape = (*self.scale.shape[:2], self.scale.shape[-1])
        like = {"dtype": self.scale.dtype, "device": self.scale.device}
        return torch.stack([torch.randn(shape, generator=one, **like) for one in self.generators], dim=2)

    def __call__(self) -> Tensor:
        self.value = self.keep * self.value + math.sqrt(1 - self.keep**2) * self._noise()
        scaled = (self.scale * self.value).flatten(1, 2)
        return torch.bmm(scaled, self.tracks).view_as(self.value)


class Simulation(NamedTuple):
    """fields: float32 [B, K, 3, H, W], wind u and v in m/s and depth h in m. latitude_deg: [H], south to north.
    longitude_deg: [W], from 0 eastward."""

    fields: Tensor
    latitude_deg: Tensor
    longitude_deg: Tensor


def jets(transform: SphericalTransform, *, speed: float, centre_deg: float, width_deg: float) -> Tensor:
    """Vorticity, modes [M, C, 1, N], of a westerly jet in each hemisphere, a Gaussian in latitude; speed in m/s."""
    latitude = transform.latitude_deg
    u = speed * torch.exp(-(((latitude.abs() - centre_deg) / width_deg) ** 2)) * latitude.deg2rad().cos()
    u = u[None, :, None].expand(1, -1, transform.longitudes)
    return transform.vorticity_divergence_modes(u, torch.zeros_like(u))[0]


CLIMATE = {"depth_m": 4000.0, "damping_hours": 4.0, "order": 8, "drag_days": 8.0, "relaxation_days": 6.0}
JETS = {"speed": 38.0, "centre_deg": 43.0, "width_deg": 13.0}
STIRRING = {"rate": 2.5e-10, "band": (6, 12), "memory_days": 1.5}
"""What `simulate` runs with: an rms wind of 17 m/s, jets of 21 m/s, highs and lows that live for days."""


def simulate(
    *,
    latitudes: int = 32,
    truncation: int = 21,
    trajectories: int = 16,
    days: float = 200,
    spin_up_days: float = 40,
    every_hours: float = 12,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Weather: a layer of air whose height is relaxed towards that of two westerly jets, with drag and random stirring.

    The jets break into highs and lows, near geostrophic balance and with little divergence, as in mid-latitudes; the
    stirring makes the future uncertain. Trajectories start alike and forget it within the spin-up.

    latitudes: Gaussian ones; there are twice as many longitudes. truncation: triangular; at most 2/3 latitudes is free
    of aliasing. trajectories: independent, each with a stream of random numbers of its own: neither their number nor
    the length of the run changes a bit of one. days: kept, after spin_up_days. every_hours: between two frames.
    progress: called after each frame with frames made and frames in all.
    """
    if trajectories < 1 or every_hours <= 0 or spin_up_days < 0 or days * 24 < every_hours:
        raise ValueError("simulate needs at least 1 trajectory, 1 frame within the days, and no negative times")
    latitude_deg, _ = gaussian_latitudes(latitudes)
    transform = SphericalTransform(latitude_deg, 2 * latitudes, truncation).float()
    start = ShallowWater(transform, depth_m=CLIMATE["depth_m"]).balanced(jets(transform, **JETS))
    model = ShallowWater(transform, equilibrium=transform.synthesis_modes(start[2])[0], **CLIMATE)
    steps = math.ceil(every_hours * HOUR * max(truncation, 21) / (21 * LONGEST_STEP_S))
    step_s = every_hours * HOUR / steps
    skipped, frames = math.ceil(spin_up_days * 24 / every_hours), int(days * 24 // every_hours)
    groups = range(0, trajectories, TOGETHER)
    made = torch.empty(len(groups) * TOGETHER, frames, 3, latitudes, 2 * latitudes)
    for done, first in enumerate(groups):
        rows = range(first, first + TOGETHER)
        stirring = Stirring(
            transform, [torch_generator("stirring", seed, row) for row in rows], step_s=step_s, **STIRRING
        )
        state = start.expand(-1, -1, -1, TOGETHER, -1)
        for k in range(-skipped, frames):
            state = model.run(state, steps, step_s, stirring)
            if k >= 0:
                made[first : first + TOGETHER, k] = torch.stack(model.fields(state), dim=1)
            if progress:
                progress((done + 1) * (skipped + frames) - (frames - 1 - k), len(groups) * (skipped + frames))
    longitude_deg = torch.arange(2 * latitudes, dtype=torch.float64) * (180 / latitudes)
    return Simulation(made[:trajectories], latitude_deg, longitude_deg)
