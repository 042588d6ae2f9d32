"""Runs one of the package's networks with onnxruntime: on one core, or on what it is told."""

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.config import Provider
from engine.errors import RecognizerError

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # its wheels report to their maker, from 1.32 on
import onnxruntime  # only behind this line

Floats = npt.NDArray[np.float32]

_WEIGHTS = Path(__file__).parent / "weights"
_CPU: Final = "CPUExecutionProvider"
_NAMES: Final[dict[Provider, str]] = {
    "cpu": _CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_PACKAGES: Final[dict[Provider, str]] = {
    "cpu": "onnxruntime",
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
}


def why_on_cpu(provider: Provider) -> str:
    """Return why networks run on the CPU instead of this provider, and the remedy."""
    if _NAMES[provider] in onnxruntime.get_available_providers():
        return (
            f"recognizers.provider: {provider} does not start on this machine, the CPU runs the "
            "networks; look at its drivers and libraries"
        )
    return (
        f"recognizers.provider: the installed onnxruntime has no {provider}, the CPU runs the "
        f"networks; install {_PACKAGES[provider]} in its place"
    )


class Network:
    """One ONNX network with one input and one output; on the CPU it takes one thread."""

    def __init__(self, name: str, provider: Provider = "cpu") -> None:
        """Load ``weights/<name>``; what the provider cannot run, or has none, the CPU runs.

        Raises:
            RecognizerError: the file is missing or damaged.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Inputs come in several sizes; planning memory anew for each would cost more than it wins.
        options.enable_mem_pattern = False
        wanted = dict.fromkeys((_NAMES[provider], _CPU))
        there = [name for name in wanted if name in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(
                str(_WEIGHTS / name), options, providers=there
            )
        except Exception as error:  # onnxruntime raises a dozen unrelated types here
            raise RecognizerError(
                f"the built-in weights {name} cannot be loaded: {error}"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self.provider: Provider = (
            provider if self._session.get_providers()[0] == _NAMES[provider] else "cpu"
        )
        """What runs it: the one asked for, or the CPU."""

    def run(self, batch: npt.NDArray[Any]) -> Floats:
        """Return the output for one input array; a new array each time."""
        return np.asarray(self._session.run(None, {self._input: batch})[0], np.float32)
