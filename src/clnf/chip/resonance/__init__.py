"""Noise that helps: levels below the resolution of a converter, found by adding noise.

``theory`` says what a quantiser with noise gives and which noise is best; ``lines`` is a tile that
makes its own noise; ``calibration`` finds the best by measuring and tests whether it helps;
``sensor`` looks at pictures; ``study`` puts measurement and theory side by side.
"""

from clnf.chip.resonance.calibration import Calibration, Point, calibrate
from clnf.chip.resonance.lines import NoisyLines
from clnf.chip.resonance.sensor import Dither, best_dither, see
from clnf.chip.resonance.study import Study, study, study_cells, study_picture
from clnf.chip.resonance.theory import (
    Optimum,
    Quantiser,
    best_of,
    code_chances,
    detection,
    detection_apart,
    mean_square_error,
    optimum,
)

__all__ = [
    "Calibration",
    "Dither",
    "NoisyLines",
    "Optimum",
    "Point",
    "Quantiser",
    "Study",
    "best_dither",
    "best_of",
    "calibrate",
    "code_chances",
    "detection",
    "detection_apart",
    "mean_square_error",
    "optimum",
    "see",
    "study",
    "study_cells",
    "study_picture",
]
