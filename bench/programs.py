"""Where the programs and the guest come from: a variable, `bench/install`, PATH, or a build of this repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
HOME = Path(os.environ.get("EYOT_BENCH_HOME") or ROOT / "target" / "bench").absolute()
"""What `bench/install` fills. The runtimes' code caches are here too: nothing outside this folder changes."""


class SetupError(Exception):
    """What keeps anything from being measured; the message says what to do about it."""


@dataclass(frozen=True)
class Source:
    """Something of this repository that cargo builds."""

    what: str
    folder: Path
    arguments: tuple[str, ...] = ()


SOURCES = {
    "eyot": Source("Eyot, which takes minutes the first time", ROOT, ("--package", "eyot", "--bin", "eyot")),
    "hyper": Source("the plain hyper server", BENCH / "hyper"),
    "hello": Source("the guest", BENCH / "guests" / "hello", ("--target", "wasm32-wasip2")),
}
GIVEN = ("eyot", "wasmtime", "wrk")
"""Programs that a variable of the same name, in capitals, may supply."""


def find(names: list[str]) -> dict[str, Path]:
    """A path for each name. All that is missing is reported together, before anything is built."""
    given = {name: _given(name) for name in names}
    missing = [name for name, path in given.items() if path is None and name not in SOURCES]
    if missing:
        raise SetupError(f"{' and '.join(missing)}: not found; `bench/install` gets what is missing")
    return {name: path or build(SOURCES[name]) for name, path in given.items()}


def version(program: Path) -> str:
    """What the program says about itself; wrk exits with 1 when it is asked."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return ((done.stdout + done.stderr).splitlines() or ["unknown"])[0].split(" Copyright")[0].strip()


def _given(name: str) -> Path | None:
    """The program that a variable names, or else one that is installed."""
    variable = os.environ.get(name.upper()) if name in GIVEN else None
    found = shutil.which(variable or name, path=_search_path())
    if variable and found is None:
        raise SetupError(f"{name.upper()}={variable}: there is no such program")
    return Path(found).absolute() if found and (variable or name not in SOURCES) else None


def _search_path() -> str:
    return f"{HOME / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"


def build(source: Source, *more: str) -> Path:
    """Builds the current sources, so that what is measured is what stands in the working tree."""
    if shutil.which("cargo") is None:
        raise SetupError("cargo: not found; https://rustup.rs has the command that installs it")
    print(f"building {source.what}", file=sys.stderr, flush=True)
    command = [
        "cargo",
        "build",
        "--release",
        "--locked",
        "--message-format=json-render-diagnostics",
        *source.arguments,
        *more,
    ]
    done = subprocess.run(command, cwd=source.folder, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"{source.what}: does not build in {source.folder}; cargo says why above")
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    artifacts = [message for message in messages if message["reason"] == "compiler-artifact"]
    return Path(artifacts[-1]["executable"] or artifacts[-1]["filenames"][0])
