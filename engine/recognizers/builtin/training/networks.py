"""The two networks of ``weights/``: small enough for one core."""

from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

CLASSES: Final = 37
"""Nothing, and the characters of ``engine.plates.ALPHABET``."""
_BLOCK_PX: Final = 4
_RARE: Final = -4.0
"""The detector's first answer everywhere: almost no cell holds a plate."""


def _conv(
    channels: tuple[int, int],
    kernel: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 1,
) -> Any:
    """Return a convolution, normalised and rectified."""
    return nn.Sequential(
        nn.Conv2d(*channels, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(channels[1]),
        nn.ReLU(inplace=True),
    )


def _mix(channels: tuple[int, int]) -> Any:
    """Return a convolution of single pixels, normalised: what goes from one scale to the next."""
    return nn.Sequential(nn.Conv2d(*channels, 1, bias=False), nn.BatchNorm2d(channels[1]))


class Detector(nn.Module):  # type: ignore[misc]  # torch is never there for the type check
    """(n, 1, h, w) pictures, sides multiples of 32, to (n, 13, h/8, w/8) answers of cells.

    It first looks at each block of pixels together with those before it.
    """

    def __init__(self, channels: tuple[int, int, int, int] = (32, 48, 64, 96)) -> None:
        """Take the channels at strides 4, 8, 16 and 32."""
        super().__init__()
        c4, c8, c16, c32 = channels
        self.to8 = nn.Sequential(
            nn.ZeroPad2d((_BLOCK_PX, 0, _BLOCK_PX, 0)),
            _conv((1, c4), kernel=2 * _BLOCK_PX, stride=_BLOCK_PX, padding=0),
            _conv((c4, c8), stride=2),
            _conv((c8, c8)),
        )
        self.to16 = nn.Sequential(_conv((c8, c16), stride=2), _conv((c16, c16)))
        self.to32 = nn.Sequential(_conv((c16, c32), stride=2), _conv((c32, c32)))
        self.from32 = _mix((c32, c16))
        self.at16 = _conv((c16, c16))
        self.from16 = _mix((c16, c8))
        self.at8 = _conv((c8, c8))
        self.head = nn.Conv2d(c8, 13, 1)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.bias[0] = _RARE

    def forward(self, pictures: Any) -> Any:
        """Answer for every cell of 8 pixels, with what its surroundings look like from afar."""
        at8 = self.to8(pictures)
        at16 = self.to16(at8)
        coarse = functional.interpolate(self.from32(self.to32(at16)), scale_factor=2.0)
        middle = self.at16(functional.relu(at16 + coarse))
        fine = functional.interpolate(self.from16(middle), scale_factor=2.0)
        return self.head(self.at8(functional.relu(at8 + fine)))


class _Refine(nn.Module):  # type: ignore[misc]  # same
    """Two more looks at what was seen, added to it: begins by adding nothing."""

    def __init__(self, channels: int, kernel: tuple[int, int] = (3, 3)) -> None:
        super().__init__()
        padding = kernel[0] // 2, kernel[1] // 2
        self.first = _conv((channels, channels), kernel, padding=padding)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, 1, padding, bias=False),
            nn.BatchNorm2d(channels),
        )
        nn.init.zeros_(self.second[1].weight)

    def forward(self, seen: Any) -> Any:
        return functional.relu(seen + self.second(self.first(seen)))


class Reader(nn.Module):  # type: ignore[misc]  # same
    """(n, 1, 48, 128) crops of mean 0 and deviation 1 to logits (n, 37, 2, 32).

    A crop shows a whole plate. The first row of answers names the characters of its only or upper
    line, column by column, the second row those of its lower line: nothing where there is none.
    """

    def __init__(self) -> None:
        """Begin with random weights."""
        super().__init__()
        self.look = nn.Sequential(
            _conv((1, 24)),
            _conv((24, 32), stride=2),
            _conv((32, 48)),
            _conv((48, 64), stride=2),
            _conv((64, 64)),
            _Refine(64),
            _conv((64, 96), stride=(2, 1)),
            _conv((96, 96)),
            _Refine(96),
            _conv((96, 128), kernel=(4, 1), stride=(2, 1), padding=0),
        )
        self.compare = nn.Sequential(
            _conv((128, 128), kernel=(1, 5), padding=(0, 2)),
            _conv((128, 128), kernel=(1, 5), padding=(0, 2)),
        )
        self.agree = _Refine(128, (3, 5))
        self.name = nn.Conv2d(128, CLASSES, 1)

    def forward(self, crops: Any) -> Any:
        """Name the character in every column of both lines, each with the other in view."""
        seen = self.look(crops)
        return self.name(self.agree(seen + self.compare(seen)))
