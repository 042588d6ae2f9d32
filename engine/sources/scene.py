"""The demo's road scene: any frame and its ground truth as a function of a seed and a time.

The ground is painted once; a frame is a copy of it with each vehicle's sprites scaled, placed
and blended, then softened, drifting in brightness and noisy like a small camera's picture.
About 4 ms for a frame of 1280x720 on one core. Luma and colour are rendered apart, so a gray
slot costs a third.
"""

import math
from typing import Any, Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from engine.sources.canvas import LEVELS, SCALE, Sprite
from engine.sources.ground import paint_ground
from engine.sources.paint import Face, Panel, paint_vehicle, plate_rectangle_m
from engine.sources.plate_art import plate_size_m
from engine.sources.traffic import (
    CAMERA_HEIGHT_M,
    FAR_Z_M,
    NEAR_Z_M,
    PARKED_LANE,
    RoadStyle,
    Traffic,
    Vehicle,
)
from engine.types import Bgr, Corners, Luma, Point

HORIZON: Final = 0.16
"""Height of the horizon, as a share of the frame's height from the top."""

_FOCAL_WIDTHS = 2.5
_FADE_FROM_Z_M = 75.0
_LEGIBLE_PX = 90.0
_NOISE_SIGMA = 3.0
_NOISE_MIDDLE = 10
_NIGHT_LOSS = 0.65
_POST_LEVEL, _NEUTRAL_LEVEL = 70, 128


class DemoVehicle(msgspec.Struct, frozen=True, kw_only=True):
    """Ground truth of one passage; times are seconds of the scene.

    Legible: the plate is wholly in the frame, not hidden, and at least 90 px wide (in frames
    narrower than 1280 px in proportion).
    """

    plate: str
    region: str
    enters_s: float
    leaves_s: float
    legible_from_s: float
    legible_to_s: float


class Projection(msgspec.Struct, frozen=True):
    """A pinhole camera that looks along the road, shifted so that the horizon is high."""

    width_px: int
    height_px: int

    @property
    def focal_px(self) -> float:
        """Pixels per metre at one metre's distance."""
        return self.width_px * _FOCAL_WIDTHS

    def point(self, x_m: float, y_m: float, z_m: float) -> Point:
        """Return where a point of the world lies in the frame."""
        scale = self.focal_px / z_m
        across, down = self.width_px / 2, self.height_px * HORIZON
        return across + scale * x_m, down + scale * (CAMERA_HEIGHT_M - y_m)

    def shows(self, corners: Corners, margin_px: float) -> bool:
        """Whether all corners are in the frame, a margin away from its edge."""
        return all(
            margin_px <= x <= self.width_px - margin_px
            and margin_px <= y <= self.height_px - margin_px
            for x, y in corners
        )


