"""A detector in the form of the package, whose answers another one learns to give, too.

A true answer says where plates are; a teacher's says of every cell how much it looks like one, and
a small network learns that in fewer steps (distillation; Hinton et al., 2015).
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from torch.nn import functional

from engine.recognizers.builtin.geometry import blocks

_BLOCK_PX: Final = 4
_SEEN: Final = 0.5
"""A plate that is less likely to the teacher was missed by it: nothing is learnt there."""
_TRUE: Final = 0.3
_LEAST_SEEN: Final = 4.0
_PLACES: Final = 0.5
"""Weight of where plates are, against how likely they are."""


class Teacher:
    """Owns the session of the network it asks; called by one thread."""

    def __init__(self, weights: Path, grey: int, contrast: float) -> None:
        """Load ``weights``, an ONNX file as ``learn`` writes it.

        Pictures of a batch hold (pixel - grey) / contrast.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(weights), options, providers=["CPUExecutionProvider"]
        )
        self._grey, self._contrast = grey, contrast

    def answer(self, pictures: Any) -> Any:
        """Return (n, 13, c, c) answers to pictures (n, 1, s, s)."""
        pixels = (pictures[:, 0].cpu() * self._contrast + self._grey).round().clamp(0, 255)
        answers = [
            self._session.run(None, {"x": blocks(picture, _BLOCK_PX)})[0]
            for picture in pixels.to(torch.uint8).numpy()
        ]
        return torch.from_numpy(np.concatenate(answers)).to(pictures.device)

    def loss(self, answer: Any, batch: tuple[Any, ...]) -> Any:
        """Return how unlike the teacher's an answer to a batch is, where either sees plates."""
        pictures, target, _ = batch
        taught = self.answer(pictures)
        likely = torch.sigmoid(taught[:, 0])
        missed = (target[:, 0] > _TRUE) & (likely < _SEEN)
        weight = torch.maximum(likely, torch.sigmoid(answer[:, 0].detach())).masked_fill(missed, 0)
        unlike = functional.smooth_l1_loss(answer[:, 0], taught[:, 0], reduction="none")
        apart = functional.smooth_l1_loss(answer[:, 1:], taught[:, 1:], reduction="none", beta=0.1)
        wrong = (weight * unlike).sum() + _PLACES * (likely[:, None] * apart).sum()
        return wrong / likely.sum().clamp(min=_LEAST_SEEN)
