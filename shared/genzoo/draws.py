"""Random numbers as pure functions of what they are for, so that nothing has to be remembered between steps."""

import hashlib
import math
from abc import ABC, abstractmethod
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


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


class Noise(ABC):
    """Where a sampler's random numbers come from, on `device`. The first axis of what is asked for are the rows: the
    samples, or so many for each of them, one sample after another."""

    device: torch.device

    @abstractmethod
    def uniform(self, rows: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """[rows, *shape] in [0, 1)."""

    @abstractmethod
    def normal(self, rows: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """[rows, *shape] of mean 0 and variance 1."""

    @abstractmethod
    def choose(self, probability: Tensor) -> Tensor:
        """For each row of probabilities [rows, V] one of the V, int64 [rows]."""

    def integers(self, most: int, rows: int, *shape: int) -> Tensor:
        """[rows, *shape] from 0 to most - 1, int64."""
        return (self.uniform(rows, *shape, dtype=torch.float64) * most).long()


class GeneratorNoise(Noise):
    """Drawn one after another from a generator, as losses draw: what a row gets depends on the rows beside it.

    generator: None for torch's global one, on `device`.
    """

    def __init__(self, generator: torch.Generator | None, device: torch.device | str = "cpu") -> None:
        self.generator = generator
        self.device = torch.device(device) if generator is None else generator.device

    def uniform(self, rows: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(rows, *shape, generator=self.generator, device=self.device, dtype=dtype)

    def normal(self, rows: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(rows, *shape, generator=self.generator, device=self.device, dtype=dtype)

    def choose(self, probability: Tensor) -> Tensor:
        return torch.multinomial(probability, 1, generator=self.generator)[:, 0]

    def integers(self, most: int, rows: int, *shape: int) -> Tensor:
        return torch.randint(most, (rows, *shape), generator=self.generator, device=self.device)


class RowNoise(Noise):
    """A function of (seed, row, how many draws came before) alone: Philox4x32-10 (Salmon et al. 2011), vectorised. A
    sample's numbers depend neither on how many samples there are, nor on the batch that it is made in.

    rows: numbers of the samples, which need not begin at 0. seed: whatever tells this noise from other noise.
    """

    AHEAD = 256
    """Choices drawn at once: one by one they would cost more than a small network does."""

    def __init__(self, rows: range, *seed: int | str, device: torch.device | str = "cpu") -> None:
        key = seed_of("noise", *seed)
        self.key, self.rows, self.device = (key % 2**32, key >> 32), rows, torch.device(device)
        self.drawn = self.chosen = 0
        self.ahead = torch.empty(0)

    def _words(self, rows: int, count: int) -> Tensor:
        """Random numbers of 32 bits, float64 [rows, count]; on the CPU where the device lacks such numbers."""
        each, rest = divmod(rows, len(self.rows))
        assert not rest, f"{rows} rows are not so many for each of {len(self.rows)} samples"
        blocks, sample = np.arange(-(-each * count // 4), dtype=np.uint64), np.array(self.rows, dtype=np.uint64)
        here, call = np.broadcast_to(blocks, (len(sample), len(blocks))), np.uint64(self.drawn)
        words = philox(here & LOW, here >> HALF, np.broadcast_to(sample[:, None], here.shape), call, key=self.key)
        self.drawn += 1
        flat = np.stack(words, axis=-1).reshape(len(sample), -1)[:, : each * count].astype(np.float64)
        return torch.from_numpy(flat).to("cpu" if self.device.type == "mps" else self.device).reshape(rows, count)

    def uniform(self, rows: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        words = self._words(rows, math.prod(shape))
        if dtype != torch.float64:  # whose 24 bits are what does not round up to 1
            words = words.div(256, rounding_mode="floor").mul(256)
        return (words / 2**32).to(self.device, dtype).view(rows, *shape)

    def normal(self, rows: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """By Box and Muller (1958), in 64 bits, so that it does not show how a processor cuts rows into its own."""
        count = math.prod(shape)
        words = self._words(rows, count + count % 2) / 2**32
        radius, angle = (words[:, ::2] + 2**-33).log().mul(-2).sqrt(), words[:, 1::2] * (2 * math.pi)
        both = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1).flatten(1)[:, :count]
        return both.to(self.device, dtype).reshape(rows, *shape)

    def choose(self, probability: Tensor) -> Tensor:
        """By the inverse of the distribution: the first whose cumulated probability is above a uniform number."""
        place = self.chosen % self.AHEAD
        if place == 0:
            self.ahead = self.uniform(len(probability), self.AHEAD, dtype=torch.float64)
        self.chosen += 1
        below = probability.double().cumsum(dim=-1)
        return torch.searchsorted(below, self.ahead[:, place, None] * below[:, -1:], right=True)[:, 0]


def philox(*counter: np.ndarray, key: tuple[int, int]) -> list[np.ndarray]:
    """Philox4x32 of ten rounds: four words of 32 bits from four, all as uint64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        one, two = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (two >> HALF) ^ c1 ^ np.uint64(k0), two & LOW
        c2, c3 = (one >> HALF) ^ c3 ^ np.uint64(k1), one & LOW
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


LOW, HALF = np.uint64(2**32 - 1), np.uint64(32)
"""The lower 32 of 64 bits, and how far the upper ones are."""
