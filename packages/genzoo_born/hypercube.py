"""Functions on all bit strings of n bits, and between sets of them.

Legend: N = 2^n strings, B strings at hand, n bits.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from genzoo.draws import Noise

MOST_BITS = 1 << 16
"""Of a string."""
COUNTED = 20
"""Up to so many bits, sets of strings are compared by how often each string occurs."""


def strings(bits: int, device: torch.device | str = "cpu") -> Tensor:
    """All bit strings in the order of their numbers, [2^bits, bits]; the first bit is the most significant."""
    return digits(torch.arange(2**bits, device=device), bits)


def digits(number: Tensor, bits: int) -> Tensor:
    """Numbers [...] as bits [..., bits]."""
    return (number[..., None] >> torch.arange(bits - 1, -1, -1, device=number.device)) & 1


def numbers(x: Tensor) -> Tensor:
    """Bits [..., bits] as numbers [...]."""
    return (x.long() << torch.arange(x.shape[-1] - 1, -1, -1, device=x.device)).sum(-1)


def draw(probabilities: Tensor, n: int, noise: Noise) -> Tensor:
    """n numbers of strings from their probabilities [N], which need not sum to one exactly."""
    return at_levels(probabilities, noise.uniform(n, dtype=torch.float64))


def at_levels(probabilities: Tensor, level: Tensor) -> Tensor:
    """The numbers of the strings at which the cumulated probabilities pass these levels in [0, 1), float64 [n]."""
    cumulated = probabilities.double().cumsum(0)
    return torch.searchsorted(cumulated, level * cumulated[-1], right=True).clamp_(max=len(cumulated) - 1)


def flip_rate(bandwidth: float) -> float:
    """exp(-1 / 2 bandwidth^2): what the Gaussian kernel exp(-|x - y|^2 / 2 bandwidth^2) takes off for each bit in which
    two strings differ."""
    if bandwidth <= 0:
        raise ValueError(f"a bandwidth must be positive, not {bandwidth}")
    return math.exp(-0.5 / bandwidth**2)


def smooth(f: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """sum_y k(x, y) f(y) for f on all strings [N], with the mean of Gaussian kernels of these bandwidths; the kernels
    are products over bits, so that this is a Kronecker product."""
    bits = len(f).bit_length() - 1
    total = torch.zeros_like(f)
    for bandwidth in bandwidths:
        g = f
        left = bits
        while left:
            k = min(4, left)
            distance = (strings(k, f.device)[:, None] != strings(k, f.device)[None]).sum(-1)
            kernel = (flip_rate(bandwidth) ** distance.double()).to(f)
            g = (g.view(2**k, -1).T @ kernel).flatten()  # these bits become the last
            left -= k
        total = total + g / len(bandwidths)
    return total


def kernel(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """Mean Gaussian kernel between strings [A, bits] and [B, bits], [A, B]."""
    x, y = 1.0 - 2 * x.float(), 1.0 - 2 * y.float()
    distance = (x.shape[1] - x @ y.T) / 2
    return torch.stack([flip_rate(b) ** distance for b in bandwidths]).mean(0)


def mmd2(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """Squared maximum mean discrepancy of two sets of strings, unbiased (Gretton et al. 2012, eq. 3): 0 where the laws
    are equal; the estimate of zero scatters around zero."""
    if len(x) < 2 or len(y) < 2:
        raise ValueError(f"the MMD needs at least 2 strings on each side, got {len(x)} and {len(y)}")

    between = pairs_kernel(x, y, bandwidths) / (len(x) * len(y))
    return _within(x, bandwidths) + _within(y, bandwidths) - 2 * between


def mmd2_to_law(x: Tensor, law: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """The same of strings [B, bits] to a law [N], with the law's own terms exact."""
    if len(x) < 2:
        raise ValueError("the MMD needs at least 2 strings")
    smoothed = smooth(law, bandwidths)
    return _within(x, bandwidths) + law @ smoothed - 2 * smoothed[numbers(x)].mean()


def pairs_kernel(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """Sum of the kernel over all pairs of strings [A, bits] and [B, bits], in float64."""
    bits = x.shape[1]
    if bits <= COUNTED:
        counts = [torch.bincount(numbers(z), minlength=2**bits).double() for z in (x, y)]
        return counts[0] @ smooth(counts[1], bandwidths)
    return sum(kernel(part, y, bandwidths).double().sum() for part in x.split(1024))


def _within(x: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """Mean kernel of two different ones of the strings."""
    return (pairs_kernel(x, x, bandwidths) - len(x)) / (len(x) * (len(x) - 1))
