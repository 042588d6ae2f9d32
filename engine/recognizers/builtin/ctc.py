"""What a reader's output says: likely texts, and how likely a given text is.

The reader gives, for each of 32 columns of either line of the plate, probabilities of "nothing"
(class 0) and of the 36 characters. A text is spelled by every path of classes that becomes it once
repetitions and nothings are dropped (connectionist temporal classification), and its probability
is their sum.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.plates import ALPHABET

Probabilities = npt.NDArray[np.float32]
"""(columns, 37) or (crops, columns, 37): rows sum to 1, class 0 is "nothing"."""

_CLASS_OF = {character: index for index, character in enumerate(ALPHABET, start=1)}
_SURELY = 0.99998
_NEGLIGIBLE = 0.01
"""A character less likely than this in a column starts no branch of the search."""
_HOPELESS = 1e-4
"""Prefixes less likely than this share of the best are given up."""


def softmax(logits: npt.NDArray[np.float32]) -> Probabilities:
    """Return probabilities over axis 1 of (crops, 37, columns), as (crops, columns, 37)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.ascontiguousarray((powers / powers.sum(axis=1, keepdims=True)).transpose(0, 2, 1))


def joined(upper: Probabilities, lower: Probabilities) -> Probabilities:
    """Put the columns of two lines (crops, columns, 37) one after the other.

    A column of nothing parts them: equal characters on both sides of it are two.
    """
    nothing = np.zeros((len(upper), 1, upper.shape[2]), np.float32)
    nothing[:, :, 0] = 1.0
    return np.concatenate((upper, nothing, lower), axis=1)


def condensed(probabilities: Probabilities) -> Probabilities:
    """Leave one column of each run of (crops, columns, 37) that surely hold nothing in all crops.

    Texts keep their likelihood up to a thousandth, and the rest of the work is halved.
    """
    empty = probabilities[:, :, 0].min(axis=0) > _SURELY
    again = empty & np.concatenate(([False], empty[:-1]))
    return probabilities[:, ~again]


def greedy(probabilities: Probabilities) -> str:
    """Return the text of the likeliest path through (columns, 37)."""
    path = probabilities.argmax(axis=1)
    starts = path[np.flatnonzero(np.diff(path, prepend=0))]
    return "".join(ALPHABET[index - 1] for index in starts if index)


def likely_texts(probabilities: Probabilities, width: int) -> dict[str, float]:
    """Return at most ``width`` texts of (columns, 37) and about how likely they are, best first.

    A prefix beam search: ``width`` prefixes survive each column. Each carries the probability of
    the paths that end in "nothing" and of those that end in its last character; paths that the
    search left are missing from it.
    """
    branches: list[list[tuple[str, float]]] = [[] for _ in probabilities]
    for column, index in zip(*np.nonzero(probabilities[:, 1:] > _NEGLIGIBLE), strict=True):
        branches[column].append((ALPHABET[index], float(probabilities[column, index + 1])))
    beam: dict[str, tuple[float, float]] = {"": (1.0, 0.0)}
    for nothing, branch in zip(probabilities[:, 0].tolist(), branches, strict=True):
        beam = _advance(beam, nothing, branch)
        if branch:
            best_first = sorted(beam.items(), key=_total, reverse=True)[:width]
            least = _HOPELESS * _total(best_first[0])
            beam = dict(entry for entry in best_first if _total(entry) > least)
    return {text: _total((text, ended)) for text, ended in beam.items()}


def _total(entry: tuple[str, tuple[float, float]]) -> float:
    """Return the probability of a prefix, however its paths end."""
    return entry[1][0] + entry[1][1]


def _advance(
    beam: dict[str, tuple[float, float]], nothing: float, branch: list[tuple[str, float]]
) -> dict[str, tuple[float, float]]:
    """Let every prefix of the beam go on by one column: with nothing, or with a character."""
    grown = {
        text: ((after_nothing + after_last) * nothing, 0.0)
        for text, (after_nothing, after_last) in beam.items()
    }
    for character, probability in branch:
        for text, (after_nothing, after_last) in beam.items():
            entering = after_nothing + after_last
            if text.endswith(character):  # once more the same: a new one only after nothing
                ended, last = grown[text]
                grown[text] = ended, last + after_last * probability
                entering = after_nothing
            longer = text + character
            ended, last = grown.get(longer, (0.0, 0.0))
            grown[longer] = ended, last + entering * probability
    return grown


def likelihoods(probabilities: Probabilities, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return how likely each of the texts is in each crop: (crops, texts), exact.

    probabilities: (crops, columns, 37). All texts are followed at once through the columns:
    ``reached`` holds the probability of having spelled each of them up to each of its states
    (nothing, first character, nothing, second character, ...).
    """
    lengths = np.array([len(text) for text in texts])
    states = 2 * int(lengths.max(initial=0)) + 1
    classes = np.zeros((len(texts), states), np.intp)
    for row, text in enumerate(texts):
        classes[row, 1 : 2 * len(text) : 2] = [_CLASS_OF[character] for character in text]
    may_skip = np.zeros((len(texts), states))
    may_skip[:, 2:] = (classes[:, 2:] != 0) & (classes[:, 2:] != classes[:, :-2])
    emitted = probabilities.astype(np.float64)[:, :, classes]
    # Two states of no probability stand before the first, so that all have two before them.
    padded = np.zeros((len(probabilities), len(texts), states + 2))
    reached, one_before, two_before = padded[:, :, 2:], padded[:, :, 1:-1], padded[:, :, :-2]
    reached[:, :, :2] = emitted[:, 0, :, :2]
    for column in range(1, probabilities.shape[1]):
        entering = two_before * may_skip
        entering += one_before
        entering += reached
        np.multiply(entering, emitted[:, column], out=reached)
    rows = np.arange(len(texts))
    complete = reached[:, rows, 2 * lengths]
    return np.where(
        lengths > 0, complete + reached[:, rows, np.maximum(2 * lengths - 1, 0)], complete
    )
