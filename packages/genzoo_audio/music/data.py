"""Pieces in four voices: chorales that come with the package, the public ones, or those of a user's files.

Legend: B batch, n samples, T tokens, M ticks (sixteenths), P tokens of the prefix, V = 4 voices.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Batch, Data, Piece, Request, Spec
from genzoo.draws import items_in_epochs, numpy_generator
from genzoo.errors import UserError
from genzoo.folders import check_share, choosing
from genzoo.page.items import Exhibit, Sound, still
from genzoo_audio.music import sources
from genzoo_audio.music.files import MAX_MB, MOST_PIECES, read_piece, write_midi
from genzoo_audio.music.tokens import END, TICKS_PER_BAR, VOCAB, VOICES, to_pitches, to_tokens

V = len(VOICES)
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Shown:
    """tempo: quarters a minute. wav: whether sound is written, too, at rate_hz. prompt: MIDI numbers [M, V] that stand
    before a sample."""

    tempo: float
    wav: bool
    rate_hz: int
    prompt: np.ndarray | None = None

    @property
    def given(self) -> int:
        """Ticks of the prompt."""
        return 0 if self.prompt is None else len(self.prompt)


class MusicData(Data):
    """Pieces from their beginning, or from a bar line on, in any key.

    path: chorales (embedded), jsb (public), or a MIDI or JSON file, or a folder of those (see `sources.load`, also for
        on_error and embedded).
    ticks: of an example; longer pieces are cut, at a bar line drawn anew each time.
    context: ticks that are seen at once where a piece is scored; longer ones are scored in parts that overlap by half.
    transpose: semitones by which examples are moved up or down at random, as far as the ranges of the voices allow.
    melody: share of examples that are told their soprano beforehand, from which harmonisation is learned.
    val_fraction: share of the pieces that validates, where the files have no split of their own.
    select_fraction: share of what is left to train on that chooses the weights, so that figures are of others; else the
        last weights are scored.
    max_ticks: longer pieces are refused. max_mb: larger files are, in megabytes.
    seed: of the split, and of the order, the keys and the cuts of examples.

    A piece that ends within an example is followed by the token END, which is learned, and counted in no score.
    """

    scores = "genzoo_audio.music.scores.MusicScores"
    unit = "tick"

    def __init__(
        self,
        *,
        path: str = "chorales",
        ticks: int = 256,
        context: int = 640,
        transpose: int = 6,
        melody: float = 0.25,
        val_fraction: float = 0.1,
        select_fraction: float = 0.0,
        on_error: Literal["stop", "skip"] = "stop",
        embedded: int = 400,
        max_ticks: int = 4096,
        max_mb: float = MAX_MB,
        seed: int = 0,
    ) -> None:
        for name, value in (("ticks", ticks), ("context", context)):
            if value < 2 * TICKS_PER_BAR or value % (2 * TICKS_PER_BAR):
                raise UserError(f"data.{name} must be a multiple of {2 * TICKS_PER_BAR} (two bars), not {value}")
        if ticks > context:
            raise UserError(f"data.ticks={ticks} must not be above data.context={context}")
        if not 0 <= transpose <= 24:
            raise UserError(f"data.transpose must lie from 0 to 24 semitones, not {transpose}")
        if not 0 <= melody <= 1 or not 0 < val_fraction < 1:
            raise UserError("data.melody must lie from 0 to 1, and data.val_fraction between 0 and 1")
        if on_error not in ("stop", "skip"):
            raise UserError(f"data.on_error is stop or skip, not {on_error!r}")
        if not 4 <= embedded <= MOST_PIECES:
            raise UserError(f"data.embedded must lie from 4 to {MOST_PIECES}, not {embedded}")
        self.path, self.ticks, self.context, self.transpose = path, ticks, context, transpose
        self.melody, self.val_fraction, self.on_error = melody, val_fraction, on_error
        check_share(select_fraction)
        self.select_fraction = select_fraction
        self.embedded, self.max_ticks, self.max_mb, self.seed = embedded, max_ticks, max_mb, seed
        self.fitted: dict[str, Any] | None = None
        self.pieces: dict[str, list[Tensor]] = {}

    # ---- what is there

    def prepare(self) -> None:
        found = sources.load(
            self.path,
            embedded=self.embedded,
            on_error=self.on_error,
            max_ticks=self.max_ticks,
            max_mb=self.max_mb,
            seed=self.seed,
        )
        self.pieces = {
            split: [to_tokens(piece.notes) for piece in pieces] for split, pieces in self._parted(found).items()
        }
        begun = self.fitted is not None
        for split in ("val",) if begun else ("train", "val"):
            if not self.pieces[split]:
                raise UserError(f"data.path={self.path}: of {len(found)} pieces none is left for {split}")
        if not begun:
            self.fitted = {"ranges": self._ranges(self.pieces["train"]), "ticks": self.ticks, "context": self.context}
        self.cuts = {split: self._cuts(pieces) for split, pieces in self.pieces.items()}

    def _parted(self, found: list[sources.Piece]) -> dict[str, list[sources.Piece]]:
        """By split; what has none is shared between train and val at random."""
        parted: dict[str, list[sources.Piece]] = {split: [] for split in SPLITS}
        free = [piece for piece in found if piece.split is None]
        for piece in found:
            if piece.split is not None:
                parted[piece.split].append(piece)
        free += parted["train"]
        parted["train"] = []
        count = 0 if parted["val"] else max(1, min(len(free) - 1, round(len(free) * self.val_fraction)))
        validating = set(numpy_generator("split", self.seed).permutation(len(free))[:count].tolist())
        for i, piece in enumerate(free):
            parted["val" if i in validating else "train"].append(piece)
        if self.select_fraction and not parted["test"]:
            rows = {"train": np.arange(len(parted["train"])), "val": np.arange(len(parted["val"]))}
            chosen = set(choosing(rows, self.select_fraction, self.seed)["val"].tolist())
            parted["test"] = parted["val"]
            parted["val"] = [piece for i, piece in enumerate(parted["train"]) if i in chosen]
            parted["train"] = [piece for i, piece in enumerate(parted["train"]) if i not in chosen]
        return parted

    @staticmethod
    def _ranges(pieces: list[Tensor]) -> list[list[int]]:
        """Lowest and highest token of each voice."""
        notes = torch.cat(pieces)
        ranges = []
        for v in range(V):
            sung = notes[:, v][notes[:, v] > 0]
            sung = sung if len(sung) else notes[notes > 0]
            ranges.append([int(sung.min()), int(sung.max())])
        return ranges

    def _cuts(self, pieces: list[Tensor]) -> list[int]:
        """Places of the pieces of a split, the long ones as often as they have parts."""
        return [i for i, piece in enumerate(pieces) for _ in range(-(-len(piece) // self.ticks))]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if self.pieces.get(split))

    @property
    def spec(self) -> Spec:
        return Spec(shape=(V * self.fitted["ticks"],), vocab=VOCAB, context={"prefix": (-1,), "melody": (-1,)})

    def state_dict(self) -> dict[str, Any]:
        return self.fitted

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "ranges" not in state:
            raise UserError("this checkpoint is not one of music")
        if self.context > state["context"]:
            raise UserError(f"data.context: this model sees {state['context']} ticks, not {self.context}")
        self.fitted = dict(state)

    # ---- examples

    def keys(self, piece: Tensor) -> range:
        """Semitones by which a piece can be moved, within the ranges of the voices and `transpose`."""
        low, high = -self.transpose, self.transpose
        for v, (lowest, highest) in enumerate(self.fitted["ranges"]):
            sung = piece[:, v][piece[:, v] > 0]
            if len(sung):
                low, high = max(low, lowest - int(sung.min())), min(high, highest - int(sung.max()))
        return range(min(low, 0), max(high, 0) + 1)

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        pieces, cuts, rows = self._split(split), self.cuts[split], rows if rows is not None else range(size)
        drawn = range(step * size, (step + 1) * size)
        mine = [pieces[cuts[i]] for i in items_in_epochs(drawn, len(cuts), self.seed, split)]
        longest = min(self.ticks, max(map(len, mine)) + 1)
        training = split == "train"
        x = torch.full((len(rows), V * longest), -1)
        prefix = torch.full((len(rows), 1), VOCAB)
        melody = torch.full((len(rows), longest), -1)
        for row, at in enumerate(rows):
            generator = numpy_generator("example", self.seed, split, step, at)
            piece = mine[at]
            if training:
                steps = self.keys(piece)
                piece = torch.where(piece > 0, piece + int(generator.integers(steps.start, steps.stop)), piece)
            bars = max(0, -(-(len(piece) - self.ticks) // TICKS_PER_BAR))
            start = TICKS_PER_BAR * int(generator.integers(bars + 1))
            part = piece[start : start + longest].flatten()
            x[row, : len(part)] = part
            if len(part) < x.shape[1] and training:
                x[row, len(part)] = END
            if start:
                prefix[row] = piece[start - 1, -1]
            if training and generator.random() < self.melody:
                melody[row] = x[row, ::V]
        return Batch(x, {"prefix": prefix, "melody": melody})

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        """Whole pieces, the short ones first; what is longer than a context after those."""
        pieces = sorted(self._split(split), key=len)
        whole = [piece for piece in pieces if len(piece) <= self.context]
        for i in range(0, len(whole), size):
            rows = [piece.flatten() for piece in whole[i : i + size]]
            x = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
            yield Batch(x, {"prefix": torch.full((len(x), 1), VOCAB)})
        new = self.context // 2  # ticks that are scored of each later part
        for piece in pieces[len(whole) :]:
            tokens = piece.flatten()
            first = V * self.context
            yield Batch(tokens[None, :first], {"prefix": torch.full((1, 1), VOCAB)})
            for at in range(first, len(tokens), V * new):
                prefix = tokens[at - V * new - 1 : at]
                yield Batch(tokens[None, at : at + V * new], {"prefix": prefix[None]})

    def units(self, split: str) -> int:
        return sum(len(piece) for piece in self._split(split))

    def _split(self, split: str) -> list[Tensor]:
        self.check_split(split)
        return self.pieces[split]

    def fingerprint(self, split: str) -> str:
        digest = sha256()
        for piece in self._split(split):  # each begun by its length, so that other cuts of the same notes differ
            digest.update(f"{len(piece)}\0".encode())
            digest.update(piece.numpy())
        return digest.hexdigest()

    # ---- wishes, files and pictures

    def request(
        self,
        n: int,
        *,
        prompt: str | None = None,
        melody: str | None = None,
        ticks: int = 256,
        tempo: float = 80.0,
        wav: bool = True,
        rate_hz: int = 22050,
    ) -> Request:
        """prompt: a MIDI or JSON file to go on from, at most `ticks` sixteenths. melody: one whose highest voice is
        harmonised, from its beginning to its end. tempo: quarters a minute. wav: whether to write sound, too,
        at rate_hz."""
        if prompt is not None and melody is not None:
            raise UserError("give a prompt to go on from, or a melody to harmonise, not both")
        if ticks < 1:
            raise UserError(f"ticks must be at least 1, not {ticks}")
        if not 10 <= tempo <= 400:
            raise UserError(f"tempo must lie from 10 to 400 quarters a minute, not {tempo:g}")
        if not 4000 <= rate_hz <= 192000:
            raise UserError(f"rate_hz must lie from 4000 to 192000, not {rate_hz}")
        show = Shown(tempo, wav, rate_hz)
        start = torch.full((n, 1), VOCAB)
        if melody is not None:
            top = to_tokens(self._read("melody", melody).max(axis=1))
            if len(top) > self.fitted["context"]:
                raise UserError(
                    f"melody={melody} has {len(top)} ticks, and this model sees {self.fitted['context']}: cut it"
                )
            told = torch.cat((top, torch.tensor([END])))
            return Request(n, {"prefix": start, "melody": told.expand(n, -1)}, {"length": V * len(top)}, show=show)
        more = {"length": V * ticks, "stop": self.stop}
        if prompt is not None:
            piece = self._read("prompt", prompt)
            show = replace(show, prompt=piece)
            start = torch.cat((start, to_tokens(piece).flatten().expand(n, -1)), dim=1)
        return Request(n, {"prefix": start}, more, show=show)

    def stop(self, tokens: Tensor) -> Tensor:
        return tokens[:, -1] == END

    def _read(self, key: str, file: str) -> np.ndarray:
        return read_piece(Path(file).expanduser(), max_ticks=self.max_ticks, max_mb=self.max_mb, key=key)

    def piece(self, x: Tensor, request: Request) -> np.ndarray:
        """A sample as MIDI numbers [M, V], the prompt before it."""
        made, prompt = to_pitches(x), request.show.prompt
        return made if prompt is None else np.concatenate((prompt, made))

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        file = path.with_name(f"{path.name}.mid")
        return write_midi(self.piece(x, request), file, beats_per_minute=request.show.tempo)

    def write_all(self, samples: Tensor, folder: Path, request: Request) -> list[Path]:
        """MIDI, and sound in which each voice has its own timbre."""
        from genzoo_audio.music.output import write_sound

        files, show = super().write_all(samples, folder, request), request.show
        if show.wav:
            how = {"beats_per_minute": show.tempo, "rate_hz": show.rate_hz}
            files += [
                write_sound(self.piece(x, request), file.with_suffix(".wav"), **how)
                for x, file in zip(samples, list(files), strict=True)
            ]
        return files

    def preview(self, samples: Tensor, path: Path, request: Request) -> Path:
        """Piano rolls."""
        from genzoo_audio.music.output import piano_rolls

        pieces = [self.piece(x, request) for x in samples]
        return piano_rolls(pieces, path.with_suffix(".png"), given=request.show.given)

    def exhibits(self, pieces: Sequence[Piece], folder: Path, request: Request) -> list[Exhibit]:
        """Each piece as its piano roll, and played."""
        from genzoo_audio.files import mp3
        from genzoo_audio.music.output import piano_rolls, sound

        shown, show = [], request.show
        for i, notes in enumerate(self.piece(x, request) for x in pieces[0][0]):
            drawn = piano_rolls([notes], folder / f"{i:03d}.png", given=show.given)
            roll = still(drawn, alt="piano roll of four voices")
            data = mp3(sound(notes, beats_per_minute=show.tempo, rate_hz=show.rate_hz), show.rate_hz)
            shown.append(Sound(alt="the piece, synthesised", data=data, mime="audio/mpeg", picture=roll))
        return shown

    # ---- scores

    def reals(self, n: int, split: str) -> list[np.ndarray]:
        """At most n pieces of a split, the first ones, cut to the length of an example."""
        return [to_pitches(piece[: self.fitted["ticks"]]) for piece in self._split(split)[:n]]

    @property
    def ranges(self) -> list[list[int]]:
        """Lowest and highest MIDI number of each voice in the training pieces."""
        return to_pitches(torch.tensor(self.fitted["ranges"]).t().flatten()).T.tolist()
