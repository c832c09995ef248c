"""What a measurement needs of the machine: two cores, and nobody else who measures."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator

from programs import SetupError


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
