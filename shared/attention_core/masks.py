"""Boolean attention masks, True where a query may look. Shape [queries, keys] throughout."""

import torch
from torch import Tensor


def band_mask(
    queries: int, keys: int, *, causal: bool = True, window: int | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Which key each query may see, as bool [queries, keys].

    The last query stands at the position of the last key, so the same call serves a whole sequence
    (`queries == keys`) and a piece of one whose past lies in a cache (`queries < keys`).

    causal: no key after the query.
    window: only keys less than `window` positions away (before, and, if not causal, after).

    >>> band_mask(2, 3, window=2).int().tolist()
    [[1, 1, 0], [0, 1, 1]]
    """
    if queries > keys:
        raise ValueError(f"{queries} queries for {keys} keys: the last query must stand at the last key")
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1, not {window}")
    distance_qk = (
        torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)[None, :]
    )
    mask_qk = distance_qk >= 0 if causal else torch.ones_like(distance_qk, dtype=torch.bool)
    if window is not None:
        mask_qk = mask_qk & (distance_qk.abs() < window)
    return mask_qk
