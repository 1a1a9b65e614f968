"""What is scored of music: the keyword arguments are keys of `genzoo evaluate`."""

from typing import Any

import torch
from torch import Tensor

from genzoo.contract import Request, Sampler, Scores
from genzoo.metrics.controls import another, three_ways
from genzoo_audio.music import metrics
from genzoo_audio.music.data import MusicData
from genzoo_audio.music.tokens import END, VOCAB, to_pitches, to_tokens


class MusicScores(Scores):
    data: MusicData

    def metrics(self, samples: Tensor, split: str, request: Request) -> dict[str, Any]:
        """Key, voice leading and rhythm of the samples; `…_real`: of as many training pieces. Distances are to the
        pieces of the split."""
        reference = self.data.reals(len(self.data._split(split)), split)
        scores = metrics.score([to_pitches(x) for x in samples], reference, self.data.ranges)
        real = metrics.score(self.data.reals(len(samples), "train"), reference, self.data.ranges)
        return {**scores, **{f"{name}_real": value for name, value in real.items()}}

    def conditional_metrics(self, sample: Sampler, split: str, *, harmonise: int = 16) -> dict[str, Any]:
        """The sopranos of so many pieces of the split harmonised: whether they are kept, and how often the chords are
        those of the pieces, told the soprano, told none and told another piece's. Parallels and crossings beside those
        of the pieces."""
        if harmonise < 0:
            raise ValueError("scoring.harmonise must not be negative")
        if not harmonise or not self.data.melody:
            return {}
        real = self.data.reals(harmonise, split)
        ticks = self.data.fitted["ticks"]
        melody = torch.full((len(real), ticks), -1)
        for row, piece in enumerate(real):
            melody[row, : len(piece) + 1] = torch.cat((to_tokens(piece[:, 0]), torch.tensor([END])))[:ticks]
        cond = {"prefix": torch.full((len(real), 1), VOCAB), "melody": melody}
        ways = three_ways(sample, cond, 0, nothing={"melody": None}, others=another(len(real)))
        found = {name: [to_pitches(x) for x in samples] for name, samples in ways.items()}
        scores: dict[str, Any] = {
            name: metrics.agreement(pieces, real, self.data.seed) for name, pieces in found.items()
        }
        scores["pieces"], made = len(real), found["told"]
        names = ("parallel_fifths_per_100_changes", "parallel_octaves_per_100_changes", "crossed_ticks")
        for suffix, pieces in (("", made), ("_real", real)):
            all_of = metrics.score(pieces, real, self.data.ranges)
            scores |= {f"{name}{suffix}": all_of[name] for name in names if name in all_of}
        return {"harmonisation": scores}
