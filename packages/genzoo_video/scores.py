"""What is scored of clips: the keyword arguments are keys of `genzoo evaluate`."""

from typing import Any

from torch import Tensor

from genzoo.contract import Request, Sampler, Scores
from genzoo.errors import UserError
from genzoo_video import metrics
from genzoo_video.data import VideoData


class VideoScores(Scores):
    data: VideoData

    def metrics(self, samples: Tensor, split: str, request: Request, *, features: str | None = None) -> dict[str, Any]:
        """features: a TorchScript network for the Fréchet distance (see `metrics.video_distance`)."""
        return metrics.video_distance(self.data, samples, split, features=features)

    def conditional_metrics(
        self,
        sample: Sampler,
        split: str,
        *,
        a_class: int = 10,
        continued: int = 64,
        context_frames: int = 5,
        ahead: int = 10,
        members: int = 1,
        rollouts: int = 16,
        rollout_frames: int = 48,
        rebuilt: int = 0,
        unlabelled: int = 0,
    ) -> dict[str, Any]:
        """Label agreement of `a_class` samples a class; `continued` clips of the split from their first context_frames
        on; of embedded clips, `rollouts` of so many frames; of an autoencoder, `rebuilt` clips beside the real ones;
        which classes are seen in `unlabelled` samples drawn without a label. 0 leaves each out."""
        known, scores = self.data.fitted["known"], {}
        if (
            continued
            and known
            and not (1 <= context_frames <= known and 1 <= ahead <= self.data.frames - context_frames)
        ):
            raise UserError(
                f"scoring.context_frames lies from 1 to {known}, and scoring.ahead from 1 to what is left of "
                f"{self.data.frames} frames"
            )
        if members < 1 or context_frames % self.data.space.pace:
            raise UserError(
                f"scoring.members is at least 1, and scoring.context_frames a multiple of {self.data.space.pace}"
            )
        if rebuilt:
            x = self.data.real(split, rebuilt).x
            scores |= {"rebuilt": metrics.errors(sample(self.data.told(x, [self.data.frames] * len(x)), 0), x)}
        if self.data.classes and a_class:
            scores |= metrics.agreement(self.data, sample, split, a_class)
        if self.data.classes and unlabelled:
            scores |= metrics.coverage_of_classes(self.data, sample, unlabelled)
        if known and continued:
            options = {"context_frames": context_frames, "ahead": ahead, "members": members}
            scores |= metrics.continuation(self.data, sample, split, clips=continued, **options)
        if known and rollouts and self.data.path == "glyphs":
            scores |= metrics.long_rollout(self.data, sample, split, clips=rollouts, frames=rollout_frames)
        return scores
