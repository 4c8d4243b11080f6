"""The memory of the gate: order does not matter, size is bounded, state survives."""

import json

import numpy as np
import torch

from clnf.streams.known import Digest, Known


def digest(count: int, seed: int = 0, labels: int = 3) -> Digest:
    rng = np.random.default_rng(seed)
    return Digest(
        position=np.arange(count),
        prints=rng.integers(-(2**63), 2**63 - 1, count),
        label=rng.integers(0, labels, count),
        features=rng.integers(0, 256, (count, 7)).astype(np.float32),
        summary=rng.normal(size=(count, 5)),
    )


def test_labels_are_found_by_fingerprint() -> None:
    known = Known()
    assert known.label_of(np.array([5])).tolist() == [-1]
    taught = digest(100)
    known.add(taught)
    assert np.array_equal(known.label_of(taught.prints), taught.label)
    assert (known.label_of(digest(50, seed=1).prints) == -1).all()


def test_references_are_bounded_and_do_not_depend_on_order_or_batching() -> None:
    taught = digest(200)
    whole, pieces = Known(20), Known(20)
    whole.add(taught)
    shuffled = taught.select(np.random.default_rng(1).permutation(200))
    for start in range(0, 200, 30):
        pieces.add(shuffled.select(np.arange(start, min(start + 30, 200))))
    assert np.bincount(whole.references.label).tolist() == [20, 20, 20]
    assert np.array_equal(whole.references.prints, pieces.references.prints)
    assert np.array_equal(whole.references.features, pieces.references.features)


def test_features_of_another_kind_replace_the_references() -> None:
    known = Known()
    known.add(digest(10))
    other = digest(4, seed=2)
    other = Digest(
        position=other.position,
        prints=other.prints,
        label=other.label,
        features=np.zeros((4, 3), np.float32),
        summary=other.summary,
    )
    known.add(other)
    assert known.references.features.shape == (4, 3)
    assert len(known.prints) == 14


def test_state_survives_through_tensors_and_json() -> None:
    known = Known()
    known.add(digest(60))
    known.pardoned = {5, -7}
    state = known.state_dict()
    tensors = {k: v.clone() for k, v in state.items() if isinstance(v, torch.Tensor)}
    rest = {k: v for k, v in state.items() if not isinstance(v, torch.Tensor)}
    restored = Known()
    restored.load_state_dict({**tensors, **json.loads(json.dumps(rest))})
    assert np.array_equal(restored.prints, known.prints)
    assert np.array_equal(restored.print_labels, known.print_labels)
    assert np.array_equal(restored.references.features, known.references.features)
    assert restored.pardoned == known.pardoned
    more = digest(60, seed=3)
    known.add(more)
    restored.add(more)
    assert np.array_equal(restored.references.prints, known.references.prints)


def test_joining_nothing_gives_nothing() -> None:
    assert len(Digest.join([])) == 0
    known = Known()
    known.add(Digest.join([]))
    assert len(known.references) == 0
