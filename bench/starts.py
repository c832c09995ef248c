"""Starts: from the process to its first right answer, when compiled code is at hand."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import report
from load import fresh
from progress import Progress
from server import Server, SubjectError
from subjects import LIMIT, Subject
from workloads import WORKLOADS

EXPECTED_S = 0.5
"""About what a start takes, with its copy of the program and its end."""

HEAD = ["subject", "start to first answer, ms", "95 %", f"× {LIMIT}", "start to listening, ms", "first request, ms"]


@dataclass(frozen=True)
class Start:
    """One start of one subject."""

    round: int
    workload: str
    subject: str
    listening_ms: float
    answer_ms: float
    """From the start of the process, too: until it listened, and then the request."""


@dataclass(frozen=True)
class Step:
    """One start to make."""

    round: int
    workload: str
    subject: Subject


def plan(subjects: list[Subject], workloads: list[str], rounds: int) -> list[Step]:
    """Round 0 does not count: it fills the page cache and the caches of compiled code."""
    return [
        Step(number, workload, subject)
        for number in range(rounds + 1)
        for workload in workloads
        for subject in report.rotated(subjects, number)
    ]


def measure(steps: list[Step], paths: dict[str, Path], core: int, progress: Progress, faults: list[str]) -> list[Start]:
    """All starts, announced round by round; a subject's fault does not keep the others from starting."""
    starts: list[Start] = []
    announced = -1
    for step in steps:
        label = progress.next()
        if step.round > announced:
            announced = step.round
            print(f"{label} starts, round {announced}", file=sys.stderr, flush=True)
        try:
            one = _start(step, paths, core)
        except SubjectError as error:
            faults.append(f"start, round {step.round}: {error}")
            print(f"failed: {error}", file=sys.stderr, flush=True)
            continue
        if step.round > 0:
            starts.append(one)
    return starts


def _start(step: Step, paths: dict[str, Path], core: int) -> Start:
    """Starts the subject, asks it once, and stops it."""
    question = WORKLOADS[step.workload].good()
    with fresh(paths, step.subject.program) as copies, Server(step.subject, step.workload, copies, core) as server:
        listening = server.running_s()
        server.ask([question])
        answered = server.running_s()
        server.check_answers()
    return Start(step.round, step.workload, step.subject.name, round(listening * 1e3, 3), round(answered * 1e3, 3))


def tables(starts: list[Start]) -> str:
    """One table for each workload, the quickest subject first."""
    return "\n\n".join(
        _table([one for one in starts if one.workload == workload])
        for workload in dict.fromkeys(one.workload for one in starts)
    )


def summary(starts: list[Start]) -> list[dict[str, object]]:
    """The medians for each workload and subject."""
    return [
        {
            "workload": group[0].workload,
            "subject": group[0].subject,
            "starts": len(group),
            "listening_ms": median(one.listening_ms for one in group),
            "answer_ms": median(one.answer_ms for one in group),
        }
        for workload in dict.fromkeys(one.workload for one in starts)
        for group in _groups([one for one in starts if one.workload == workload])
    ]


def _table(starts: list[Start]) -> str:
    groups = _groups(starts)
    limits = {one.round: one.answer_ms for one in starts if one.subject == LIMIT}
    rows = [_row(group, limits) for group in groups]
    return report.table(f"**{starts[0].workload}**, medians of {max(map(len, groups))} starts", [HEAD, *rows])


def _row(group: list[Start], limits: dict[int, float]) -> list[str]:
    times = [one.answer_ms for one in group]
    ratios = [one.answer_ms / limits[one.round] for one in group if one.round in limits]
    last = quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]
    return [
        group[0].subject,
        report.spread(times, 2),
        f"{last:.2f}",
        report.number(median(ratios) if ratios else None, 2),
        f"{median(one.listening_ms for one in group):.2f}",
        f"{median(one.answer_ms - one.listening_ms for one in group):.2f}",
    ]


def _groups(starts: list[Start]) -> list[list[Start]]:
    groups: dict[str, list[Start]] = {}
    for one in starts:
        groups.setdefault(one.subject, []).append(one)
    return sorted(groups.values(), key=lambda group: median(one.answer_ms for one in group))
