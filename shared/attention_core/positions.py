"""Where things are: rotary phases in 1 to 4 axes, Fourier features, spherical harmonics.

Legend: T positions, A axes, D head width, F frequencies.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turns each pair (x[2 i], x[2 i + 1]) of the last axis by its phase, in float32 or better.

    x: [..., D]; rotation: complex unit numbers that broadcast to [..., D/2]. Returns float32 or float64.
    """
    x = x if x.dtype == torch.float64 else x.float()
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2)


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021, RoFormer, eq. 15) for points on a line, a plane, in space or space-time.

    The D/2 pairs of a head are dealt to the axes in turn, each axis with frequencies base^(-i/n). The product of a
    rotated query and a rotated key depends only on the difference of their positions, along every axis.

    >>> rotary = Rotary(32, axes=2)
    >>> rotation = rotary(grid_positions((4, 6)))        # 24 places of a 4 x 6 grid
    >>> rotate(torch.randn(1, 8, 24, 32), rotation).shape
    torch.Size([1, 8, 24, 32])
    """

    def __init__(self, head_dim: int, axes: int = 1, *, base: float = 10_000.0) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"rotary positions need an even head width, not {head_dim}")
        if not 1 <= axes <= 4 or head_dim // 2 < axes:
            raise ValueError(f"axes must be 1 to 4 and at most half the head width, not {axes} for width {head_dim}")
        self.axes = axes
        pairs = head_dim // 2
        axis_f = torch.arange(pairs) % axes
        rank_f = torch.arange(pairs) // axes
        count_f = (pairs - axis_f + axes - 1) // axes
        # No buffers: casting the model to bfloat16, as FSDP does in mixed precision, would round the frequencies.
        self.axis_f, self.frequency_f = axis_f, base ** (-rank_f.double() / count_f)

    def forward(self, positions: Tensor) -> Tensor:
        """positions: [..., T, axes], or [T] where there is one axis; any real numbers.

        Returns the rotation, exp(i phase), complex [..., T, D/2]; made once a forward pass and shared by all layers.
        """
        if positions.ndim == 1:
            positions = positions[:, None]
        if positions.shape[-1] != self.axes:
            raise ValueError(
                f"positions have {positions.shape[-1]} axes, this rotary {self.axes}: give [..., T, {self.axes}]"
            )
        precise = torch.float64 if positions.dtype == torch.float64 else torch.float32
        frequency_f = self.frequency_f.to(precise).to(positions.device)
        phase = positions.to(precise)[..., self.axis_f.to(positions.device)] * frequency_f
        return torch.polar(torch.ones_like(phase), phase)


class SphereRotary(nn.Module):
    """Rotary positions on a sphere: half the pairs of a head turn with the latitude, half with the longitude, and those
    by whole wavenumbers, so that there is no seam: turning all longitudes, by any angle, changes no product of a query
    and a key, and a whole turn changes nothing.

    max_wavenumber: of the fastest pair; about 180 over the spacing of the places in degrees.

    >>> rotary = SphereRotary(32, max_wavenumber=16)
    >>> rotary(torch.zeros(24), torch.rand(24)).shape
    torch.Size([24, 16])
    """

    def __init__(self, head_dim: int, *, max_wavenumber: float) -> None:
        super().__init__()
        if head_dim % 4:
            raise ValueError(f"rotary positions on a sphere need a head width in fours, not {head_dim}")
        if max_wavenumber < 1:
            raise ValueError(f"max_wavenumber must be at least 1, not {max_wavenumber}")
        count = head_dim // 4
        self.wavenumber_f = torch.logspace(0, math.log10(max_wavenumber), count, dtype=torch.float64).round()

    def forward(self, latitude: Tensor, longitude: Tensor) -> Tensor:
        """latitude, longitude: [..., T] in radians. Returns the rotation, complex [..., T, D/2]."""
        precise = torch.float64 if latitude.dtype == torch.float64 else torch.float32
        wavenumber_f = self.wavenumber_f.to(precise).to(latitude.device)
        phase = torch.stack((latitude, longitude), dim=-1).to(precise)[..., None] * wavenumber_f
        return torch.polar(torch.ones_like(phase), phase).flatten(-2)


def grid_positions(shape: Sequence[int], *, device: torch.device | str | None = None) -> Tensor:
    """The index of every place of a grid in row-major order, float [prod(shape), len(shape)].

    >>> grid_positions((1, 2)).tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    axes = [torch.arange(n, device=device, dtype=torch.float32) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(shape))


