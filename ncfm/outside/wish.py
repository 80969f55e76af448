"""What the user can choose for a folder of images; the options of the command line are made of it. No torch."""

from __future__ import annotations

from pydantic import BaseModel, Field

from ncfm.core.params import Count


class Wish(BaseModel, frozen=True):
    """What the user can choose; only a folder of images has the fields with a description."""

    ipc: Count
    method: str = "paper"
    seed: int = Field(0, ge=0)
    resolution: int | None = Field(
        None,
        description="pixels a side: 16 to 64 in steps of 8, to 128 of 16, to 256 of 32 "
        "(default: 32, 64 or 128, the nearest to the images' median side)",
    )
    iterations: Count = Field(200, description="of the distillation")
    epochs: Count = Field(20, description="of each extractor; evaluation trains ten times as many")
    pool: Count = Field(4, description="number of extractors")


def folder_options() -> dict[str, str]:
    """Return the options that only a folder of images has, with their help."""
    return {
        name: f"{field.description} (default {field.default})" if field.default else field.description
        for name, field in Wish.model_fields.items()
        if field.description
    }
