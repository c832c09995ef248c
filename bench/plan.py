"""What is measured, and in which order."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import report
from musts import Key
from subjects import LIMIT, SUBJECTS, Subject

T = TypeVar("T")

ALWAYS = [name for name, subject in SUBJECTS.items() if subject.ours or name == LIMIT]
PEERS = [name for name in SUBJECTS if name not in ALWAYS]
CONNECTIONS = {"hello": (1, 32, 256), "jwt": (32,)}
"""Of the full form. What a handler does changes the cost of a request, and little in how connections share the server."""


@dataclass(frozen=True)
class Step:
    """One run."""

    round: int
    workload: str
    connections: int
    subject: Subject

    @property
    def key(self) -> Key:
        return self.workload, self.connections, self.subject.name


def keys(options: argparse.Namespace, needed: set[Key]) -> list[Key]:
    """What the options ask for, in order. Where it must be quick and nobody says what, it is what the musts need."""
    names = options.only or [name for name in SUBJECTS if name in ALWAYS or name in options.against]
    everything = (
        (workload, connections, name)
        for workload in options.workloads
        for connections in options.connections or CONNECTIONS[workload]
        for name in names
        if workload in SUBJECTS[name].workloads
    )
    return [key for key in everything if key in needed or options.narrowed or not options.quick]


def steps(planned: list[Key], rounds: int) -> Iterator[Step]:
    """Rounds of all: the subjects next to each other in time, each round begun with another one."""
    loads = list(dict.fromkeys((workload, connections) for workload, connections, _ in planned))
    for number in range(1, rounds + 1):
        for load in loads:
            names = [name for *of, name in planned if tuple(of) == load]
            for name in report.rotated(names, number - 1):
                workload, connections = load
                yield Step(number, workload, connections or 0, SUBJECTS[name])


def one_of(what: str, names: Iterable[str]) -> Callable[[str], str]:
    """A type of argparse."""
    known = list(names)

    def parse(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"no {what} is called {text!r}; there are {', '.join(known)}")
        return text

    return parse


def listed(item: Callable[[str], T]) -> Callable[[str], list[T]]:
    """A type of argparse: several, with commas between them."""
    return lambda text: [item(part) for part in text.split(",")]
