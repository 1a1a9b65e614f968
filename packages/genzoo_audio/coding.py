"""Waves as tokens and back, whole or while they come.

Legend: T samples, K codebooks (tokens of a frame), F frames.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from genzoo.contract import GenerativeModel, Spec
from genzoo.errors import UserError
from genzoo_audio.backend import load_torchaudio
from genzoo_audio.codec import Codec

LEVELS = 256


class Coding(Protocol):
    """vocab: different tokens. books: tokens of a frame. hop: samples of a frame. rate_hz: the only one it is for, if
    it is for one."""

    vocab: int
    books: int
    hop: int
    rate_hz: int | None

    def encode_all(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Tokens (int64) of waves of any length."""

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """A wave, float32, from tokens; an unfinished frame at the end is left out."""

    def decoder(self) -> "Decoder":
        """The same while the tokens come."""

    def state_dict(self) -> dict[str, Any]: ...


class Decoder(Protocol):
    """Tokens in one by one, pieces of a wave out; together they are what `Coding.decode` gives."""

    def feed(self, token: int) -> np.ndarray: ...

    def flush(self) -> np.ndarray: ...


class MuLaw:
    """256 levels, spaced like the logarithm of the amplitude (ITU-T G.711, mu = 255): a token a sample."""

    vocab, books, hop, rate_hz = LEVELS, 1, 1, None

    def encode_all(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        encode = load_torchaudio().functional.mu_law_encoding
        return [encode(torch.from_numpy(wave), LEVELS).numpy() for wave in waves]

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        return load_torchaudio().functional.mu_law_decoding(torch.from_numpy(tokens), LEVELS).float().numpy()

    def decoder(self) -> "MuLawDecoder":
        return MuLawDecoder(self)

    def state_dict(self) -> dict[str, Any]:
        return {"kind": "mulaw"}


class MuLawDecoder:
    """A sample a token."""

    def __init__(self, coding: MuLaw) -> None:
        self.values = coding.decode(np.arange(LEVELS))

    def feed(self, token: int) -> np.ndarray:
        return self.values[token : token + 1]

    def flush(self) -> np.ndarray:
        return self.values[:0]


class CodecTokens:
    """The codes of a trained `Codec`, stage by stage of each frame."""

    def __init__(self, codec: Codec, config: Mapping[str, Any]) -> None:
        """config: the codec's node of a configuration, to make it again from."""
        self.codec, self.config = codec.eval().cpu(), dict(config)
        self.vocab, self.books = codec.quantiser.tokens, codec.quantiser.stages
        self.hop, self.rate_hz = codec.hop, codec.rate_hz

    @classmethod
    def load(cls, path: str) -> "CodecTokens":
        """From a checkpoint of its training; UserError where that is another model's."""
        from genzoo.model import laid_out_as_saved, load

        try:
            trained = load(path, device="cpu")
        except UserError as error:
            raise UserError(f"data.codec: {error}; train one by genzoo train audio_codec") from error
        if not isinstance(trained.model, Codec):
            raise UserError(f"data.codec={path} is no codec: train one by genzoo train audio_codec")
        return cls(laid_out_as_saved(trained.model), trained.config["model"])

    @torch.inference_mode()
    def encode_all(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [self.codec.encode(torch.from_numpy(wave)[None])[0].flatten().numpy() for wave in waves]

    @torch.inference_mode()
    def decode(self, tokens: np.ndarray) -> np.ndarray:
        codes = torch.from_numpy(tokens[: len(tokens) // self.books * self.books]).view(1, -1, self.books)
        if not codes.numel():
            return np.zeros(0, np.float32)
        return self.codec.decode(codes)[0].numpy()

    def decoder(self) -> "CodecDecoder":
        return CodecDecoder(self)

    def state_dict(self) -> dict[str, Any]:
        return {
            "kind": "codec",
            "config": self.config,
            "samples": self.codec.spec.shape[0],
            "weights": dict(self.codec.state_dict()),
        }


class CodecDecoder:
    """Decodes a few frames at a time, after as many earlier ones as the codec's decoder looks back."""

    def __init__(self, coding: CodecTokens, *, every: int = 5) -> None:
        """every: frames between two pieces of the wave."""
        self.coding, self.every = coding, every
        self.tokens: list[int] = []
        self.dropped = self.given = 0  # frames forgotten, samples handed out

    def feed(self, token: int) -> np.ndarray:
        self.tokens.append(token)
        frames, rest = divmod(len(self.tokens), self.coding.books)
        if rest or frames % self.every:
            return np.zeros(0, np.float32)
        late = self.coding.codec.late
        return self._piece((self.dropped + frames) * self.coding.hop - late)

    def flush(self) -> np.ndarray:
        return self._piece(None)

    def _piece(self, end: int | None) -> np.ndarray:
        """Samples from those handed out to `end`; then forgets what will not be looked at again."""
        wave = self.coding.decode(np.array(self.tokens, dtype=np.int64))
        first = self.dropped * self.coding.hop
        end = first + len(wave) if end is None else end
        piece = wave[self.given - first : max(self.given, end) - first]
        self.given = max(self.given, end)
        # A multiple of `every`, so that pieces go on falling due.
        gone = max(0, self.given // self.coding.hop - self.coding.codec.reach - self.dropped) // self.every * self.every
        self.tokens, self.dropped = self.tokens[gone * self.coding.books :], self.dropped + gone
        return piece


def load_coding(state: Mapping[str, Any]) -> MuLaw | CodecTokens:
    """The coding whose `state_dict` this is."""
    from genzoo.config import build

    if state["kind"] == "mulaw":
        return MuLaw()
    codec = build(state["config"], GenerativeModel, "codec", Spec(shape=(state["samples"],)))
    codec.load_state_dict(state["weights"])
    return CodecTokens(codec, state["config"])
