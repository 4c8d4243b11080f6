"""Writes the pages that come from the code itself, so that they cannot drift.

    python docs/from_code.py

writes the pages of keys and commands, which are kept so that they can be read without a build; the
suite says when they are old. ``conf.py`` makes the others at each build. It needs no Sphinx.
"""

import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import clnf
from clnf.cli.main import app
from clnf.living.recipe import Recipe

__all__ = ["api", "commands", "draw_materials", "kept", "keys", "recipe", "write"]

MEANINGS = Path(__file__).with_name("recipe_keys.toml")
KINDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    float | None: "number, or left out",
}
LEAST = {"gt": "above {}", "ge": "at least {}", "le": "at most {}", "lt": "below {}"}
HEADS = {
    "keys.md": """# All keys

Every key of [a recipe](recipe.md), its default, what it may be and what it does. Made from the
program's own model of a recipe by `docs/from_code.py`.
""",
    "cli.md": """# Commands

Made from the program itself by `docs/from_code.py`. `clnf COMMAND --help` prints the same. Results
go to the standard output, progress to the standard error, so a pipe carries results only; `--json`
prints them for programs.

The program ends with 0 when all went well, with 1 where `clnf doctor` or `clnf verify` found
something bad, with 2 for an error it explains in one sentence, and with 130 after Ctrl-C.
""",
}
# The page of commands shows this room better.
LEFT_OUT = {"cli"}


def write(folder: Path) -> None:
    """Write every text that only a build needs into a folder, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    for room, text in api().items():
        path = folder / "api" / f"{room}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def kept() -> dict[str, str]:
    """Pages that are made from the code and kept beside the others, by name of the file."""
    tables = {"keys.md": recipe(tomllib.loads(MEANINGS.read_text())), "cli.md": commands()}
    return {name: f"{HEADS[name]}\n{text.rstrip()}\n" for name, text in tables.items()}


def draw_materials(folder: Path) -> None:
    """Judge and draw every material into a folder; takes about half a minute.

    In a process of its own: the pages are built without compiled kernels, cells need them.
    """
    folder = folder.resolve()
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"}
    script = Path(__file__).with_name("material_pages.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, env=environment)


def keys() -> dict[str, dict[str, FieldInfo]]:
    """Fields of the recipe by table; those of the recipe itself under ""."""
    tables: dict[str, dict[str, FieldInfo]] = {"": {}}
    for name, field in Recipe.model_fields.items():
        parts = [part for part in (field.annotation, *typing.get_args(field.annotation))
                 if isinstance(part, type) and issubclass(part, BaseModel)]  # fmt: skip
        if parts:
            tables[name] = dict(parts[0].model_fields)
        else:
            tables[""][name] = field
    return tables


def recipe(meanings: dict[str, Any]) -> str:
    """A table of keys for each table of the recipe.

    Args:
        meanings: sentences by key, those of tables in a dict of their own; an optional unit
            stands in brackets at the front.

    Raises:
        KeyError: a key has no meaning here, or a meaning has no key.
    """
    lines: list[str] = []
    texts = {name: part for name, part in meanings.items() if isinstance(part, dict)}
    texts[""] = {name: text for name, text in meanings.items() if isinstance(text, str)}
    told = {f"{table}.{name}" for table, part in texts.items() for name in part}
    there = {f"{table}.{name}" for table, fields in keys().items() for name in fields}
    if told != there:
        raise KeyError(
            f"{MEANINGS.name} and the recipe differ in {', '.join(sorted(told ^ there))}"
        )
    for table, fields in keys().items():
        many = isinstance(Recipe.model_fields[table].default, tuple) if table else False
        head = "Keys at the top" if not table else f"`[[{table}]]`" if many else f"`[{table}]`"
        rows = [
            (f"`{name}`", _default(field), *_explained(field, texts[table][name]))
            for name, field in fields.items()
        ]
        lines += [f"## {head}", "", _table(("key", "default", "values", "meaning"), rows)]
    return "\n".join(lines)


def commands() -> str:
    """Help of every command of the program."""
    lines: list[str] = []
    for path, command in _walk("clnf", typer.main.get_command(app)):
        usage = command.collect_usage_pieces(command.make_context(path, [], resilient_parsing=True))
        rows = [_option(one) for one in command.params if one.name != "help"]
        lines += [f"## {path}", "", (command.help or "").strip(), "", "```text"]
        lines += [" ".join([path, *usage]), "```", ""]
        if rows:
            lines += [_table(("argument or option", "default", "meaning"), rows)]
        if command.epilog and not path.endswith("clnf"):
            lines += [command.epilog.replace("Example: ", "Example: `") + "`", ""]
    return "\n".join(lines)


def api() -> dict[str, str]:
    """One page per room: the modules and their public names."""
    pages: dict[str, list[str]] = {}
    for info in pkgutil.walk_packages(clnf.__path__, "clnf."):
        room = info.name.split(".")[1]
        if room in LEFT_OUT:
            continue
        page = pages.setdefault(room, [f"# clnf.{room}", ""])
        if info.name.count(".") > 1:
            page += [f"## {info.name}", ""]
        members = [] if info.ispkg else ["   :members:"]
        page += ["```{eval-rst}", f".. automodule:: {info.name}", *members, "```", ""]
    return {room: "\n".join(lines) for room, lines in pages.items()}


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(f"{path} {name}", child)


def _option(one: Any) -> tuple[str, str, str]:
    argument = one.param_type_name == "argument"
    shown = one.metavar or one.name if argument else ", ".join(one.opts)
    silent = one.default in (None, "") or (not argument and one.is_flag)
    default = "required" if one.required else "" if silent else f"`{one.default}`"
    return f"`{shown}`", default, one.help or ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _explained(field: FieldInfo, meaning: str) -> tuple[str, str]:
    unit, text = re.fullmatch(r"(?:\[(.+?)\] )?(.+)", meaning, re.DOTALL).groups()
    return _values(field) + (f", in {unit}" if unit else ""), text


def _values(field: FieldInfo) -> str:
    if typing.get_origin(field.annotation) is Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(field.annotation))
    limits = {
        sign: getattr(limit, sign)
        for limit in field.metadata
        for sign in LEAST
        if getattr(limit, sign, None) is not None
    }
    kind = KINDS.get(field.annotation, str(field.annotation))
    if {"ge", "le"} <= limits.keys():
        return f"{kind}, {limits['ge']:g} to {limits['le']:g}"
    return ", ".join([kind, *(LEAST[sign].format(f"{value:g}") for sign, value in limits.items())])


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


if __name__ == "__main__":
    for name, text in kept().items():
        Path(__file__).with_name(name).write_text(text)
