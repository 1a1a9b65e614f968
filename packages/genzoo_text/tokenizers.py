"""Text to token numbers and back: characters, bytes, or learned pieces (BPE).

A tokenizer is plain values (`state`), so that it travels in a checkpoint.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from genzoo.errors import UserError

if TYPE_CHECKING:
    import tokenizers
    from tokenizers import models


class Tokenizer(Protocol):
    """vocab: number of tokens. encode gives int64 numbers; decode never fails."""

    vocab: int

    def encode(self, text: str) -> np.ndarray: ...

    def decode(self, tokens: Iterable[int]) -> str: ...

    @property
    def state(self) -> dict[str, Any]: ...


class CharTokenizer:
    """One token a character; the vocabulary is the sorted set of characters of the text."""

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.vocab = len(characters)
        self._codes = np.array([ord(c) for c in characters], dtype=np.uint32)

    @classmethod
    def fit(cls, text: str) -> "CharTokenizer":
        return cls("".join(sorted(set(text))))

    def encode(self, text: str) -> np.ndarray:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        tokens = np.searchsorted(self._codes, codes).clip(max=self.vocab - 1)
        unknown = self._codes[tokens] != codes
        if unknown.any():
            raise UserError(
                f"the character {chr(codes[unknown.argmax()])!r} does not occur in the text this model learned from: "
                "leave it out, or train with data.tokenizer=byte"
            )
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.characters[int(t)] for t in tokens)

    @property
    def state(self) -> dict[str, Any]:
        return {"kind": "char", "characters": self.characters}


class ByteTokenizer:
    """One token a byte of the UTF-8 text: any text at all, 256 tokens."""

    vocab = 256

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8).astype(np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        return bytes(int(t) for t in tokens).decode("utf-8", errors="replace")

    @property
    def state(self) -> dict[str, Any]:
        return {"kind": "byte"}


class BPETokenizer:
    """Byte-level byte-pair encoding (Sennrich et al. 2016), by the `tokenizers` library: any text at all."""

    def __init__(self, vocab: Mapping[str, int], merges: Iterable[Sequence[str]]) -> None:
        """vocab: pieces with their numbers, 0 to the number of pieces - 1. merges: pairs of pieces, in order."""
        from tokenizers import models

        if sorted(vocab.values()) != list(range(len(vocab))) or not vocab:
            raise UserError("this vocabulary of BPE pieces is damaged: its numbers are not 0, 1, 2 …")
        self._fast = byte_level(models.BPE(dict(vocab), [tuple(pair) for pair in merges]))
        self.vocab = len(vocab)

    @classmethod
    def fit(cls, text: str, vocab_size: int) -> "BPETokenizer":
        from tokenizers import models, pre_tokenizers, trainers

        if vocab_size < 257:
            raise UserError(f"data.vocab_size must be at least 257 (the bytes and one piece), not {vocab_size}")
        fast = byte_level(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        fast.train_from_iterator(pieces(text), trainer)
        return cls.load(fast.to_str())

    @classmethod
    def load(cls, told: str) -> "BPETokenizer":
        """From a `state`: its pieces alone. Whatever else a tokenizer can be told (to pad, say) is not taken."""
        model = json.loads(told)["model"]
        return cls(model["vocab"], [m.split(" ") if isinstance(m, str) else m for m in model["merges"]])

    def encode(self, text: str) -> np.ndarray:
        encoded = self._fast.encode_batch(list(pieces(text)), add_special_tokens=False)
        return np.fromiter((t for part in encoded for t in part.ids), dtype=np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        return self._fast.decode([int(t) for t in tokens])

    @property
    def state(self) -> dict[str, Any]:
        return {"kind": "bpe", "json": self._fast.to_str()}


def byte_level(model: "models.BPE") -> "tokenizers.Tokenizer":
    """A tokenizer of a model's pieces of bytes."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, pre_tokenizers

    fast = Fast(model)
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    return fast


def pieces(text: str, size: int = 100_000) -> Iterable[str]:
    """The text in parts of about `size` characters that end at line ends, which hardly any BPE piece crosses."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + size) + 1 or len(text)
        yield text[start:end]
        start = end


def fit_tokenizer(kind: str, text: str, vocab_size: int) -> Tokenizer:
    """A tokenizer of the named kind, fitted to a text."""
    if kind == "char":
        return CharTokenizer.fit(text)
    if kind == "byte":
        return ByteTokenizer()
    if kind == "bpe":
        return BPETokenizer.fit(text, vocab_size)
    raise UserError(f"data.tokenizer is char, byte or bpe, not {kind!r}")


def load_tokenizer(state: Mapping[str, Any]) -> Tokenizer:
    """What `state` describes."""
    if state["kind"] == "char":
        if "".join(sorted(set(state["characters"]))) != state["characters"] or not state["characters"]:
            raise UserError("this vocabulary of characters is damaged: they are not all different, and in order")
        return CharTokenizer(state["characters"])
    return ByteTokenizer() if state["kind"] == "byte" else BPETokenizer.load(state["json"])
