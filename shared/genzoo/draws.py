"""Random numbers as pure functions of what they are for, so that nothing has to be remembered between steps."""

import hashlib
from functools import lru_cache

import numpy as np
import torch


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part, the same on every machine."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def torch_generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator for one purpose."""
    return torch.Generator(device).manual_seed(seed_of(*parts))


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.Generator(np.random.Philox(seed_of(*parts)))


@lru_cache(maxsize=4)
def _permutation(epoch: int, n: int, *parts: int | str) -> np.ndarray:
    return numpy_generator("epoch", epoch, *parts).permutation(n)


def items_in_epochs(positions: range, n: int, *parts: int | str) -> np.ndarray:
    """The items at positions (in rising order) of the stream of `in_epochs`."""
    epochs = range(positions.start // n, (positions.stop - 1) // n + 1)
    whole = [_permutation(epoch, n, *parts) for epoch in epochs]
    first = epochs.start * n
    stream = np.concatenate(whole or [np.empty(0, int)])
    return stream[positions.start - first : positions.stop - first : positions.step]


def in_epochs(position: int, n: int, *parts: int | str) -> tuple[int, int]:
    """The item to take at a position of an endless stream that goes through all n items, in a new random order each
    epoch. Returns (epoch, item); parts name the stream (seed, split)."""
    epoch, place = divmod(position, n)
    return epoch, int(_permutation(epoch, n, *parts)[place])
