import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clnf.cli.data import export, fetch, sets, to_fetch
from clnf.cli.held import RELEASED
from clnf.cli.main import app
from clnf.core.errors import ConfigError, DataError
from clnf.core.records import Experience
from clnf.living.journal import Journal
from clnf.streams.bundled import digits10k, emoji32, family
from clnf.streams.fetch.sets import fetchables
from clnf.streams.folder import read_folder
from clnf.streams.gate import Gate, standard_checks
from clnf.streams.quarantine import read_pardons
from clnf.streams.sources import from_levels
from clnf.streams.stream import emoji_source


def test_every_set_names_its_licence_and_families() -> None:
    found = {row["name"]: row for row in sets()}
    assert set(found) == {"emoji32", "digits10k"}
    assert "Apache-2.0" in found["emoji32"]["licence"]
    assert "MIT" in found["digits10k"]["licence"]
    assert sum(found["digits10k"]["families"].values()) == found["digits10k"]["pictures"]
    assert found["emoji32"]["families"]["hands"] == len(family("hands"))


def test_list_prints_json_and_lines_that_fit() -> None:
    done = CliRunner().invoke(app, ["data", "list", "--json"])
    assert json.loads(done.stdout) == [*sets(), *to_fetch()]
    done = CliRunner().invoke(app, ["data", "list"])
    assert "hands" in done.stdout
    named = sum(sets()[0]["families"].values())
    assert f"These families hold {named} of the {len(emoji32().images)} pictures" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_an_empty_name_is_not_the_folder_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["data", "get", "emoji32", "--out", ""])
    assert isinstance(done.exception, ConfigError)
    assert "--out is empty" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_exported_pictures_are_the_bundled_ones(tmp_path: Path) -> None:
    out = tmp_path / "new" / "hands"
    order = ["data", "get", "emoji32", "--family", "hands", "--out", str(out), "--json"]
    done = CliRunner().invoke(app, order)
    assert json.loads(done.stdout)["pictures"] == len(family("hands"))
    files = sorted(out.iterdir())
    assert len(files) == len(family("hands"))
    for path, index in zip(files, family("hands"), strict=True):
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), emoji32().images[index])
            assert picture.info["Title"] == emoji32().names[index]
            assert "Noto" in picture.info["Copyright"]


def test_one_digit_is_exported(tmp_path: Path) -> None:
    assert export("digits10k", tmp_path, "3") == int((digits10k().labels == 3).sum())
    with Image.open(min(tmp_path.iterdir())) as picture:
        assert picture.size == (28, 28)


@pytest.mark.parametrize(
    ("name", "family_name"), [("emoji", ""), ("emoji32", "hans"), ("digits10k", "10")]
)
def test_unknown_names_are_one_sentence(tmp_path: Path, name: str, family_name: str) -> None:
    with pytest.raises(ConfigError, match="take"):
        export(name, tmp_path / "none", family_name)
    assert not (tmp_path / "none").exists()


def test_a_bundled_set_shows_its_licence_too_and_capitals_do_not_matter(tmp_path: Path) -> None:
    order = ["data", "get", "emoji32", "--family", "Hands", "--out", str(tmp_path / "h")]
    done = CliRunner().invoke(app, order)
    assert "Licence: Apache-2.0" in done.stdout
    assert len(list((tmp_path / "h").iterdir())) == len(family("hands"))