class FourierFeatures(nn.Module):
    """cos and sin of the coordinates at frequencies spaced evenly in the logarithm (Vaswani et al. 2017, sec. 3.5;
    Mildenhall et al. 2020, eq. 4). For times in [0, 1], point coordinates, and other real numbers.

    [..., dims] -> [..., 2 * bands * dims]; wave lengths from 2 pi / max_frequency to 2 pi / min_frequency.

    >>> FourierFeatures(3, bands=8)(torch.rand(5, 100, 3)).shape
    torch.Size([5, 100, 48])
    """

    def __init__(self, dims: int, *, bands: int = 16, min_frequency: float = 1.0, max_frequency: float = 256.0) -> None:
        super().__init__()
        if bands < 1 or not 0 < min_frequency <= max_frequency:
            raise ValueError("FourierFeatures needs bands >= 1 and 0 < min_frequency <= max_frequency")
        self.out_dim = 2 * bands * dims
        self.bands, self.log_range = bands, (math.log(min_frequency), math.log(max_frequency))

    def forward(self, x: Tensor) -> Tensor:
        frequency_f = torch.linspace(*self.log_range, self.bands, device=x.device).exp()  # no buffer: as in Rotary
        phase = (x[..., None] * frequency_f).flatten(-2)
        return torch.cat((phase.cos(), phase.sin()), dim=-1)


def spherical_harmonics(latitude: Tensor, longitude: Tensor, degree: int) -> Tensor:
    """Real, orthonormal spherical harmonics up to `degree`: [...] radians twice -> [..., (degree + 1)^2].

    Latitude and longitude broadcast against each other: [H, 1] and [W] make a grid [H, W].

    Order: (l, m) = (0, 0), (1, -1), (1, 0), (1, 1), (2, -2) ...; m < 0 carries sin(|m| longitude), m > 0 cos.
    The integral over the sphere of Y_i Y_j is 1 where i = j and 0 elsewhere. Computed in float64 by the standard
    stable recurrence over fully normalised Legendre functions (Holmes & Featherstone 2002, eq. 11-13), without the
    Condon-Shortley phase. As positions they have no seam at 180 degrees and no pole where directions lose meaning.
    """
    if degree < 0:
        raise ValueError(f"degree must not be negative, got {degree}")
    latitude, longitude = torch.broadcast_tensors(latitude, longitude)
    sin_lat, cos_lat = latitude.double().sin(), latitude.double().cos()
    legendre: dict[tuple[int, int], Tensor] = {(0, 0): torch.full_like(sin_lat, math.sqrt(1 / (4 * math.pi)))}
    for m in range(1, degree + 1):
        legendre[m, m] = math.sqrt((2 * m + 1) / (2 * m)) * cos_lat * legendre[m - 1, m - 1]
    for m in range(degree + 1):
        for n in range(m + 1, degree + 1):
            a = math.sqrt((2 * n - 1) * (2 * n + 1) / ((n - m) * (n + m)))
            value = a * sin_lat * legendre[n - 1, m]
            if n - 2 >= m:
                b = math.sqrt((2 * n + 1) * (n + m - 1) * (n - m - 1) / ((n - m) * (n + m) * (2 * n - 3)))
                value = value - b * legendre[n - 2, m]
            legendre[n, m] = value
    lon, features = longitude.double(), []
    for n in range(degree + 1):
        for m in range(-n, n + 1):
            wave = math.sqrt(2) * ((-m * lon).sin() if m < 0 else (m * lon).cos()) if m else 1.0
            features.append(legendre[n, abs(m)] * wave)
    return torch.stack(features, dim=-1).to(latitude.dtype)
