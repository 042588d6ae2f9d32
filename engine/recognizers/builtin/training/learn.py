"""Trains one network and writes it as ONNX, its weights as whole numbers.

::

    python -m engine.recognizers.builtin.training.learn reader --fonts FOLDER --out ocr.onnx

Samples are drawn by processes of their own while the network learns. The same seed, number of
processes and steps draw the same samples. With ``--steps 0`` weights are only written anew.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import msgspec
import numpy as np
import torch
from torch.nn import functional
from torch.optim import swa_utils
from torch.utils import data

from engine.plates import ALPHABET
from engine.recognizers.builtin.training.blocks import into_blocks
from engine.recognizers.builtin.training.networks import Detector, Reader
from engine.recognizers.builtin.training.photographs import load_photographs
from engine.recognizers.builtin.training.quantise import quantise
from engine.recognizers.builtin.training.samples import (
    CROP_PX,
    SCENE_PX,
    CropMaker,
    SceneMaker,
    detector_target,
)
from engine.recognizers.builtin.training.teacher import Teacher
from engine.recognizers.builtin.training.typefaces import Typeface, load_typefaces

_PEAK_RATE: Final = 2e-3
_WARM_UP: Final = 0.02
"""Share of the steps in which the rate rises."""
_AVERAGED: Final = 0.998
"""Of the averaged weights, which are what is kept, this much remains at every step."""
_TOLD_EVERY: Final = 50
_KEPT_EVERY: Final = 500
"""Steps after which the weights so far are written, as a long training may be interrupted."""
_SHOWN: Final = 128
"""Samples whose activations set the ranges of whole numbers."""
_GREY, _CONTRAST = 112, 64.0
_MEAN, _DEVIATION = 128, 32.0
_LEAST_CONTRAST: Final = 4.0
_OPSET: Final = 17


class LearnOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to train; ``start`` is a file of weights written beside an earlier ``out``.

    ``photographs`` are tables of labelled pictures, see ``photographs.load_photographs``;
    ``teacher`` is an ONNX detector whose answers are learnt, too.
    """

    fonts: tuple[Path, ...]
    out: Path
    steps: int = 9_000
    batch: int = 64
    seed: int = 1
    processes: int = 1
    device: str = "cpu"
    start: Path | None = None
    rate: float = _PEAK_RATE
    photographs: tuple[Path, ...] = ()
    teacher: Path | None = None


class Lesson(Protocol):
    """What is learnt: how samples become batches, and how wrong an answer is."""

    def network(self) -> Any:
        """Return the network, untrained."""

    def batch(self, size: int) -> tuple[Any, ...]:
        """Return the next batch of tensors, the input first; called in a process of its own."""

    def loss(self, answer: Any, batch: tuple[Any, ...]) -> Any:
        """Return how wrong the answer to ``batch[0]`` is."""

    def example(self) -> tuple[Any, dict[int, str], dict[int, str]]:
        """Return an input, and the names of free axes of input and output."""

    def finish(self, network: Path) -> None:
        """Bring a network that is quantised into the form in which it is used."""


class DetectorLesson:
    """Where plates are: a focal loss on likelihood, a smooth one on places and corners."""

    def __init__(self, typefaces: Sequence[Typeface], seed: int, tables: Sequence[Path]) -> None:
        """Draw scenes from this seed on."""
        self._maker = SceneMaker(typefaces, seed, load_photographs(tables))

    def network(self) -> Any:
        """Return the network, untrained."""
        return Detector()

    def batch(self, size: int) -> tuple[Any, ...]:
        """Return pictures (n, 1, s, s), targets (n, 13, c, c) and weights (n, c, c)."""
        scenes = [self._maker.draw() for _ in range(size)]
        pictures = np.stack([scene.luma for scene in scenes])[:, None].astype(np.float32)
        targets, weights = zip(*(detector_target(scene.quads) for scene in scenes), strict=True)
        inputs = torch.from_numpy((pictures - _GREY) / _CONTRAST)
        return inputs, torch.from_numpy(np.stack(targets)), torch.from_numpy(np.stack(weights))

    def loss(self, answer: Any, batch: tuple[Any, ...]) -> Any:
        """Weigh a cell by how near the middle of a plate it is."""
        _, target, weight = batch
        likely = torch.sigmoid(answer[:, 0]).clamp(1e-5, 1 - 1e-5)
        truth = target[:, 0]
        plate = (truth >= 0.999).float()
        found = plate * (1 - likely) ** 2 * torch.log(likely)
        empty = (1 - plate) * (1 - truth) ** 4 * likely**2 * torch.log(1 - likely)
        focal = -(found + empty).sum() / plate.sum().clamp(min=1)
        apart = functional.smooth_l1_loss(answer[:, 1:], target[:, 1:], reduction="none", beta=0.1)
        apart = apart * weight[:, None]
        placed = 1.5 * apart[:, :4].sum() + 0.25 * apart[:, 4:].sum()
        return focal + placed / weight.sum().clamp(min=1)

    def example(self) -> tuple[Any, dict[int, str], dict[int, str]]:
        """Return a picture; its height and width are free."""
        return torch.zeros(1, 1, SCENE_PX, SCENE_PX), {2: "h", 3: "w"}, {2: "rows", 3: "columns"}

    def finish(self, network: Path) -> None:
        """Make it take blocks of pixels."""
        into_blocks(network, 1 / _CONTRAST, _GREY)


