"""Recordings as examples for a model, and samples as recordings.

Legend: B batch, n samples, T samples of a wave.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Batch, Data, Piece, Request, Spec
from genzoo.draws import in_epochs, numpy_generator
from genzoo.errors import UserError
from genzoo.folders import check_share, choosing, rows_of
from genzoo.page.items import Exhibit, Sound, still
from genzoo_audio.files import HIGHEST_HZ, read_audio, write_wav

if TYPE_CHECKING:
    from genzoo_audio.classifier import AudioClassifier
    from genzoo_audio.sources import Clips


class AudioData(Data):
    """Clips of sound with their labels; what is common to waves and tokens.

    path: melodies (embedded), fsdd, speech_commands, or a file or folder of wav, flac, ogg, mp3.
    rate_hz: samples a second; default the most common rate of the files. All are resampled to it and mixed to mono.
    seconds: of an example.
    labels: default the folders below path, if any; a CSV of file names and labels; or what file names say,
        "{digit}_{speaker}_{}", a label in each pair of braces that has a name.
    val_match: files whose names match are the validation split ("*_[0-4].wav"); default a seeded share of each label,
        val_fraction.
    select_fraction: share of what is left to train on that chooses the weights, so that figures are of others; else the
        last weights are scored.
    trim_db: silence before and after the sound is cut, as far as it is so many dB below the peak; default: kept.
    on_error: at a broken file: stop, or skip it and say so.
    max_s: longer files are broken, in seconds.
    embedded: tunes of path=melodies.
    seed: of the split and the order of examples.
    """

    unit = "sample"

    def __init__(
        self,
        *,
        path: str = "melodies",
        rate_hz: int | None = None,
        seconds: float = 0.5,
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
        if not seconds > 0:
            raise UserError(f"data.seconds must be more than 0, not {seconds}")
        if not 0 < val_fraction < 1:
            raise UserError(f"data.val_fraction must lie between 0 and 1, not {val_fraction}")
        check_share(select_fraction)
        self.path, self.seconds, self.seed, self.select_fraction = path, seconds, seed, select_fraction
        self.asked = dict(
            rate_hz=rate_hz,
            labels=labels,
            val_match=val_match,
            val_fraction=val_fraction,
            trim_db=trim_db,
            on_error=on_error,
            max_s=max_s,
            embedded=embedded,
            seed=seed,
        )
        self.fitted: dict[str, Any] = {}
        self.clips: Clips | None = None
        self.rows: dict[str, np.ndarray] = {}

    # ---- what there is

    @property
    def rate_hz(self) -> int:
        return self.fitted["rate_hz"]

    @property
    def classes(self) -> list[str]:
        """Names of the labels, "7_george" where there are two fields."""
        return self.fitted["classes"]

    def prepare(self) -> None:
        from genzoo_audio.sources import find_clips

        asked = dict(self.asked)
        if self.fitted:
            asked["rate_hz"] = self.rate_hz
        self.clips = find_clips(self.path, **asked)
        if not self.fitted:
            names = sorted(set(self.clips.labels)) if self.clips.fields else []
            self.fitted = {"rate_hz": self.clips.rate_hz, "classes": names, "fields": list(self.clips.fields)}
        strange = sorted(set(self.clips.labels) - set(self.classes)) if self.classes else []
        if strange:
            raise UserError(
                f"data.path={self.path}: the model has no class {strange[0] or '(no label)'}; "
                f"there are: {', '.join(self.classes)}"
            )
        index = {name: i for i, name in enumerate(self.classes)}
        self.label_of = np.array([index.get(name, 0) for name in self.clips.labels], dtype=np.int64)
        self.rows = choosing(rows_of(self.clips.split), self.select_fraction, self.seed)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.rows)

    def _rows(self, split: str) -> np.ndarray:
        self.check_split(split)
        return self.rows[split]

    def lengths(self, split: str) -> np.ndarray:
        """Samples of each clip of a split."""
        return np.diff(self.clips.starts)[self._rows(split)]

    def units(self, split: str) -> int:
        return int(self.lengths(split).sum())

    def fingerprint(self, split: str) -> str:
        digest = self._digest(split)  # other cuts of the same samples differ, and other numbers of the same labels
        digest.update("\0".join([*self.classes, *map(str, self.lengths(split))]).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _digest(self, split: str) -> "hashlib._Hash":
        """SHA-256 of the rate and of each clip's label and samples."""
        digest = hashlib.sha256(str(self.rate_hz).encode())
        for row in self._rows(split):
            digest.update(f"\0{self.clips.labels[row]}\0".encode("utf-8", "surrogateescape"))
            digest.update(self.clips.samples[self.clips.starts[row] : self.clips.starts[row + 1]].tobytes())
        return digest

    def windows(self, split: str, lengths: np.ndarray, size: int) -> list[tuple[int, int]]:
        """Examples of an epoch, as (place in the split, number of the window): about as many as the clips have room
        for, so that every part of every clip is as likely as any other."""
        counts = np.maximum(1, np.round(lengths / size)).astype(int)
        return [(i, j) for i, count in enumerate(counts) for j in range(count)]

    def drawn(
        self, windows: list[tuple[int, int]], lengths: np.ndarray, position: int, size: int, split: str
    ) -> tuple[int, int]:
        """The clip at a position of the endless stream, and where its example of `size` begins: anywhere, and a little
        oftener at its very beginning and end."""
        epoch, item = in_epochs(position, len(windows), self.seed, split)
        place, number = windows[item]
        jitter = numpy_generator("window", self.seed, split, epoch, item).uniform(-0.5, 0.5)
        start = round((number + jitter) * size)
        return place, int(np.clip(start, 0, max(0, lengths[place] - size)))

    # ---- wishes

    def wanted(self, n: int, label: str | None) -> Tensor:
        """Labels [n] for a word: a class, or, of "7_george", "7" or "george": then those that have it, in turn."""
        if not self.classes:
            if label is not None:
                raise UserError(f"label={label}: this model was trained without labels: leave label out")
            return torch.zeros(0, dtype=torch.long)
        fit = [i for i, name in enumerate(self.classes) if label in (None, name) or label in name.split("_")]
        if not fit:
            raise UserError(f"label={label}: the classes of this model are {', '.join(self.classes)}")
        order = numpy_generator("classes", self.seed).permutation(len(fit)) if label is None else range(len(fit))
        return torch.tensor([fit[order[i % len(fit)]] for i in range(n)])

    def names(self, label: Tensor) -> list[str]:
        """Of the classes of labels [n]."""
        return [self.classes[i] for i in label.tolist()]

    def clip_from(self, key: str, file: str | None) -> np.ndarray:
        """The wave of a file that the user names, at the model's rate."""
        return read_audio(Path(file).expanduser(), self.rate_hz, key=key)[0]

    # ---- files

    @abstractmethod
    def wave(self, x: Tensor, request: Request | None = None) -> np.ndarray:
        """One example as a wave [T], after what it was asked to go on from."""

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        return write_wav(self.wave(x, request), self.rate_hz, path.with_suffix(".wav"))

    def preview(self, samples: Tensor, path: Path, request: Request) -> Path:
        from genzoo_audio.pictures import contact_sheet

        waves = [self.wave(x, request) for x in samples[:PICTURED]]
        return contact_sheet(waves, self.rate_hz, path.with_suffix(".png"), titles=request.titles or None)

    def exhibits(self, pieces: Sequence[Piece], folder: Path, request: Request) -> list[Exhibit]:
        """Each sample with its spectrogram; those that the model ended before they began are left out."""
        from genzoo_audio.pictures import contact_sheet

        shown = []
        for i, x in enumerate(pieces[0][0]):
            wave, title = self.wave(x, request), request.title(i).replace("_", ", ")
            if len(wave):
                drawn = still(contact_sheet([wave], self.rate_hz, folder / f"{i:03d}.png"), alt=f"spectrogram {title}")
                data = write_wav(wave, self.rate_hz, folder / f"{i:03d}.wav").read_bytes()
                shown.append(Sound(title=title, alt=f"sound {title}", data=data, mime="audio/wav", picture=drawn))
        return shown

    # ---- scores

    def real(self, split: str, n: int | None = None) -> tuple[list[np.ndarray], np.ndarray]:
        """Waves and labels of n clips of a split, evenly spread; of all by default."""
        rows = self._rows(split)
        if n is not None and n < len(rows):
            rows = rows[np.linspace(0, len(rows) - 1, n).astype(int)]
        return [self.clips.wave(row) for row in rows], self.label_of[rows]

    def parts_of(self, labels: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        """Labels [n] as numbers of their fields' values [n, fields], and how many values each field has."""
        named = [name.split("_") if len(self.fitted["fields"]) > 1 else [name] for name in self.classes]
        values = [sorted({parts[f] for parts in named}) for f in range(len(self.fitted["fields"]))]
        table = np.array([[values[f].index(part) for f, part in enumerate(parts)] for parts in named])
        return table[labels], tuple(map(len, values))

    def classifier(self, *, seed: int = 0) -> "AudioClassifier":
        """One that reads labels, trained on the training split (kept in the cache folder). seed: of its training."""
        from genzoo_audio.classifier import fit_classifier

        waves, labels = self.real("train")
        parts, counts = self.parts_of(labels)
        return fit_classifier(waves, parts, counts, self.rate_hz, key=self._digest("train").hexdigest(), seed=seed)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.fitted)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if type(state["rate_hz"]) is not int or not 1 <= state["rate_hz"] <= HIGHEST_HZ:
            raise UserError(f"this checkpoint says {state['rate_hz']} samples a second, which no sound has")
        self.fitted = {key: state[key] for key in ("rate_hz", "classes", "fields")}


