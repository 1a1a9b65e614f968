"""What is scored of sound: the keyword arguments are keys of `genzoo evaluate`."""

from typing import Any

import torch
from torch import Tensor

from genzoo.contract import Request, Sampler, Scores
from genzoo_audio import metrics
from genzoo_audio.data import WaveData
from genzoo_audio.tokens import TokenData


class WaveScores(Scores):
    data: WaveData

    def conditional_metrics(
        self,
        sample: Sampler,
        split: str,
        *,
        clips: int | None = None,
        opus_kbps: list[float] | None = None,
    ) -> dict[str, Any]:
        """The codec on so many clips of the split (default all), beside Opus at so many kbit/s on the same clips."""
        originals, _ = self.data.real(split, clips)
        decoded = [sample({"clip": torch.from_numpy(wave)[None]}, 0)[0].numpy() for wave in originals]
        scores: dict[str, Any] = {"codec": metrics.codec_scores(originals, decoded, self.data.rate_hz)}
        seconds = sum(map(len, originals)) / self.data.rate_hz
        for kbps in opus_kbps or []:
            from genzoo_audio.opus import opus_round_trip

            trips = [opus_round_trip(wave, self.data.rate_hz, round(1000 * kbps)) for wave in originals]
            theirs = metrics.codec_scores(originals, [wave for wave, _ in trips], self.data.rate_hz)
            theirs["kbit_per_second"] = sum(bits for _, bits in trips) / seconds / 1000
            scores[f"opus_{kbps:g}"] = theirs
        return scores


class TokenScores(Scores):
    data: TokenData

    def metrics(self, samples: Tensor, split: str, request: Request, *, border: int | None = None) -> dict[str, Any]:
        """Fréchet distance and inception score on a classifier's features, levels, clipping, and traces of what lies
        every `border` samples (default: the codec's frames)."""
        waves = [wave for wave in (self.data.wave(x, request) for x in samples) if len(wave) > 1]
        real, _ = self.data.real(split)
        return metrics.sound_scores(
            waves,
            real,
            self.data.rate_hz,
            period=border or self.data.coding.hop,
            classifier=self.data.classifier() if self.data.classes else None,
        )

    def conditional_metrics(self, sample: Sampler, split: str, *, agreement: int = 300) -> dict[str, Any]:
        """In how many of so many samples a classifier reads the label that was asked for."""
        if agreement < 0:
            raise ValueError("scoring.agreement must not be negative")
        if not self.data.classes or not agreement:
            return {}
        found = metrics.label_agreement_of(self.data, sample, self.data.request(agreement).cond, split=split)
        return {"label_agreement": found}