class ReaderLesson:
    """What a plate says, line by line: connectionist temporal classification."""

    def __init__(self, typefaces: Sequence[Typeface], seed: int, tables: Sequence[Path]) -> None:
        """Draw crops from this seed on."""
        self._maker = CropMaker(typefaces, seed, load_photographs(tables))

    def network(self) -> Any:
        """Return the network, untrained."""
        return Reader()

    def batch(self, size: int) -> tuple[Any, ...]:
        """Return crops (n, 1, 48, 128), classes of all upper, then all lower lines, lengths (2n,).

        A plate of one line has an empty lower one.
        """
        crops = [self._maker.draw() for _ in range(size)]
        pictures = np.stack([crop.luma for crop in crops])[:, None].astype(np.float32)
        mean = pictures.mean(axis=(1, 2, 3), keepdims=True)
        spread = np.maximum(pictures.std(axis=(1, 2, 3), keepdims=True), _LEAST_CONTRAST)
        lines = [crop.lines[0] for crop in crops]
        lines += [crop.lines[1] if len(crop.lines) > 1 else "" for crop in crops]
        classes = [ALPHABET.index(character) + 1 for line in lines for character in line]
        lengths = [len(line) for line in lines]
        inputs = torch.from_numpy((pictures - mean) / spread)
        return inputs, torch.tensor(classes), torch.tensor(lengths)

    def loss(self, answer: Any, batch: tuple[Any, ...]) -> Any:
        """Return the negative log likelihood of the lines, per character."""
        _, classes, lengths = batch
        rows = torch.cat((answer[:, :, 0], answer[:, :, 1]))
        columns = rows.permute(2, 0, 1).log_softmax(2)
        widths = torch.full_like(lengths, columns.shape[0])
        missed = functional.ctc_loss(
            columns, classes, widths, lengths, reduction="none", zero_infinity=True
        )
        return missed.sum() / lengths.sum().clamp(min=1)

    def example(self) -> tuple[Any, dict[int, str], dict[int, str]]:
        """Return a crop; the number of crops is free."""
        width, height = CROP_PX
        return torch.zeros(2, 1, height, width), {0: "n"}, {0: "n"}

    def finish(self, network: Path) -> None:
        """Make it take blocks of pixels."""
        into_blocks(network, 1 / _DEVIATION, _MEAN)


LESSONS: Final[dict[str, type[DetectorLesson | ReaderLesson]]] = {
    "detector": DetectorLesson,
    "reader": ReaderLesson,
}


class _Batches:
    """As many batches as there are steps, each drawn by the process that is asked for it."""

    def __init__(self, what: str, options: LearnOptions) -> None:
        self._what = what
        self._options = options
        self._lesson: Lesson | None = None

    def __len__(self) -> int:
        return self._options.steps

    def __getitem__(self, _step: int) -> tuple[Any, ...]:
        if self._lesson is None:
            cv2.setNumThreads(1)
            worker = data.get_worker_info()
            number = worker.id if worker else 0
            self._lesson = _lesson(self._what, self._options, self._options.seed * 1000 + number)
        return self._lesson.batch(self._options.batch)


