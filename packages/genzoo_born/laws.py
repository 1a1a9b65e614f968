"""Laws of bit strings that are known exactly: what a Born machine is trained on and scored against.

Legend: K peaks, n bits, N = 2^n strings.
"""

from abc import ABC, abstractmethod
from itertools import combinations
from math import comb

import torch
from torch import Tensor

from genzoo.draws import GeneratorNoise, torch_generator
from genzoo.errors import UserError
from genzoo_born.hypercube import digits, draw, numbers, strings

MOST_PEAKS = 10_000_000
"""Peaks times peaks, or times bits, that are drawn to be far apart."""

ENUMERATED = 24
"""Most bits whose strings are all listed."""


class Law(ABC):
    """A law of strings of `bits` bits."""

    bits: int

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """n strings [n, bits]."""

    def support(self) -> Tensor | None:
        """The strings of a uniform law [K, bits], each once; None for other laws, and where they are too many."""
        return None

    def valid(self, x: Tensor) -> Tensor | None:
        """Which strings belong to the support [B]; None where every string does."""
        return None

    def table(self) -> Tensor | None:
        """The probability of every string [N], in float64; None where they are too many."""
        every = self.support() if self.bits <= ENUMERATED else None
        if every is None:
            return None
        made = torch.zeros(2**self.bits, dtype=torch.float64)
        made[numbers(every)] = 1 / len(every)
        return made


class BarsAndStripes(Law):
    """Pictures of which all rows, or all columns, are of one colour; each as likely (MacKay 2003, sec. 43)."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns, self.bits = rows, columns, rows * columns

    def support(self) -> Tensor | None:
        if max(self.rows, self.columns) > 16:
            return None
        by_row = strings(self.rows)[:, :, None].expand(-1, -1, self.columns)
        by_column = strings(self.columns)[:, None].expand(-1, self.rows, -1)
        return torch.cat((by_row.flatten(1), by_column.flatten(1))).unique(dim=0)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        by_row, by_column = 2**self.rows, 2**self.columns - 2  # pictures of one colour count as rows
        rows = torch.randint(2, (n, self.rows, 1), generator=generator)
        columns = torch.randint(2, (n, 1, self.columns), generator=generator)
        while by_column and (plain := columns.sum(2) % self.columns == 0).any():
            columns[plain] = torch.randint(2, (int(plain.sum()), self.columns), generator=generator)
        choose = torch.rand(n, 1, 1, generator=generator) < by_row / (by_row + by_column)
        return torch.where(choose, rows, columns).flatten(1)

    def valid(self, x: Tensor) -> Tensor:
        grid = x.view(-1, self.rows, self.columns)
        return (grid == grid[:, :, :1]).flatten(1).all(1) | (grid == grid[:, :1]).flatten(1).all(1)


class Cardinality(Law):
    """Strings with a fixed number of ones, each as likely: portfolios of so many assets, say."""

    def __init__(self, bits: int, ones: int) -> None:
        if not 0 <= ones <= bits:
            raise UserError(f"data.ones must lie between 0 and the {bits} bits, not {ones}")
        self.bits, self.ones = bits, ones

    def support(self) -> Tensor | None:
        if self.bits > ENUMERATED or comb(self.bits, self.ones) > 1_000_000:
            return None
        chosen = torch.tensor(list(combinations(range(self.bits), self.ones)), dtype=torch.long)
        return torch.zeros(len(chosen), self.bits, dtype=torch.long).scatter_(1, chosen, 1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        chosen = torch.rand(n, self.bits, generator=generator).argsort(1)[:, : self.ones]
        return torch.zeros(n, self.bits, dtype=torch.long).scatter_(1, chosen, 1)

    def valid(self, x: Tensor) -> Tensor:
        return x.sum(1) == self.ones


class Blobs(Law):
    """A peak drawn at random, each of its bits flipped with probability `flip` (Recio-Armengol et al. 2025)."""

    def __init__(self, peaks_kn: Tensor, flip: float) -> None:
        if not 0 < flip < 0.5:
            raise UserError(f"data.flip must lie between 0 and 0.5, not {flip}")
        self.peaks_kn, self.flip, self.bits = peaks_kn, flip, peaks_kn.shape[1]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        peak = torch.randint(len(self.peaks_kn), (n,), generator=generator)
        return self.peaks_kn[peak] ^ (torch.rand(n, self.bits, generator=generator) < self.flip).long()

    def table(self) -> Tensor | None:
        if self.bits > ENUMERATED:
            return None
        total = torch.zeros(2**self.bits, dtype=torch.float64)
        for peak in self.peaks_kn:
            one = torch.ones(1, dtype=torch.float64)
            for bit in peak.tolist():
                high, low = (1 - self.flip, self.flip) if bit else (self.flip, 1 - self.flip)
                one = (one[:, None] * torch.tensor([low, high], dtype=torch.float64)).flatten()
            total += one / len(self.peaks_kn)
        return total


class Ising(Law):
    """Boltzmann's law of spins on a square lattice with random couplings, by enumeration.

    couplings: normal, between neighbours (open edges), drawn from `seed`; temperature: in units of their deviation.
    """

    def __init__(self, rows: int, columns: int, *, temperature: float, seed: int) -> None:
        self.bits = rows * columns
        if self.bits > ENUMERATED:
            raise UserError(
                f"data.path=ising lists all strings: data.rows * data.columns is at most {ENUMERATED}, not {self.bits}"
            )
        if temperature <= 0:
            raise UserError(f"data.temperature must be positive, not {temperature}")
        site = torch.arange(self.bits).view(rows, columns)
        right = torch.stack((site[:, :-1].flatten(), site[:, 1:].flatten()))
        down = torch.stack((site[:-1].flatten(), site[1:].flatten()))
        self.edges = torch.cat((right, down), dim=1)
        generator = torch_generator("couplings", seed)
        self.couplings = torch.randn(self.edges.shape[1], generator=generator, dtype=torch.float64)
        self.temperature = temperature
        self._table: Tensor | None = None

    def table(self) -> Tensor:
        if self._table is None:
            minus_energy = torch.zeros(2**self.bits, dtype=torch.float64)
            number = torch.arange(2**self.bits)
            for (a, b), coupling in zip(self.edges.T.tolist(), self.couplings.tolist(), strict=True):
                differ = (number >> (self.bits - 1 - a)) ^ (number >> (self.bits - 1 - b))
                minus_energy += coupling * (1 - 2 * (differ & 1))
            self._table = (minus_energy / self.temperature).softmax(0)
        return self._table

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return digits(draw(self.table(), n, GeneratorNoise(generator)), self.bits)


def spread_peaks(count: int, bits: int, seed: int) -> Tensor:
    """Random peaks [count, bits], far apart: of many draws the one whose nearest two differ most."""
    generator = torch_generator("peaks", seed)
    best, apart = None, -1
    for _ in range(200):
        peaks = torch.randint(2, (count, bits), generator=generator)
        distances = torch.cdist(peaks.float(), peaks.float(), p=1).fill_diagonal_(bits)
        nearest = int(distances.min().round())
        if nearest > apart:
            best, apart = peaks, nearest
    return best