class DemoScene:
    """A seeded road scene; frame ``i`` shows time ``i / fps``.

    seed, width_px, height_px, density, style: the same values give the same pixels. One thread.
    """

    def __init__(
        self,
        seed: int = 7,
        width_px: int = 1280,
        height_px: int = 720,
        density: float = 1.0,
        style: RoadStyle = RoadStyle(),  # noqa: B008  # a frozen value
    ) -> None:
        self.projection = Projection(width_px, height_px)
        self._seed = seed
        self._style = style
        self._traffic = Traffic(seed, density, style)
        self._ground = paint_ground(self.projection, seed)
        self._faces: dict[tuple[int, int], Face] = {}
        self._noise = _noise(seed, width_px, height_px, _NOISE_SIGMA * (1 + 2 * style.night))

    def truth(self, until_s: float) -> list[DemoVehicle]:
        """Return the vehicles whose plates have been legible and gone by then, in that order."""
        until_road_s = self._style.road_s(until_s)
        found = [self._passage(vehicle) for vehicle in self._traffic.between(0.0, until_road_s)]
        seen = [v for v in found if v.legible_from_s >= 0 and v.legible_to_s <= until_s]
        return sorted(seen, key=lambda v: v.legible_to_s)

    def all_plates(self, until_s: float) -> set[str]:
        """Return the plates of all vehicles that were on the road by then, legible or not."""
        until_road_s = self._style.road_s(until_s)
        return {vehicle.plate for vehicle in self._traffic.between(0.0, until_road_s)}

    def is_anybody_there(self, t_s: float) -> bool:
        """Tell whether a vehicle is in the picture at a time."""
        return bool(self._on_road(self._style.road_s(t_s)))

    def corners(self, t_s: float) -> dict[str, Corners]:
        """Return plate text to corners of the plates wholly in the frame at a time."""
        shown = {}
        road_s = self._style.road_s(t_s)
        for vehicle in self._on_road(road_s):
            corners = self._plate_corners(vehicle, vehicle.z_m(road_s))
            if self.projection.shows(corners, 0.0):
                shown[vehicle.plate] = corners
        return shown

    def luma(self, t_s: float) -> Luma:
        """Render the luma of a time; (H, W) uint8, the caller's."""
        frame = self._compose(0, t_s)
        cv2.GaussianBlur(frame, (3, 3), 0.55, dst=frame)
        gain, lift = _exposure(t_s)
        gain *= 1 - _NIGHT_LOSS * self._style.night
        cv2.convertScaleAbs(frame, dst=frame, alpha=gain, beta=lift)
        self._add_noise(frame, t_s)
        return frame

    def bgr(self, t_s: float) -> Bgr:
        """Render the colours of a time; (H, W, 3) uint8, the caller's."""
        luma = self.luma(t_s)
        chroma = [
            cv2.resize(self._compose(plane, t_s), luma.shape[::-1], interpolation=cv2.INTER_LINEAR)
            for plane in (1, 2)
        ]
        return np.asarray(cv2.cvtColor(cv2.merge([luma, *chroma]), cv2.COLOR_YUV2BGR), np.uint8)

    def _on_road(self, road_s: float) -> list[Vehicle]:
        """Return the vehicles on the road at a time of the traffic's own, the farthest first."""
        vehicles = [v for v in self._traffic.between(road_s, road_s) if v.z_m(road_s) > NEAR_Z_M]
        return sorted(vehicles, key=lambda v: -v.z_m(road_s))

    def _compose(self, plane: int, t_s: float) -> Luma:
        """Return one plane (Y, or U and V at half size) with all vehicles in place."""
        picture = self._ground[plane].copy()
        zoom = 1.0 if plane == 0 else 0.5
        road_s = self._style.road_s(t_s)
        for vehicle, face in self._painted(self._on_road(road_s)):
            z_m = vehicle.z_m(road_s)
            fade = min(1.0, (FAR_Z_M - z_m) / (FAR_Z_M - _FADE_FROM_Z_M))
            for panel in face.panels:
                self._draw_panel(picture, plane, vehicle, panel, (z_m, fade))
            _draw_front(picture, plane, face.front, self._front_place(vehicle, z_m, zoom), fade)
        self._draw_posts(picture, plane)
        return picture

    def _draw_posts(self, picture: Luma, plane: int) -> None:
        """Put a post before each lane where there is occlusion."""
        width = picture.shape[1]
        thick = round(self._style.occlusion * width / 8)
        for middle in (0.2, 0.8) if thick else ():
            left = round(middle * width) - thick // 2
            picture[:, left : left + thick] = _POST_LEVEL if plane == 0 else _NEUTRAL_LEVEL

    def _front_place(self, vehicle: Vehicle, z_m: float, zoom: float) -> tuple[float, float, float]:
        """Return where the face's origin lies and pixels per metre, in a zoomed plane."""
        x, y = self.projection.point(vehicle.x_m, 0.0, z_m)
        return x * zoom, y * zoom, self.projection.focal_px / z_m * zoom

    def _draw_panel(
        self, picture: Luma, plane: int, vehicle: Vehicle, panel: Panel, place: tuple[float, float]
    ) -> None:
        """Warp a panel onto the picture; place: distance and fade of the vehicle."""
        z_m, fade = place
        zoom = 1.0 if plane == 0 else 0.5
        level = _level(self.projection.focal_px / z_m * zoom)
        source = panel.sprite.planes[plane][level]
        height, width = source.shape
        inward = -math.copysign(1.0, vehicle.x_m)
        at = self.projection.point
        spots = [at(vehicle.x_m + inward * x, y, z_m + z) for x, y, z in panel.corners_m]
        target = np.array(spots, np.float32) * np.float32(zoom)
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        matrix = cv2.getPerspectiveTransform(corners, target)
        _warp(picture, (source, panel.sprite.keeps[level]), matrix, target, fade)

    def _painted(self, vehicles: list[Vehicle]) -> list[tuple[Vehicle, Face]]:
        """Return the vehicles with their faces; of 16 MB each, only those on the road are kept."""
        before = self._faces
        keys = [(vehicle.lane, vehicle.number) for vehicle in vehicles]
        faces = [
            before[key] if key in before else paint_vehicle(vehicle)
            for key, vehicle in zip(keys, vehicles, strict=True)
        ]
        self._faces = dict(zip(keys, faces, strict=True))
        return list(zip(vehicles, faces, strict=True))

    def _plate_corners(self, vehicle: Vehicle, z_m: float) -> Corners:
        left, top, right, bottom = plate_rectangle_m(vehicle)
        x, at = vehicle.x_m, self.projection.point
        return (
            at(x + left, top, z_m),
            at(x + right, top, z_m),
            at(x + right, bottom, z_m),
            at(x + left, bottom, z_m),
        )

    def _passage(self, vehicle: Vehicle) -> DemoVehicle:
        """Find the span in which the plate is legible: from far to near it only grows."""
        scene_s = self._style.scene_s
        if vehicle.lane == PARKED_LANE:
            from_s = scene_s(vehicle.appears_s)
            to_s = scene_s(vehicle.appears_s + vehicle.stays_s)
            return _seen(vehicle, (from_s, to_s), (from_s, to_s))
        width_m = plate_size_m(vehicle.region)[0]
        legible_px = _LEGIBLE_PX * min(1.0, self.projection.width_px / 1280)
        far_m = self.projection.focal_px * width_m / legible_px
        near_m, hidden_m = far_m, NEAR_Z_M
        for _ in range(30):
            middle_m = (near_m + hidden_m) / 2
            if self.projection.shows(self._plate_corners(vehicle, middle_m), 4.0):
                near_m = middle_m
            else:
                hidden_m = middle_m
        times = sorted((vehicle.time_at(far_m), vehicle.time_at(near_m)))
        leaves_s = vehicle.time_at(NEAR_Z_M if vehicle.approaching else FAR_Z_M)
        return _seen(
            vehicle,
            (scene_s(vehicle.appears_s), scene_s(leaves_s)),
            (scene_s(times[0]), scene_s(times[1])),
        )

    def _add_noise(self, frame: Luma, t_s: float) -> None:
        """Add a window of the noise, another one each frame."""
        height, width = frame.shape
        step = int(t_s * 1000)
        x, y = (step * 7919) % 64, (step * 104729 + self._seed) % 61
        cv2.add(frame, self._noise[y : y + height, x : x + width], dst=frame)
        cv2.subtract(frame, np.full(1, _NOISE_MIDDLE, np.float64), dst=frame)


