"""Runs: wrk against one subject, and what the machine did meanwhile, or against several side by side."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from programs import BENCH, HOME
from server import TICKS_PER_S, Server, SubjectError
from subjects import Subject
from workloads import WORKLOADS

SHORT_WARM_UP_S = 1
IDLE_S = 2
REST_S = 0.2
"""After so long without a request, a server has gone to rest."""
ASK_S = 0.25
"""How often a server that is under load is asked something else beside."""
FULL = 0.95
"""A core that is busy for this share of the time is full."""
STEAL, OTHERS = 0.02, 0.05
"""CPU time that the hypervisor or other programs take from the two cores is noted from these shares of one core on."""
AGREEMENT = 0.1
"""How far the requests in a second may be from what the CPU time of one says that a full core answers."""


@dataclass(frozen=True)
class Run:
    """What one run measured."""

    round: int
    workload: str
    connections: int
    subject: str
    answers: int
    answers_per_s: float
    cpu_us: float
    p50_us: int
    p99_us: int
    peak_mib: float
    server_busy: float
    client_busy: float
    core_busy: float
    """What of the server's core was used, by whomever."""
    late: int
    """Connections that failed, or waited more than 2 s for an answer."""
    steal: float
    others: float

    @property
    def disturbed(self) -> bool:
        """Whether other programs ran on the two cores meanwhile."""
        return self.others > OTHERS

    @property
    def rate_to_cpu(self) -> float | None:
        """Requests in a second against what a full core answers by the CPU time of one. More than 1: the server used another core, too;
        less: something that is not counted as the server used its core. None when its core was not full, or others filled it."""
        return self.server_busy / self.core_busy if self.core_busy >= FULL and not self.disturbed else None

    def notes(self) -> list[str]:
        """What a reader must know before using the figures."""
        fuller = max(self.core_busy, self.client_busy)
        notes = {
            "client-bound": self.client_busy > max(FULL, self.server_busy),
            "neither core full": self.connections > 1 and fuller < FULL,
            "rate and CPU disagree": abs((self.rate_to_cpu or 1) - 1) > AGREEMENT,
            "late answers": self.late > 0,
            "steal": self.steal > STEAL,
            "machine shared": self.disturbed,
        }
        return [note for note, holds in notes.items() if holds]


