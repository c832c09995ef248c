"""The tables for people and the file for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median

from load import Run
from subjects import LIMIT, OURS

HEAD = [
    "subject",
    "CPU µs a request",
    f"× {LIMIT}",
    f"× {OURS}",
    "requests/s",
    f"× {LIMIT}",
    "p50 ms",
    "p99 ms",
    "busy server / client",
    "notes",
]


def tables(runs: list[Run]) -> str:
    """One table for each number of connections, the cheapest subject first; Markdown that reads well as it is."""
    return "\n\n".join(_table([run for run in runs if run.connections == count]) for count in _connections(runs))


def summary(runs: list[Run]) -> list[dict[str, object]]:
    """The medians and ratios for each subject and number of connections."""
    return [
        {
            "connections": count,
            "subject": group[0].subject,
            "rounds": len(group),
            "cpu_us": median(run.cpu_us for run in group),
            "answers_per_s": median(run.answers_per_s for run in group),
            "p50_us": median(run.p50_us for run in group),
            "p99_us": median(run.p99_us for run in group),
            f"cpu_to_{LIMIT}": ratio(group, runs, LIMIT, lambda run: run.cpu_us),
            f"cpu_to_{OURS}": ratio(group, runs, OURS, lambda run: run.cpu_us),
            f"answers_to_{LIMIT}": ratio(group, runs, LIMIT, lambda run: run.answers_per_s),
            "notes": dict(_notes(group)),
        }
        for count in _connections(runs)
        for group in _groups([run for run in runs if run.connections == count])
    ]


def write_json(path: Path, about: dict[str, object], runs: list[Run]) -> None:
    """What was measured where, every run, and the medians."""
    content = about | {"summary": summary(runs), "runs": [asdict(run) for run in runs]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def ratio(group: list[Run], runs: list[Run], base: str, value: Callable[[Run], float]) -> float | None:
    """The median of the ratios round by round: what slows the machine for a while slows both sides of a ratio."""
    bases = {(run.round, run.connections): value(run) for run in runs if run.subject == base}
    ratios = [value(run) / there for run in group if (there := bases.get((run.round, run.connections)))]
    return round(median(ratios), 3) if ratios else None


def connected(count: int) -> str:
    """The number of connections in words."""
    return f"{count} connection{'' if count == 1 else 's'}"


def _table(runs: list[Run]) -> str:
    rows = [HEAD, *(_row(group, runs) for group in _groups(runs))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    rows.insert(1, ["-" * width for width in widths])
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows]
    rounds = len({run.round for run in runs})
    title = f"**hello, {connected(runs[0].connections)}**, medians of {rounds} rounds (minimum–maximum)"
    return "\n".join([title, "", *lines])


def _row(group: list[Run], runs: list[Run]) -> list[str]:
    return [
        group[0].subject,
        _spread([run.cpu_us for run in group], 1),
        _number(ratio(group, runs, LIMIT, lambda run: run.cpu_us), 1),
        _number(ratio(group, runs, OURS, lambda run: run.cpu_us), 2),
        _spread([run.answers_per_s for run in group], 0),
        _number(ratio(group, runs, LIMIT, lambda run: run.answers_per_s), 2),
        f"{median(run.p50_us for run in group) / 1e3:.3f}",
        f"{median(run.p99_us for run in group) / 1e3:.3f}",
        f"{median(run.server_busy for run in group):.2f} / {median(run.client_busy for run in group):.2f}",
        ", ".join(f"{note} ({count} of {len(group)})" for note, count in _notes(group).items()),
    ]


def _connections(runs: list[Run]) -> list[int]:
    return sorted({run.connections for run in runs})


def _groups(runs: list[Run]) -> list[list[Run]]:
    """The runs of each subject, the cheapest first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.subject, []).append(run)
    return sorted(groups.values(), key=lambda group: median(run.cpu_us for run in group))


def _notes(group: list[Run]) -> Counter[str]:
    return Counter(note for run in group for note in run.notes())


def _spread(values: list[float], digits: int) -> str:
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
