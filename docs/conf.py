"""Sphinx settings. ``make docs`` builds into build/docs; warnings are errors there."""

import os
import re
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

# Compiled kernels then show as the plain functions they are written as.
os.environ["NUMBA_DISABLE_JIT"] = "1"
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from from_code import draw_materials, write  # noqa: E402

import clnf  # noqa: E402
from clnf.core.units import units_of  # noqa: E402

project = "clnf"
author = "the clnf authors"
project_copyright = "the clnf authors. Apache-2.0"
version = release = clnf.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["generated/materials.md"]
highlight_language = "none"
add_module_names = False
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
html_theme = "furo"
html_title = f"clnf {release}"
html_theme_options = {"light_css_variables": {"code-font-size": "12px"}}  # 97 characters fit
html_copy_source = False
html_show_sphinx = False


def _as_written(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Show equations line by line, units of fields, and bars and stars as they are."""
    out: list[str] = []
    units = units_of(thing) if is_dataclass(thing) else {}
    block = False
    for number, line in enumerate(lines):
        indented = line.startswith("    ")
        opens = indented and number > 0 and not lines[number - 1].strip() and not block
        if opens and _last(out)[:1].strip():
            out += ["::", ""]
            block = True
        elif line.strip() and not indented:
            block = False
        out.append(line if block or line.startswith(">>>") else _escaped(_with_unit(line, units)))
    lines[:] = out


def _with_unit(line: str, units: dict[str, str]) -> str:
    name, colon, text = line.partition(": ")
    unit = units.get(name.strip(), "1")
    return line if unit == "1" or not colon else f"{name}: [{unit}] {text}"


def _without_aliases(
    app: Any, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """Fields of named tuples are told in the class docstring; their own says nothing."""
    return True if str(thing.__doc__).startswith("Alias for field") else None


def _last(lines: list[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "")


def _escaped(line: str) -> str:
    # What is code, a role or one word with stress stays; split gives it at odd places.
    parts = re.split(r"(``.+?``|:\w+:`.+?`|(?<!\S)\*\w+\*(?!\w))", line)
    return "".join(p if i % 2 else re.sub(r"([|*])", r"\\\1", p) for i, p in enumerate(parts))


def setup(app: Any) -> None:
    """Write what comes from the code, then read docstrings as they are written."""
    app.connect("builder-inited", lambda _: write(HERE / "generated"))
    app.connect("builder-inited", lambda _: draw_materials(HERE / "generated"))
    app.connect("autodoc-process-docstring", _as_written, priority=400)
    app.connect("autodoc-skip-member", _without_aliases)
