"""Bit strings as examples for a model, and samples as bit strings.

Legend: B batch, n samples.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Batch, Data, Piece, Request, Spec
from genzoo.draws import items_in_epochs, torch_generator
from genzoo.errors import UserError
from genzoo.folders import check_share, in_order
from genzoo.page.items import Exhibit, still
from genzoo.reading import Broken, judge, reading
from genzoo_born import laws
from genzoo_born.hypercube import MOST_BITS

MAX_MB = 100.0
"""Of a file, and of the strings drawn, where nothing else is asked for."""

LONGEST_LINE = 4 * MOST_BITS

PICTURED = 64
"""Samples in a preview."""

NAMED = ("bas", "blobs", "ising", "cardinality")
"""Laws that `path` may name."""


class BornData(Data):
    """Bit strings, drawn from a known law or read from a file.

    path: bas (bars and stripes), blobs, ising, cardinality, or a CSV file of bits, one string a line.
    rows, columns: the picture a string is; their product is its length. With a file they are only how samples are
        shown, where they fit.
    strings: how many are drawn from a law to train on, and as many again to validate; null takes each string of a
        uniform law (bas, cardinality) once, for training and for validation.
    peaks: of blobs: how many, or a CSV file of them. With a file of strings, such a file gives the law to score
    against.
    flip: probability that a bit differs from its peak's. temperature: of ising. ones: of cardinality, default half.
    val_path: CSV of the strings to validate on; default: the last `val_fraction` of the file.
    select_fraction: share of what is left to train on that chooses the weights, so that figures are of others; else the
        last weights are scored.
    max_mb: larger files, and more strings from a law, are refused, in megabytes (of 8 bytes a bit).
    seed: of the law's own constants, of the strings drawn and of their order.
    """

    scores = "genzoo_born.scores.BornScores"
    unit = "string"

    def __init__(
        self,
        *,
        path: str = "blobs",
        rows: int = 4,
        columns: int = 4,
        strings: int | None = 5000,
        peaks: int | str = 8,
        flip: float = 0.05,
        temperature: float = 3.0,
        ones: int | None = None,
        val_path: str | None = None,
        val_fraction: float = 0.1,
        select_fraction: float = 0.0,
        max_mb: float = MAX_MB,
        seed: int = 0,
    ) -> None:
        if rows < 1 or columns < 1:
            raise UserError(f"data.rows and data.columns must be at least 1, not {rows} and {columns}")
        if rows * columns > MOST_BITS:
            raise UserError(f"data.rows * data.columns must be at most {MOST_BITS} bits, not {rows * columns}")
        if strings is not None and strings < 2:
            raise UserError(f"data.strings must be at least 2, not {strings}")
        if not 0 < val_fraction < 1:
            raise UserError(f"data.val_fraction must lie between 0 and 1, not {val_fraction}")
        self.path, self.rows, self.columns, self.count, self.seed = path, rows, columns, strings, seed
        self.peaks, self.flip, self.temperature, self.ones = peaks, flip, temperature, ones
        check_share(select_fraction)
        self.val_path, self.val_fraction, self.max_mb = val_path, val_fraction, max_mb
        self.select_fraction = select_fraction
        self.bits, self.trained = rows * columns, None
        self.x: dict[str, Tensor] = {}
        self.law: laws.Law | None = None

    def prepare(self) -> None:
        self.bits = self.rows * self.columns
        if self.path in NAMED:
            self._draw()
        else:
            self._read_all()
        if self.select_fraction:
            parts = in_order(self.x["train"], self.select_fraction, 0)
            self.x = {"train": parts["train"], "val": parts["val"], "test": self.x["val"]}
        if self.trained not in (None, self.bits):
            raise UserError(f"the data has strings of {self.bits} bits, and the checkpoint of {self.trained}")

    def _draw(self) -> None:
        """Strings from the law that `path` names."""
        self.law = law = self._named_law()
        self.bits = law.bits
        every = law.support() if self.count is None else None
        if self.count is None:
            if every is None:
                raise UserError(
                    f"data.strings=null needs a uniform law that can be listed: give a number for {self.path}"
                )
            self.x = {"train": every, "val": every}
            return
        if 8e-6 * self.count * self.bits > self.max_mb:
            claimed = f"data.strings={self.count} of {self.bits} bits"
            raise UserError(f"{claimed} are more than data.max_mb={self.max_mb:g}: give fewer")
        generators = {split: torch_generator("strings", self.seed, split) for split in ("train", "val")}
        self.x = {split: law.draw(self.count, generator) for split, generator in generators.items()}

    def _read_all(self) -> None:
        """Strings from files."""
        x = self._read("path", self.path)
        if self.val_path:
            self.x = {"train": x, "val": self._read("val_path", self.val_path)}
        else:
            self.x = in_order(x, self.val_fraction, 0)
        widths = {part.shape[1] for part in self.x.values()}
        if min(map(len, self.x.values())) < 1:
            raise UserError(f"data.path={self.path} holds too few strings to keep some for validation")
        if len(widths) > 1:
            raise UserError(f"data.val_path={self.val_path}: strings not as long as those of {self.path}")
        self.bits = widths.pop()
        if isinstance(self.peaks, str):
            self.law = laws.Blobs(self._read("peaks", self.peaks), self.flip)
            if self.law.bits != self.bits:
                raise UserError(f"data.peaks={self.peaks} has {self.law.bits} bits, and data.path {self.bits}")

    def _read(self, key: str, file: str) -> Tensor:
        return read_bits(file, key=f"data.{key}", max_mb=self.max_mb)

    def _named_law(self) -> laws.Law:
        if self.path == "bas":
            return laws.BarsAndStripes(self.rows, self.columns)
        if self.path == "cardinality":
            return laws.Cardinality(self.bits, self.bits // 2 if self.ones is None else self.ones)
        if self.path == "ising":
            return laws.Ising(self.rows, self.columns, temperature=self.temperature, seed=self.seed)
        if isinstance(self.peaks, str):
            peaks = self._read("peaks", self.peaks)
        elif self.peaks < 1:
            raise UserError(f"data.peaks must be at least 1, not {self.peaks}")
        elif self.peaks * max(self.bits, self.peaks) > laws.MOST_PEAKS:
            raise UserError(f"data.peaks={self.peaks} are too many of {self.bits} bits to be far apart: give fewer")
        else:
            peaks = laws.spread_peaks(self.peaks, self.bits, self.seed)
        return laws.Blobs(peaks, self.flip)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.x)

    @property
    def spec(self) -> Spec:
        return Spec(shape=(self.bits,), vocab=2)

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        x, rows = self.x[split], rows if rows is not None else range(size)
        places = range(step * size + rows.start, step * size + rows.stop, rows.step)
        return Batch(x[torch.from_numpy(items_in_epochs(places, len(x), self.seed, split))])

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        for part in self._split(split).split(size):
            yield Batch(part)

    def units(self, split: str) -> int:
        """Strings."""
        return len(self._split(split))

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        return self._write(x[None], path)

    def write_all(self, samples: Tensor, folder: Path, request: Request) -> list[Path]:
        """All strings in one CSV file, a line each."""
        return [self._write(samples, folder / "samples")]

    def _write(self, samples: Tensor, path: Path) -> Path:
        file = path.with_name(f"{path.name}.csv")
        file.write_text("".join(",".join(map(str, x)) + "\n" for x in samples.tolist()), encoding="ascii")
        return file

    def preview(self, samples: Tensor, path: Path, request: Request) -> Path:
        """The first samples as pictures and, where the law is known, how often its likeliest strings came out."""
        from genzoo_born.pictures import preview

        law = self.law
        if law is None and self.path in NAMED and isinstance(self.peaks, int):
            law = self._named_law()  # needs no file
        table = law.table() if law is not None else None
        return preview(samples, path.with_suffix(".png"), shape=self._shape(), law=table, shown=PICTURED)

    def exhibits(self, pieces: Sequence[Piece], folder: Path, request: Request) -> list[Exhibit]:
        """The preview."""
        told = "samples, and how often each string came out beside the probability that the law gives it"
        return [still(self.preview(pieces[0][0], folder / "preview", request), alt=told)]

    def describe(self, x: Tensor, request: Request) -> str:
        """The picture in blocks, or the bits in a line."""
        if self._shape() is None:
            return "".join(map(str, x.tolist()))
        return "\n".join("".join("██" if bit else "··" for bit in row) for row in x.view(self._shape()).tolist())

    def _shape(self) -> tuple[int, int] | None:
        return (self.rows, self.columns) if self.rows > 1 and self.rows * self.columns == self.bits else None

    def fingerprint(self, split: str) -> str:
        x = self._split(split)
        digest = hashlib.sha256(f"{len(x)} {self.bits}\0".encode())  # other cuts of the same bits differ
        digest.update(x.to(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def state_dict(self) -> dict[str, Any]:
        return {"bits": self.bits}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "bits" not in state:
            raise UserError("this checkpoint is not one of bit strings")
        if type(state["bits"]) is not int or not 1 <= state["bits"] <= MOST_BITS:
            raise UserError(f"this checkpoint says strings of {state['bits']} bits: at most {MOST_BITS} are read")
        self.bits = self.trained = state["bits"]

    def _split(self, split: str) -> Tensor:
        self.check_split(split)
        return self.x[split]


def read_bits(path: str, *, key: str = "data.path", max_mb: float = MAX_MB) -> Tensor:
    """Strings [B, bits] of a CSV file, a string a line: 0 and 1, separated by commas, blanks or nothing; or spins, -1
    and 1. key: that names the file. UserError where it is none, or larger than max_mb megabytes."""
    if not path or not Path(path).exists():
        raise UserError(f"{key}={path}: there is no such CSV file of bits, nor is it one of {', '.join(NAMED)}")
    with reading(path, key) as file:
        judge(file.stat().st_size, max_mb)
        spins = any("-1" in line or "+1" in line for line in lines_of(file))
        return bits_of(lines_of(file), {"-1": 0, "1": 1, "+1": 1} if spins else {"0": 0, "1": 1})


def lines_of(file: Path) -> Iterator[str]:
    """Lines of a text; Broken at one that is longer than any string."""
    with open(file, encoding="utf-8-sig") as opened:
        for number in count(1):
            line = opened.readline(LONGEST_LINE + 1)
            if len(line) > LONGEST_LINE:
                raise Broken(f"line {number}: more than {MOST_BITS} bits")
            if not line:
                return
            yield line


def bits_of(lines: Iterable[str], known: Mapping[str, int]) -> Tensor:
    """Strings [B, bits] of such lines. known: what stands for a bit."""
    bits, width = array("b"), 0
    for number, line in enumerate(lines, 1):
        words: Sequence[str] = line.replace(",", " ").split()
        if len(words) == 1 and set(words[0]) <= {"0", "1"}:
            words = words[0]
        wrong = next((word for word in words if word not in known), None)
        if wrong:
            raise Broken(f"line {number}: {wrong[:20]!r} is not {' or '.join(list(known)[:2])}")
        width = width or len(words)
        if words and len(words) != width:
            raise Broken(f"line {number}: {len(words)} bits, and {width} in the first line")
        if width > MOST_BITS:
            raise Broken(f"line {number}: {width} bits, and at most {MOST_BITS} are read")
        bits.extend(known[word] for word in words)
    if not bits:
        raise Broken("holds no strings")
    return torch.tensor(np.frombuffer(bits, np.int8).reshape(-1, width), dtype=torch.long)
