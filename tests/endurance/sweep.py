"""Sweep of faults: a scenario runs once for each of its calls on files and sockets, and this call fails.

The process imports everything once, and forks for each run, so that a run takes milliseconds and only calls of the
scenario are counted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.endurance.faults import Counts, Fault, arm, build_library, read_counts
from tests.endurance.scenario import Scenario
from tests.endurance.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 300.0  # of one run; a longer one is a failure


@dataclass(frozen=True)
class Run:
    """One run of a scenario.

    Attributes:
        scenario: Name of the scenario.
        fault: Name of the fault.
        number: Number of the call that failed.
        call: Name of the call, and its file.
        status: Exit status; negative for a signal.
        problem: Violated property; empty if there is none.
        text: Error output.
    """

    scenario: str
    fault: str
    number: int
    call: str
    status: int
    problem: str
    text: str


class Sweep:
    """Runs of one scenario.

    Args:
        scenario: The scenario.
        folder: Empty folder.
    """

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self._scenario, self._folder = scenario, folder
        self._pristine, self._work = folder / "pristine", folder / "work"
        self._pristine.mkdir(parents=True)
        if self._fork(self._prepare):
            raise RuntimeError(f"{scenario.name} cannot be prepared: {self._text()}")
        self._restore()
        if self._fork(self._run_and_list_modules):
            raise RuntimeError(f"{scenario.name} fails without a fault: {self._text()}")
        for name in (folder / "modules").read_text().split():
            with suppress(Exception):  # part of a package that is not for import
                importlib.import_module(name)

    def _prepare(self) -> int:
        self._scenario.prepare(self._pristine)
        return 0

    def _run_and_list_modules(self) -> int:
        """Run without a fault, and write the names of the modules that this has imported."""
        before = {*sys.modules}
        status = self._scenario.run(self._work)
        own = [name for name in sys.modules if name not in before and sys.modules[name] is not None]
        (self._folder / "modules").write_text("\n".join(own))
        return status

    def run(self, fault: Fault, number: int) -> tuple[Run, Counts]:
        """Run the scenario with one fault, and check the properties that must hold."""
        self._restore()
        before = _contents(self._work)
        counts = self._folder / "counts"
        counts.unlink(missing_ok=True)

        def body() -> int:
            arm(fault.setting(self._work, number, counts))
            try:
                return self._scenario.run(self._work)
            finally:
                arm("")

        status = self._fork(body)
        seen = read_counts(counts)
        text = self._text()
        try:
            problem = self._problem(status, text, seen, before)
        except Exception as error:  # a file that a success has left damaged raises errors of any kind
            problem = f"success, but {type(error).__name__}: {error}"
        return Run(self._scenario.name, fault.name, number, seen.first, status, problem, text), seen

    def _restore(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._pristine, self._work, symlinks=True)

    def _text(self) -> str:
        return (self._folder / "stderr").read_text(errors="replace")

    def _fork(self, body: Callable[[], int]) -> int:
        """Run a function in a child process, and return its exit status."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        child = os.fork()
        if not child:
            _run_in_child(body, self._folder)
        end = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return -signal.SIGALRM

    def _problem(self, status: int, text: str, seen: Counts, before: dict[str, bytes]) -> str:
        """Return the property that a run violates; empty if all hold."""
        if status == -signal.SIGALRM:
            return "the run did not end"
        if status not in (0, 1, 2):
            return f"exit status {status}"
        errors = [line for line in text.splitlines() if line.startswith("error: ")]
        for bad in ("Traceback", "internal error", "Exception ignored"):
            if bad in text:
                return f"{bad} in the error output"
        if status and len(errors) != 1:
            return f"{len(errors)} lines of errors"
        if not status and errors:
            return "an error, but exit status 0"
        after = _contents(self._work)
        left = sorted(after.keys() - before.keys() - self._scenario.written - self._allowed(seen))
        if left:
            return f"files left over: {', '.join(left)}"
        lost = sorted(name for name in before.keys() - self._scenario.written if after.get(name) != before[name])
        if lost:
            return f"inputs changed: {', '.join(lost)}"
        if not status:
            self._scenario.check(self._work)
            return ""
        changed = [name for name in sorted(self._scenario.written) if after.get(name) != before.get(name)]
        broken = [name for name in changed if not self._scenario.may_remain(self._work / name)]
        return f"changed by a run that failed: {', '.join(broken)}" if broken else ""

    def _allowed(self, seen: Counts) -> set[str]:
        """Return the file whose removal has failed."""
        call, _, path = seen.first.partition(" ")
        return {os.path.relpath(path, self._work)} if call.startswith("unlink") else set()

    def sweep(self, fault: Fault, step: int = 1) -> Iterable[Run]:
        """Let each call fail in turn.

        Args:
            fault: Kind of fault.
            step: Distance of the calls that fail, 1 by default.
        """
        number = 1
        while True:
            run, seen = self.run(fault, number)
            if not seen.faults:  # no such call any more
                return
            yield run
            number += step


def _run_in_child(body: Callable[[], int], folder: Path) -> None:
    """Run a function in a forked child, and end the process with its exit status."""
    status = 70
    try:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), number)
        status = body()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _contents(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder, by relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def sweep_all(names: Sequence[str], folder: Path, step: int, on_run: Callable[[Run], None]) -> list[Run]:
    """Sweep scenarios, and return all runs."""
    runs: list[Run] = []
    for name in names:
        scenario = SCENARIOS[name]
        work = Sweep(scenario, folder / name)
        for fault in scenario.faults:
            for run in work.sweep(fault, step):
                runs.append(run)
                on_run(run)
    return runs


def run_sweep(names: Sequence[str], step: int, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run this module in a process with the library, and return its status, and its output if that is captured."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LD_PRELOAD": str(build_library(Path(folder))), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.endurance.sweep", "--step", str(step), *names]
        return subprocess.run(command, env=environment, cwd=ROOT, text=True, check=False, **options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep scenarios; print each violated property as a line of JSON, and the counts at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*SCENARIOS, []], help="scenarios, default all")
    parser.add_argument("--step", type=int, default=1, help="distance of the calls that fail, default 1")
    options = parser.parse_args(arguments)
    if os.environ.get("LD_PRELOAD") is None:
        return run_sweep(options.names, options.step).returncode

    def print_violation(run: Run) -> None:
        if run.problem:
            print(json.dumps(asdict(run)), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        runs = sweep_all(options.names or list(SCENARIOS), Path(folder), options.step, print_violation)
    for name in options.names or SCENARIOS:
        own = [run for run in runs if run.scenario == name]
        counts = {fault: sum(run.fault == fault for run in own) for fault in dict.fromkeys(run.fault for run in own)}
        broken = sum(bool(run.problem) for run in own)
        print(json.dumps({"scenario": name, "runs": len(own), "faults": counts, "broken": broken}))
    return int(any(run.problem for run in runs))


if __name__ == "__main__":
    sys.exit(main())