PICTURED = 12
"""Clips in one preview."""


class WaveData(AudioData):
    """Waves as they are, `seconds` long (shorter clips are filled up with silence): what a codec learns from."""

    scores = "genzoo_audio.scores.WaveScores"

    @property
    def size(self) -> int:
        return max(1, round(self.seconds * self.rate_hz))

    @property
    def spec(self) -> Spec:
        return Spec(shape=(self.size,), classes=len(self.classes), context={"clip": (-1,)})

    def prepare(self) -> None:
        super().prepare()
        self._windows = {split: self.windows(split, self.lengths(split), self.size) for split in self.splits}

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        lengths, mine, waves, labels = self.lengths(split), self._rows(split), [], []
        for row in rows if rows is not None else range(size):
            place, start = self.drawn(self._windows[split], lengths, step * size + row, self.size, split)
            wave = self.clips.wave(mine[place])[start : start + self.size]
            waves.append(np.pad(wave, (0, self.size - len(wave))))
            labels.append(self.label_of[mine[place]])
        return self._batch(np.stack(waves), labels)

    def _batch(self, waves: np.ndarray, labels: Sequence[int]) -> Batch:
        cond = {"label": torch.tensor(labels)} if self.classes else {}
        return Batch(torch.from_numpy(waves), cond)

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        """Whole clips cut into examples, the last of each filled up with silence."""
        waves: list[np.ndarray] = []
        labels: list[int] = []
        for row in self._rows(split):
            wave = self.clips.wave(row)
            for start in range(0, len(wave), self.size):
                part = wave[start : start + self.size]
                waves.append(np.pad(part, (0, self.size - len(part))))
                labels.append(self.label_of[row])
                if len(waves) == size:
                    yield self._batch(np.stack(waves), labels)
                    waves, labels = [], []
        if waves:
            yield self._batch(np.stack(waves), labels)

    def request(self, n: int, *, clip: str | None = None) -> Request:
        """clip: a file to send through the codec and back; without it, what random codes sound like."""
        if clip is None:
            return Request(n)
        return Request(n, {"clip": torch.from_numpy(self.clip_from("clip", clip)).expand(n, -1)})

    def wave(self, x: Tensor, request: Request | None = None) -> np.ndarray:
        return x.float().numpy()
