"""What checkpoints of shapes and of sequences may say of their data: they come from strangers too."""

from typing import Literal

from pydantic import BaseModel, Field, FiniteFloat, NonNegativeInt, PositiveInt


class PointsState(BaseModel, strict=True):
    """What a checkpoint says of shapes; ValidationError, a ValueError, where that cannot be."""

    points: PositiveInt
    channels: Literal[3, 6]
    classes: list[str]
    centre: list[FiniteFloat] = Field(min_length=3, max_length=3)
    scale: float = Field(gt=0, allow_inf_nan=False)
    seen: NonNegativeInt
    up: Literal["x", "y", "z"]


class MotionState(BaseModel, strict=True):
    """What a checkpoint says of sequences; ValidationError, a ValueError, where that cannot be."""

    frames: PositiveInt
    past: PositiveInt
    points: PositiveInt
    rate_hz: float = Field(gt=0, allow_inf_nan=False)
    classes: list[str]
    normalise: Literal["global", "sequence", "none"]
    centre: list[FiniteFloat] = Field(min_length=3, max_length=3)
    scale: float = Field(gt=0, allow_inf_nan=False)
    up: Literal["x", "y", "z"]