def _lesson(what: str, options: LearnOptions, seed: int) -> Lesson:
    return LESSONS[what](load_typefaces(options.fonts), seed, options.photographs)


def learn(what: str, options: LearnOptions) -> list[float]:
    """Train the detector or the reader, write it to ``options.out``; return the loss of each step.

    The weights are also written beside it with the suffix ``.pt``, to start from again.

    Raises:
        ValueError: there are no fonts.
    """
    torch.manual_seed(options.seed)
    lesson = _lesson(what, options, options.seed)
    network = lesson.network().to(memory_format=torch.channels_last)
    if options.start is not None:
        network.load_state_dict(torch.load(options.start, weights_only=True))
    network.to(options.device).train()
    if not options.steps:
        write(network, lesson, options.out)
        return []
    averaged = swa_utils.AveragedModel(
        network, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(_AVERAGED), use_buffers=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=options.steps, pct_start=_WARM_UP
    )
    batches = data.DataLoader(
        _Batches(what, options),
        batch_size=None,
        num_workers=options.processes,
        multiprocessing_context="spawn" if options.processes else None,
    )
    teacher = Teacher(options.teacher, _GREY, _CONTRAST) if options.teacher else None
    losses: list[float] = []
    started_s = time.monotonic()
    for batch in batches:
        on_device = tuple(tensor.to(options.device) for tensor in batch)
        with torch.autocast(options.device, torch.bfloat16):
            answer = network(on_device[0])
        loss = lesson.loss(answer.float(), on_device)
        if teacher is not None:
            loss = loss + teacher.loss(answer.float(), on_device)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        losses.append(float(loss.detach()))
        if len(losses) % _TOLD_EVERY == 0:
            _tell(losses, options.steps, time.monotonic() - started_s)
        if len(losses) % _KEPT_EVERY == 0 or len(losses) == options.steps:
            torch.save(averaged.module.state_dict(), options.out.with_suffix(".pt"))
    write(averaged.module, lesson, options.out)
    return losses


def write(network: Any, lesson: Lesson, out: Path) -> None:
    """Write a network for use: as ONNX, quantised by what it answers to samples of the lesson."""
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder) / "exact.onnx"
        export(network, lesson, exact)
        shown = [lesson.batch(1)[0].numpy() for _ in range(_SHOWN)]
        quantise(exact, shown, out)
    lesson.finish(out)


def export(network: Any, lesson: Lesson, out: Path) -> None:
    """Write a network as ONNX in single precision, with one input ``x`` and one output ``out``."""
    example, free_in, free_out = lesson.example()
    torch.onnx.export(
        network.cpu().eval(),
        (example,),
        str(out),
        input_names=["x"],
        output_names=["out"],
        dynamic_axes={"x": free_in, "out": free_out},
        opset_version=_OPSET,
        dynamo=False,
    )


def _tell(losses: list[float], steps: int, elapsed_s: float) -> None:
    mean = sum(losses[-_TOLD_EVERY:]) / _TOLD_EVERY
    sys.stdout.write(f"step {len(losses)} of {steps}, {elapsed_s:.0f} s, loss {mean:.3f}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Trains one network of the built-in recognizer.")
    parser.add_argument("what", choices=sorted(LESSONS))
    parser.add_argument("--fonts", type=Path, nargs="+", required=True, help="files and folders")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--steps", type=int, default=9_000)
    parser.add_argument("--batch", type=int, default=64, help="samples a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="that draw samples")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rate", type=float, default=_PEAK_RATE, help="the highest of learning")
    parser.add_argument("--photographs", type=Path, nargs="*", default=(), metavar="LABELS.csv")
    parser.add_argument("--start", type=Path, help="weights (.pt) to start from")
    parser.add_argument("--teacher", type=Path, help="ONNX detector to learn from, too")
    chosen = vars(parser.parse_args())
    if chosen["teacher"] and chosen["what"] == "reader":
        parser.error("--teacher: a detector cannot teach the reader")
    what = chosen.pop("what")
    places = {key: tuple(chosen[key]) for key in ("fonts", "photographs")}
    learn(what, LearnOptions(**chosen | places))
    return 0


if __name__ == "__main__":
    sys.exit(main())
