"""Drawn chest X-rays: the same for the same seed, and their findings can be seen."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vitalfactory.signals.cxr import FINDINGS, NO_FINDING, Described
from vitalfactory.signals.cxr_synthetic import SHARES, draw, synthetic


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    first, second, other = (list(synthetic(12, seed)) for seed in (1, 1, 2))
    assert first == second
    assert [one.about for one in first] != [one.about for one in other]
    assert [one.png(56, False, tmp_path) for one in first] == [one.png(56, False, tmp_path) for one in second]
    assert len({one.png(56, False, tmp_path) for one in first}) == 12
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_as_many_as_asked_for(count: int) -> None:
    made = list(synthetic(count, 3))
    assert len(made) == count
    assert len({one.about.id for one in made}) == count
    assert made == list(synthetic(301, 3))[:count]


def test_patients_have_several_images_and_findings() -> None:
    made = [one.about for one in synthetic(600, 2026)]
    images = Counter(one.group for one in made)
    assert set(images.values()) == {1, 2, 3, 4}
    found = Counter(finding for one in made for finding in one.findings)
    assert set(found) == {*SHARES, NO_FINDING} <= set(FINDINGS)
    assert min(found.values()) > 20
    assert all(one.findings == (NO_FINDING,) or NO_FINDING not in one.findings for one in made)
    assert {one.view for one in made} == {"PA", "AP"}
    ill = {one.group for one in made if one.findings != (NO_FINDING,)}
    assert 0 < len(ill) < len(images)


@pytest.mark.parametrize("finding", sorted(SHARES))
def test_a_finding_can_be_seen(finding: str) -> None:
    def drawn(*findings: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.asarray(draw(Described("x", "x", findings, "PA", 50, "F"), (4, 2)), dtype=float)

    apart = np.abs(drawn(finding) - drawn(NO_FINDING)) > 40
    assert apart.sum() > 150
    assert np.abs(drawn("fibrosis") - drawn(NO_FINDING)).max() == 0
