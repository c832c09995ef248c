"""How far a measurement is, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Iterable


class Progress:
    """Counts steps, and estimates the time that is left from how long those took that are done."""

    def __init__(self, expected: Iterable[float]) -> None:
        """The seconds that each step is expected to take."""
        self._expected = list(expected)
        self._done = 0
        self._began = time.monotonic()

    def next(self) -> str:
        """The number of the step that begins, and the time until all are done."""
        done, left = sum(self._expected[: self._done]), sum(self._expected[self._done :])
        pace = (time.monotonic() - self._began) / done if done else 1.0
        self._done += 1
        return f"[{self._done}/{len(self._expected)}, {_minutes(left * pace)} left]"

    def __str__(self) -> str:
        return f"{len(self._expected)} runs and starts, about {_minutes(sum(self._expected))}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
