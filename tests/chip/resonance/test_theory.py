"""Codes that no look reaches cost nothing and change nothing."""

import itertools

import numpy as np
import pytest

from clnf.chip.resonance.theory import Quantiser, code_chances, detection, detection_apart


def by_hand(levels: tuple[float, float], looks: list[tuple[float, float]], q: Quantiser) -> float:
    """The same answer from every combination of codes, one after the other."""
    sums: list[dict[int, float]] = [{}, {}]
    for found, level in zip(sums, levels, strict=True):
        each = [code_chances(level + offset, sigma, q) for offset, sigma in looks]
        for codes in itertools.product(range(len(q.codes)), repeat=len(looks)):
            chance = float(np.prod([one[code] for one, code in zip(each, codes, strict=True)]))
            found[sum(codes)] = found.get(sum(codes), 0.0) + chance
    return 0.5 + 0.25 * sum(abs(sums[0][s] - sums[1][s]) for s in sums[0])


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.3, 2.0])
def test_detection_is_that_of_all_combinations(sigma: float) -> None:
    coarse = Quantiser(step=1.0, top=3)
    looks = [(0.0, sigma), (0.2, 1.5 * sigma), (-0.4, sigma)]
    offsets, sigmas = (np.array(part) for part in zip(*looks, strict=True))
    wanted = by_hand((0.0, 0.3), looks, coarse)
    assert detection_apart(0.3, offsets, sigmas, coarse) == pytest.approx(wanted, abs=1e-12)
    alike = by_hand((0.0, 0.3), [(0.0, sigma)] * 3, coarse)
    assert detection(0.3, sigma, coarse, looks=3) == pytest.approx(alike, abs=1e-12)
    if sigma == 0.3:  # the control: looks that are not alike are told apart
        assert abs(wanted - alike) > 0.01


def test_many_codes_that_are_never_reached_change_nothing() -> None:
    few, many = Quantiser(step=1.0, top=7), Quantiser(step=1.0, top=2**15 - 1)
    offsets, sigmas = np.linspace(-0.3, 0.3, 16), np.full(16, 0.2)
    found = [detection_apart(0.25, offsets, sigmas, one) for one in (few, many)]
    assert found[0] == pytest.approx(found[1], abs=1e-12)
    found = [detection(0.25, 0.2, one, looks=1024) for one in (few, many)]
    assert found[0] == pytest.approx(found[1], abs=1e-12)
