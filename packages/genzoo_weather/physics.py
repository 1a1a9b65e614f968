"""What winds, heights and temperatures owe to one another on the sphere: derivatives, balances, budgets, spectra.

SI units. Fields are floating-point tensors [..., H, W]; functions are differentiable, values and gradients finite.

Legend: H rows of latitude, south to north; W meridians, eastward; K zonal wavenumbers. a is the Earth's radius.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from genzoo_weather.constants import EARTH_RADIUS, GRAVITY, OMEGA, R_DRY
from genzoo_weather.transform import SAME_DEGREES, gaussian_latitudes

POLE, CALM = 1e-3, 0.1
"""Degrees from a pole within which a row lies at the pole; m/s below which a wind is too weak to have a turn."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where a field's values lie.

    latitude_deg: [H], ascending, in degrees north, of any spacing. longitude_deg: [W], ascending by equal steps, in
    degrees east; the whole circle without its first meridian again at the end, or a part of it.

    It has of itself: latitude [H] and longitude [W] in radians. step: degrees between meridians. periodic: whether they
    go round the whole circle. pole: [H], which rows lie at a pole. coriolis: [H, 1], f = 2 OMEGA sin(latitude) in 1/s.
    inverse_cos: [H, 1], 1 / cos(latitude), and 0 at a pole. area: [H], of mean 1: the weights of Gauss quadrature on
    Gaussian latitudes, else the exact area of each row's band; bands meet half way between rows, and the outer ones
    reach as far outward as inward, but not past a pole.
    """

    latitude_deg: Tensor
    longitude_deg: Tensor
    latitude: Tensor = field(init=False, repr=False)
    longitude: Tensor = field(init=False, repr=False)
    step: float = field(init=False)
    periodic: bool = field(init=False)
    pole: Tensor = field(init=False, repr=False)
    coriolis: Tensor = field(init=False, repr=False)
    inverse_cos: Tensor = field(init=False, repr=False)
    area: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("latitude_deg", "longitude_deg"):
            x = torch.as_tensor(getattr(self, name)).detach().to("cpu", torch.float64, copy=True)
            if x.ndim != 1 or len(x) < 2:
                raise ValueError(f"{name} must be one row of at least 2 numbers, not of shape {tuple(x.shape)}")
            if not (x.diff() > 0).all():
                mend = "flip it, and the fields with x.flip(-2)" if name[:3] == "lat" else "add 360 after the wrap"
                raise ValueError(f"{name} must ascend: {mend}")
            vars(self)[name] = x
        north, east = self.latitude_deg, self.longitude_deg
        if not north.abs().max() <= 90 + POLE:
            raise ValueError(f"latitude_deg must lie in -90 to 90, not reach {north.abs().max():g}")
        step = float(east[-1] - east[0]) / (len(east) - 1)
        if not (east.diff() - step).abs().max() <= 1e-3 * step + 1e-4:  # the rounding of 32-bit files
            raise ValueError("longitude_deg must ascend by equal steps: interpolate, or keep meridians of one spacing")
        if step * len(east) > 360 + 0.5 * step:
            raise ValueError("longitude_deg goes round more than once: leave out the meridians that come again")
        x = north.clamp(-90, 90).deg2rad()
        pole = north.abs() > 90 - POLE
        inverse = torch.where(pole, 0.0, 1 / x.cos())
        angle = (torch.arange(len(x), dtype=torch.float64) + 0.75) * (math.pi / (len(x) + 0.5))
        near = -angle.cos().arcsin().rad2deg()  # to a degree and better; exactly costs the third power of the rows
        gaussian, bands = gaussian_latitudes(len(x) if (near - north).abs().max() < 10 / len(x) else 1)
        if (gaussian - north).abs().max() > SAME_DEGREES:
            inner = (x[1:] + x[:-1]) / 2
            edges = torch.cat([2 * x[:1] - inner[:1], inner, 2 * x[-1:] - inner[-1:]])
            bands = edges.clamp(-math.pi / 2, math.pi / 2).sin().diff()
        vars(self).update(latitude=x, longitude=east.deg2rad(), step=step, pole=pole, inverse_cos=inverse[:, None])
        vars(self).update(coriolis=2 * OMEGA * x.sin()[:, None], area=bands / bands.mean())
        vars(self).update(periodic=abs(step * len(east) - 360) < 0.01 * step)

    def rows(self, south: float, north: float, *, both: bool = False) -> Tensor:
        """[H], which rows lie from `south` to `north` degrees, both included; with `both`, those of either hemisphere
        that lie so far from the equator."""
        x = self.latitude_deg.abs() if both else self.latitude_deg
        found = (x > south - 1e-4) & (x < north + 1e-4)
        if not found.any():
            raise ValueError(f"no row lies from {south:g} to {north:g} degrees: give two of {x.min():g} to {x.max():g}")
        return found

    def weights(self, rows: Tensor | None = None) -> Tensor:
        """[H], the area of each row's band as a fraction of all. rows: [H], those that count; default all."""
        if rows is None:
            return self.area / len(self.latitude)
        if rows.dtype != torch.bool or rows.shape != self.area.shape or not rows.any():
            raise ValueError(f"rows must be {len(self.latitude)} booleans, some of them true: see Grid.rows")
        return self.area * rows.cpu() / self.area[rows.cpu()].sum()

    def mean(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Area-weighted mean over the last two axes [...]. rows: as for `weights`."""
        self.check(x)
        return (x.mean(-1) * self.weights(rows).to(x)).sum(-1)

    def check(self, *fields: Tensor) -> None:
        """ValueError for fields that do not lie on this grid."""
        size = (len(self.latitude), len(self.longitude))
        for x in fields:
            if x.shape[-2:] != size:
                raise ValueError(f"the last axes of a field on this grid are {size}; this one is {tuple(x.shape)}")
            if not x.is_floating_point():
                raise ValueError(f"a field must be of floating-point numbers, not {x.dtype}: x.float()")


def d_dx(x: Tensor, grid: Grid) -> Tensor:
    """Eastward derivative [..., H, W] in 1/m: central differences of second order, round the circle where the grid goes
    round it, else one-sided at its sides. At a pole, where there is no east, 0."""
    grid.check(x)
    step = EARTH_RADIUS * math.radians(grid.step)
    if grid.periodic:
        slope = (x.roll(-1, -1) - x.roll(1, -1)) / (2 * step)
    else:
        (slope,) = torch.gradient(x, spacing=step, dim=-1, edge_order=2 if x.shape[-1] > 2 else 1)
    return slope * grid.inverse_cos.to(x)


def d_dy(x: Tensor, grid: Grid) -> Tensor:
    """Northward derivative [..., H, W] in 1/m, of second order for any latitudes; one-sided in first and last rows."""
    grid.check(x)
    where = (EARTH_RADIUS * grid.latitude).to(x)
    return torch.gradient(x, spacing=(where,), dim=-2, edge_order=2 if x.shape[-2] > 2 else 1)[0]


def divergence(u: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """(du/dlon + d(v cos lat)/dlat) / (a cos lat) [..., H, W] in 1/s, of winds in m/s (Vallis 2017, section 2.2;
    Williamson et al. 1992, J. Comput. Phys. 102, 211-224).

    At a pole it is the flow out of the cap that the next row bounds, over the cap's area (Gauss); on grids that do not
    go round the circle, the next row's value.
    """
    grid.check(u, v)
    cos = grid.latitude.cos()[:, None].to(v)
    found = d_dx(u, grid) + d_dy(v * cos, grid) * grid.inverse_cos.to(v)
    for row, near, sign in ((0, 1, 1.0), (-1, -2, -1.0)):
        if grid.pole[row]:
            x, at = float(grid.latitude[near]), (grid.pole & (sign * grid.latitude < 0))[:, None]
            cap = v[..., [near], :].mean(-1, keepdim=True) * math.cos(x) / (EARTH_RADIUS * (sign + math.sin(x)))
            found = torch.where(at.to(found.device), cap if grid.periodic else found[..., [near], :], found)
    return found


def vorticity(u: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """Relative vorticity (dv/dlon - d(u cos lat)/dlat) / (a cos lat) [..., H, W] in 1/s, of winds in m/s; at a pole by
    the circulation round it (Stokes), as in `divergence` (Holton & Hakim 2013, section 4.2)."""
    return divergence(v, -u, grid)


def absolute_vorticity(u: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """Relative vorticity + f [..., H, W] in 1/s (Holton & Hakim 2013, section 4.2)."""
    return vorticity(u, v, grid) + grid.coriolis.to(u)


def potential_vorticity(u: Tensor, v: Tensor, depth: Tensor, grid: Grid) -> Tensor:
    """Of shallow water: absolute vorticity over depth [..., H, W] in 1/(m s) (Rossby 1940; Vallis 2017, chapter 3).
    depth: m, positive."""
    grid.check(depth)
    return absolute_vorticity(u, v, grid) / depth


def geostrophic_wind(phi: Tensor, grid: Grid, *, min_latitude: float = 10.0) -> tuple[Tensor, Tensor]:
    """(-dphi/dy, dphi/dx) / f: eastward and northward wind, each [..., H, W] in m/s (Holton & Hakim 2013, section 3.1).

    phi: geopotential in m2/s2. min_latitude: degrees; nearer to the equator, where f fails, the wind is 0.
    """
    if not min_latitude > 0:
        raise ValueError(f"min_latitude must be more than 0 degrees, since f is 0 at the equator, not {min_latitude}")
    tropics = grid.latitude_deg.abs()[:, None] < min_latitude - 1e-4
    inverse = torch.where(tropics, 0.0, 1 / grid.coriolis).to(phi)
    return -d_dy(phi, grid) * inverse, d_dx(phi, grid) * inverse


def turning(u: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """How fast a steady wind turns left along its streamlines: speed over radius of curvature [..., H, W] in 1/s
    (Holton & Hakim 2013, section 3.2). Parallels of latitude curve by tan(lat) / a. Winds below 0.1 m/s turn less."""
    along_u = u * d_dx(u, grid) + v * d_dy(u, grid)
    along_v = u * d_dx(v, grid) + v * d_dy(v, grid)
    parallel = (grid.latitude.sin()[:, None] * grid.inverse_cos / EARTH_RADIUS).to(u)
    return (u * along_v - v * along_u) / (u.square() + v.square() + CALM**2) + u * parallel


def gradient_wind(phi: Tensor, grid: Grid, *, min_latitude: float = 10.0) -> tuple[Tensor, Tensor]:
    """Wind in balance with Coriolis, pressure and centrifugal force, each [..., H, W] in m/s: the regular root of
    V^2 / R + f V = f Vg (Holton & Hakim 2013, section 3.2.5), along the geostrophic wind Vg and curved as it is.

    Anticyclones too strong for balance get the strongest wind that has one, twice the geostrophic. Curvature is made of
    second derivatives, so smooth a noisy phi first. phi, min_latitude: as for `geostrophic_wind`.
    """
    u, v = geostrophic_wind(phi, grid, min_latitude=min_latitude)
    safe = torch.where(grid.coriolis.abs() > 0, grid.coriolis, 1.0).to(u)
    factor = 2 / (1 + (1 + 4 * turning(u, v, grid) / safe).clamp_min(1e-6).sqrt())
    return factor * u, factor * v


def imbalance(u: Tensor, v: Tensor, phi: Tensor, grid: Grid, *, curved: bool = False) -> tuple[Tensor, Tensor]:
    """f k x V + grad phi, eastward and northward, each [..., H, W] in m/s2; 0 for geostrophic flow, and at a pole.

    curved: with the wind's advection of itself, as (f + vorticity) k x V + grad(phi + V^2 / 2), which is 0 for steady
    flow without friction, gradient wind included (Vallis 2017, chapter 3; Williamson et al. 1992, vector form).
    """
    grid.check(u, v, phi)
    turn = absolute_vorticity(u, v, grid) if curved else grid.coriolis.to(u)
    head = phi + (u.square() + v.square()) / 2 if curved else phi
    inside = ~grid.pole[:, None].to(phi.device)
    return (d_dx(head, grid) - turn * v) * inside, (d_dy(head, grid) + turn * u) * inside


def nonlinear_balance(u: Tensor, v: Tensor, phi: Tensor, grid: Grid) -> Tensor:
    """Residual of the nonlinear balance equation (Charney 1955, Tellus 7, 22-26) [..., H, W] in 1/s2: the divergence of
    `imbalance` with `curved`, which for winds without divergence is laplace(phi) - div(f grad psi) - 2 J(psi_x, psi_y).
    Central differences of central differences: waves of two grid steps are not seen."""
    return divergence(*imbalance(u, v, phi, grid, curved=True), grid)


def balance_residual(
    u: Tensor, v: Tensor, phi: Tensor, grid: Grid, rows: Tensor | None = None, *, curved: bool = False, relative=False
) -> Tensor:
    """Mean square of `imbalance` over an area [...] in m2/s4: a penalty, of one number for each example.

    rows: [H], see `Grid.rows`; default all. relative: as a fraction of the mean square of grad phi instead.
    """
    x, y = imbalance(u, v, phi, grid, curved=curved)
    found = grid.mean(x.square() + y.square(), rows)
    if relative:
        found = found / grid.mean(d_dx(phi, grid).square() + d_dy(phi, grid).square(), rows).clamp_min(1e-16)
    return found


def ageostrophic_ratio(u: Tensor, v: Tensor, phi: Tensor, grid: Grid, rows: Tensor) -> Tensor:
    """rms(V - Vg) / rms(V) over an area [...]: about the Rossby number (Holton & Hakim 2013, section 2.4).

    rows: [H], see `Grid.rows`; none within 5 degrees of the equator. The least value is 1e-6.
    """
    grid.check(u, v)
    nearest = float(grid.latitude_deg[grid.weights(rows) > 0].abs().min())
    if nearest < 5:
        raise ValueError(f"rows reach to {nearest:g} degrees from the equator: keep to 5 or more, as in rows(30, 75)")
    ug, vg = geostrophic_wind(phi, grid, min_latitude=nearest)
    off = grid.mean((u - ug).square() + (v - vg).square(), rows)
    return (off / grid.mean(u.square() + v.square(), rows).clamp_min(1e-12)).clamp_min(1e-12).sqrt()


def thickness(t_mean: Tensor, *, p_bottom: float, p_top: float, g: float = GRAVITY) -> Tensor:
    """R_DRY T / g ln(p_bottom / p_top): height of the layer between two pressures in m (hypsometric equation, Wallace &
    Hobbs 2006, eq. 3.24). t_mean: its mean (virtual) temperature in K, any shape. p_bottom, p_top: Pa."""
    if not p_bottom > p_top > 0:
        raise ValueError(f"p_bottom must be more than p_top, and both positive, in Pa; not {p_bottom} and {p_top}")
    return t_mean * (R_DRY / g * math.log(p_bottom / p_top))


def hypsometric_residual(
    z_top: Tensor, z_bottom: Tensor, t_top: Tensor, t_bottom: Tensor, *, p_top: float, p_bottom: float, g=GRAVITY
) -> Tensor:
    """z_top - z_bottom less the `thickness` at the mean of both temperatures, in m, of any one shape.

    z: height in m (geopotential over g). t: K. p: Pa. Two levels do not tell the mean temperature exactly, and moist
    air is thicker: 850 to 500 hPa of ERA5 leave 17 m in the mean and 25 m rms, of 4,101 m.
    """
    return z_top - z_bottom - thickness((t_top + t_bottom) / 2, p_bottom=p_bottom, p_top=p_top, g=g)


def mass(depth: Tensor, grid: Grid, *, density: float = 1.0) -> Tensor:
    """Mean of depth times density [...] in kg/m2. depth: m. density: kg/m3; with 1 it is the mean depth in m."""
    return density * grid.mean(depth)


def energy(u: Tensor, v: Tensor, depth: Tensor, grid: Grid, *, g: float = GRAVITY) -> Tensor:
    """Mean of h V^2 / 2 + g h^2 / 2 [...] in m3/s2, that is J/m2 for a density of 1 kg/m3: what shallow water over flat
    ground keeps (Vallis 2017, chapter 3; Williamson et al. 1992). depth h: m."""
    grid.check(u, v, depth)
    return grid.mean(depth * (u.square() + v.square()) / 2 + g * depth.square() / 2)


def wavenumbers(grid: Grid) -> Tensor:
    """[K], waves round the whole circle for each value of `kinetic_energy_spectrum`; on a part of it, not integers."""
    wide = len(grid.longitude)
    return torch.arange(wide // 2 + 1, dtype=torch.float64) * (360 / (grid.step * wide))


def kinetic_energy_spectrum(u: Tensor, v: Tensor, grid: Grid, rows: Tensor | None = None) -> Tensor:
    """Kinetic energy by zonal wavenumber [..., K] in m2/s2, the area-weighted mean over rows.

    Round the circle, the sum over K is the mean of V^2 / 2 (Parseval). On a part of it each row loses its mean and its
    trend and gets a Hann window of mean square 1 (Errico 1985, Mon. Wea. Rev. 113, 1554-1562, on why), so the sum is
    near to the energy of what is left. rows: [H], see `Grid.rows`; default all.
    """
    grid.check(u, v)
    x, wide = torch.stack(torch.broadcast_tensors(u, v)), len(grid.longitude)
    if not grid.periodic:
        ramp, window = torch.linspace(-1, 1, wide).to(x), torch.hann_window(wide, dtype=torch.float64).to(x)
        x = x - x.mean(-1, keepdim=True)
        x = x - ramp * ((x * ramp).mean(-1, keepdim=True) / ramp.square().mean())
        x = x * window / window.square().mean().sqrt()
    pairs = torch.ones(wide // 2 + 1)  # k and -k, but for k = 0 and W / 2: (1/2) (2 |c_k|^2)
    pairs[[0, -1] if wide % 2 == 0 else [0]] = 0.5
    power = (torch.fft.rfft(x) / wide).abs().square().sum(0)
    return (power * pairs.to(u) * grid.weights(rows).to(u)[:, None]).sum(-2)