@dataclass(frozen=True)
class Load:
    """How every run is made."""

    paths: dict[str, Path]
    seconds: int
    warm_up: int
    server_core: int
    client_core: int

    def wait_until_idle(self, patience_ends: float) -> None:
        """Returns when other programs leave the two cores alone, or at a time of the monotonic clock."""
        while time.monotonic() < patience_ends:
            before = self._both_cores()
            time.sleep(IDLE_S)
            if self._both_cores() - before <= OTHERS * IDLE_S:
                return

    def run(self, subject: Subject, workload: str, connections: int, round_number: int) -> Run:
        """Starts the subject, checks its answers, warms it up, loads it, checks it again, and stops it."""
        with ExitStack() as stack:
            paths = stack.enter_context(fresh(self.paths, subject.program))
            server = stack.enter_context(Server(subject, workload, paths, self.server_core))
            wrk = stack.enter_context(self._wrk(workload))
            server.check_answers()
            wrk(server, connections, self.warm_up)
            server.forget_peak()
            with _asking(server):
                cpu, cores, began = server.cpu_seconds(), self._cores(), time.monotonic()
                counted, client_cpu = wrk(server, connections, self.seconds)
                elapsed = time.monotonic() - began
                after = self._cores()
                server_cpu = server.cpu_seconds() - cpu
            peak = server.peak_bytes()
            server.check_answers()
        _check(subject, counted)
        answers, seconds = counted["answers"], counted["microseconds"] / 1e6
        used = {core: after[core][0] - cores[core][0] for core in cores}
        return Run(
            round=round_number,
            workload=workload,
            connections=connections,
            subject=subject.name,
            answers=answers,
            answers_per_s=round(answers / seconds, 1),
            cpu_us=round(server_cpu * 1e6 / answers, 3),
            p50_us=counted["p50_us"],
            p99_us=counted["p99_us"],
            peak_mib=round(peak / 2**20, 1),
            server_busy=round(server_cpu / seconds, 3),
            client_busy=round(client_cpu / seconds, 3),
            core_busy=round(used[self.server_core] / seconds, 3),
            late=counted["broken_connections"],
            steal=round(sum(after[core][1] - cores[core][1] for core in cores) / elapsed, 3),
            others=round(max(0.0, sum(used.values()) - server_cpu - client_cpu) / elapsed, 3),
        )

    def side_by_side(
        self, subjects: Sequence[Subject], workload: str, connections: int, turns: int = 1
    ) -> dict[str, float]:
        """Microseconds of CPU time for each answer, of subjects that run at the same time and are loaded one after the other, for so many
        turns, of which the median counts: what the machine has for one, it has for the next. The ones that wait are at rest."""
        with ExitStack() as stack:
            wrk = stack.enter_context(self._wrk(workload))
            servers = []
            for subject in subjects:
                paths = stack.enter_context(fresh(self.paths, subject.program))
                servers.append(stack.enter_context(Server(subject, workload, paths, self.server_core)))
                servers[-1].check_answers()
                wrk(servers[-1], connections, self.warm_up)
            cpu_us: dict[str, list[float]] = {subject.name: [] for subject in subjects}
            for _ in range(turns):
                for subject, server in zip(subjects, servers, strict=True):
                    time.sleep(REST_S)
                    before = server.cpu_seconds()
                    counted, _ = wrk(server, connections, self.seconds)
                    cpu = server.cpu_seconds() - before
                    _check(subject, counted)
                    cpu_us[subject.name].append(cpu * 1e6 / counted["answers"])
                    server.check_answers()
        return {name: statistics.median(each) for name, each in cpu_us.items()}

    @contextmanager
    def _wrk(self, workload: str) -> Iterator[Callable[[Server, int, int], tuple[dict[str, int], float]]]:
        """What loads a server; it returns what wrk counted and the CPU seconds that wrk itself took."""
        with TemporaryDirectory() as folder:
            arguments = []
            if requests := WORKLOADS[workload].load():
                file = Path(folder) / "requests"
                lines = ("\t".join(f"{name}: {value}" for name, value in headers.items()) for headers in requests)
                file.write_text("".join(f"{line}\n" for line in lines))
                arguments = ["--", str(file)]

            def load(server: Server, connections: int, seconds: int) -> tuple[dict[str, int], float]:
                options = ["--latency", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(BENCH / "wrk.lua")]
                before = _children_cpu()
                done = subprocess.run(
                    [str(self.paths["wrk"]), *options, f"http://{server.address}/", *arguments],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                cpu = _children_cpu() - before
                for line in done.stdout.splitlines():
                    if line.startswith("COUNTED "):
                        return json.loads(line.removeprefix("COUNTED ")), cpu
                raise SubjectError(f"wrk failed: {(done.stdout + done.stderr)[-300:]}")

            yield load

    def _cores(self) -> dict[int, tuple[float, float]]:
        """CPU seconds of each of the two cores since the machine's start: of all programs, and what the hypervisor withheld."""
        cores = {}
        for name, *ticks in (line.split() for line in Path("/proc/stat").read_text().splitlines()):
            if name in (f"cpu{self.server_core}", f"cpu{self.client_core}"):
                user, nice, system, _, _, irq, softirq, steal = (int(count) / TICKS_PER_S for count in ticks[:8])
                # A process's own figure includes the interrupts that it was interrupted by.
                cores[int(name.removeprefix("cpu"))] = (user + nice + system + irq + softirq, steal)
        return cores

    def _both_cores(self) -> float:
        return sum(used for used, _ in self._cores().values())


@contextmanager
def fresh(paths: dict[str, Path], program: str) -> Iterator[dict[str, Path]]:
    """The same paths, but for a copy of this program that was written just now. Where a file's pages lie in memory, and how many lie
    side by side, depends on how and when it was written: two copies of one program differed by a tenth of the CPU time."""
    HOME.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=HOME) as folder:
        copy = Path(folder) / paths[program].name
        shutil.copy2(paths[program], copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        yield paths | {program: copy}


@contextmanager
def _asking(server: Server) -> Iterator[None]:
    """Asks the server all the time while the block runs, now and then, so that no answer under load is taken on trust."""
    done = threading.Event()
    faults: list[SubjectError] = []

    def ask() -> None:
        while not done.wait(ASK_S) and not faults:
            try:
                server.check_one_answer()
            except SubjectError as fault:
                faults.append(fault)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield
    finally:
        done.set()
        asker.join()
    if faults:
        raise faults[0]


def _check(subject: Subject, counted: dict[str, int]) -> None:
    """Wrong answers make a run worthless. Late ones do so where they are ours; a peer's are noted."""
    seconds, late = counted["microseconds"] / 1e6, counted["broken_connections"]
    if counted["answers"] == 0 or counted["bad_answers"] or (late and subject.ours):
        raise SubjectError(
            f"{subject.name} gave {counted['answers']} answers in {seconds:.1f} s, {counted['bad_answers']} of them of "
            f"status 400 or more; {late} connections failed or waited more than 2 s"
        )


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
