"""Fréchet distance between two clouds of features."""

import numpy as np
from scipy import linalg
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) for the Gaussians fitted to features [n, d] and [m, d]
    (Dowson & Landau 1982, eq. 4; Heusel et al. 2017). In float64; needs more rows than columns to be meaningful."""
    a, b = first.double().cpu().numpy(), second.double().cpu().numpy()
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"the Fréchet distance needs at least 2 rows on each side, got {len(a)} and {len(b)}")
    difference = a.mean(0) - b.mean(0)
    cov_a, cov_b = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    # tr (C1 C2)^(1/2) by the symmetric form: eigenvalues of C1^(1/2) C2 C1^(1/2), which are real and not negative
    values, vectors = linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(linalg.eigvalsh(root @ cov_b @ root).clip(min=0)).sum()
    return float(difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)
