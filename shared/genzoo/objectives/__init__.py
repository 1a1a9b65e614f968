"""The objectives: what is minimised, for every modality alike."""

from genzoo.objectives.adversarial import Adversarial
from genzoo.objectives.critics import TransformerCritic
from genzoo.objectives.native import Native
from genzoo.objectives.reward import Reward

__all__ = ["Adversarial", "Native", "Reward", "TransformerCritic"]
