"""Turns trained weights into whole numbers of 8 bits: half the time, a quarter of the size.

Every convolution but the first and the last is quantised, weights per channel, activations by the
range that samples of the training show. Weights use 7 of their 8 bits: with all of them, processors
without VNNI instructions add up wrongly (onnxruntime's documentation of quantisation says so).
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

Floats = npt.NDArray[np.float32]

_QUANTISED = ["Conv", "Add", "Relu", "Resize"]


class _Samples(quantization.CalibrationDataReader):  # type: ignore[misc]  # it has no types
    """Shows inputs of the network one after the other."""

    def __init__(self, inputs: Sequence[Floats]) -> None:
        self._inputs: Iterator[Floats] = iter(inputs)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next input by its name, or None after the last."""
        shown = next(self._inputs, None)
        return None if shown is None else {"x": shown}


def quantise(network: Path, inputs: Sequence[Floats], out: Path) -> None:
    """Write the ONNX file ``network``, with input ``x``, as whole numbers to ``out``.

    inputs: arrays as the network takes them, from whose activations ranges are taken.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(network), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(str(prepared)).graph
        convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
        quantization.quantize_static(
            str(prepared),
            str(out),
            _Samples(inputs),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED,
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
