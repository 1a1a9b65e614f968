"""What checkpoints of clips may say of their data: they come from strangers too."""

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt


class VideoState(BaseModel, strict=True):
    """What a checkpoint says of clips, but for the space; ValidationError, a ValueError, where that cannot be."""

    size: list[PositiveInt] = Field(min_length=3, max_length=3)
    frames: PositiveInt
    classes: list[str]
    fps: float = Field(gt=0, allow_inf_nan=False)
    known: NonNegativeInt
