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
from pathlib import Path
from typing import Self

from programs import HOME
from subjects import Subject

STATUS, TYPE, BODY = 200, "text/plain", b"hello\n"
"""The one right answer."""
START_TIMEOUT_S, STOP_TIMEOUT_S, ANSWER_TIMEOUT_S = 30.0, 5.0, 10.0
POLL_S = 0.005
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class SubjectError(Exception):
    """A subject that does not start, or that answers wrongly."""


class Server:
    """A subject that runs as long as the `with` block does, and listens from its beginning."""

    def __init__(self, subject: Subject, paths: dict[str, Path], core: int) -> None:
        self._name = subject.name
        self._port = _free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._argv = ["taskset", "-c", str(core), *subject.argv(paths, self.address)]
        self._environment = os.environ | {"XDG_CACHE_HOME": str(HOME / "cache")} | subject.environment

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        # A process group of its own tells the server's processes, and children that outlive it, from all others.
        self._process = subprocess.Popen(
            self._argv,
            env=self._environment,
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

    def check_answer(self) -> None:
        """Asks once, on a connection of its own; an answer that is not the right one is an error."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            status, media_type, body = response.status, response.getheader("content-type", ""), response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._error(f"does not answer: {error}") from error
        finally:
            connection.close()
        if status != STATUS or media_type.partition(";")[0] != TYPE or body != BODY:
            raise self._error(f"answers {status}, {media_type!r}, {body[:100]!r}, not {STATUS}, {TYPE!r}, {BODY!r}")

    def cpu_seconds(self) -> float:
        """CPU time of the server's processes, and of the children that they have waited for."""
        stats = (_stat(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
        ours = (stat for stat in stats if stat and int(stat[2]) == self._process.pid)
        return sum(int(ticks) for stat in ours for ticks in stat[11:15]) / TICKS_PER_S

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            if self._process.poll() is not None:
                raise self._error(f"ended with status {self._process.returncode}")
            if time.monotonic() > deadline:
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

    def _error(self, what: str) -> SubjectError:
        self._log.seek(0)
        log = self._log.read().decode(errors="replace").strip()[-1000:]
        return SubjectError(f"{self._name} {what}; {'its log ends:' if log else 'its log is empty'} {log}".strip())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the program's name: state, parent, group, …; none when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
