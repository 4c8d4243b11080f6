"""What spiking nets cost in figures of others: joules of an operation, operations of a lesson.

``SYNOP_J``: a synaptic operation on published digital chips, Tianjic to SpiNNaker (figures.toml of
``clnf.spiking.energy``). ``MAC_J``: a multiplication and an addition, 4.6 pJ for the arithmetic
alone in 45 nm up to 104 pJ where each fetches a weight of four bytes (24.96 pJ a byte).
"""

import json

SYNOP_J = (1.54e-12, 45e-12)
MAC_J = (4.6e-12, 104.4e-12)


def lesson_ops(way: str, sizes: tuple[int, int, int], steps: int, spikes: float) -> float:
    """Multiplications and additions to teach one sample once, beside its run forward.

    Through time: errors of the outputs back to all cells at each step (weight gradients at events
    are as many again as the run forward; the caller adds them). E-prop: an eligibility and a sum
    for each weight and step. Local: a read-out and its way back at each step, and a product for
    each weight. STDP: traces of what goes into the last layer, and a row of them for each spike of
    the teacher or of a cell.

    Args:
        way: bptt, eprop, local or stdp.
        sizes: inputs, hidden cells, outputs.
        steps: of time.
        spikes: of hidden cells for a sample; with stdp, those of teacher and outputs.
    """
    inputs, hidden, outputs = sizes
    weights, back = inputs * hidden, outputs * hidden
    return {
        "bptt": steps * back,
        "eprop": steps * (3 * weights + back) + spikes * outputs,
        "local": steps * (weights + 2 * back) + spikes * outputs,
        "stdp": steps * hidden + spikes * hidden,
    }[way]


def main() -> None:
    """Operations of a lesson of 40 steps with 160 spikes, as JSON lines."""
    for way in ("bptt", "eprop", "local", "stdp"):
        print(json.dumps({"way": way, "ops": lesson_ops(way, (16, 64, 8), 40, 160.0)}))


if __name__ == "__main__":
    main()