@pytest.mark.parametrize(
    ("order", "sentence"),
    [(["emoji32", "--mirror", "http://x"], "leave --mirror out"),
     (["sonicpi", "--family", "drums", "--yes"], "leave --family out")],
)  # fmt: skip
def test_an_option_without_effect_is_refused(order, sentence, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "get", *order, "--out", str(tmp_path / "o")])
    assert isinstance(done.exception, ConfigError)
    assert sentence in str(done.exception)
    assert not (tmp_path / "o").exists()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small archive in the place of a set to fetch, with its own checksum."""
    path = tmp_path / "set.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("package/a/one.flac", "package/LICENSE"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"data"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = dict(fetchables())
    known["sonicpi"] = replace(known["sonicpi"], integrity=f"sha256:{digest}")
    monkeypatch.setattr("clnf.streams.fetch.sets.fetchables", lambda: known)
    return path


def test_a_set_is_fetched_after_its_licence_was_shown_and_accepted(
    archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    order = ["data", "get", "sonicpi", "--out", str(out), "--mirror", archive.as_uri()]
    no = CliRunner().invoke(app, order, input="n\n")
    assert "Licence: CC0-1.0" in no.stdout
    assert not out.exists()
    yes = CliRunner().invoke(app, order, input="y\n")
    assert yes.exit_code == 0
    assert yes.stdout.index("CC0-1.0") < yes.stdout.index("2 files")
    assert (out / "a" / "one.flac").read_bytes() == b"data"
    assert (out / "LICENSE").exists()


def test_a_program_must_accept_the_licence_by_name(archive: Path, tmp_path: Path) -> None:
    order = ["data", "get", "sonicpi", "--out", str(tmp_path / "o"), "--mirror", archive.as_uri()]
    refused = CliRunner().invoke(app, [*order, "--json"])
    assert isinstance(refused.exception, ConfigError)
    assert "add --yes" in str(refused.exception)
    done = CliRunner().invoke(app, [*order, "--json", "--yes"])
    assert json.loads(done.stdout)["files"] == 2


def test_another_file_than_the_published_one_is_not_taken(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(DataError, match="not the published file"):
        fetch("sonicpi", tmp_path / "out", archive.as_uri())
    assert list((tmp_path / "out").iterdir()) == []


def test_every_set_to_fetch_names_licence_size_and_checksum() -> None:
    for row in to_fetch():
        assert row["licence"]
        assert row["about_MB"] > 1
        assert row["integrity"].startswith(("sha512-", "sha256:"))
        assert row["url"].startswith("http")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose gate held back noise, a doubted picture and a broken one."""
    folder = tmp_path / "run"
    folder.mkdir()
    flags = from_levels(emoji32().images[family("flags")[:3]]).numpy()
    with Journal(folder / "journal.db") as journal:
        for number, reason in enumerate(("label: lies among flags", "finite: 3 values are NaN")):
            samples = flags if number == 0 else flags[:1]
            journal.add_quarantine(number, lesson="people", reason=reason, samples=samples)
    return folder


def test_held_samples_are_listed_and_released_to_a_gate(run: Path, tmp_path: Path) -> None:
    rows = json.loads(CliRunner().invoke(app, ["data", "held", str(run), "--json"]).stdout)
    assert [(r["row"], r["samples"], r["free"]) for r in rows] == [(1, 3, True), (2, 1, False)]
    assert "label: lies among flags" in CliRunner().invoke(app, ["data", "held", str(run)]).stdout
    out = tmp_path / "good"
    order = ["data", "release", str(run), "--row", "1", "--out", str(out), "--json"]
    assert json.loads(CliRunner().invoke(app, order).stdout)["pictures"] == 3

    def refused(*pardons: int) -> int:
        gate = Gate(standard_checks())
        gate.know(emoji_source("flags", 1, "all"))
        gate.pardon(pardons)
        lesson = Experience(name="p", concept="p", data=read_folder(out, cond=0))
        return len(gate.admit(lesson).quarantined)

    # A row named twice is released once.
    twice = ["data", "release", str(run), "--row", "1", "--row", "1", "--out", str(out), "--json"]
    assert json.loads(CliRunner().invoke(app, twice).stdout)["pictures"] == 3
    # The pictures came back to the bit: the gate knows them by what is listed in the run.
    assert refused() == 3
    assert refused(*read_pardons(run / RELEASED)) == 0


def test_what_no_learner_could_use_is_not_released(run: Path, tmp_path: Path) -> None:
    for row, sentence in ((2, "no learner could use it"), (9, "nothing is held back under row 9")):
        order = ["data", "release", str(run), "--row", str(row), "--out", str(tmp_path / "x")]
        failed = CliRunner().invoke(app, order)
        assert isinstance(failed.exception, DataError)
        assert sentence in str(failed.exception)
    with Journal(run / "journal.db") as journal:
        sounds = np.zeros((2, 1, 8), np.float32)
        journal.add_quarantine(5, lesson="sounds", reason="label: lies elsewhere", samples=sounds)
    order = ["data", "release", str(run), "--row", "3", "--out", str(tmp_path / "x")]
    assert "holds no pictures" in str(CliRunner().invoke(app, order).exception)
    assert not (run / RELEASED).exists()
    assert not (tmp_path / "x").exists()
    nowhere = CliRunner().invoke(app, ["data", "held", str(tmp_path)])
    assert "give the folder of a run" in str(nowhere.exception)
