"""A running subject: started on its core, asked, watched, and stopped."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from programs import BENCH, HOME
from subjects import Place, Subject
from workloads import WORKLOADS, Question

START_TIMEOUT_S, STOP_TIMEOUT_S, ANSWER_TIMEOUT_S = 30.0, 5.0, 10.0
POLL_S = 0.0002
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CPU_CLOCK = 2
"""Of the clocks that a process has, the one that the scheduler keeps (the kernel's CPUCLOCK_SCHED)."""


class SubjectError(Exception):
    """A subject that does not start, or that answers wrongly."""


class Server:
    """A subject that runs as long as the `with` block does, and listens from its beginning."""

    def __init__(self, subject: Subject, workload: str, paths: dict[str, Path], core: int) -> None:
        self._subject, self._core = subject, core
        self._workload = WORKLOADS[workload]
        self._port = _free_port()
        self.address = f"127.0.0.1:{self._port}"
        HOME.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(dir=HOME)
        place = Place(workload, self.address, Path(self._folder.name))
        self._argv = ["taskset", "-c", str(core), *subject.argv(paths, place)]
        self._environment = os.environ | {"XDG_CACHE_HOME": str(HOME / "cache")} | subject.environment
        if subject.config:
            text = (BENCH / subject.config).read_text().replace("ADDRESS", self.address).replace("BENCH", str(BENCH))
            (place.folder / subject.config).write_text(text)

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        self._started = time.perf_counter()
        # A process group of its own tells the server's processes, and children that outlive it, from all others.
        self._process = subprocess.Popen(
            self._argv,
            env=self._environment,
            cwd=self._folder.name,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            process_group=0,
        )
        try:
            self._wait_until_listening()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop()

    def running_s(self) -> float:
        """Seconds since the process was started."""
        return time.perf_counter() - self._started

    def check_answers(self) -> None:
        """Asks everything that the workload has, on one connection, and looks whether the server has stayed on its core."""
        self.ask(self._workload.questions())
        for thread in self._threads():
            if (cores := _allowed_cores(thread)) not in ("", str(self._core)):
                raise self._error(f"may use the cores {cores}, not {self._core} alone")

    def check_one_answer(self) -> None:
        """Asks once, on a connection of its own."""
        self.ask([self._workload.good()])

    def ask(self, questions: Iterable[Question]) -> None:
        """Asks on a connection of its own; an answer that is not the right one is an error."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_TIMEOUT_S)
        try:
            for question in questions:
                self._ask(connection, question)
        except (OSError, http.client.HTTPException) as error:
            raise self._error(f"does not answer: {error}") from error
        finally:
            connection.close()

    def cpu_seconds(self) -> float:
        """CPU time of the server's processes, and of the children that they have waited for.

        A process's clock counts in nanoseconds and keeps what its ended threads took. Of the other two that there are,
        /proc/PID/stat counts in hundredths of a second, and /proc/PID/task/*/schedstat forgets a thread when it ends.
        """
        stats = self._stats()
        waited_for = sum(int(ticks) for stat in stats.values() for ticks in stat[13:15]) / TICKS_PER_S
        return sum(_cpu_clock(pid) for pid in stats) + waited_for

    def forget_peak(self) -> None:
        """Lets the peak of resident memory begin at what is resident now (proc(5): 5 to clear_refs)."""
        for pid in self._stats():
            # Where this is not allowed, the peak is that of the whole life: not less, in any case.
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """The most memory that was resident, summed over the processes, as if their peaks were at one time."""
        return sum(_peak_kib(pid) for pid in self._stats()) * 1024

    def _ask(self, connection: http.client.HTTPConnection, question: Question) -> None:
        connection.request("GET", "/", headers=question.headers)
        response = connection.getresponse()
        length, body = response.getheader("content-length"), response.read()
        media_type = response.getheader("content-type", "").partition(";")[0]
        got = (response.status, media_type, length, body)
        right = (question.status, question.media_type, str(len(question.body)), question.body)
        if got != right:
            raise self._error(f"answers {got} to {question.headers}, not {right}")

    def _wait_until_listening(self) -> None:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            if self._process.poll() is not None:
                raise self._error(f"ended with status {self._process.returncode}")
            if self.running_s() > START_TIMEOUT_S:
                raise self._error(f"does not listen after {START_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._log.close()
        self._folder.cleanup()

    def _stats(self) -> dict[int, list[str]]:
        """The processes of the server's group, each with the fields of its /proc/PID/stat after the program's name."""
        stats = {int(entry): _stat(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()}
        return {pid: stat for pid, stat in stats.items() if stat and int(stat[2]) == self._process.pid}

    def _threads(self) -> list[Path]:
        return [thread for pid in self._stats() for thread in Path(f"/proc/{pid}/task").glob("*")]

    def _error(self, what: str) -> SubjectError:
        self._log.seek(0)
        log = self._log.read().decode(errors="replace").strip()[-1000:]
        name = f"{self._subject.name}, {self._workload.name},"
        return SubjectError(f"{name} {what}; {'its log ends:' if log else 'its log is empty'} {log}".strip())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stat(pid: int) -> list[str]:
    """State, parent, group, …; none when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_clock(pid: int) -> float:
    """What clock_getcpuclockid(3) finds: the number of a process's clock holds its pid."""
    try:
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    except OSError:
        # It has ended, and whoever waited for it has its time.
        return 0.0


def _allowed_cores(thread: Path) -> str:
    return _field(thread / "status", "Cpus_allowed_list")


def _peak_kib(pid: int) -> int:
    return int((_field(Path(f"/proc/{pid}/status"), "VmHWM") or "0").split()[0])


def _field(status: Path, name: str) -> str:
    """One line of a status file of /proc; nothing when the process is gone or has no such line."""
    with contextlib.suppress(OSError):
        for line in status.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return line.partition(":")[2].strip()
    return ""
