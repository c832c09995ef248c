"""What a measurement needs of the machine: two cores, and nobody else who measures; and what the machine is."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from programs import SetupError, commit, version


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def two_cores(text: str) -> tuple[int, int]:
    cores = [int(part) for part in text.split(",") if part.isdecimal()]
    if len(set(cores)) != 2:
        raise argparse.ArgumentTypeError(f"{text!r} does not name two cores, one for the server and one for wrk")
    return cores[0], cores[1]


def check(cores: tuple[int, int]) -> None:
    if sys.platform != "linux":
        raise SetupError(f"Linux: this is {platform.system()}, which has neither taskset nor /proc")
    if shutil.which("taskset") is None:
        raise SetupError("taskset: not found; `apt-get install util-linux` gets it")
    if absent := set(cores) - os.sched_getaffinity(0):
        usable = ", ".join(str(core) for core in sorted(os.sched_getaffinity(0)))
        raise SetupError(f"core {min(absent)}: this process may only use {usable}; choose two of them with --cores")


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Two measurements would measure each other; the kernel frees the abstract socket whatever ends this one."""
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind("\0eyot-bench")
        except OSError:
            raise SetupError("another measurement runs on this machine; wait for its end") from None
        yield


def end_when_told() -> None:
    """Without this, being told to end would leave the subject that runs."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def describe(cores: tuple[int, int], paths: dict[str, Path], programs: list[str]) -> dict[str, str]:
    """What a reader of the figures wants to know about how they came to be."""
    server_core, client_core = cores
    siblings = Path(f"/sys/devices/system/cpu/cpu{server_core}/topology/thread_siblings_list").read_text().strip()
    about = {
        "began": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit(),
        "machine": f"{_processor()}, {os.cpu_count()} processors, Linux {platform.release()}",
        "programs": ", ".join(version(paths[name]) for name in programs),
        "cores": f"{server_core} for the server, {client_core} for the client",
    }
    if client_core in _expand(siblings):
        about["beware"] = f"cores {server_core} and {client_core} share one physical core; see --cores"
    return about


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _expand(ranges: str) -> set[int]:
    """The numbers in a kernel list such as `0-1,4`."""
    bounds = [part.partition("-") for part in ranges.split(",")]
    return {number for first, _, last in bounds for number in range(int(first), int(last or first) + 1)}
