"""What is measured: each subject is one way to answer `hello`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

LIMIT = "hyper"
"""The subject that ratios are relative to: what is left when there is no isolation at all."""
OURS = "eyot"


@dataclass(frozen=True)
class Subject:
    """How one server is started. `{name}` in a command is a program or the guest, `{address}` where to listen."""

    name: str
    what: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def program(self) -> str:
        """The name of the program, as `programs.find` knows it."""
        return self.command[0].strip("{}")

    def argv(self, paths: dict[str, Path], address: str) -> list[str]:
        """The command with its places filled in."""
        places = {name: str(path) for name, path in paths.items()}
        return [part.format(address=address, **places) for part in self.command]


# Rust's standard library imports wasi:cli, which `wasmtime serve` links only when it is told to.
_WASMTIME = ("{wasmtime}", "serve", "-S", "cli", "--addr", "{address}")
_TUNED = (
    *("-O", "pooling-memory-keep-resident=1048576"),
    *("-O", "pooling-table-keep-resident=65536"),
    *("-O", "pooling-pagemap-scan=y"),
)
# As many threads as the server has cores.
_ONE_THREAD = {"TOKIO_WORKER_THREADS": "1"}

SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(LIMIT, "plain hyper, one thread, no isolation", ("{hyper}", "{address}")),
        Subject(OURS, "a fresh isolate for each request", ("{eyot}", "serve", "--addr", "{address}", "{hello}")),
        Subject(
            "wasmtime-tuned",
            "wasmtime serve, a fresh instance for each request, pages of the pool kept resident",
            (*_WASMTIME, *_TUNED, "{hello}"),
            _ONE_THREAD,
        ),
        Subject(
            "wasmtime",
            "wasmtime serve as it comes, a fresh instance for each request",
            (*_WASMTIME, "{hello}"),
            _ONE_THREAD,
        ),
    )
}
