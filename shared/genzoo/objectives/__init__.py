"""The objectives: what is minimised, for every modality alike."""

from genzoo.objectives.native import Native

__all__ = ["Native"]
