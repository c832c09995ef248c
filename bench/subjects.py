"""What is measured: each subject is one way to answer the workloads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter

LIMIT = "hyper"
"""The subject that ratios are relative to: what is left when there is no isolation at all."""
OURS = "eyot"


@dataclass(frozen=True)
class Place:
    """Where one start of a subject listens, what it answers, and which folder it may write to."""

    workload: str
    address: str
    folder: Path


@dataclass(frozen=True)
class Subject:
    """How one server is started.

    Places in the command: a program by its name (the first word is one), `{address}` to listen on, `{workload}`, `{folder}` of its
    own, `{bench}`, `{component}` and `{component3}` for the workload in WASI 0.2 and 0.3, `{compiled}` for the first one compiled by
    wasmtime.
    """

    name: str
    what: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    workloads: tuple[str, ...] = ("hello", "jwt")
    config: str | None = None
    """A file of this folder that is laid into the subject's, with the address for ADDRESS and this folder for BENCH."""

    @property
    def program(self) -> str:
        """The name of the program, as `programs.find` knows it."""
        return self.command[0].strip("{}")

    @property
    def ours(self) -> bool:
        """Whether Eyot's musts are about it."""
        return self.program.startswith(OURS)

    def needs(self, workload: str) -> list[str]:
        """The names of what `programs.find` has to find before it can be started."""
        places = {name for part in self.command for _, name, _, _ in Formatter().parse(part) if name}
        return [self.program, *(built for place, built in _components(workload).items() if place in places)]

    def argv(self, paths: dict[str, Path], place: Place) -> list[str]:
        """The command with its places filled in."""
        places = {name: str(path) for name, path in paths.items()}
        places |= {at: places[built] for at, built in _components(place.workload).items() if built in places}
        places |= {"address": place.address, "folder": str(place.folder), "workload": place.workload}
        return [part.format(bench=Path(__file__).resolve().parent, **places) for part in self.command]


def _components(workload: str) -> dict[str, str]:
    return {"component": workload, "component3": f"{workload}3", "compiled": f"{workload}.cwasm"}


# What a user would run: all limits, all metrics, and a line for each request.
_EYOT = ("{eyot}", "serve", "--addr", "{address}", "--access-log", "{folder}/access.log")
# Rust's standard library imports wasi:cli, which `wasmtime serve` links only when it is told to.
_WASMTIME = ("{wasmtime}", "serve", "-S", "cli", "--addr", "{address}")
_TUNED = (
    *("-O", "pooling-memory-keep-resident=1048576"),
    *("-O", "pooling-table-keep-resident=65536"),
    *("-O", "pooling-pagemap-scan=y"),
)
# As often as wasmtime serve reuses an instance of WASI 0.3 when nobody says more.
_REUSED = ("--max-instance-reuse-count", "128")
_NOT_REUSED = ("--max-instance-reuse-count", "1", "--max-instance-concurrent-reuse-count", "1")
# As many threads as the server has cores.
_ONE_TOKIO = {"TOKIO_WORKER_THREADS": "1"}
_ONE_LIBUV = {"UV_THREADPOOL_SIZE": "1"}


def _eyot(name: str, what: str, *more: str) -> Subject:
    return Subject(name, f"Eyot, {what}", (*_EYOT, *more))


def _wasmtime(name: str, what: str, *more: str) -> Subject:
    return Subject(name, f"wasmtime serve, {what}", (*_WASMTIME, *more), _ONE_TOKIO)


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(LIMIT, "plain hyper, one thread, no isolation", ("{hyper}", "{workload}", "{address}")),
        _eyot(OURS, "WASI 0.2, a fresh isolate for each request", "{component}"),
        _eyot("eyot-0.3", "WASI 0.3, a fresh isolate for each request", "{component3}"),
        _eyot("eyot-reused", "WASI 0.2, an isolate for 128 requests, one after the other", *_REUSED, "{component}"),
        _eyot(
            "eyot-0.3-reused", "WASI 0.3, an isolate for 128 requests, one after the other", *_REUSED, "{component3}"
        ),
        _wasmtime("wasmtime", "WASI 0.2 as it comes: a fresh instance for each request", "{component}"),
        _wasmtime("wasmtime-tuned", "WASI 0.2, fresh, pages of the pool kept resident", *_TUNED, "{component}"),
        _wasmtime("wasmtime-reused", "WASI 0.2, an instance for 128 requests", *_REUSED, "{component}"),
        _wasmtime("wasmtime-0.3", "WASI 0.3 as it comes: an instance for 128 requests, 16 at once", "{component3}"),
        _wasmtime("wasmtime-0.3-fresh", "WASI 0.3, a fresh instance for each request", *_NOT_REUSED, "{component3}"),
        Subject(
            "workerd",
            "workerd, JavaScript in one warm isolate of V8",
            ("{workerd}", "serve", "{bench}/javascript/workerd.capnp", "{workload}", "--socket-addr", "http={address}"),
        ),
        Subject(
            "node",
            "Node's http, no isolation",
            ("{node}", "--v8-pool-size=1", "{bench}/javascript/node.mjs", "{workload}", "{address}"),
            _ONE_LIBUV,
        ),
        Subject(
            "nginx",
            "nginx, one worker, `return 200`",
            ("{nginx}", "-e", "stderr", "-p", "{folder}", "-c", "{folder}/nginx.conf"),
            workloads=("hello",),
            config="nginx.conf",
        ),
    )
}


def _with_config(name: str, what: str, config: str) -> Subject:
    command = ("{eyot}", "serve", "--config", f"{{folder}}/{config}", "--access-log", "{folder}/access.log")
    return Subject(name, f"Eyot, WASI 0.2: {what}", command, config=config)


CALLING = _with_config("calling", "a worker that answers what another answers to it", "calls.toml")
ALONE = _with_config("alone", "the same worker, which answers by itself", "alone.toml")
"""What a call between workers costs is measured by them."""

STARTED = {
    subject.name: subject
    for subject in (
        SUBJECTS[LIMIT],
        SUBJECTS[OURS],
        Subject(
            "wasmtime-compiled",
            "wasmtime serve, WASI 0.2, compiled ahead of time",
            (*_WASMTIME, "--allow-precompiled", "{compiled}"),
            _ONE_TOKIO,
        ),
    )
}
"""Those whose start is measured: code is compiled, and at hand."""
