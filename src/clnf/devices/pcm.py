"""Phase-change cells for stored knowledge: programming noise, drift, read noise.

    programmed:  G = G_target + sigma_prog(g) xi,  g = G_target / Gmax
    drift:       G(t) = G_prog (t / t0)^-nu,  nu = |mu_nu(g) + sigma_nu(g) xi|, once per programming
    read:        sigma(t) = G(t) min(q / g^0.65, cap) sqrt(ln((t + tr) / (2 tr)))

g in the drift and read laws is the programmed conductance over Gmax; t counts from the end of
programming plus t0. The read noise is the accumulated 1/f noise of one read, taken as
independent from read to read. Conductances never go below zero.

Source: Nandakumar et al., ICECS 2019.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clnf.core.errors import DeviceLimitError
from clnf.core.units import quantity
from clnf.devices.materials import material
from clnf.devices.pcm_kernels import Written
from clnf.devices.reference import gauss8

__all__ = [
    "Pcm",
    "drift",
    "drift_exponent",
    "program",
    "read_pair",
    "read_sigma",
    "write_verify",
]


@final
@dataclass(frozen=True, kw_only=True)
class Pcm:
    """Law of a phase-change cell.

    Attributes:
        conductance_max_s: full scale Gmax.
        programming_noise_s: c0, c1, c2 of sigma_prog = c0 + c1 g + c2 g^2.
        drift_mean: slope, offset, lowest, highest of mu_nu = clip(slope ln g + offset).
        drift_spread: the same for sigma_nu.
        drift_reference_s: t0.
        read_noise_scale: q of the read noise law.
        read_noise_exponent: its exponent of g.
        read_noise_cap: its ceiling.
        read_time_s: tr.
        pulse_v: amplitude of a programming pulse; sets energy only.
        pulse_s: its width.
    """

    conductance_max_s: float = quantity("S")
    programming_noise_s: tuple[float, float, float] = quantity("S")
    drift_mean: tuple[float, float, float, float] = quantity("1")
    drift_spread: tuple[float, float, float, float] = quantity("1")
    drift_reference_s: float = quantity("s")
    read_noise_scale: float = quantity("1")
    read_noise_exponent: float = quantity("1")
    read_noise_cap: float = quantity("1")
    read_time_s: float = quantity("s")
    pulse_v: float = quantity("V")
    pulse_s: float = quantity("s")

    def __post_init__(self) -> None:
        if min(self.conductance_max_s, self.drift_reference_s, self.read_time_s) <= 0:
            raise DeviceLimitError(
                f"Gmax, t0 and the read time must be positive, got {self.conductance_max_s} S, "
                f"{self.drift_reference_s} s, {self.read_time_s} s"
            )

    @staticmethod
    def of(name: str = "gst_pcm", *, pulse_v: float = 2.0) -> "Pcm":
        """The law of a catalogue row.

        Args:
            name: row with the inference model's values.
            pulse_v: programming voltage. The catalogue holds none for GST: 2 V is an
                assumption of this package and sets programming energy only.
        """
        row = material(name)
        c = row.get("programming_noise_s").coefficients
        m = row.get("drift_mean").coefficients
        s = row.get("drift_spread").coefficients
        return Pcm(
            conductance_max_s=row.get("conductance_max_s").number,
            programming_noise_s=(c[0], c[1], c[2]),
            drift_mean=(m[0], m[1], m[2], m[3]),
            drift_spread=(s[0], s[1], s[2], s[3]),
            drift_reference_s=row.get("drift_reference_s").number,
            read_noise_scale=row.get("read_noise_scale").number,
            read_noise_exponent=row.get("read_noise_exponent").number,
            read_noise_cap=row.get("read_noise_cap").number,
            read_time_s=row.get("read_time_s").number,
            pulse_v=pulse_v,
            pulse_s=row.get("write_time_s").number,
        )

    def numbers(self, *, tolerance_s: float, noisy: bool, spreads: bool) -> Tensor:
        """The 18 numbers write-verify works with, float32 on the CPU.

        Args:
            tolerance_s: accepted conductance error.
            noisy: verifying reads carry the 1/f noise accumulated in a microsecond.
            spreads: programming noise, drift and its spread are on.
        """
        growth = self._growth(1e-6) if noisy else 0.0
        values = [
            self.conductance_max_s, *self.programming_noise_s, *self.drift_mean,
            *self.drift_spread, self.read_noise_scale, self.read_noise_exponent,
            self.read_noise_cap, growth, tolerance_s, float(spreads),
        ]  # fmt: skip
        return torch.tensor(values, dtype=torch.float32)

    def now(self, age_s: float, *, noisy: bool) -> Tensor:
        """The 6 numbers ``read_pair`` works with at an age after programming, float32."""
        growth = self._growth(age_s + self.drift_reference_s) if noisy else 0.0
        law = (self.read_noise_scale, self.read_noise_exponent, self.read_noise_cap)
        age = math.log1p(age_s / self.drift_reference_s)
        return torch.tensor([self.conductance_max_s, *law, growth, age], dtype=torch.float32)

    def _growth(self, time_s: float) -> float:
        ratio = (time_s + self.read_time_s) / (2 * self.read_time_s)
        return math.sqrt(max(math.log(ratio), 0.0))


def _relative(conductance_s: Tensor, law: Pcm) -> Tensor:
    return (conductance_s / law.conductance_max_s).clamp(min=1e-4, max=1.0)


def program(target_s: Tensor, law: Pcm, draw: Tensor) -> Tensor:
    """Conductance after one programming of each cell.

    Args:
        target_s: wanted conductance, S, any shape.
        law: the cell law.
        draw: standard normals of the same shape.

    Returns:
        Programmed conductance, S, >= 0.
    """
    c0, c1, c2 = law.programming_noise_s
    g = target_s / law.conductance_max_s
    return (target_s + (c0 + g * (c1 + g * c2)) * draw).clamp(min=0.0)


def drift_exponent(programmed_s: Tensor, law: Pcm, draw: Tensor) -> Tensor:
    """Drift exponent nu >= 0 of each programming event, from standard normals ``draw``."""
    log_g = _relative(programmed_s, law).log()
    slope, offset, low, high = law.drift_mean
    mean = (slope * log_g + offset).clamp(low, high)
    slope, offset, low, high = law.drift_spread
    return (mean + (slope * log_g + offset).clamp(low, high) * draw).abs()


def drift(programmed_s: Tensor, exponent: Tensor, law: Pcm, age_s: float) -> Tensor:
    """Conductance ``age_s`` >= 0 seconds after the end of programming, S."""
    if age_s == 0.0:
        return programmed_s.clone()
    return programmed_s * torch.exp(exponent * -math.log1p(age_s / law.drift_reference_s))


def read_sigma(programmed_s: Tensor, drifted_s: Tensor, law: Pcm, time_s: float) -> Tensor:
    """Standard deviation of one read, S, at ``time_s`` >= tr after the programming pulse.

    In use t = age + t0; a verifying read right after the pulse has a smaller t and is quieter.
    """
    g = _relative(programmed_s, law)
    q = (law.read_noise_scale / g**law.read_noise_exponent).clamp(max=law.read_noise_cap)
    return drifted_s * q * law._growth(time_s)


def read_pair(
    programmed: Tensor, exponent: Tensor, now: Tensor, weight: Tensor, variance: Tensor
) -> None:
    """Difference of drifted pairs; see :func:`clnf.devices.pcm_kernels.read_pair`."""
    full, scale, power, cap, growth, age = now.tolist()
    g = programmed / full
    drifted = g * (-exponent * age).exp() if age > 0 else g
    weight.copy_(drifted[0] - drifted[1])
    variance.zero_()
    if growth > 0:
        q = (scale * (-power * g.clamp(1e-4, 1.0).log()).exp()).clamp(max=cap)
        variance.copy_((drifted * (q * growth)).square().sum(0))


def write_verify(
    wanted: Tensor, cells: Written, law: Tensor, keys: Tensor, drift_key: Tensor
) -> tuple[int, int]:
    """Program cells and check them; see :func:`clnf.devices.pcm_kernels.write_verify`."""
    full, growth, tolerance, spread = (float(law[i]) for i in (0, 15, 16, 17))
    g = wanted / full
    sigma = (law[1] + g * (law[2] + g * law[3])) * spread
    index = torch.arange(len(wanted), device=wanted.device)
    pending = torch.ones_like(wanted, dtype=torch.bool)
    count = rounds = 0
    for key in keys.tolist():
        if not pending.any():
            break
        rounds += 1
        count += int(pending.sum())
        cells.wear.add_(pending)
        value = (wanted + sigma * gauss8(index, key[0], key[1])).clamp(min=0.0)
        cells.programmed.copy_(torch.where(pending, value, cells.programmed))
        q = (law[12] * (-law[13] * (value / full).clamp(1e-4, 1.0).log()).exp()).clamp(max=law[14])
        read = value + value * q * growth * gauss8(index, key[2], key[3])
        pending &= (read - wanted).abs() > tolerance
    log_g = (cells.programmed / full).clamp(1e-4, 1.0).log()
    mean = (law[4] * log_g + law[5]).clamp(law[6], law[7])
    nu = (law[8] * log_g + law[9]).clamp(law[10], law[11])
    draw = gauss8(index, int(drift_key[0]), int(drift_key[1]))
    cells.exponent.copy_((mean + nu * draw).abs() * spread)
    return count, rounds
