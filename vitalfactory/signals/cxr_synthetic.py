"""Drawn chest X-rays: a thorax with lungs, ribs and a heart, and findings as shapes that can be seen.

They are made to test what reads chest X-rays, and say nothing about patients. Patients have up to four images; an ill
one has findings of its own, each of which stands in most of its images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitalfactory.signals.cxr import FINDINGS, NO_FINDING, Described
from vitalfactory.signals.cxr_image import to_png

if TYPE_CHECKING:
    from PIL import Image

SIDE = 512
"""Pixels of a drawing, before it is scaled."""
SHARES = {"effusion": 0.3, "cardiomegaly": 0.25, "nodule": 0.2, "mass": 0.15, "pneumothorax": 0.1}
"""How often each finding is drawn among all findings."""
ILL, SEEN = 0.6, 0.85
"""Shares of patients with findings, and of an ill patient's images in which each of them stands."""
AIR, FREE_AIR, TISSUE, BONE, DENSE = 70, 35, 125, 150, 190
"""Grey values."""
SHARPNESS, NOISE = 2.0, 6.0
LUNGS = {"right": (0.14, 0.12, 0.46, 0.80), "left": (0.54, 0.12, 0.86, 0.80)}
"""The patient's side to its place in the picture: left, top, right, bottom, in shares of its side."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """A chest X-ray that is drawn when it is asked for.

    Attributes
    ----------
    about : Described
    seed : tuple of int
        Of the patient and of the image.
    """

    about: Described
    seed: tuple[int, ...]

    def png(self, size: int, pad: bool, kept: Path) -> bytes:
        """Draw it; nothing is kept."""
        return to_png(draw(self.about, self.seed), size, pad)


def synthetic(count: int, seed: int) -> Iterator[Drawn]:
    """Make chest X-rays, the same for the same seed.

    Parameters
    ----------
    count : int
    seed : int

    Yields
    ------
    Drawn
        All images of a patient after one another.
    """
    made = patient = 0
    while made < count:
        patient += 1
        for number, drawn in enumerate(_patient(patient, seed)):
            if made + number < count:
                yield drawn
        made += number + 1


def _patient(patient: int, seed: int) -> Iterator[Drawn]:
    rng = np.random.default_rng((seed, patient))
    images, years, sex = int(rng.integers(1, 5)), int(rng.integers(20, 90)), "FM"[rng.integers(2)]
    wanted = int(rng.integers(1, 3)) if rng.random() < ILL else 0
    own = rng.choice(list(SHARES), wanted, replace=False, p=list(SHARES.values()))
    for number in range(images):
        found = {str(finding) for finding in own if rng.random() < SEEN} or {NO_FINDING}
        findings = tuple(finding for finding in FINDINGS if finding in found)
        view = "AP" if rng.random() < 0.3 else "PA"
        about = Described(f"{patient:08d}_{number:03d}", str(patient), findings, view, years, sex)
        yield Drawn(about, (seed, patient, number))


def draw(about: Described, seed: tuple[int, ...]) -> Image.Image:
    """Draw a chest X-ray.

    Parameters
    ----------
    about : Described
        Whose findings are drawn; those without a shape are not.
    seed : tuple of int

    Returns
    -------
    Image
        Of mode ``L``, 512 x 512.
    """
    from PIL import Image, ImageFilter

    rng = np.random.default_rng(seed)
    film = _Film(rng)
    film.thorax()
    film.heart(wide="cardiomegaly" in about.findings, projected=about.view == "AP")
    for finding in about.findings:
        if finding in SHAPES:
            SHAPES[finding](film)
    blurred = film.picture.filter(ImageFilter.GaussianBlur(SHARPNESS))
    noisy = np.asarray(blurred, dtype=np.float64) + rng.normal(0, NOISE, (SIDE, SIDE))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


class _Film:
    """A picture while it is drawn; places and lengths are in shares of its side."""

    def __init__(self, rng: np.random.Generator) -> None:
        from PIL import Image, ImageDraw

        self.rng = rng
        self.picture = Image.new("L", (SIDE, SIDE), 15)
        self.pen: Any = ImageDraw.Draw(self.picture)
        shift, grow = rng.normal(0, 0.01), rng.normal(1, 0.02)
        self.lungs: dict[str, Box] = {
            side: (left * grow + shift, top, right * grow + shift, bottom * grow)
            for side, (left, top, right, bottom) in LUNGS.items()
        }

    def ellipse(self, box: Box, grey: int, outline: int | None = None) -> None:
        self.pen.ellipse([SIDE * edge for edge in box], grey, outline, 2)

    def thorax(self) -> None:
        self.pen.rounded_rectangle([0.05 * SIDE, 0.04 * SIDE, 0.95 * SIDE, 1.2 * SIDE], 0.2 * SIDE, TISSUE)
        for box in self.lungs.values():
            self.ellipse(box, AIR)
            left, top, right, bottom = box
            for rib in np.linspace(top + 0.06, bottom - 0.1, 7):
                arc = [SIDE * edge for edge in (left - 0.05, rib, right + 0.05, rib + 0.2)]
                self.pen.arc(arc, 200, 340, AIR + 18, round(0.012 * SIDE))
        self.pen.rectangle([0.475 * SIDE, 0.04 * SIDE, 0.525 * SIDE, SIDE], BONE)

    def heart(self, *, wide: bool, projected: bool) -> None:
        """Draw the heart: more than half as wide as the thorax where it is enlarged, larger in an AP view."""
        width = self.rng.normal(0.46 if wide else 0.27, 0.015) * (1.06 if projected else 1.0)
        self.ellipse((0.56 - 0.55 * width, 0.46, 0.56 + 0.45 * width, 0.80), BONE)

    def side(self) -> Box:
        """Choose a lung."""
        return self.lungs[("right", "left")[int(self.rng.integers(2))]]

    def inside(self, radius: float) -> tuple[float, float]:
        """Choose a place in the upper two thirds of a lung for something of this radius."""
        left, top, right, bottom = self.side()
        middle, height = (left + right) / 2, top + (bottom - top) * self.rng.uniform(0.25, 0.6)
        reach = max(0.0, 0.3 * (right - left) - radius)
        return middle + self.rng.uniform(-reach, reach), height

    def spot(self, radius: float, grey: int) -> None:
        x, y = self.inside(radius)
        self.ellipse((x - radius, y - radius, x + radius, y + radius), grey)


def _effusion(film: _Film) -> None:
    """Fluid at a base: bright, its upper edge rising to the chest wall."""
    left, top, right, bottom = film.side()
    level = bottom - film.rng.uniform(0.22, 0.36) * (bottom - top)
    wall, middle = (left, right) if left < 0.5 else (right, left)
    corners = [(wall, level - 0.08), (middle, level + 0.04), (middle, bottom + 0.03), (wall, bottom + 0.03)]
    film.pen.polygon([(SIDE * x, SIDE * y) for x, y in corners], BONE)


def _mass(film: _Film) -> None:
    film.spot(film.rng.uniform(0.06, 0.08), DENSE)


def _nodules(film: _Film) -> None:
    for _ in range(int(film.rng.integers(3, 7))):
        film.spot(film.rng.uniform(0.012, 0.02), DENSE)


def _pneumothorax(film: _Film) -> None:
    """Free air at the top of a lung, darker than the lung, above the line of the pleura."""
    left, top, right, _ = film.side()
    film.ellipse((left + 0.03, top + 0.005, right - 0.03, top + 0.25), FREE_AIR, DENSE)


SHAPES: dict[str, Callable[[_Film], None]] = {
    "effusion": _effusion,
    "mass": _mass,
    "nodule": _nodules,
    "pneumothorax": _pneumothorax,
}
