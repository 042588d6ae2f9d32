"""Parts of a picture as the configuration names them: shares of its width and height, 0 to 1."""

from typing import Annotated

from pydantic import AfterValidator, Field

Share = Annotated[float, Field(ge=0, le=1)]
"""A place as a share of the width or height, from the top left corner."""

Corner = Annotated[tuple[Share, Share], Field(strict=False)]


def _check_polygon(corners: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if len(corners) < 3:
        raise ValueError("must have three corners or more, each [x, y] in shares of the picture")
    return corners


Polygons = Annotated[
    tuple[Annotated[tuple[Corner, ...], Field(strict=False), AfterValidator(_check_polygon)], ...],
    Field(strict=False),
]
"""Any number of polygons of three corners or more."""


def _check_crop(crop: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse a part that is not inside of the picture."""
    if crop and not (
        len(crop) == 4 and min(crop[2:]) > 0 and crop[0] + crop[2] <= 1 and crop[1] + crop[3] <= 1
    ):
        raise ValueError("must be [] or [x, y, width, height], a part of the picture in shares")
    return crop


Crop = Annotated[tuple[Share, ...], Field(strict=False), AfterValidator(_check_crop)]
"""x, y, width and height of an upright part, or nothing for all of it."""
