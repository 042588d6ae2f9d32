"""Rewrites a quantised network into a shape in which processors add faster: the same sums.

A picture has one channel, and a convolution over one channel leaves a processor mostly idle. So
the network takes blocks of pixels as channels ("space to depth"; Shi et al., CVPR 2016, backwards).
The detector's first convolution, 8 by 8 of stride 4, becomes one over blocks of 4 by 4. The
reader's, 3 by 3 of stride 1, answers for the four places of a block of 2 by 2 at once, and the
second, of stride 2, takes those as its channels. Weights move, zeros fill the rest. Pixels are
whole numbers already, so the first convolution becomes one of whole numbers, too. Enlarging by two
is a copy along a new axis, which takes a sixth of the time of onnxruntime's Resize.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

_MOST_OF_TWO: Final = 128
"""Two weights of a filter together: times 255 each, more would not fit into the 16 bits in which
processors without VNNI instructions add them up."""

Bytes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


def into_blocks(network: Path, scale: float, zero: int) -> None:
    """Rewrite the ONNX file ``network``: it takes (n, h/b, w/b, b * b) uint8, blocks of side b.

    A pixel of value p is the number (p - zero) * scale, which the network took before.
    """
    model = onnx.load(str(network))
    graph = _Graph(model.graph)
    first, second = graph.of_type("Conv")[:2]
    weights = graph.array(first.input[1])
    if weights.shape[2:] == (8, 8):
        _take_blocks(graph, first, _one_place(weights), (scale, zero))
    else:
        _take_blocks(graph, first, _four_places(weights), (scale, zero))
        _take_four_places(graph, second)
    for resize in graph.of_type("Resize"):
        _copy_instead(graph, resize)
    graph.sort()
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(network))


class _Graph:
    """A graph and where in it things are."""

    def __init__(self, graph: Any) -> None:
        self.onnx = graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}

    def of_type(self, operator: str) -> list[Any]:
        """Return the nodes of this operator in the order of their work."""
        return [node for node in self.onnx.node if node.op_type == operator]

    def maker(self, name: str) -> Any:
        """Return the node whose output this is."""
        return next(node for node in self.onnx.node if name in node.output)

    def users(self, name: str) -> list[Any]:
        """Return the nodes that take this as input."""
        return [node for node in self.onnx.node if name in node.input]

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return a constant."""
        return np.asarray(numpy_helper.to_array(self.constants[name]))

    def keep(self, name: str, array: Any) -> str:
        """Write a constant, new or in place of the one of this name; return its name."""
        tensor = numpy_helper.from_array(np.asarray(array), name)
        if name in self.constants:
            self.onnx.initializer.remove(self.constants[name])
        self.onnx.initializer.append(tensor)
        self.constants[name] = tensor
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = f"{output}/{operator}"
        self.onnx.node.append(
            helper.make_node(operator, list(inputs), [output], name=name, **attributes)
        )
        return output

    def fractions(self, whole: str, step: Any, zero: Any, **axis: int) -> str:
        """Add what turns whole numbers into the fractions that they stand for."""
        constants = [self.keep(f"{whole}/step", step), self.keep(f"{whole}/zero", zero)]
        return self.add("DequantizeLinear", [whole, *constants], f"{whole}/fractions", **axis)

    def remove(self, *nodes: Any) -> None:
        """Take nodes out."""
        for node in nodes:
            self.onnx.node.remove(node)

    def sort(self) -> None:
        """Put every node behind those whose outputs it takes, and drop what leads nowhere."""
        waiting, there = list(self.onnx.node), {"", *self.constants}
        there |= {given.name for given in self.onnx.input}
        del self.onnx.node[:]
        while waiting:
            ready = [node for node in waiting if there.issuperset(node.input)]
            self.onnx.node.extend(ready)
            there.update(name for node in ready for name in node.output)
            waiting = [node for node in waiting if node not in ready]
        self._drop_unused()

    def _drop_unused(self) -> None:
        wanted = {given.name for given in self.onnx.output}
        for node in reversed(list(self.onnx.node)):
            if wanted.isdisjoint(node.output):
                self.onnx.node.remove(node)
            else:
                wanted.update(node.input)
        for name in self.constants.keys() - wanted:
            self.onnx.initializer.remove(self.constants[name])