def _seen(
    vehicle: Vehicle, here_s: tuple[float, float], legible_s: tuple[float, float]
) -> DemoVehicle:
    """Return the ground truth of a passage."""
    return DemoVehicle(
        plate=vehicle.plate,
        region=vehicle.region,
        enters_s=here_s[0],
        leaves_s=here_s[1],
        legible_from_s=legible_s[0],
        legible_to_s=legible_s[1],
    )


def _draw_front(
    picture: Luma,
    plane: int,
    sprite: Sprite,
    place: tuple[float, float, float],
    fade: float,
) -> None:
    """Scale a face onto the picture, to the fraction of a pixel."""
    x, y, scale = place
    level = _level(scale)
    source = sprite.planes[plane][level]
    zoom = scale / (SCALE / 2**level)
    left = x - sprite.origin_px[0] / 2**level * zoom
    top = y - sprite.origin_px[1] / 2**level * zoom
    right, bottom = left + source.shape[1] * zoom, top + source.shape[0] * zoom
    matrix = np.array([[zoom, 0, left], [0, zoom, top], [0, 0, 1]], np.float64)
    box = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    _warp(picture, (source, sprite.keeps[level]), matrix, box, fade)


def _warp(
    picture: Luma,
    sprite: tuple[Luma, Luma],
    matrix: npt.NDArray[Any],
    outline: npt.NDArray[Any],
    fade: float,
) -> None:
    """Blend a warped sprite into the part of the picture that its outline touches."""
    low = np.maximum(np.floor(outline.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(outline.max(axis=0)) + 1, picture.shape[::-1]).astype(int)
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    if x1 <= x0 or y1 <= y0:
        return
    shift = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]], np.float64) @ matrix
    size = (x1 - x0, y1 - y0)
    if np.allclose(shift[2], (0, 0, 1)):
        solid = cv2.warpAffine(sprite[0], shift[:2], size, borderValue=0)
        keep = cv2.warpAffine(sprite[1], shift[:2], size, borderValue=255)
    else:
        solid = cv2.warpPerspective(sprite[0], shift, size, borderValue=0)
        keep = cv2.warpPerspective(sprite[1], shift, size, borderValue=255)
    if fade < 1:
        solid = cv2.convertScaleAbs(solid, alpha=fade)
        keep = cv2.convertScaleAbs(keep, alpha=fade, beta=255 * (1 - fade))
    part = picture[y0:y1, x0:x1]
    cv2.add(cv2.multiply(part, keep, scale=1 / 255), solid, dst=part)


def _level(scale_px: float) -> int:
    """Return the coarsest level that still has as many pixels as are needed."""
    finer = math.floor(math.log2(max(1.0, SCALE / scale_px)))
    return min(LEVELS - 1, finer)


def _exposure(t_s: float) -> tuple[float, float]:
    """Return gain and lift of the luma: slow clouds, and a camera that hunts a little."""
    gain = 1.0 + 0.07 * math.sin(t_s * 0.27) + 0.015 * math.sin(t_s * 2.1)
    return gain, 4.0 * math.sin(t_s * 0.19 + 1.0)


def _noise(seed: int, width_px: int, height_px: int, sigma: float) -> Luma:
    rng = np.random.default_rng(seed)
    noise = rng.normal(_NOISE_MIDDLE, sigma, (height_px + 64, width_px + 64))
    return np.clip(np.round(noise), 0, 2 * _NOISE_MIDDLE).astype(np.uint8)
