"""One version everywhere, and pins for everything."""

import re
import tomllib
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import clnf

ROOT = Path(__file__).parents[2]


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def versions(citation: str, changelog: str) -> set[str]:
    cited = re.search(r"^version: (.+)$", citation, re.MULTILINE)
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    return {cited[1] if cited else "none", newest[1] if newest else "none"}


def test_all_versions_agree() -> None:
    citation, changelog = (ROOT / "CITATION.cff").read_text(), (ROOT / "CHANGELOG.md").read_text()
    assert versions(citation, changelog) == {project()["version"]}
    assert clnf.__version__ == project()["version"] == version("clnf")
    assert versions(citation, "## 9.9.9 (2030)\n" + changelog) != {project()["version"]}


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    wanted = project()["dependencies"] + project()["optional-dependencies"]["dev"]
    for requirement in wanted:
        name = re.split(r"[><=\[]", requirement)[0]
        assert re.sub(r"[-_.]+", "-", name).lower() in names, f"{name} has no pin"
    assert not names & {"torchvision", "torchaudio", "clnf", "pip"}


def test_torchvision_and_torchaudio_are_not_installed() -> None:
    installed = {dist.metadata["Name"].lower() for dist in distributions()}
    assert "torch" in installed
    assert not installed & {"torchvision", "torchaudio"}


def test_the_licence_is_whole_and_the_notice_names_the_data() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    notice = (ROOT / "NOTICE").read_text()
    assert all(name in notice for name in ("emoji32", "digits10k", "Noto", "MNIST"))


def not_packed(files: list[Path], patterns: list[str]) -> list[Path]:
    return [f for f in files if f.suffix != ".py" and not any(map(f.match, patterns))]


def test_every_file_of_the_package_is_installed_and_it_is_small() -> None:
    """Files beside the source go into a wheel only where a pattern names them."""
    text = (ROOT / "pyproject.toml").read_text()
    patterns = tomllib.loads(text)["tool"]["setuptools"]["package-data"]["clnf"]
    patterns = [pattern.removeprefix("**/") for pattern in patterns]
    package = ROOT / "src/clnf"
    files = [f for f in package.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    assert not_packed(files, patterns) == []
    assert not_packed([Path("clnf/a.bin"), Path("clnf/b.toml")], patterns) == [Path("clnf/a.bin")]
    assert sum(f.stat().st_size for f in files) < 25_000_000
