"""Runs: wrk against one subject, and what the machine did meanwhile, or against several side by side."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from programs import BENCH, HOME
from server import TICKS_PER_S, Server, SubjectError
from subjects import Subject

WARM_UP_S = 2
SHORT_WARM_UP_S = 1
IDLE_S = 2
REST_S = 0.2
"""After so long without a request, a server has gone to rest."""
FULL = 0.95
"""A core that is busy for this share of the time is full."""
STEAL, OTHERS = 0.02, 0.05
"""CPU time that the hypervisor or other programs take from the two cores is noted from these shares of one core on."""


@dataclass(frozen=True)
class Run:
    """What one run measured."""

    round: int
    connections: int
    subject: str
    answers: int
    answers_per_s: float
    cpu_us: float
    p50_us: int
    p99_us: int
    server_busy: float
    client_busy: float
    steal: float
    others: float

    @property
    def disturbed(self) -> bool:
        """Whether other programs ran on the two cores meanwhile."""
        return self.others > OTHERS

    def notes(self) -> list[str]:
        """What a reader must know before using the figures."""
        fuller = max(self.server_busy, self.client_busy)
        notes = {
            "client-bound": self.client_busy > max(FULL, self.server_busy),
            "neither core full": self.connections > 1 and fuller < FULL,
            "steal": self.steal > STEAL,
            "machine shared": self.disturbed,
        }
        return [note for note, holds in notes.items() if holds]


@dataclass(frozen=True)
class Load:
    """How every run is made."""

    paths: dict[str, Path]
    seconds: int
    server_core: int
    client_core: int

    def wait_until_idle(self, patience_ends: float) -> None:
        """Returns when other programs leave the two cores alone, or at a time of the monotonic clock."""
        while time.monotonic() < patience_ends:
            before, _ = self._cores()
            time.sleep(IDLE_S)
            if self._cores()[0] - before <= OTHERS * IDLE_S:
                return

    def run(self, subject: Subject, connections: int, round_number: int) -> Run:
        """Starts the subject, checks its answer, warms it up, loads it, checks it again, and stops it."""
        with _fresh(self.paths, subject.program) as paths, Server(subject, paths, self.server_core) as server:
            server.check_answer()
            self._wrk(server, connections, WARM_UP_S)
            before, machine, started = server.cpu_seconds(), self._cores(), time.monotonic()
            counted, client_cpu = self._wrk(server, connections, self.seconds)
            elapsed = time.monotonic() - started
            busy, steal = (now - then for now, then in zip(self._cores(), machine, strict=True))
            server_cpu = server.cpu_seconds() - before
            server.check_answer()
        answers, seconds = _answers(subject.name, counted), counted["microseconds"] / 1e6
        return Run(
            round=round_number,
            connections=connections,
            subject=subject.name,
            answers=answers,
            answers_per_s=round(answers / seconds, 1),
            cpu_us=round(server_cpu * 1e6 / answers, 2),
            p50_us=counted["p50_us"],
            p99_us=counted["p99_us"],
            server_busy=round(server_cpu / seconds, 3),
            client_busy=round(client_cpu / seconds, 3),
            steal=round(steal / elapsed, 3),
            others=round(max(0.0, busy - server_cpu - client_cpu) / elapsed, 3),
        )

    def side_by_side(self, subjects: Sequence[Subject], connections: int) -> dict[str, float]:
        """Microseconds of CPU time for each answer, of subjects that run at the same time and are loaded one after the other: what the
        machine has for one, it has for the next. The ones that wait are at rest."""
        with ExitStack() as stack:
            servers = {}
            for subject in subjects:
                paths = stack.enter_context(_fresh(self.paths, subject.program))
                server = servers[subject.name] = stack.enter_context(Server(subject, paths, self.server_core))
                server.check_answer()
                self._wrk(server, connections, SHORT_WARM_UP_S)
            cpu_us = {}
            for name, server in servers.items():
                time.sleep(REST_S)
                before = server.cpu_seconds()
                counted, _ = self._wrk(server, connections, self.seconds)
                cpu_us[name] = (server.cpu_seconds() - before) * 1e6 / _answers(name, counted)
                server.check_answer()
        return cpu_us

    def _wrk(self, server: Server, connections: int, seconds: int) -> tuple[dict[str, int], float]:
        """Loads the server; returns what wrk counted and the CPU seconds that wrk itself took."""
        script = str(BENCH / "wrk.lua")
        options = ["--latency", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
        command = [str(self.paths["wrk"]), *options, "--script", script, f"http://{server.address}/"]
        before = _children_cpu()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        cpu = _children_cpu() - before
        for line in done.stdout.splitlines():
            if line.startswith("COUNTED "):
                return json.loads(line.removeprefix("COUNTED ")), cpu
        raise SubjectError(f"wrk failed: {(done.stdout + done.stderr)[-300:]}")

    def _cores(self) -> tuple[float, float]:
        """CPU seconds of the two cores since the machine's start: of all programs, and what the hypervisor withheld."""
        lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
        cores = [line for line in lines if line[0] in (f"cpu{self.server_core}", f"cpu{self.client_core}")]
        user, nice, system, _idle, _waiting, irq, softirq, steal = (
            sum(int(ticks) for ticks in column) / TICKS_PER_S for column in list(zip(*cores, strict=True))[1:9]
        )
        # A process's own figure includes the interrupts that it was interrupted by.
        return user + nice + system + irq + softirq, steal


def _answers(name: str, counted: dict[str, int]) -> int:
    """How many there were, if all were right."""
    answers, seconds = counted["answers"], counted["microseconds"] / 1e6
    if answers == 0 or counted["bad_answers"] or counted["broken_connections"]:
        raise SubjectError(
            f"{name} gave {answers} answers in {seconds:.1f} s, {counted['bad_answers']} of them of status 400 or more; "
            f"{counted['broken_connections']} connections failed or waited more than 2 s"
        )
    return answers


@contextmanager
def _fresh(paths: dict[str, Path], program: str) -> Iterator[dict[str, Path]]:
    """The same paths, but for a copy of this program that was written just now. Where a file's pages lie in memory, and how many lie
    side by side, depends on how and when it was written: two copies of one program differed by a tenth of the CPU time."""
    HOME.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=HOME) as folder:
        copy = Path(folder) / paths[program].name
        shutil.copy2(paths[program], copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        yield paths | {program: copy}


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
