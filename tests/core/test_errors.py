import sys

import pytest

from clnf.core import errors


def test_all_errors_are_one_family() -> None:
    family = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(family) == 8
    assert all(issubclass(error, errors.ClnfError) for error in family)


def test_every_error_stands_in_the_tree_at_the_head_of_the_file() -> None:
    for name in errors.__all__:
        assert name == "need" or name in (errors.__doc__ or "")


def test_a_missing_package_names_the_extra_to_install() -> None:
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'clnf\[exchange\]'"):
        errors.need("no_such_package", extra="exchange")
    assert errors.need("json", extra="dev") is sys.modules["json"]
