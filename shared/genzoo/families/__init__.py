"""The families: how x becomes a loss and noise becomes x."""

from genzoo.families.autoregressive import Autoregressive
from genzoo.families.flow import Flow

__all__ = ["Autoregressive", "Flow"]
