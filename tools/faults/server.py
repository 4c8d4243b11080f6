"""Starts writers fast, to kill them: everything is imported once, each writer is a fork.

python -m faults.server FOLDER    # reads orders from the standard input, a line of JSON each
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

__all__ = ["Server"]


@final
class Server:
    """A process that runs small runs and small arms, and kills them when told.

    Args:
        folder: for its own use.
        kinds: what to warm up; see :func:`_work`.
    """

    def __init__(self, folder: Path, *kinds: str) -> None:
        tools = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join([tools, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.server", str(folder), *kinds],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(
        self, folder: Path, kind: str, *, at: int = 0, kill_after_s: float | None = None,
        lessons: int = 3, fault: str = "",
    ) -> dict[str, Any]:  # fmt: skip
        """Begin a run or go on with it.

        Args:
            folder: of the run; made when missing.
            kind: "digital", "chip", "spiking" or "arm".
            at: die before this change; 0 for never.
            kill_after_s: die then; None for never.
            lessons: of a small run.
            fault: something to leave undone on purpose, see :func:`_faulty`.

        Returns:
            "code", negative where it was killed; "seconds" it took; where it came to its end,
            "last", the SHA-256 of its last snapshot.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        folder.mkdir(parents=True, exist_ok=True)
        order = json.dumps([str(folder), kind, at, kill_after_s, lessons, fault])
        print(order, file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _faulty(fault: str) -> None:
    """Leave something undone, to see that it would be noticed."""
    from clnf.continual.learner import Learner
    from clnf.living.journal import Journal

    if fault == "no truncation":
        Journal.truncate_after = lambda self, mark: 0  # type: ignore[method-assign]
    elif fault == "no optimizer":
        load = Learner.load_state_dict

        def partly(self: Learner, state: dict[str, Any]) -> None:
            """All comes back but what the optimizer remembers."""
            load(self, state)
            self.optimizer.state.clear()

        Learner.load_state_dict = partly  # type: ignore[method-assign]
    elif fault:
        raise ValueError(fault)


def _work(folder: Path, kind: str, at: int, lessons: int) -> str:
    from faults.disk import Disk
    from faults.small_run import go

    with Disk(folder, at=at):
        if kind != "arm":
            return go(folder, kind, lessons=lessons)
        from clnf.living import snapshots
        from clnf.living.arm import Arm
        from faults.small_arm import small_recipe, small_world

        with small_world():
            arm = Arm(folder, small_recipe())
            for _ in arm.run():
                pass
            arm.close()
        return snapshots.load_latest(folder / "snapshots").sha256


def _serve(base: Path, kinds: list[str]) -> None:
    for kind in kinds:  # kernels are compiled or loaded here, and not in every fork
        (base / f"warm-{kind}").mkdir(parents=True)
        _work(base / f"warm-{kind}", kind, 0, 1)
    for line in sys.stdin:
        folder, kind, at, kill_after_s, lessons, fault = json.loads(line)
        began, told = time.monotonic(), base / "told"
        pid = os.fork()
        if pid == 0:
            _faulty(fault)
            told.write_text(_work(Path(folder), kind, at, lessons))
            os._exit(0)
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answer = {"code": code, "seconds": time.monotonic() - began}
        if code == 0:
            answer["last"] = told.read_text()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2:])
