"""A run: a folder with a guarded arm, its plain twin, and everything they wrote.

runs/NAME/  recipe.toml  journal.db  snapshots/  media/  lessons/  report.html
            plain/       the same for the arm without guards
"""

import errno
import os
import shutil
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, final

from clnf.core.errors import ConfigError, RunError
from clnf.core.files import make_folder, sync_folder, write_durably
from clnf.core.toml import dump_toml
from clnf.living.arm import Arm
from clnf.living.files import why
from clnf.living.lock import RunLock
from clnf.living.progress import Progress
from clnf.living.recipe import Recipe, check_run, load_recipe
from clnf.living.report import write_report
from clnf.living.summary import summarise
from clnf.living.worker import ENDED, Worker, side_by_side

__all__ = ["Run", "free_name", "plain_name"]


def free_name(root: Path, name: str) -> Path:
    """The first of NAME, NAME-2, NAME-3 ... that does not exist yet under ``root``."""
    number, folder = 1, root / name
    while folder.exists():
        number += 1
        folder = root / f"{name}-{number}"
    return folder


def plain_name(name: str) -> str:
    """The name of a run, if it can be one.

    Raises:
        ConfigError: it is empty, or no plain folder name.
    """
    if Path(name).name != name or name in ("", "..") or not name.isprintable():
        raise ConfigError(
            f"a run's name is a plain folder name, got {name!r}; take letters, digits and dashes"
        )
    return name


@final
class Run:
    """An existing run folder.

    Args:
        folder: the run's folder.

    Raises:
        RunError: there is no run in it.
    """

    def __init__(self, folder: Path) -> None:
        check_run(folder)
        self.folder = folder
        self.recipe = load_recipe(folder / "recipe.toml")
        self._lock: RunLock | None = None

    @staticmethod
    def create(folder: Path, recipe: Recipe) -> "Run":
        """Make a run folder with its resolved recipe.

        Raises:
            RunError: the folder exists or cannot be written.
        """
        # Made elsewhere and renamed, so that where the folder is, a recipe is in it.
        who = f"{os.getpid()}-{threading.get_ident()}"
        draft = folder.with_name(f".{folder.name}.{who}.new")
        try:
            if folder.exists():
                raise FileExistsError(errno.EEXIST, "it exists")
            make_folder(folder.parent)
            shutil.rmtree(draft, ignore_errors=True)  # of one of this number, killed here
            draft.mkdir()
            write_durably(draft / "recipe.toml", dump_toml(recipe.model_dump()).encode())
            sync_folder(draft)
            draft.rename(folder)  # refused where somebody else was faster
            sync_folder(folder.parent)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise RunError(
                    f"{folder} exists already; resume it with --resume or choose another --name"
                ) from None
            raise RunError(f"cannot make the run folder {folder}: {why(error)}") from error
        return Run(folder)

    @staticmethod
    def start(
        root: Path, name: str | None, recipe: Path | None, *, quick: bool, seed: int | None
    ) -> "Run":
        """Make a run from a recipe file.

        Args:
            root: folder that holds the runs.
            name: name of the run; None takes the recipe's, numbered if it is taken.
            recipe: a recipe file; None takes the bundled emoji recipe.
            quick: shorten the recipe.
            seed: replaces the recipe's seed.

        Raises:
            ConfigError: the recipe is wrong, or the name is not a plain folder name.
            RunError: a run of that name exists.
        """
        chosen = load_recipe(recipe or Path(str(files("clnf.living") / "recipes" / "emoji.toml")))
        if quick:
            chosen = chosen.quick()
        if seed is not None:
            if not 0 <= seed < 2**63:
                raise ConfigError(f"a seed is a whole number from 0 to 2^63 - 1, got {seed}")
            chosen = chosen.model_copy(update={"seed": seed})
        plain_name(chosen.name if name is None else name)
        folder = root / name if name else free_name(root, chosen.name)
        return Run.create(folder, chosen)

    @property
    def plain_folder(self) -> Path | None:
        """Folder of the plain arm, or None where the recipe asks for no comparison."""
        return self.folder / "plain" if self.recipe.compare else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the run's lock: one writer at a time.

        Raises:
            RunError: another process is writing; names it.
        """
        with RunLock(self.folder) as self._lock:
            try:
                yield
            finally:
                self._lock = None

    @contextmanager
    def arm(self, *, plain: bool = False, device: str = "cpu") -> Iterator[Arm]:
        """Open an arm where its last snapshot left it; hold :meth:`writing` around it."""
        recipe = self.recipe.plain() if plain else self.recipe
        folder = self.folder / "plain" if plain else self.folder
        arm = Arm(folder, recipe, device)
        try:
            yield arm
        finally:
            arm.close()

    def go(self, *, threads: int = 1, device: str = "cpu") -> Generator[Progress]:
        """Run or resume both arms, each in a process of its own; hold :meth:`writing` around it.

        The report is written as soon as an arm is at its end. Where there is one core only, the
        guarded arm goes first.

        Args:
            threads: of torch in each arm; 0 lets torch choose. Other numbers round otherwise.
            device: where torch runs, by name. Another kind gives other rounding too.

        Raises:
            RunError: an arm failed, or :meth:`writing` is not held.
        """
        if self._lock is None:
            raise RunError("take the run's lock first: with run.writing()")
        kinds = (False, True) if self.recipe.compare else (False,)
        together = [kinds] if (os.cpu_count() or 1) > 1 else [(kind,) for kind in kinds]
        for group in together:
            keep = self._lock.fileno()
            workers = [
                Worker(self.folder, plain=plain, threads=threads, device=device, keep=keep)
                for plain in group
            ]
            with side_by_side(workers) as news:
                for progress in news:
                    if progress.phase == ENDED:
                        self.report()
                    yield progress

    def summary(self) -> dict[str, Any]:
        """Figures of both arms as JSON values."""
        plain = self.plain_folder
        there = plain is not None and (plain / "journal.db").exists()
        other = summarise(plain) if plain is not None and there else None
        arms = {"guarded": summarise(self.folder).to_json(other)}
        if other is not None:
            arms["plain"] = other.to_json()
        return {"run": str(self.folder), "seed": self.recipe.seed, **arms}

    def report(self) -> Path:
        """Write the report from what the journals hold now."""
        return write_report(self.folder, self.plain_folder)
