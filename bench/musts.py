"""The musts of musts.toml, and whether they hold for what was measured."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import report
from load import Run
from starts import Start
from subjects import STARTED, SUBJECTS
from workloads import WORKLOADS

FILE = Path(__file__).resolve().parent / "musts.toml"
HEAD = ["must", "connections", "of", "against", "measured", "bound", "holds", "goals"]

Key = tuple[str, int | None, str]
"""What is measured in one run: workload, connections (none for a start), subject."""

MEASURES: dict[str, Callable[[Run], float | None]] = {
    "cpu": lambda run: run.cpu_us,
    "p50": lambda run: run.p50_us,
    "p99": lambda run: run.p99_us,
    "peak": lambda run: run.peak_mib,
    "agrees": lambda run: run.rate_to_cpu,
}
START, OWN_P50, PEAK = "start", "p50", "peak"


@dataclass(frozen=True)
class Bound:
    """What must hold for one figure. musts.toml says what the words mean."""

    to: str | None = None
    than: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    goals: tuple[float, ...] = ()

    @property
    def other(self) -> str | None:
        """The subject that the figure is set against."""
        return None if self.to == OWN_P50 else self.to or self.than

    def holds(self, figure: float) -> bool:
        return (self.at_most is None or figure <= self.at_most) and (self.at_least is None or figure >= self.at_least)

    def __str__(self) -> str:
        parts = [(self.at_least, "≥"), (self.at_most, "≤")]
        return ", ".join(f"{sign} {value:g}" for value, sign in parts if value is not None)


@dataclass(frozen=True)
class Must:
    """One entry of the file."""

    what: str
    subjects: tuple[str, ...]
    workload: str
    measure: str
    bounds: tuple[Bound, ...]
    source: str
    connections: int | None = None

    def needs(self) -> set[Key]:
        """What has to be measured to judge it."""
        others = {bound.other for bound in self.bounds if bound.other}
        return {(self.workload, self.connections, subject) for subject in others.union(self.subjects)}


@dataclass(frozen=True)
class Verdict:
    """One bound for one subject."""

    must: Must
    subject: str
    bound: Bound
    figures: list[float]
    asked: bool
    why_not: str = ""

    @property
    def figure(self) -> float | None:
        """What is judged: the median of the rounds, but the highest of peaks. None when it was not measured."""
        if not self.figures:
            return None
        return max(self.figures) if self.must.measure == PEAK else median(self.figures)

    @property
    def missed(self) -> bool:
        return self.figure is not None and not self.bound.holds(self.figure)

    @property
    def missing(self) -> bool:
        """Whether it could not be judged, though that was asked for."""
        return self.figure is None and self.asked

    def row(self) -> list[str]:
        bound, figure = self.bound, self.figure
        against = f"÷ {bound.to}" if bound.to else f"{bound.than} ÷ it" if bound.than else ""
        head = [self.must.what, str(self.must.connections or "–"), self.subject, against]
        if figure is None:
            return [*head, "–", str(bound), f"not judged: {self.why_not}", ""]
        goals = ", ".join(f"{goal:g}: {'yes' if figure <= goal else 'not yet'}" for goal in bound.goals)
        low, high = min(self.figures), max(self.figures)
        return [*head, f"{figure:.2f} ({low:.2f}–{high:.2f})", str(bound), "NO" if self.missed else "yes", goals]


def read(file: Path = FILE) -> list[Must]:
    """All musts. A name that nobody has would never be judged, so it is an error."""
    musts = []
    for entry in tomllib.loads(file.read_text())["must"]:
        bounds = tuple(Bound(**bound | {"goals": tuple(bound.get("goals", ()))}) for bound in entry.pop("bounds"))
        must = Must(**entry | {"bounds": bounds, "subjects": tuple(entry["subjects"])})
        known = STARTED if must.measure == START else SUBJECTS
        names = {*must.subjects, *(bound.other for bound in bounds if bound.other)}
        if names - known.keys() or must.workload not in WORKLOADS or must.measure not in [*MEASURES, START]:
            raise ValueError(f"{file.name}, {must.what!r}: there is no such subject, workload or measure")
        if (must.measure == START) != (must.connections is None):
            raise ValueError(f"{file.name}, {must.what!r}: a load has connections, a start has none")
        musts.append(must)
    return musts


def judge(musts: list[Must], runs: list[Run], starts: list[Start], asked: set[Key], skipped: set[str]) -> list[Verdict]:
    """A verdict for each bound of each subject. `asked` is what should have been measured, `skipped` who is not installed."""
    figures = _Figures(runs, starts)
    return [
        figures.verdict(must, subject, bound, asked, skipped)
        for must in musts
        for subject in must.subjects
        for bound in must.bounds
    ]


def table(verdicts: list[Verdict], rounds: int) -> str:
    """What was judged, and what could not be; nothing about what nobody asked for."""
    rows = [verdict.row() for verdict in verdicts if verdict.figures or verdict.missing]
    indication = " (one round: an indication)" if rounds == 1 else ""
    return report.table(f"**Musts**{indication}", [HEAD, *rows]) if rows else ""


def as_json(verdicts: list[Verdict]) -> list[dict[str, object]]:
    return [
        {
            "must": verdict.must.what,
            "subject": verdict.subject,
            "workload": verdict.must.workload,
            "connections": verdict.must.connections,
            "measure": verdict.must.measure,
            "bound": dataclasses.asdict(verdict.bound),
            "figure": verdict.figure,
            "rounds": verdict.figures,
            "holds": None if verdict.figure is None else not verdict.missed,
            "why_not": verdict.why_not,
        }
        for verdict in verdicts
        if verdict.figures or verdict.missing
    ]


class _Figures:
    """What was measured, by what and whom."""

    def __init__(self, runs: list[Run], starts: list[Start]) -> None:
        self._rounds: dict[tuple[str, Key], dict[int, float]] = {}
        for measure, key, number, value in _values(runs, starts):
            self._rounds.setdefault((measure, key), {})[number] = value

    def verdict(self, must: Must, subject: str, bound: Bound, asked: set[Key], skipped: set[str]) -> Verdict:
        own = (must.workload, must.connections, subject)
        keys = {own, (must.workload, must.connections, bound.other)} if bound.other else {own}
        values = self._rounds.get((must.measure, own), {})
        if bound.to or bound.than:
            measure = OWN_P50 if bound.to == OWN_P50 else must.measure
            others = self._rounds.get((measure, (must.workload, must.connections, bound.other or subject)), {})
            values = {number: value / others[number] for number, value in values.items() if others.get(number)}
            if bound.than:
                values = {number: 1 / value for number, value in values.items() if value}
        absent = sorted(name for _, _, name in keys if name in skipped)
        why = f"{', '.join(absent)} is not installed" if absent else "no run was fit for it"
        return Verdict(must, subject, bound, list(values.values()), keys <= asked, "" if values else why)


def _values(runs: list[Run], starts: list[Start]) -> Iterator[tuple[str, Key, int, float]]:
    for run in runs:
        for measure, of in MEASURES.items():
            if (value := of(run)) is not None:
                yield measure, (run.workload, run.connections, run.subject), run.round, value
    for start in starts:
        yield START, (start.workload, None, start.subject), start.round, start.answer_ms
