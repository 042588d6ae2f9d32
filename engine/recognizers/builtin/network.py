"""Runs one of the package's networks on one core with onnxruntime."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from engine.errors import RecognizerError

Floats = npt.NDArray[np.float32]

_WEIGHTS = Path(__file__).parent / "weights"


class Network:
    """One ONNX network with one input and one output, on one thread of the CPU."""

    def __init__(self, name: str) -> None:
        """Load ``weights/<name>``.

        Raises:
            RecognizerError: the file is missing or damaged.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Inputs come in several sizes; planning memory anew for each would cost more than it wins.
        options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(
                str(_WEIGHTS / name), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a dozen unrelated types here
            raise RecognizerError(
                f"the built-in weights {name} cannot be loaded: {error}"
            ) from error
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: Floats) -> Floats:
        """Return the output for one input array; a new array each time."""
        return np.asarray(self._session.run(None, {self._input: batch})[0], np.float32)