def _take_blocks(graph: _Graph, node: Any, weights: Floats, pixel: tuple[float, int]) -> None:
    """Make the first convolution, of fractions so far, one of the bytes of blocks.

    weights: (n, b * b, k, k) over blocks, once per filter and place that it answers for.
    """
    scale, zero = pixel
    bias = graph.array(node.input[2])
    bias = np.tile(bias, len(weights) // len(bias))
    step = np.array([_step(weight) for weight in weights])
    picture = graph.onnx.input[0].name
    shape = ["n", "h", "w", weights.shape[1]]
    given = helper.make_tensor_value_info(picture, onnx.TensorProto.UINT8, shape)
    graph.onnx.input[0].CopyFrom(given)
    pixels = graph.add("Transpose", [picture], "blocks", perm=[0, 3, 1, 2])
    steps = np.rint(weights / step[:, None, None, None])
    whole = graph.keep("blocks/weights", steps.astype(np.int8))
    biased = graph.keep("blocks/bias", np.rint(bias / (step * scale)).astype(np.int32))
    node.input[:] = [
        graph.fractions(pixels, np.float32(scale), np.uint8(zero)),
        graph.fractions(whole, step.astype(np.float32), np.zeros(len(step), np.int8), axis=0),
        graph.fractions(
            biased, (step * scale).astype(np.float32), np.zeros(len(step), np.int32), axis=0
        ),
    ]
    _stride_of_one_block(node, weights.shape[2])


def _step(weights: Floats) -> float:
    """Return the step in which a filter's weights lose least when they become whole numbers."""
    two_largest = max(float(np.sort(np.abs(weights), axis=None)[-2:].sum()), 1e-6)
    steps = two_largest / np.linspace(_MOST_OF_TWO / 2, _MOST_OF_TWO - 1, 2_000)
    lost = [float(np.square(np.rint(weights / step) * step - weights).sum()) for step in steps]
    return float(steps[int(np.argmin(lost))])


def _take_four_places(graph: _Graph, node: Any) -> None:
    """Make the second convolution take the four places of a block as channels."""
    whole = graph.maker(node.input[1]).input[0]
    graph.keep(whole, _of_four_places(graph.array(whole)))
    _stride_of_one_block(node, 2)


def _stride_of_one_block(node: Any, blocks: int) -> None:
    """Make a convolution look at 2 or 3 blocks each way: its own, that before, that behind."""
    behind = blocks - 2
    wanted = {"kernel_shape": [blocks] * 2, "pads": [1, 1, behind, behind], "strides": [1, 1]}
    for attribute in node.attribute:
        if attribute.name in wanted:
            attribute.ints[:] = wanted[attribute.name]


def _one_place(weights: Floats) -> Floats:
    """Return (n, 1, 8, 8) weights of stride 4 as (n, 16, 2, 2) over blocks of 4 by 4 pixels."""
    parted = weights.reshape(-1, 2, 4, 2, 4)
    return parted.transpose(0, 2, 4, 1, 3).reshape(-1, 16, 2, 2)


def _four_places(weights: Floats) -> Floats:
    """Return (n, 1, 3, 3) weights as (4 n, 4, 3, 3) over blocks of 2 by 2 pixels.

    Place (p, r) of a block looks at its rows p - 1 to p + 1; row -1 is the last of the block above.
    So it is with columns.
    """
    moved = np.zeros((2, 2, len(weights), 2, 2, 3, 3), weights.dtype)
    for p, r, a, b in np.ndindex(2, 2, 3, 3):
        down, row = divmod(p - 1 + a, 2)
        right, column = divmod(r - 1 + b, 2)
        moved[p, r, :, row, column, down + 1, right + 1] = weights[:, 0, a, b]
    return moved.reshape(4 * len(weights), 4, 3, 3)


def _of_four_places(weights: Bytes) -> Bytes:
    """Return (n, c, 3, 3) weights of stride 2 as (n, 4 c, 2, 2) over those four places."""
    filters, channels = weights.shape[:2]
    moved = np.zeros((filters, 2, 2, channels, 2, 2), weights.dtype)
    for a, b in np.ndindex(3, 3):
        down, p = divmod(a - 1, 2)
        right, r = divmod(b - 1, 2)
        moved[:, p, r, :, down + 1, right + 1] = weights[:, :, a, b]
    return moved.reshape(filters, -1, 2, 2)


def _copy_instead(graph: _Graph, resize: Any) -> None:
    """Replace an enlargement by two, of bytes, by copies along two new axes."""
    name = resize.name
    (bytes_again,) = graph.users(resize.output[0])
    small = graph.maker(resize.input[0]).input[0]
    rows = graph.add("Transpose", [small], f"{name}/rows", perm=[0, 2, 3, 1])
    axes = graph.keep(f"{name}/axes", np.array([2, 4]))
    split = graph.add("Unsqueeze", [rows, axes], f"{name}/split")
    twice = graph.keep(f"{name}/twice", np.array([1, 1, 2, 1, 2, 1]))
    copied = graph.add("Expand", [split, twice], f"{name}/copied")
    sides = graph.add("Shape", [rows], f"{name}/sides")
    larger = graph.keep(f"{name}/larger", np.array([1, 2, 2, 1]))
    sides = graph.add("Mul", [sides, larger], f"{name}/larger_sides")
    joined = graph.add("Reshape", [copied, sides], f"{name}/joined")
    graph.remove(resize, bytes_again)
    graph.add("Transpose", [joined], bytes_again.output[0], perm=[0, 3, 1, 2])
