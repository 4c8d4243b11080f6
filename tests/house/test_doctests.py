"""The examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import clnf

NAMES = ["clnf", *(info.name for info in pkgutil.walk_packages(clnf.__path__, "clnf."))]


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_there_are_examples_at_all() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [
        test
        for name in ("clnf.core.rng", "clnf.core.records", "clnf.core.ledger")
        for test in finder.find(importlib.import_module(name))
        if test.examples
    ]
    assert len(found) >= 3
