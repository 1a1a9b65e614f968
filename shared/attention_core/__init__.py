"""attention_core: attention for text, audio, sets, grids and space-time. Imports torch and nothing else."""

from attention_core.attention import Attention
from attention_core.block import AdaptiveNorm, Block, FeedForward, GatedFeedForward, ShortConvolution
from attention_core.cache import KVCache, LayerCache
from attention_core.grids import Patches, SpaceTime, patch_positions
from attention_core.masks import band_mask
from attention_core.multiscale import MultiScaleTransformer
from attention_core.norm import layer_norm
from attention_core.positions import FourierFeatures, Rotary, SphereRotary, grid_positions, rotate, spherical_harmonics
from attention_core.sets import InducedAttention
from attention_core.transformer import TokenTransformer

__all__ = [
    "AdaptiveNorm",
    "Attention",
    "Block",
    "FeedForward",
    "FourierFeatures",
    "GatedFeedForward",
    "InducedAttention",
    "KVCache",
    "LayerCache",
    "MultiScaleTransformer",
    "Patches",
    "Rotary",
    "ShortConvolution",
    "SpaceTime",
    "SphereRotary",
    "TokenTransformer",
    "band_mask",
    "grid_positions",
    "layer_norm",
    "patch_positions",
    "rotate",
    "spherical_harmonics",
]
