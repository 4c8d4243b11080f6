"""What people get wrong: one sentence each, a code that is not zero, and the run as it was."""

import json
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from clnf.core.errors import ClnfError
from clnf.core.records import Batch, Experience
from clnf.living.arm import Arm
from clnf.living.lock import RunLock
from clnf.living.run import Run
from clnf.living.teach import learn_edit, learn_folder
from clnf.streams.folder import read_folder
from clnf.streams.gate import Gate

Ends = Callable[..., str]
Said = tuple[int, str, str]


@pytest.fixture
def ends(clnf: Callable[..., tuple[int, str, str]]) -> Ends:
    """Run the program; give its one sentence of complaint."""

    def run(*arguments: object, code: int = 2) -> str:
        ended, out, err = clnf(*arguments)
        assert ended == code
        assert out == ""
        assert err.startswith("clnf: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err.removeprefix("clnf: ").rstrip()

    return run


@pytest.fixture(scope="module")
def arm(made: Path) -> Iterator[Arm]:
    with Run(made).arm() as opened:
        yield opened


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder but the database's own scratch."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def bomb(side: int) -> bytes:
    """A few bytes that claim to be a square picture of ``side`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def drawn(path: Path, **changes: object) -> Path:
    """A picture as `clnf generate` writes it."""
    making = {"concept": "faces", "n": 4, "seed": 7, "steps": 2, "guidance": 2.0, "index": 1}
    notes = PngImagePlugin.PngInfo()
    text = changes.pop("text", None)
    notes.add_itxt("clnf", str(text) if text else json.dumps(making | changes))
    Image.new("RGB", (32, 32), "orange").save(path, pnginfo=notes)
    return path


# Folders of pictures


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (None, "there is no folder .*give the path of a folder"),
        ({}, "is empty; put PNG, JPEG or WebP files in it"),
        ({"a.png": b"just text"}, "1 refused, the first is a.png .not a PNG, JPEG or WebP"),
        ({"a.png": bomb(1)}, "1x1 is too small"),
        ({"a.png": bomb(6325)}, "6325x6325 is 40.0 megapixels, the limit is 32"),
        ({"a.png": bomb(60000)}, "megapixels"),
        ({"a.txt": b"notes"}, "does not end in .png"),
    ],
)
def test_a_useless_folder_changes_nothing(
    tmp_path: Path, arm: Arm, files: dict[str, bytes] | None, sentence: str
) -> None:
    folder, before = tmp_path / "pictures", tree(arm.folder)
    if files is not None:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
    with pytest.raises(ClnfError, match=sentence):
        next(learn_folder(arm, folder, "cats"))
    assert tree(arm.folder) == before
    assert arm.finished


@pytest.mark.parametrize("name", ["", " cats", "a\nb", "x" * 61, "Faces", "f" * 200])
def test_a_name_that_is_none_is_refused_before_anything_is_read(
    tmp_path: Path, arm: Arm, name: str
) -> None:
    with pytest.raises(ClnfError, match="name|too like the known"):
        next(learn_folder(arm, tmp_path / "nowhere", name))
    assert len(arm.lessons) == 0


def test_nan_is_refused_by_the_gate_and_by_the_learner(arm: Arm) -> None:
    class Broken:
        def __len__(self) -> int:
            return 20

        def take(self, index: torch.Tensor) -> Batch:
            return Batch.of(torch.full((len(index), 3, 32, 32), torch.nan), 1)

    lesson = Experience(name="broken", concept="faces", data=Broken())
    admission = Gate().admit(lesson)
    assert len(admission.admitted) == 0
    assert "3072 of 3072 values are NaN" in admission.quarantined[0].reason
    weights = {name: w.clone() for name, w in arm.model.engine.named_parameters()}
    for guard in arm.model.learner.guards:
        guard.begin(lesson)
    loss = arm.model.learner.step(Broken().take(torch.arange(4)))
    assert loss != loss
    assert "loss is nan" in arm.model.learner.refusals[-1].refused
    for name, weight in arm.model.engine.named_parameters():
        assert torch.equal(weight, weights[name])


# Feedback


def test_feedback_that_cannot_be_measured_is_refused(tmp_path: Path, arm: Arm) -> None:
    good = drawn(tmp_path / "a-001.png")
    fixed = tmp_path / "fixed.png"
    Image.new("RGB", (32, 32), "green").save(fixed)
    large = tmp_path / "large.png"
    Image.new("RGB", (64, 64), "green").save(large)
    same = tmp_path / "same.png"
    Image.new("RGB", (32, 32), "orange").save(same)
    cases = [
        (good, fixed, "cats", 'unknown concept "cats"; this model knows faces, hearts'),
        (good, fixed, "flags", 'was drawn as "faces", not as "flags"'),
        (fixed, good, "faces", "does not say how it was made"),
        (tmp_path / "none.png", fixed, "faces", "there is no file"),
        (good, tmp_path / "none.png", "faces", "there is no file"),
        (good, large, "faces", "large.png cannot be used: 64x64, it must have 32x32 pixels"),
        (good, same, "faces", "nothing to learn"),
        (drawn(tmp_path / "b.png", index="x"), fixed, "faces", "its making is damaged"),
        (drawn(tmp_path / "c.png", steps=0), fixed, "faces", "steps is 0: should be greater than"),
        (drawn(tmp_path / "f.png", index=1.5), fixed, "faces", "damaged: index is 1.5"),
        (drawn(tmp_path / "d.png", text="{half"), fixed, "faces", "its making is damaged"),
        (drawn(tmp_path / "e.png", text="[1]"), fixed, "faces", "its making is damaged"),
    ]
    before = tree(arm.folder)
    for image, edited, concept, sentence in cases:
        with pytest.raises(ClnfError, match=sentence):
            next(learn_edit(arm, image, edited, concept))
    assert tree(arm.folder) == before


# Drawing


def test_impossible_wishes_are_refused_before_the_model_is_built(
    tmp_path: Path, made: Path, ends: Ends
) -> None:
    wish = ("generate", made, "--concept", "faces", "-o", tmp_path / "out.png")
    assert "n must be 1 to 4096, got 0" in ends(*wish, "-n", 0)
    assert "steps must be 1 to 1000, got 0" in ends(*wish, "--steps", 0)
    for strength in ("nan", "inf", "-1"):
        assert f"below 100, got {strength}" in ends(*wish, "--guidance", strength)
    assert "give a name ending in .png" in ends(*wish[:4], "-o", tmp_path / "out.jpg")
    (tmp_path / "folder.png").mkdir()
    assert "is a folder" in ends(*wish[:4], "-o", tmp_path / "folder.png")
    assert "no run in" in ends("generate", tmp_path / "none", *wish[2:])
    assert list(tmp_path.iterdir()) == [tmp_path / "folder.png"]


def test_a_missing_folder_is_made_and_a_file_in_the_way_is_named(
    tmp_path: Path, made: Path, ends: Ends
) -> None:
    wish = ("generate", made, "--concept", "faces", "-n", 1, "--steps", 1)
    out = tmp_path / "new" / "deep" / "out.png"
    (tmp_path / "file").write_text("in the way")
    assert "cannot write" in ends(*wish, "-o", tmp_path / "file" / "out.png")
    sentence = 'unknown concept "dragons"; this model knows faces, hearts, flags, clocks, fruit'
    assert ends(*wish[:2], "--concept", "dragons", "-o", out) == sentence
    assert not out.parent.exists()


def test_a_damaged_snapshot_is_passed_over_and_said(tmp_path: Path, made: Path, ends: Ends) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    newest, wish = max((folder / "snapshots").iterdir()), ("--concept", "faces", "-n", 1)
    shutil.copytree(newest, folder / "snapshots" / "99999999")
    flip(folder / "snapshots" / "99999999" / "chip.safetensors")
    found = Run(folder)
    with found.writing(), found.arm() as arm:
        assert "99999999 is damaged: chip does not match its hash" in arm.note
        assert f"went back to the snapshot of step {int(newest.name)}" in arm.note
    flip(newest / "manifest.json")
    why = ends("generate", folder, *wish, "-o", tmp_path / "out.png")
    assert "is whole" in why
    assert "restore the folder from a copy" in why
    assert not (tmp_path / "out.png").exists()


def flip(file: Path) -> None:
    blob = bytearray(file.read_bytes())
    blob[len(blob) // 2] ^= 1
    file.write_bytes(blob)


# Runs


def test_a_second_writer_is_told_who_writes(made: Path, tmp_path: Path, ends: Ends) -> None:
    with RunLock(made):
        for command in (
            ("learn", made, tmp_path, "--concept", "cats"),
            ("run", "--runs", made.parent, "--resume", made.name),
        ):
            assert "is being written by process" in ends(*command)


LESSON = 'name = "a"\n[[lesson]]\nname = "{}"\nfamily = "{}"\nconcept = "{}"\n'
SECOND = '[[lesson]]\nname = "x_y"\nfamily = "people"\nconcept = "people"\n'


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (None, "no recipe at .*; give the path of a .toml file"),
        ("name = ", "is not valid TOML"),
        ('name = "a"\nsped = 3', "sped is 3"),
        ('name = "a"\n[learn]\nlr = -1.0', "learn.lr is -1.0: should be greater than 0"),
        ("seed = 1", "name is missing"),
        ('name = "a"\n[learn]\nlr = inf', "learn.lr is inf: should be a finite number"),
        ('name = "a"\n[chip]\ncore = "foo"', "chip.core is 'foo': no material 'foo'"),
        ('name = "a"\n[chip]\ncore = "ecram_li"', "chip.core is 'ecram_li': no published value"),
        (
            'name = "a"\n[chip]\nplastic = "gst_pcm"',
            "chip.plastic is 'gst_pcm': no published value",
        ),
        ('name = "a"\n[adapter]\nrank = 100000000', "adapter.rank is 100000000"),
        ('name = "a"\n[probe]\nsamples = 1', "probe.samples is 1"),
        (LESSON.format("x", "zzz", "zzz"), "lesson.0.family is 'zzz': no emoji family 'zzz'"),
        (LESSON.format("x", "hands", "Faces"), '"Faces" is too like the known concept "faces"'),
        (LESSON.format("start", "hands", "hands"), "'start' needs a name that no other row has"),
        (LESSON.format("x y", "hands", "hands") + SECOND, "'x_y' needs a name that no other"),
    ],
)
def test_a_wrong_recipe_makes_no_run(
    tmp_path: Path, ends: Ends, recipe: str | None, sentence: str
) -> None:
    file, runs = tmp_path / "my.toml", tmp_path / "runs"
    if recipe is not None:
        file.write_text(recipe)
    assert re.search(sentence, ends("run", file, "--runs", runs))
    assert not runs.exists()


def test_names_and_options_that_do_not_fit(tmp_path: Path, made: Path, ends: Ends) -> None:
    runs = tmp_path / "runs"
    for name in ("a/b", "..", ".", "a\nb"):
        sentence = f"a plain folder name, got {name!r}"
        assert sentence in ends("run", "--runs", runs, "--name", name)
    assert "2^63 - 1, got -1" in ends("run", "--runs", runs, "--seed", -1)
    wish = ("generate", runs / "none", "--concept", "faces", "-o", runs / "faces.png")
    assert "2^63 - 1, got -1" in ends(*wish, "--seed", -1)
    assert "no run in" in ends("run", "--runs", runs, "--resume", "none")
    assert "a plain folder name, got ''" in ends("run", "--runs", runs, "--resume", "")
    assert not runs.exists()
    why = ends("run", "--runs", made.parent, "--name", made.name)
    assert "exists already; resume it with --resume or choose another --name" in why
    why = ends("run", "--runs", made.parent, "--resume", made.name, "--seed", 4)
    assert "--resume goes on with the run's own recipe" in why
    assert "no run in" in ends("report", tmp_path)
    assert f"give one of them, such as {made}" in ends("report", made.parent)


def test_a_run_that_lost_its_snapshots_keeps_its_journal(
    tmp_path: Path, tiny: Path, clnf: Callable[..., Said], ends: Ends
) -> None:
    tiny.write_text(tiny.read_text() + '[[lesson]]\nname="h"\nfamily="hands"\nconcept="hands"\n')
    assert clnf("run", tiny, "--runs", tmp_path)[0] == 0
    folder = tmp_path / "tiny"
    kept = (folder / "journal.db").read_bytes()
    shutil.rmtree(folder / "snapshots")
    for command in (
        ("learn", folder, tmp_path, "--concept", "cats"),
        ("run", "--runs", tmp_path, "--resume", "tiny"),
    ):
        assert "lessons in its journal but no snapshots; put the folder" in ends(*command)
    assert (folder / "journal.db").read_bytes() == kept


def test_a_journal_that_was_changed_makes_no_report(tmp_path: Path, made: Path, ends: Ends) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    with sqlite3.connect(folder / "journal.db") as db:
        db.execute("UPDATE measures SET value = 1 WHERE row = 1")
    db.close()
    assert "row 1 of its measures does not match its hash" in ends("report", folder)
    (folder / "journal.db").write_bytes(b"")
    assert "is empty or not a journal" in ends("report", folder)


# Ctrl-C

CLNF = (sys.executable, "-c", "from clnf.cli.main import run; run()")


def interrupted(root: Path, *arguments: str) -> str:
    """Press Ctrl-C as soon as a run says what it does; give what it says then."""
    command = [*CLNF, "run", *arguments]
    # A suite that runs in the background ignores the signal, and children would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) as process:
        signal.signal(signal.SIGINT, before)
        assert process.stderr is not None
        assert "start" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_after_ctrl_c_a_run_says_how_it_goes_on(tmp_path: Path, tiny: Path) -> None:
    said = interrupted(tmp_path, tiny.name, "--name", "my run")
    assert said == "clnf: stopped; go on with `clnf run --resume 'my run'`"
    done = subprocess.run(
        [*CLNF, "run", "--resume", "my run", "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["guarded"]["rows"][0]["after"] == "start"


def test_a_folder_with_a_few_bad_files_is_read_around_them(tmp_path: Path) -> None:
    """The counterpart: not everything odd is an error."""
    levels = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "good.webp")
    (tmp_path / "bad.png").write_bytes(b"text")
    source = read_folder(tmp_path, cond=1)
    assert (len(source), len(source.refused)) == (1, 1)
