"""The pages under docs/ say what is so: snippets run, commands exist, generated parts are whole."""

import doctest
import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from clnf.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
# The README is checked in the same way; its test files have no name to import them by.
README = runpy.run_path(str(ROOT / "tests" / "house" / "test_readme.py"))
TEXTS = runpy.run_path(str(ROOT / "tests" / "house" / "test_texts.py"))


@pytest.fixture(scope="module")
def from_code() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "from_code.py"))


def snippets(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def failures(text: str) -> int:
    """How many examples of a page do not give what it says; a snippet without any is one."""
    blocks = snippets(text)
    parsed = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "page", None, 0)
    said: list[str] = []
    failed = doctest.DocTestRunner(verbose=False).run(parsed, out=said.append).failed
    print(*said)
    return failed + sum(not block.startswith(">>> ") for block in blocks)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_python_snippet_gives_what_it_says(page: Path) -> None:
    assert failures(page.read_text()) == 0


def test_the_examples_of_the_readme_give_what_they_say() -> None:
    assert snippets((ROOT / "README.md").read_text())
    assert failures((ROOT / "README.md").read_text()) == 0


def test_a_wrong_snippet_and_one_that_cannot_run_are_found() -> None:
    assert failures("```python\n>>> 1 + 1\n2\n```\n") == 0
    assert failures("```python\n>>> 1 + 1\n3\n```\n") == 1
    assert failures("```python\n1 + 1\n```\n") == 1


def commands(path: Path) -> dict[str, str]:
    """Commands of a text, with the comment behind each."""
    lines = README["commands"](path.read_text())
    return {line.partition("#")[0].strip(): line for line in lines}


def test_every_command_shown_works(tmp_path: Path) -> None:
    shown = {word: line for page in PAGES for word, line in commands(page).items()}
    assert shown
    # What the README shows too is run by its own test; that may well be all.
    new = [line for word, line in shown.items() if word not in commands(ROOT / "README.md")]
    block = "\n".join(f"$ {line}" for line in new)
    assert README["faults"](f"```console\n{block}\n```", tmp_path) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_path_in_backticks_exists(page: Path) -> None:
    text = re.sub(r"\]\([^)]*\)", "]", page.read_text())  # links are Sphinx's to check
    assert [word for word in TEXTS["missing"](text) if "/" in word] == []


def test_every_page_can_be_reached() -> None:
    tree = re.findall(r"^```\{toctree\}(.*?)^```", (ROOT / "docs" / "index.md").read_text(),
                      re.DOTALL | re.MULTILINE)  # fmt: skip
    named = {line for part in tree for line in part.splitlines() if re.fullmatch(r"\w+", line)}
    assert named | {"index"} == {page.stem for page in PAGES}


def test_every_key_of_a_recipe_is_explained(from_code: dict[str, Any]) -> None:
    meanings = tomllib.loads(from_code["MEANINGS"].read_text())
    text = from_code["recipe"](meanings)
    for table, fields in from_code["keys"]().items():
        assert all(f"| `{name}` |" in text for name in fields), table
    with pytest.raises(KeyError, match="chip.colour"):
        from_code["recipe"](meanings | {"chip": meanings["chip"] | {"colour": "Blue."}})
    del meanings["learn"]["steps"]
    with pytest.raises(KeyError, match="steps"):
        from_code["recipe"](meanings)


def test_pages_made_from_the_code_are_as_the_code_is(from_code: dict[str, Any]) -> None:
    made = from_code["kept"]()
    assert set(made) == {"keys.md", "cli.md"}
    for name, text in made.items():
        old = (ROOT / "docs" / name).read_text() != text
        assert not old, f"docs/{name} is not what the code says; run python docs/from_code.py"
    # The control: another meaning of a key makes another page.
    meanings = tomllib.loads(from_code["MEANINGS"].read_text())
    meanings["seed"] = "Something else."
    assert from_code["recipe"](meanings).strip() not in made["keys.md"]


def program(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command of the program under its full name."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from program(f"{path} {name}", child)


def test_the_page_of_commands_has_all_of_them(from_code: dict[str, Any]) -> None:
    text = from_code["commands"]()
    found = dict(program("clnf", typer.main.get_command(app)))
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(found)
    parts = dict(zip(found, re.split(r"^## .+$", text, flags=re.MULTILINE)[1:], strict=True))
    for path, command in found.items():
        for one in command.params:
            option = one.param_type_name == "option" and one.name != "help"
            assert not option or f"`{', '.join(one.opts)}`" in parts[path], (path, one.name)


def test_a_bar_in_a_cell_does_not_end_it(from_code: dict[str, Any]) -> None:
    assert from_code["_table"](("a",), [("x | y",)]).splitlines()[-1] == r"| x \| y |"


def test_what_builds_the_pages_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text().lower()
    for requirement in project["optional-dependencies"]["docs"]:
        assert f"\n{requirement.partition('>=')[0]}==" in pins
