"""The arms of a run side by side, each in a process of its own on its own core.

A small network keeps one core busy and hardly more, so two arms on two cores take the time of
one. A worker prints its progress as JSON lines; it ends at once when the process that started it
is gone, so nobody writes behind the back of whoever resumes the run.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, final

from clnf.core.errors import ClnfError, RunError
from clnf.living.arm import Arm
from clnf.living.files import why
from clnf.living.progress import Progress
from clnf.living.recipe import load_recipe

__all__ = ["ENDED", "Worker", "side_by_side"]

# What a worker says besides its progress.
_FAILED, ENDED = "failed", "ended"


@final
class Worker:
    """One arm in a process of its own.

    Args:
        run: the run's folder.
        plain: the arm without guards.
        threads: of torch and of the compiled kernels; 0 lets both choose.
        device: where torch runs, by name.
        keep: file descriptor of the run's lock; it stays held until the worker is gone, too.
    """

    def __init__(self, run: Path, *, plain: bool, threads: int, device: str, keep: int) -> None:
        self.label = "plain" if plain else "guarded"
        pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS") if threads else ()
        counts = dict.fromkeys(pools, str(threads))
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(run), self.label, device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **counts},
            pass_fds=(keep,),
            # A Ctrl-C is for the process that started us; it then closes our input.
            start_new_session=True,
            text=True,
        )

    def lines(self) -> Iterator[Progress]:
        """Progress until the arm is at its end.

        Raises:
            RunError: the arm failed; says why.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what, value = json.loads(line)
            if what == _FAILED:
                raise RunError(value)
            if what == ENDED:
                return
            yield Progress(**{**value, "arm": self.label})
        code = self._process.wait()
        raise RunError(
            f"the {self.label} arm's process ended early (code {code}); its own words stand above. "
            "Where that was no fault of the recipe, the run can be resumed"
        )

    def close(self) -> None:
        """End the process, wherever it is; its arm can be resumed."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def side_by_side(workers: Sequence[Worker]) -> Iterator[Iterator[Progress]]:
    """Progress of several workers as it comes; on leaving, none of them is left running.

    An arm's end comes as a progress whose phase is ``"ended"``.

    Raises:
        RunError: while iterating, when one of them failed.
    """
    news: queue.SimpleQueue[Progress | RunError] = queue.SimpleQueue()
    for worker in workers:
        threading.Thread(target=_listen, args=(worker, news), daemon=True).start()
    try:
        yield _take(news, len(workers))
    finally:
        for worker in workers:
            worker.close()


def _listen(worker: Worker, news: "queue.SimpleQueue[Progress | RunError]") -> None:
    try:
        for progress in worker.lines():
            news.put(progress)
        news.put(Progress(lesson="", phase=ENDED, arm=worker.label, share=1.0))
    except RunError as error:
        news.put(error)
    except ValueError:  # the pipe was closed under us: nobody listens any more
        return


def _take(
    news: "queue.SimpleQueue[Progress | RunError]", running: int
) -> Generator[Progress, None, None]:
    while running:
        one = news.get()
        if isinstance(one, RunError):
            raise one
        running -= one.phase == ENDED
        yield one


def _end_with_parent(pipe: IO[bytes]) -> None:
    """Wait for the other end of our input to go, then stop where we stand.

    Stopping anywhere is safe: an arm goes on from its last whole snapshot.
    """
    while os.read(pipe.fileno(), 1):
        pass
    os._exit(1)


def _say(what: str, value: object = None) -> None:
    print(json.dumps([what, value]), flush=True)


def _main(run: Path, kind: str, device: str) -> None:
    threading.Thread(target=_end_with_parent, args=(sys.stdin.buffer,), daemon=True).start()
    plain = kind == "plain"
    try:
        recipe = load_recipe(run / "recipe.toml")
        folder = run / "plain" if plain else run
        arm = Arm(folder, recipe.plain() if plain else recipe, device)
        if arm.note:
            _say("at", asdict(Progress(lesson="start", phase="", note=arm.note)))
        for progress in arm.run():
            _say("at", asdict(progress))
        arm.close()
        _say(ENDED)
    except ClnfError as error:
        _say(_FAILED, str(error))
    except OSError as error:
        _say(_FAILED, f"{error.filename or run}: {why(error)}; then go on with clnf run --resume")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
