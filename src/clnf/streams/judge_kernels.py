"""Compiled loops of the checks that look at a whole lesson: votes, neighbours, copies, marks.

The plain twin of each is a line or two of numpy; it stands in the tests, which compare them.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "count_marks",
    "first_of_each",
    "mean_distance",
    "nearest",
    "nearest_earlier",
    "surprise",
    "verdicts",
]


@njit(cache=True, nogil=True)
def verdicts(
    sums: NDArray[np.float32],
    scale: tuple[NDArray[np.float32], NDArray[np.float32]],
    asked: NDArray[np.int64],
    elected: NDArray[np.int64],
    ahead: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> None:
    """The best label of each sample in each view, and by how much it beats others.

    Args:
        sums: float32 [N, V, 2, K], K >= 1, by the half of the witnesses they come from.
        scale: what one of them is worth, float32 [V, 2], and what is added, float32 [V, 2, K].
        asked: int64 [2, N]: the half each sample is in, 0 or 1, which the other judges; and
            the place of its own label, or -1 for none, which is beaten by 0.
        elected: filled, [V, N], the first of the best.
        ahead: filled, [2, V, N]: margin over the own label, and lead over the second best.
        scores: filled, [V, N, K], sums times unit plus bias.
    """
    unit, bias = scale
    half, own = asked[0], asked[1]
    margin, lead = ahead[0], ahead[1]
    for n in range(len(sums)):
        by = 1 - half[n]
        for v in range(sums.shape[1]):
            row, out = sums[n, v, by], scores[v, n]
            best = 0
            second = np.float32(-np.inf)
            for k in range(len(row)):
                out[k] = row[k] * unit[v, by] + bias[v, by, k]
                if k == 0:
                    continue
                if out[k] > out[best]:
                    second = out[best]
                    best = k
                else:
                    second = max(second, out[k])
            elected[v, n] = best
            lead[v, n] = out[best] - second
            margin[v, n] = out[best] - out[own[n]] if own[n] >= 0 else np.float32(0.0)


@njit(cache=True, nogil=True)
def nearest(squares: NDArray[np.float32], places: NDArray[np.int64]) -> None:
    """The places of the smallest numbers of every row, smallest first, of equal ones the first.

    Args:
        squares: float32 [B, W].
        places: filled, int64 [B, K], K <= W.
    """
    count = places.shape[1]
    kept = np.empty(count, np.float32)
    for b in range(len(squares)):
        row, out = squares[b], places[b]
        size = 0
        for w in range(len(row)):
            value = row[w]
            if size == count and not value < kept[count - 1]:
                continue
            at = size if size < count else count - 1
            while at > 0 and kept[at - 1] > value:
                kept[at] = kept[at - 1]
                out[at] = out[at - 1]
                at -= 1
            kept[at] = value
            out[at] = w
            size = min(size + 1, count)


@njit(cache=True, nogil=True)
def first_of_each(prints: NDArray[np.int64], first: NDArray[np.int64]) -> None:
    """The first row that holds the same number as each row.

    Args:
        prints: int64 [N], well mixed.
        first: filled, [N].
    """
    room = 2
    while room < 2 * len(prints):
        room *= 2
    table = np.full(room, -1, np.int64)
    for n in range(len(prints)):
        place = prints[n] & (room - 1)
        while table[place] >= 0 and prints[table[place]] != prints[n]:
            place = (place + 1) & (room - 1)
        if table[place] < 0:
            table[place] = n
        first[n] = table[place]


@njit(cache=True, nogil=True)
def mean_distance(
    features: NDArray[np.float32],
    rows: NDArray[np.int64],
    centre: NDArray[np.float32],
    distance: NDArray[np.float64],
) -> None:
    """Mean absolute difference of some rows from a centre.

    Args:
        features: float32 [N, F].
        rows: int64 [K].
        centre: float32 [F].
        distance: filled, [K].
    """
    size = len(centre)
    part = np.empty(16, np.float32)
    for n in range(len(rows)):
        row = features[rows[n]]
        part[:] = 0.0
        whole = size // 16 * 16
        for f in range(0, whole, 16):
            # Sixteen sums at once: one alone would wait for every addition.
            for lane in range(16):
                part[lane] += abs(row[f + lane] - centre[f + lane])
        total = 0.0
        for lane in range(16):
            total += part[lane]
        for f in range(whole, size):
            total += abs(row[f] - centre[f])
        distance[n] = total / max(1, size)


@njit(cache=True, nogil=True)
def surprise(have: int, bad: int, share: float, count: int) -> float:
    """How surprising it is that so many are bad, in nats.

    Minus the logarithm of Chernoff's bound on the chance of ``bad`` or more of ``have`` where a
    share is usually bad: have KL(bad / have, share); 0 where fewer are bad than usual.

    Args:
        have: samples, >= 1.
        bad: of them.
        share: usual share, in [0, 1].
        count: samples from which the share is known; it is taken for at least half of one.
    """
    rate = bad / have
    usual = min(max(share, 0.5 / max(count, 1)), 0.999999)
    if rate <= usual:
        return 0.0
    total = rate * math.log(rate / usual)
    if rate < 1.0:
        total += (1.0 - rate) * math.log((1.0 - rate) / (1.0 - usual))
    return have * total


@njit(cache=True, nogil=True)
def count_marks(
    marks: NDArray[np.uint8],
    own: NDArray[np.int64],
    views: tuple[NDArray[np.bool_], NDArray[np.int64]],
    limits: NDArray[np.float64],
    found: NDArray[np.int64],
    score: NDArray[np.float64],
) -> int:
    """Marks that go with doubted samples more often than chance explains.

    Args:
        marks: uint8 [N, M].
        own: int64 [N], place of the label, or -1.
        views: who is doubted in each view, bool [V, N], and the view in which each mark is
            judged, int64 [M].
        limits: float64 [4]: least bearers, least surprise, excess over the label's share of
            doubted samples, and honest bearers of other labels as a share of the bearers.
        found: filled, int64 [T, 3]: label, mark, content.
        score: filled, float64 [T], the surprise.

    Returns:
        How many were found, at most T.
    """
    doubted, window = views
    kinds = 0
    for n in range(len(own)):
        kinds = max(kinds, own[n] + 1)
    size = marks.shape[1]
    honest = np.zeros((size, 256), np.int32)
    for n in range(len(marks)):
        for m in range(size):
            if own[n] >= 0 and not doubted[window[m], n]:
                honest[m, marks[n, m]] += 1
    bears = np.empty((size, 256), np.int32)
    wrong = np.empty((size, 256), np.int32)
    total = 0
    for kind in range(kinds):
        bears[:], wrong[:] = 0, 0
        usual = np.zeros(len(doubted))
        count = 0
        for n in range(len(marks)):
            if own[n] != kind:
                continue
            count += 1
            for v in range(len(doubted)):
                usual[v] += doubted[v, n]
            for m in range(size):
                bears[m, marks[n, m]] += 1
                wrong[m, marks[n, m]] += doubted[window[m], n]
        for m in range(size):
            share = usual[window[m]] / max(count, 1)
            for code in range(256):
                have, bad = bears[m, code], wrong[m, code]
                if bad < 2 or have < limits[0] or 2 * have > count or total == len(found):
                    continue
                others = honest[m, code] - (have - bad)
                if bad < (share + limits[2]) * have or others > limits[3] * have:
                    continue
                nats = surprise(have, bad, share, count)
                if nats >= limits[1]:
                    found[total, 0], found[total, 1], found[total, 2] = kind, m, code
                    score[total] = nats
                    total += 1
    return total


@njit(cache=True, nogil=True)
def nearest_earlier(
    features: NDArray[np.float32],
    place: NDArray[np.float64],
    owner: NDArray[np.int64],
    limit: float,
    found: NDArray[np.int64],
) -> None:
    """The nearest reference or earlier sample of each sample, where it is near enough.

    Args:
        features: float32 [W, F], sorted by ``place``.
        place: float64 [W], along a unit vector, ascending.
        owner: int64 [W], row in the lesson; -1 for references, which come before all others.
        limit: largest squared distance that is near enough.
        found: int64 [N], filled with the owner where there is one.
    """
    reach = math.sqrt(limit) * (1.0 + 1e-6) + 1e-6
    for i in range(len(place)):
        row = owner[i]
        best = limit
        for step in (-1, 1):
            j = i + step
            while 0 <= j < len(place) and abs(place[j] - place[i]) <= reach:
                if row >= 0 and owner[j] < row:
                    total = 0.0
                    for f in range(features.shape[1]):
                        gap = float(features[i, f]) - float(features[j, f])
                        total += gap * gap
                    closer = total < best or (total == best and owner[j] < found[row])
                    if closer or (total == best and found[row] == -2):
                        best = total
                        found[row] = owner[j]
                j += step
