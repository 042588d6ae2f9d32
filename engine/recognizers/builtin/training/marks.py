"""Marks on plates that are no text: landmarks, badges of countries, emblems between groups.

Every function draws into ``picture``, (H, W) float32 grey values, around ``center`` (x, y).
"""

import cv2
import numpy as np
import numpy.typing as npt

from engine.recognizers.builtin.training.inks import Grey


def draw_landmark(picture: Grey, rng: np.random.Generator, paper: float) -> None:
    """Draw what a state is proud of, behind its text: a shape nearly as grey as the paper."""
    height, width = picture.shape
    grey = float(paper + rng.choice((-1, 1)) * rng.uniform(10, 55))
    center = np.array((rng.uniform(0.2, 0.8) * width, rng.uniform(0.3, 0.7) * height))
    reach = rng.uniform(0.1, 0.45) * height
    if rng.random() < 0.4:
        axes = max(1, round(reach)), max(1, round(reach * rng.uniform(0.4, 1)))
        place = round(center[0]), round(center[1])
        cv2.ellipse(picture, place, axes, rng.uniform(0, 180), 0, 360, grey, -1)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 12))))
        spokes = np.stack((np.cos(angles), np.sin(angles)), axis=1)
        outline = center + spokes * reach * rng.uniform(0.4, 1.3, (len(angles), 1))
        cv2.fillPoly(picture, [outline.astype(np.int32)], grey)


def draw_badge(
    picture: Grey,
    rng: np.random.Generator,
    center: tuple[float, float],
    radius: float,
    grey: float,
) -> None:
    """Draw a ring of stars, a ring, a flag or a coat of arms."""
    x, y = center
    kind = rng.random()
    if kind < 0.4:
        for turn in np.linspace(0, 2 * np.pi, 12, endpoint=False):
            star = round(x + radius * np.cos(turn)), round(y + radius * np.sin(turn))
            cv2.circle(picture, star, 2, grey, -1)
    elif kind < 0.6:
        cv2.circle(picture, (round(x), round(y)), max(1, round(radius)), grey, 2)
    elif kind < 0.8:
        for strip in (-1, 0, 1):
            low = round(x - radius), round(y + (strip - 0.5) * radius / 2)
            high = round(x + radius), round(y + (strip + 0.5) * radius / 2)
            cv2.rectangle(picture, low, high, grey + strip * 60, -1)
    else:
        _fill(picture, rng.uniform(-1.1, 1.1, (int(rng.integers(5, 11)), 2)) * radius, center, grey)


def draw_emblem(
    picture: Grey,
    rng: np.random.Generator,
    center: tuple[float, float],
    height: float,
    paper: float,
) -> None:
    """Draw a seal, a shield, a pair of stickers or a figure where a group of text ends.

    height: of the text, in pixels; paper: the grey that the emblem stands out from.
    """
    x, y = round(center[0]), round(center[1])
    radius = max(2, round(height * rng.uniform(0.1, 0.2)))
    grey = float(np.clip(paper + rng.choice((-1, 1)) * rng.uniform(25, 150), 0, 255))
    kind = rng.random()
    if kind < 0.4:
        apart = round(radius * rng.uniform(1, 1.6))
        filled = -1 if rng.random() < 0.6 else int(rng.integers(1, 4))
        for side in (-1, 1):
            cv2.circle(picture, (x, y + side * apart), radius, grey, filled, cv2.LINE_AA)
            cv2.circle(picture, (x, y + side * apart), radius // 2, paper, 1)
    elif kind < 0.7:
        shield = np.array(((-1, -1.2), (1, -1.2), (1, 0.2), (0, 1.3), (-1, 0.2)))
        _fill(picture, shield * radius, center, grey)
    elif kind < 0.85:
        _fill(picture, rng.uniform(-1.3, 1.3, (int(rng.integers(4, 9)), 2)) * radius, center, grey)
    else:
        for _ in range(int(rng.integers(3, 8))):
            (x0, y0), (x1, y1) = rng.normal(0, 0.9, (2, 2)) * radius
            ends = (round(x + x0), round(y + y0)), (round(x + x1), round(y + y1))
            cv2.line(picture, *ends, grey, int(rng.integers(1, 5)), cv2.LINE_AA)


def _fill(
    picture: Grey, outline: npt.NDArray[np.floating], center: tuple[float, float], grey: float
) -> None:
    """Fill a shape whose corners (n, 2) are given from its middle."""
    cv2.fillPoly(picture, [(outline + np.array(center)).astype(np.int32)], grey)
