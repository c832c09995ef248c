"""The tables for people and the file for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

from load import Run
from subjects import LIMIT, OURS

T = TypeVar("T")

HEAD = [
    "subject",
    "CPU µs a request",
    f"× {LIMIT}",
    f"× {OURS}",
    "requests/s",
    f"× {LIMIT}",
    "p50 ms",
    "p99 ms",
    "peak MiB",
    "busy server / client",
    "notes",
]


def tables(runs: list[Run]) -> str:
    """One table for each workload and number of connections, the cheapest subject first; Markdown that reads well as it is."""
    return "\n\n".join(_table(part) for part in _parts(runs))


def summary(runs: list[Run]) -> list[dict[str, object]]:
    """The medians and ratios for each workload, number of connections and subject."""
    return [
        {
            "workload": group[0].workload,
            "connections": group[0].connections,
            "subject": group[0].subject,
            "rounds": len(group),
            "cpu_us": median(run.cpu_us for run in group),
            "answers_per_s": median(run.answers_per_s for run in group),
            "p50_us": median(run.p50_us for run in group),
            "p99_us": median(run.p99_us for run in group),
            "peak_mib": max(run.peak_mib for run in group),
            f"cpu_to_{LIMIT}": ratio(group, part, LIMIT, lambda run: run.cpu_us),
            f"cpu_to_{OURS}": ratio(group, part, OURS, lambda run: run.cpu_us),
            f"answers_to_{LIMIT}": ratio(group, part, LIMIT, lambda run: run.answers_per_s),
            "notes": dict(_notes(group)),
        }
        for part in _parts(runs)
        for group in _groups(part)
    ]


def write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def ratio(group: list[Run], part: list[Run], base: str, value: Callable[[Run], float]) -> float | None:
    """The median of the ratios round by round: what slows the machine for a while slows both sides of a ratio."""
    bases = {run.round: value(run) for run in part if run.subject == base}
    ratios = [value(run) / there for run in group if (there := bases.get(run.round))]
    return round(median(ratios), 3) if ratios else None


def rotated(items: list[T], round_number: int) -> list[T]:
    """The same order, begun with another one in each round, so that none is always the first or the last."""
    first = round_number % len(items)
    return items[first:] + items[:first]


def connected(count: int) -> str:
    """The number of connections in words."""
    return f"{count} connection{'' if count == 1 else 's'}"


def table(title: str, rows: list[list[str]]) -> str:
    """The first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows]
    lines.insert(1, f"| {' | '.join('-' * width for width in widths)} |")
    return "\n".join([title, "", *lines])


def spread(values: list[float], digits: int) -> str:
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(part: list[Run]) -> str:
    rounds = len({run.round for run in part})
    head = f"**{part[0].workload}, {connected(part[0].connections)}**"
    title = f"{head}, medians of {rounds} rounds (minimum–maximum)" if rounds > 1 else f"{head}, one round"
    return table(title, [HEAD, *(_row(group, part) for group in _groups(part))])


def _row(group: list[Run], part: list[Run]) -> list[str]:
    return [
        group[0].subject,
        spread([run.cpu_us for run in group], 1),
        number(ratio(group, part, LIMIT, lambda run: run.cpu_us), 2),
        number(ratio(group, part, OURS, lambda run: run.cpu_us), 2),
        spread([run.answers_per_s for run in group], 0),
        number(ratio(group, part, LIMIT, lambda run: run.answers_per_s), 2),
        f"{median(run.p50_us for run in group) / 1e3:.3f}",
        f"{median(run.p99_us for run in group) / 1e3:.3f}",
        f"{max(run.peak_mib for run in group):.0f}",
        f"{median(run.server_busy for run in group):.2f} / {median(run.client_busy for run in group):.2f}",
        ", ".join(f"{note} ({count} of {len(group)})" for note, count in _notes(group).items()),
    ]


def _parts(runs: list[Run]) -> list[list[Run]]:
    """The runs of each workload and number of connections, which can be compared."""
    keys = dict.fromkeys((run.workload, run.connections) for run in runs)
    return [[run for run in runs if (run.workload, run.connections) == key] for key in sorted(keys)]


def _groups(part: list[Run]) -> list[list[Run]]:
    """The runs of each subject, the cheapest first."""
    groups: dict[str, list[Run]] = {}
    for run in part:
        groups.setdefault(run.subject, []).append(run)
    return sorted(groups.values(), key=lambda group: median(run.cpu_us for run in group))


def _notes(group: list[Run]) -> Counter[str]:
    return Counter(note for run in group for note in run.notes())
