"""Recordings as tokens: one a sample (mu-law), or a few a frame (a learned codec).

Legend: B batch, n samples, T tokens of a wave, K codebooks (tokens of a frame), F frames.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Batch, Request, Spec
from genzoo.errors import UserError
from genzoo_audio.coding import CodecTokens, MuLaw, load_coding
from genzoo_audio.data import AudioData
from genzoo_audio.files import wav_header


@dataclass(frozen=True)
class Shown:
    """prompt: the tokens [T] that stand before a sample."""

    prompt: np.ndarray


class TokenData(AudioData):
    """Clips as tokens, each begun by a start token (`vocab`) and ended by an end token (`vocab` - 1), so that a model
    learns how long they are. Examples shorter than `seconds` are filled up with -1.

    tokens: "mulaw", 256 levels, one token a sample: exact up to 8 bits. "codec", the codes of a learned codec.
    codec: of tokens=codec: a checkpoint of preset audio_codec. It travels inside this model's checkpoints.
    stride: of a score: each token is scored once, with at least seconds - stride of its clip before it (or all there
        is), in seconds; default half of `seconds`.
    shifts: of tokens=codec: each training clip is coded so many times, each time begun a part of a frame later, which
        gives other codes of the same sound to learn from.
    The other options are those of `AudioData`.
    """

    scores = "genzoo_audio.scores.TokenScores"

    def __init__(
        self,
        *,
        tokens: Literal["mulaw", "codec"] = "mulaw",
        codec: str | None = None,
        stride: float | None = None,
        shifts: int = 1,
        path: str = "melodies",
        rate_hz: int | None = None,
        seconds: float = 0.25,
        labels: str | None = None,
        val_match: str | None = None,
        val_fraction: float = 0.1,
        select_fraction: float = 0.0,
        trim_db: float | None = None,
        on_error: Literal["stop", "skip"] = "stop",
        max_s: float = 600.0,
        embedded: int = 600,
        seed: int = 0,
    ) -> None:
        if (tokens == "codec") != bool(codec):
            raise UserError("data.codec is a checkpoint of a codec where data.tokens=codec, and null elsewhere")
        if stride is not None and not 0 < stride <= seconds:
            raise UserError(f"data.stride must lie between 0 and data.seconds={seconds}, not {stride}")
        if shifts < 1 or (shifts > 1 and not codec):
            raise UserError(f"data.shifts is at least 1, and 1 without a codec, not {shifts}")
        super().__init__(
            path=path,
            rate_hz=rate_hz,
            seconds=seconds,
            labels=labels,
            val_match=val_match,
            val_fraction=val_fraction,
            select_fraction=select_fraction,
            trim_db=trim_db,
            on_error=on_error,
            max_s=max_s,
            embedded=embedded,
            seed=seed,
        )
        self.codec, self.stride, self.shifts = codec, stride, shifts
        self.coding: MuLaw | CodecTokens | None = None

    @property
    def unit(self) -> str:
        """Mu-law tokens are samples, and so their likelihood is the sound's; a codec's are only its own."""
        return "code" if self.codec else "sample"

    def units(self, split: str) -> int:
        """Tokens of a split without the ends, whose cost counts all the same."""
        self._rows(split)
        return sum(map(len, self.sequences[split]))

    @property
    def vocab(self) -> int:
        """Tokens of the coding, and the end."""
        return self.coding.vocab + 1

    @property
    def books(self) -> int:
        return self.coding.books

    def frames(self, seconds: float) -> int:
        return max(1, round(seconds * self.rate_hz / self.coding.hop))

    @property
    def size(self) -> int:
        """Tokens of an example."""
        return self.frames(self.seconds) * self.books

    @property
    def spec(self) -> Spec:
        shape = (self.size,) if self.books == 1 else (self.size // self.books, self.books)
        return Spec(shape=shape, vocab=self.vocab, classes=len(self.classes), context={"prefix": (-1,)})

    def prepare(self) -> None:
        if self.coding is None:
            self.coding = CodecTokens.load(self.codec) if self.codec else MuLaw()
        if self.coding.rate_hz and self.asked["rate_hz"] in (None, self.coding.rate_hz):
            self.asked["rate_hz"] = self.coding.rate_hz
        elif self.coding.rate_hz:
            raise UserError(f"data.rate_hz={self.asked['rate_hz']}: the codec is for {self.coding.rate_hz} Hz")
        super().prepare()
        offsets = [i * self.coding.hop // self.shifts for i in range(self.shifts)]
        waves = {split: self.real(split)[0] for split in self.splits}
        waves["train"] = [
            wave[offset:] if len(wave) > 2 * offset else wave for offset in offsets for wave in waves["train"]
        ]
        self.sequences = {split: self.coding.encode_all(waves[split]) for split in waves}
        # Tokens of each clip (in each of its codings), with its end.
        self.counts = {split: np.array([len(s) + 1 for s in clips]) for split, clips in self.sequences.items()}
        self._windows = {split: self.windows(split, counts, self.size) for split, counts in self.counts.items()}

    def _piece(self, split: str, place: int, start: int, size: int) -> np.ndarray:
        """`size` tokens of a clip from token `start` on, after the one before them (the start token, at the beginning);
        -1 after the end."""
        whole = self.sequences[split][place]
        tokens = np.concatenate(([self.vocab], whole, [self.vocab - 1])) if start == 0 else whole
        if start:
            tokens = np.concatenate((whole[start - 1 : start + size], [self.vocab - 1]))
        piece = np.full(size + 1, -1, np.int64)
        tokens = tokens[: size + 1]
        piece[: len(tokens)] = tokens
        return piece

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        mine, pieces, labels = self._rows(split), [], []
        for row in rows if rows is not None else range(size):
            place, start = self.drawn(self._windows[split], self.counts[split], step * size + row, self.size, split)
            start -= start % self.books
            pieces.append(self._piece(split, place, start, self.size))
            labels.append(self.label_of[mine[place % len(mine)]])
        batch = self._batch(np.stack(pieces), 1, labels)
        return Batch(batch.x.view(-1, *self.spec.shape), batch.cond)

    def _batch(self, pieces: np.ndarray, before: int, labels: list[int]) -> Batch:
        tokens = torch.from_numpy(pieces)
        cond = {"prefix": tokens[:, :before]}
        if self.classes:
            cond["label"] = torch.tensor(labels)
        return Batch(tokens[:, before:], cond)

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        """Every token once, the shortest clips first."""
        mine, counts = self._rows(split), self.counts[split]
        stride = self.frames(self.stride or self.seconds / 2) * self.books
        before = self.size - stride + 1
        firsts = [(place, 0, self.size) for place in np.argsort(counts, kind="stable")]
        later = [
            (place, start, stride) for place, count in enumerate(counts) for start in range(self.size, count, stride)
        ]
        for todo, seen in ((firsts, 1), (later, before)):
            for i in range(0, len(todo), size):
                rows = todo[i : i + size]
                longest = max(min(count, counts[place] - start) for place, start, count in rows)
                pieces = [self._piece(split, p, s - seen + 1, seen - 1 + longest) for p, s, _ in rows]
                for piece, (_, _, count) in zip(pieces, rows, strict=True):
                    piece[seen + count :] = -1
                yield self._batch(np.stack(pieces), seen, [self.label_of[mine[p % len(mine)]] for p, _, _ in rows])

    def request(
        self, n: int, *, label: str | None = None, prompt: str | None = None, seconds: float | None = None
    ) -> Request:
        """label: a class, or a part of its name; without it each class in turn. prompt: a file to go on from. seconds:
        the longest sample (clips end where the model ends them); default: that of an example, or of two."""
        cond: dict[str, Tensor] = {}
        given = np.zeros(0, np.int64)
        if self.classes or label is not None:
            cond["label"] = self.wanted(n, label)
        if prompt is not None:
            given = self.coding.encode_all([self.clip_from("prompt", prompt)])[0]
        start = torch.from_numpy(np.concatenate(([self.vocab], given)))
        cond["prefix"] = start.expand(n, -1)
        if seconds is not None and not 0 < seconds <= LONGEST_S:
            raise UserError(f"seconds must lie between 0 and {LONGEST_S:g}, not {seconds}")
        more: dict[str, Any] = {"stop": self.stop}
        if seconds is not None:
            more["length"] = self.frames(seconds) * self.books
        titles = self.names(cond["label"]) if self.classes else ()
        return Request(n, cond, more, titles, Shown(given))

    def stop(self, tokens: Tensor) -> Tensor:
        return tokens[:, -1] == self.vocab - 1

    def wave(self, x: Tensor, request: Request | None = None) -> np.ndarray:
        """What was prompted, and what the model made of it, up to its end."""
        tokens = x.flatten().numpy()
        end = np.flatnonzero((tokens < 0) | (tokens >= self.vocab - 1))
        tokens = tokens[: end[0]] if len(end) else tokens
        return self.coding.decode(tokens if request is None else np.concatenate((request.show.prompt, tokens)))

    def play(self, chunks: Iterator[Tensor], out: BinaryIO, request: Request) -> None:
        """A WAV file of unknown length, written while it is made: pipe it to a player."""
        if out.isatty():
            raise UserError("stream=true writes sound: send it to a player or a file, as in … stream=true | aplay")
        out.write(wav_header(self.rate_hz))
        decoder = self.coding.decoder()
        for part in (decoder.feed(int(token)) for token in self._told(chunks, request.show.prompt)):
            if len(part):
                out.write((np.clip(np.round(part * 32768), -32768, 32767)).astype("<i2").tobytes())
                out.flush()
        rest = decoder.flush()
        out.write((np.clip(np.round(rest * 32768), -32768, 32767)).astype("<i2").tobytes())
        out.flush()

    def _told(self, chunks: Iterator[Tensor], prompt: np.ndarray) -> Iterator[int]:
        yield from prompt.tolist()
        for chunk in chunks:
            if not 0 <= int(chunk[0]) < self.vocab - 1:
                return
            yield int(chunk[0])

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "coding": self.coding.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.coding = load_coding(state["coding"])


LONGEST_S = 600.0
"""Of a sample, in seconds."""
