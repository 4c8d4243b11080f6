"""In which order nodes of a graph run: node by node over all steps, and rings step by step.

Nodes that lead to themselves, by themselves or by others, are a ring and must go step by step.
What leads backwards in a ring arrives one step later, as everywhere where time goes in steps; a
delay of a step or more needs no further one.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from clnf.spiking.exchange.graph import Edge

__all__ = ["Group", "groups_of"]


class Group(NamedTuple):
    """Nodes that run together.

    Attributes:
        names: in the order of a step.
        ring: whether they lead to themselves.
        back: edges whose values arrive one step later.
    """

    names: tuple[str, ...]
    ring: bool
    back: frozenset[Edge]


def groups_of(
    names: Sequence[str], edges: Sequence[Edge], holds_back: Callable[[str], bool]
) -> list[Group]:
    """Groups of nodes, each before those that it leads to.

    Args:
        names: of all nodes.
        edges: between them.
        holds_back: whether a node gives later what it takes now, as a delay does.

    >>> edges = [("a", "b"), ("b", "c"), ("c", "b")]
    >>> [group.names for group in groups_of("abc", edges, lambda name: False)]
    [('a',), ('b', 'c')]
    """
    after: dict[str, list[str]] = {name: [] for name in names}
    for a, b in edges:
        after[a].append(b)
    found = []
    for members in _rings(names, after):
        inside = [(a, b) for a, b in edges if a in members and b in members]
        if not inside:
            found.append(Group(tuple(members), False, frozenset()))
            continue
        entered = {b for a, b in edges if b in members and a not in members}
        found.append(_ring([*names], members, inside, (entered, holds_back)))
    return found


def _rings(names: Sequence[str], after: dict[str, list[str]]) -> list[set[str]]:
    """Strongly connected parts in the order of a run (Tarjan 1972, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on: set[str] = set()
    found: list[set[str]] = []
    for root in names:
        if root in index:
            continue
        work = [(root, iter(after[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on.add(root)
        while work:
            name, rest = work[-1]
            for later in rest:
                if later not in index:
                    index[later] = low[later] = len(index)
                    stack.append(later)
                    on.add(later)
                    work.append((later, iter(after[later])))
                    break
                if later in on:
                    low[name] = min(low[name], index[later])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    part: set[str] = set()
                    while name not in part:
                        part.add(stack.pop())
                    on -= part
                    found.append(part)
    return found[::-1]


def _ring(
    names: list[str],
    members: set[str],
    inside: Sequence[Edge],
    of: tuple[set[str], Callable[[str], bool]],
) -> Group:
    """The order of a step: from where the ring is entered, in depth; what leads back is back."""
    entered, holds_back = of
    later: dict[str, list[str]] = {name: [] for name in members}
    for a, b in inside:
        if not holds_back(b):
            later[a].append(b)
    first = [name for name in names if name in members]
    starts = [name for name in first if holds_back(name)]
    starts += [name for name in first if name in entered] + first
    seen: set[str] = set()
    ended: list[str] = []
    for start in starts:
        if start in seen:
            continue
        seen.add(start)
        work = [(start, iter(later[start]))]
        while work:
            name, rest = work[-1]
            for one in rest:
                if one not in seen:
                    seen.add(one)
                    work.append((one, iter(later[one])))
                    break
            else:
                ended.append(name)
                work.pop()
    order = {name: place for place, name in enumerate(ended[::-1])}
    back = {
        (a, b) for a, b in inside if not holds_back(b) and order[a] >= order[b]
    }  # fmt: skip
    return Group(tuple(sorted(order, key=order.__getitem__)), True, frozenset(back))
