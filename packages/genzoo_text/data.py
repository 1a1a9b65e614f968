"""Text as examples for a model, and samples as text.

Legend: B batch, n samples, T tokens (the context).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Batch, Data, Piece, Request, Spec
from genzoo.draws import in_epochs, numpy_generator
from genzoo.errors import UserError
from genzoo.folders import check_share, in_order
from genzoo.page.items import Exhibit, Words
from genzoo.reading import printable
from genzoo_text import sources
from genzoo_text.tokenizers import Tokenizer, fit_tokenizer, load_tokenizer


@dataclass(frozen=True)
class Shown:
    """prompt: what a sample goes on from, and stands before it."""

    prompt: str = ""


class TextData(Data):
    """Windows of one long text. An example is `context` tokens; its condition `prefix` is the token before them.

    path: builtin, shakespeare, text8, hf://NAME, or a txt, md or jsonl file, or a folder of such files.
    tokenizer: char, byte or bpe; vocab_size: number of bpe pieces.
    context: tokens T of an example.
    val_fraction: the last part of the text, kept for validation.
    select_fraction: share of what is left to train on that chooses the weights, so that figures are of others; else the
        last weights are scored.
    column: the text field of jsonl files and Hugging Face sets.
    stride: step between windows in `sweep`, default context // 2: each token is scored once, with at least
        context - stride tokens before it.
    max_mb: more text is refused, in megabytes.
    seed: of the order of the examples. An epoch goes through all windows once, cut from a random first offset.
    """

    scores = "genzoo_text.scores.TextScores"
    unit = "character"

    def __init__(
        self,
        *,
        path: str = "builtin",
        tokenizer: Literal["char", "byte", "bpe"] = "char",
        vocab_size: int = 1024,
        context: int = 256,
        val_fraction: float = 0.1,
        select_fraction: float = 0.0,
        column: str = "text",
        stride: int | None = None,
        max_mb: float = sources.MAX_MB,
        seed: int = 0,
    ) -> None:
        if context < 2:
            raise UserError(f"data.context must be at least 2, not {context}")
        if not 0 < val_fraction < 1:
            raise UserError(f"data.val_fraction must lie between 0 and 1, not {val_fraction}")
        check_share(select_fraction)
        if stride is not None and not 1 <= stride <= context:
            raise UserError(f"data.stride must lie between 1 and the context of {context}, not {stride}")
        self.path, self.column, self.max_mb, self.seed = path, column, max_mb, seed
        self.kind, self.vocab_size = tokenizer, vocab_size
        self.context, self.stride = context, stride or max(1, context // 2)
        self.val_fraction, self.select_fraction = val_fraction, select_fraction
        self.tokenizer: Tokenizer | None = None
        self.text: dict[str, str] = {}
        self.tokens: dict[str, Tensor] = {}

    def prepare(self) -> None:
        text = sources.read(self.path, self.column, self.max_mb)
        self.text = in_order(text, self.val_fraction, self.select_fraction)
        if self.tokenizer is None:
            self.tokenizer = fit_tokenizer(self.kind, text, self.vocab_size)
        small = np.uint16 if self.tokenizer.vocab <= 1 << 16 else np.int32
        for split, part in self.text.items():
            tokens = torch.from_numpy(self.tokenizer.encode(part).astype(small))
            if len(tokens) < self.context + 1:
                raise UserError(
                    f"data.path={self.path}: the {split} part has {len(tokens)} tokens, too few for a context of "
                    f"{self.context}: give more text, a smaller data.context, or another data.val_fraction"
                )
            self.tokens[split] = tokens

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.tokens)

    @property
    def spec(self) -> Spec:
        assert self.tokenizer is not None, "prepare() or load_state_dict() comes first"
        return Spec(shape=(self.context,), vocab=self.tokenizer.vocab, context={"prefix": (-1,)})

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        tokens = self.tokens[split]
        last_start = len(tokens) - 1 - self.context
        windows = max(1, (last_start + 1) // self.context)
        starts = []
        for row in rows if rows is not None else range(size):
            epoch, window = in_epochs(step * size + row, windows, self.seed, split)
            offset = numpy_generator("offset", self.seed, split, epoch).integers(min(self.context, last_start + 1))
            starts.append(min(last_start, int(offset) + window * self.context))
        index_bt = torch.tensor(starts)[:, None] + torch.arange(self.context + 1)
        picked_bt = tokens[index_bt].long()
        return Batch(picked_bt[:, 1:], {"prefix": picked_bt[:, :1]})

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        tokens, stride = self._split(split).long(), self.stride
        total, before = len(tokens) - 1, self.context - stride + 1
        first = min(self.context, total)
        yield Batch(tokens[None, 1 : first + 1], {"prefix": tokens[None, :1]})
        starts = list(range(first + 1, total + 1, stride))  # of the tokens to score
        whole = [s for s in starts if s + stride <= total + 1]
        for i in range(0, len(whole), size):
            index = torch.tensor(whole[i : i + size])[:, None] + torch.arange(-before, stride)
            yield Batch(tokens[index[:, before:]], {"prefix": tokens[index[:, :before]]})
        if len(whole) < len(starts):
            s = starts[-1]
            yield Batch(tokens[None, s:], {"prefix": tokens[None, s - before : s]})

    def units(self, split: str) -> int:
        """Characters after the first token."""
        return len(self.text[split]) - len(self._decode(self._split(split)[:1]))

    def request(self, n: int, *, prompt: str = "", stop: list[str] | None = None) -> Request:
        """prompt: the text to go on from; stop: strings at which a sample ends (they are its last characters)."""
        if any(not s for s in stop or []):
            raise UserError("stop holds an empty string: leave it out")
        prefix = torch.from_numpy(self.tokenizer.encode(prompt or self._beginning()))
        more = {"stop": lambda tokens: self._stopped(tokens, stop)} if stop else {}
        return Request(n, {"prefix": prefix.expand(n, -1)}, more, show=Shown(prompt))

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        file = path.with_suffix(".txt")
        file.write_text(self.describe(x, request), encoding="utf-8")
        return file

    def describe(self, x: Tensor, request: Request) -> str:
        return request.show.prompt + self.text_of(x)

    def text_of(self, x: Tensor) -> str:
        """The text of tokens [T], without what was prompted."""
        return self._decode(x)

    def exhibits(self, pieces: Sequence[Piece], folder: Path, request: Request) -> list[Exhibit]:
        return [Words(text=self.text_of(x), given=request.show.prompt) for x in pieces[0][0]]

    def play(self, chunks: Iterator[Tensor], out: BinaryIO, request: Request) -> None:
        """Writes each token's text as soon as it is whole characters; a new line at the end. A terminal gets control
        characters as escapes, a file or pipe as they are."""
        shield = printable if out.isatty() else str
        tokens: list[int] = []
        shown = 0
        out.write(shield(request.show.prompt).encode())
        for chunk in chunks:
            tokens.append(int(chunk[0]))
            text = self._decode(tokens)
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):
                out.write(shield(text[shown:]).encode())
                out.flush()
                shown = len(text)
        out.write(shield(self._decode(tokens)[shown:]).encode() + b"\n")
        out.flush()

    def fingerprint(self, split: str) -> str:
        self._split(split)
        return hashlib.sha256(self.text[split].encode("utf-8", "surrogatepass")).hexdigest()

    def state_dict(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.tokenizer = load_tokenizer(state["tokenizer"])

    def _split(self, split: str) -> Tensor:
        self.check_split(split)
        return self.tokens[split]

    def _decode(self, tokens: Any) -> str:
        return self.tokenizer.decode(t for t in map(int, tokens) if t >= 0)

    def _beginning(self) -> str:
        """What a text without a prompt goes on from: a new line, or the first character there is."""
        try:
            self.tokenizer.encode("\n")
        except UserError:
            return self.tokenizer.decode([0])
        return "\n"

    def _stopped(self, tokens: Tensor, stop: list[str]) -> Tensor:
        reach = max(len(s.encode()) for s in stop)  # no string spans more tokens than it has bytes
        tails = [self._decode(row) for row in tokens[:, -reach:]]
        return torch.tensor([any(s in tail for s in stop) for tail in tails], device=tokens.device)
