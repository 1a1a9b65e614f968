"""Configurations: words (hydra), what they may build, options from signatures, and what is said of mistakes."""

from genzoo.config.build import build, check, locate, modalities, present_name, present_names, scores_of
from genzoo.config.explain import did_you_mean, flat, flat_keys
from genzoo.config.options import check_options, check_type, keywords, split_options
from genzoo.config.words import (
    assignments,
    compose_config,
    config_folder,
    plain,
    presets,
    readable,
    sweep,
)

__all__ = [
    "assignments",
    "build",
    "check",
    "check_options",
    "check_type",
    "compose_config",
    "config_folder",
    "did_you_mean",
    "flat",
    "flat_keys",
    "keywords",
    "locate",
    "modalities",
    "plain",
    "present_name",
    "present_names",
    "presets",
    "readable",
    "scores_of",
    "split_options",
    "sweep",
]
