"""What stands between pixels and a model: nothing, or a trained autoencoder.

Legend: B clips, C channels, T frames, H, W pixels; Z, F, R, S those of latents.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from genzoo.contract import GenerativeModel, Spec
from genzoo.errors import UserError
from genzoo_video.autoencoder import VideoAutoencoder

BATCH = 16
"""Clips that are encoded or decoded at once."""


class Pixels:
    """Model space is that of pixels. pace: frames of a model's frame."""

    pace = 1

    def shape(self, pixels: tuple[int, ...]) -> tuple[int, ...]:
        """Of an example in model space, by that of a clip [C, T, H, W]."""
        return pixels

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, x: Tensor) -> Tensor:
        return x

    def state_dict(self) -> dict[str, Any]:
        return {"kind": "pixels"}


class Latents:
    """Model space is that of a `VideoAutoencoder`, which travels in the checkpoint."""

    def __init__(self, autoencoder: VideoAutoencoder, config: Mapping[str, Any]) -> None:
        """config: the autoencoder's node of a configuration, to make it again from."""
        self.autoencoder, self.config = autoencoder.requires_grad_(False).eval().cpu(), dict(config)
        self.pace = autoencoder.patch[0]

    @classmethod
    def load(cls, path: str) -> "Latents":
        """From a checkpoint of its training; UserError where that is another model's."""
        from genzoo.model import laid_out_as_saved, load

        try:
            trained = load(path, device="cpu")
        except UserError as error:
            raise UserError(f"data.autoencoder: {error}; train one by genzoo train video_autoencoder") from error
        if not isinstance(trained.model, VideoAutoencoder):
            raise UserError(f"data.autoencoder={path} is none: train one by genzoo train video_autoencoder")
        return cls(laid_out_as_saved(trained.model), trained.config["model"])

    def shape(self, pixels: tuple[int, ...]) -> tuple[int, ...]:
        if pixels[0] != self.autoencoder.spec.shape[0]:
            raise UserError(
                f"data.colour: the autoencoder is of {self.autoencoder.spec.shape[0]} channels, not {pixels[0]}"
            )
        try:
            return (self.autoencoder.latent, *self.autoencoder.patches.grid(pixels[1:]))
        except ValueError as error:
            raise UserError(f"data.size and data.frames do not fit the autoencoder: {error}") from error

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, Z, F, R, S]; T may be any multiple of `pace`."""
        return torch.cat([self.autoencoder.encode(part) for part in x.split(BATCH)]).clone()

    @torch.inference_mode()
    def decode(self, x: Tensor) -> Tensor:
        return torch.cat([self.autoencoder.decode(part.float().cpu()) for part in x.split(BATCH)]).clone()

    def state_dict(self) -> dict[str, Any]:
        shape = list(self.autoencoder.spec.shape)
        return {
            "kind": "latents",
            "config": self.config,
            "shape": shape,
            "weights": dict(self.autoencoder.state_dict()),
        }


def load_space(state: Mapping[str, Any]) -> Pixels | Latents:
    """The space whose `state_dict` this is."""
    from genzoo.config import build

    if state["kind"] == "pixels":
        return Pixels()
    autoencoder = build(state["config"], GenerativeModel, "autoencoder", Spec(shape=tuple(state["shape"])))
    autoencoder.load_state_dict(state["weights"])
    return Latents(autoencoder, state["config"])
