"""Spherical-harmonic transform of scalars and winds in torch: batched, differentiable, on any global latitudes.

Our own, since none of the libraries can stand inside the sampler and the loss: ducc0 and pyshtools have no gradient,
torch-harmonics pins another torch.

Legend: H latitudes, W longitudes, T truncation, N = T + 1 total wavenumbers n, M = T + 1 zonal wavenumbers m, B batch,
C = 2 real and imaginary part, P places in and Q places out of a table. Angles in radians, latitude_deg in degrees,
lengths in metres.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from genzoo_weather.constants import EARTH_RADIUS

SAME_DEGREES = 1e-5
"""Latitudes that differ by less, in degrees, are taken for the same."""

WORST = 1e-2
"""Latitudes on which a harmonic is so much weaker than another, beside what the others explain, are refused."""


def gaussian_latitudes(n: int) -> tuple[Tensor, Tensor]:
    """The n Gaussian latitudes in degrees, south to north, and their weights, whose sum is 1: float64 [n] twice.

    sum(weights * f) is the mean of f over the sphere's area for polynomials in sin(latitude) to degree 2 n - 1.
    """
    if n < 1:
        raise ValueError(f"there must be at least 1 latitude, not {n}")
    sine, weight = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy(np.degrees(np.arcsin(sine))), torch.from_numpy(weight / 2)


def legendre(latitude: Tensor, truncation: int) -> tuple[Tensor, Tensor, Tensor]:
    """P, dP/dlatitude and m P / cos(latitude) for all n, m <= truncation: radians [H] -> 3 of float64 [N, M, H].

    P is normalised so that the mean of P^2 over the area is 1, without the Condon-Shortley phase; 0 where n < m.
    Recurrence: Holmes & Featherstone 2002 (J. Geodesy 76), eq. 11-13. The other two follow from neighbours in m and
    (n, m) without a division by the cosine, so that they hold at the poles.
    """
    sine_h, cosine_h = latitude.double().sin(), latitude.double().cos()
    last = truncation + 1  # one m more, which stays 0, as a neighbour
    p_nmh = sine_h.new_zeros(last, last + 1, len(sine_h))
    p_nmh[0, 0] = 1
    for n in range(1, last):
        m = torch.arange(n, dtype=torch.float64)[:, None]
        a = ((2 * n - 1) * (2 * n + 1) / ((n - m) * (n + m))).sqrt()
        p_nmh[n, :n] = a * sine_h * p_nmh[n - 1, :n]
        if n > 1:
            b = ((2 * n + 1) * (n + m - 1) * (n - m - 1) / ((n - m) * (n + m) * (2 * n - 3))).sqrt()
            p_nmh[n, :n] -= b * p_nmh[n - 2, :n]
        p_nmh[n, n] = ((2 * n + 1) / (2 * n)) ** 0.5 * cosine_h * p_nmh[n - 1, n - 1]
    n, m = torch.arange(last, dtype=torch.float64)[:, None, None], torch.arange(last, dtype=torch.float64)[:, None]
    left_nmh = torch.cat((-p_nmh[:, 1:2], p_nmh[:, : last - 1]), dim=1)  # m - 1, where P of -1 is minus P of 1
    right_nmh = p_nmh[:, 1:]
    root = lambda product: product.clamp(min=0).sqrt()  # noqa: E731 - below the diagonal products are negative
    slope_nmh = (root((n - m) * (n + m + 1)) * right_nmh - root((n + m) * (n - m + 1)) * left_nmh) / 2
    below = root((n[1:] + m) * (n[1:] + m - 1)) * left_nmh[:-1] + root((n[1:] - m) * (n[1:] - m - 1)) * right_nmh[:-1]
    over_nmh = torch.zeros_like(slope_nmh)
    over_nmh[1:, 1:] = (((2 * n[1:] + 1) / (2 * n[1:] - 1)).sqrt() * below)[:, 1:] / 2
    return p_nmh[:, :last], slope_nmh, over_nmh


class SphericalTransform(nn.Module):
    """Fields on a global grid <-> coefficients of spherical harmonics to triangular truncation T.

    f(latitude, longitude) = sum over n <= T and |m| <= n of c[n, m] P[n, m](latitude) exp(i m longitude), with
    c[n, -m] = conj(c[n, m]) and P normalised to an area mean of 1 (see `legendre`): c[0, 0] is the area mean of f.

    latitude_deg: [H] degrees, south to north. longitudes: W of them, equally spaced round the circle from longitude 0.
    truncation: T. Products of two fields are free of aliasing where W > 3 T and, on Gaussian latitudes, 2 H > 3 T.
    radius: of the sphere, m.

    Synthesis is a sum over n for each m, then one over m. Analysis is its weighted least-squares inverse. On Gaussian
    latitudes with their weights that is Gauss quadrature, since the harmonics are orthogonal under it; other latitudes
    are weighted by their cosine, which leaves the poles out. Both sums are matrix products: at the sizes we use the
    one over m takes no longer than a fast Fourier transform, and no axis has to be moved for it.

    Coefficients are complex [..., N, M]. The methods in `modes` take and give the same numbers as real [M, C, B, N],
    which is how they lie in memory between the two sums; loops that stay there are twice as fast.

    Tables are float64; `.float()` and `.to(device)` convert them, and fields must have the module's precision. They are
    no part of the state_dict.
    """

    latitude_deg: Tensor
    eigenvalue: Tensor
    inverse_eigenvalue: Tensor
    fourier: Tensor
    fourier_inverse: Tensor
    scalar: Tensor
    scalar_inverse: Tensor
    vector: Tensor
    vector_inverse: Tensor

    def __init__(self, latitude_deg: Tensor, longitudes: int, truncation: int, *, radius: float = EARTH_RADIUS) -> None:
        super().__init__()
        latitude_deg = torch.as_tensor(latitude_deg, dtype=torch.float64).detach().cpu()
        _check(latitude_deg, longitudes, truncation, radius)
        self.latitudes, self.longitudes, self.truncation = len(latitude_deg), longitudes, truncation
        gauss_deg, weight_h = gaussian_latitudes(self.latitudes)
        if (gauss_deg - latitude_deg).abs().max() > SAME_DEGREES:
            weight_h = latitude_deg.deg2rad().cos().clamp(min=0)
        n = torch.arange(truncation + 1, dtype=torch.float64)
        eigenvalue_n = -n * (n + 1) / radius**2
        inverse_n = torch.where(n > 0, 1 / eigenvalue_n, 0)
        p, slope, over = (t.transpose(0, 1) for t in legendre(latitude_deg.deg2rad(), truncation))  # [M, N, H]
        # (u, i v) from (vorticity, i divergence): real, as u = -dP psi + i Q chi and v = i Q psi + dP chi.
        vector = torch.cat((torch.cat((-slope, -over), -1), torch.cat((over, slope), -1)), -2)
        vector = vector * inverse_n.repeat(2)[:, None] / radius
        vector_inverse = _inverse(vector, weight_h.repeat(2))
        tables = {
            "latitude_deg": latitude_deg.clone(),
            "eigenvalue": eigenvalue_n,
            "inverse_eigenvalue": inverse_n,
            "scalar": p,
            "scalar_inverse": _inverse(p, weight_h),
            # [to, from, M, P, Q]
            "vector": torch.stack([torch.stack(part.chunk(2, dim=-2)) for part in vector.chunk(2, dim=-1)]),
            "vector_inverse": torch.stack(
                [torch.stack(part.chunk(2, dim=-2)) for part in vector_inverse.chunk(2, dim=-1)]
            ),
        }
        # Real and imaginary part of a wave at every longitude, for waves and for i times waves: [2, 2 M, W].
        angle_mw = n[:, None] * torch.arange(longitudes, dtype=torch.float64) * (2 * torch.pi / longitudes)
        cosine, sine = angle_mw.cos(), angle_mw.sin()
        turns = torch.stack((torch.stack((cosine, -sine), 1), torch.stack((sine, cosine), 1)))
        tables["fourier"] = (turns * torch.where(n > 0, 2, 1)[:, None, None]).flatten(1, 2)
        tables["fourier_inverse"] = turns.flatten(1, 2) / longitudes
        for name, table in tables.items():
            self.register_buffer(name, table.contiguous(), persistent=False)

    @classmethod
    def of(cls, latitude_deg: Tensor, longitudes: int) -> "SphericalTransform":
        """With the largest truncation at which products of two fields are free of aliasing."""
        return cls(latitude_deg, longitudes, min(2 * len(latitude_deg) - 1, longitudes - 1) // 3)

    def analysis(self, f: Tensor) -> Tensor:
        """Coefficients of a field: real [..., H, W] -> complex [..., N, M], 0 where n < m."""
        return self.coefficients(self.analysis_modes(self._flat(f)), f.shape[:-2])

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """A field from its coefficients: complex [..., N, M] -> real [..., H, W]."""
        shape = (*coefficients.shape[:-2], self.latitudes, self.longitudes)
        return self.synthesis_modes(self.modes(coefficients)).reshape(shape)

    def vorticity_divergence(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients of the vorticity and divergence, 1/s, of the wind u eastward, v northward, m/s: [..., H, W]
        twice -> [..., N, M] twice. By parts, so that no field is differentiated (Hack & Jakob 1992)."""
        zeta, delta = self.vorticity_divergence_modes(self._flat(u), self._flat(v))
        return self.coefficients(zeta, u.shape[:-2]), self.coefficients(delta, u.shape[:-2])

    def wind(self, zeta: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """The wind u, v, m/s, with this vorticity and divergence, 1/s: [..., N, M] twice -> [..., H, W] twice."""
        u, v = self.wind_modes(self.modes(zeta), self.modes(delta))
        shape = (*zeta.shape[:-2], self.latitudes, self.longitudes)
        return u.reshape(shape), v.reshape(shape)

    def gradient(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """df/dx eastward and df/dy northward of a field, per m: [..., N, M] -> [..., H, W] twice."""
        return self.wind(torch.zeros_like(coefficients), self.laplacian(coefficients))

    def laplacian(self, coefficients: Tensor) -> Tensor:
        """Coefficients of the Laplacian, per m^2: times -n (n + 1) / radius^2."""
        return coefficients * self.eigenvalue[:, None]

    def inverse_laplacian(self, coefficients: Tensor) -> Tensor:
        """Coefficients of the field with this Laplacian and mean 0; the mean of what is given is left out."""
        return coefficients * self.inverse_eigenvalue[:, None]

    def spectrum(self, coefficients: Tensor) -> Tensor:
        """Power in each total wavenumber: [..., N, M] -> real [..., N], whose sum is the area mean of f^2."""
        power = torch.view_as_real(coefficients).square().sum(-1)
        return 2 * power.sum(-1) - power[..., 0]

    def modes(self, coefficients: Tensor) -> Tensor:
        """Complex [..., N, M] -> the same as real [M, C, B, N], with B the product of the leading axes."""
        size = self.truncation + 1
        if coefficients.shape[-2:] != (size, size):
            raise ValueError(
                f"the coefficients are {list(coefficients.shape)}; their last axes must be [{size}, {size}]"
            )
        self._same(coefficients, coefficients.real.dtype)
        return torch.view_as_real(coefficients.reshape(-1, size, size)).permute(2, 3, 0, 1).contiguous()

    def coefficients(self, modes: Tensor, lead: Sequence[int]) -> Tensor:
        """Real [M, C, B, N] -> complex [*lead, N, M]."""
        made = torch.view_as_complex(modes.permute(2, 3, 0, 1).contiguous())
        return made.reshape(*lead, *made.shape[1:])

    def analysis_modes(self, f: Tensor) -> Tensor:
        """`analysis` in modes: [B, H, W] -> [M, C, B, N]."""
        return _split(torch.bmm(self._waves(f), self.scalar_inverse))

    def synthesis_modes(self, modes: Tensor) -> Tensor:
        """`synthesis` in modes: [M, C, B, N] -> [B, H, W]."""
        return self._grid(torch.bmm(modes.flatten(1, 2), self.scalar))

    def vorticity_divergence_modes(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """`vorticity_divergence` in modes: [B, H, W] twice -> [M, C, B, N] twice."""
        zeta, turned = _both(self.vector_inverse, self._waves(u), self._waves(v, turned=1))
        return _split(zeta), -_turn(_split(turned))

    def wind_modes(self, zeta: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """`wind` in modes: [M, C, B, N] twice -> [B, H, W] twice."""
        u, turned = _both(self.vector, zeta.flatten(1, 2), _turn(delta).flatten(1, 2))
        return self._grid(u), self._grid(turned, turned=1)

    def _waves(self, f: Tensor, *, turned: int = 0) -> Tensor:
        """Fourier coefficients over longitude, or i times them: [B, H, W] -> [M, C B, H]."""
        wave = self.fourier_inverse[turned] @ f.reshape(-1, self.longitudes).T
        return wave.view(self.truncation + 1, -1, self.latitudes)

    def _grid(self, wave: Tensor, *, turned: int = 0) -> Tensor:
        """The field with these Fourier coefficients, or these divided by i: [M, C B, H] -> [B, H, W]."""
        f = wave.view(2 * (self.truncation + 1), -1).T @ self.fourier[turned]
        return f.view(-1, self.latitudes, self.longitudes)

    def _flat(self, f: Tensor) -> Tensor:
        """[..., H, W] -> [B, H, W], or a refusal of another grid or precision."""
        if f.shape[-2:] != (self.latitudes, self.longitudes):
            raise ValueError(
                f"the field is {list(f.shape)}; its last axes must be the grid [{self.latitudes}, {self.longitudes}]"
            )
        self._same(f, f.dtype)
        return f.reshape(-1, self.latitudes, self.longitudes)

    def _same(self, given: Tensor, real: torch.dtype) -> None:
        """Refuses another precision than the tables have."""
        if real != self.eigenvalue.dtype:
            raise ValueError(f"{given.dtype} was given to a transform in {self.eigenvalue.dtype}; convert one of them")


def _check(latitude_deg: Tensor, longitudes: int, truncation: int, radius: float) -> None:
    """Refuses grids and truncations that cannot be."""
    if truncation < 0 or not radius > 0:
        raise ValueError(f"truncation must be 0 or more and the radius positive, not {truncation} and {radius}")
    if latitude_deg.dim() != 1 or not len(latitude_deg):
        raise ValueError(f"latitudes must be [H], not {list(latitude_deg.shape)}")
    if not (latitude_deg.diff() > 0).all() or not latitude_deg.abs().max() <= 90:
        raise ValueError("latitudes must rise from south to north, in degrees between -90 and 90")
    if longitudes < 2 * truncation + 1:
        raise ValueError(f"truncation {truncation} needs at least {2 * truncation + 1} longitudes, not {longitudes}")
    inside = int((latitude_deg.abs() < 90).sum())
    if inside < truncation + 1:
        raise ValueError(f"truncation {truncation} needs {truncation + 1} latitudes beside the poles, not {inside}")


def _inverse(table_mpq: Tensor, weight_q: Tensor) -> Tensor:
    """The least-squares inverse [M, Q, P] of tables that act from the left on rows, with weights for what they make."""
    size_mp = (table_mpq.square() @ weight_q).sqrt()
    there_mp = size_mp > 0  # the others are n < m, and the winds of n = 0: these columns stay 0 exactly
    scale_mp = torch.where(there_mp, 1 / size_mp, 0)
    scaled_mpq = table_mpq * scale_mp[..., None]
    root_q = weight_q.sqrt()
    inverse_mqp = torch.linalg.pinv(scaled_mpq * root_q, rtol=WORST) * root_q[:, None] * there_mp[:, None]
    if not (scaled_mpq @ inverse_mqp - torch.diag_embed(there_mp.double())).abs().max() < 1e-6:
        raise ValueError("these latitudes do not determine the harmonics; they must cover the globe, or T be smaller")
    return inverse_mqp * scale_mp[:, None]


def _both(table: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two outputs from two inputs by a 2 x 2 block of tables: [to, from, M, P, Q] on [M, C B, P] twice."""
    one, two = (torch.baddbmm(torch.bmm(first, part[0]), second, part[1]) for part in table)
    return one, two


def _split(rows: Tensor) -> Tensor:
    """[M, C B, N] -> [M, C, B, N]."""
    return rows.unflatten(1, (2, -1))


def _turn(modes: Tensor) -> Tensor:
    """i times what is given as [M, C, B, N]."""
    return torch.stack((-modes[:, 1], modes[:, 0]), dim=1)
