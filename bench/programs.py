"""Where programs and guests come from: a variable, `bench/install`, PATH, or a build of this repository."""

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


def _guest(name: str) -> Source:
    return Source(f"the guest {name}", BENCH / "guests", ("--target", "wasm32-wasip2", "--package", name))


SOURCES = {
    "eyot": Source("Eyot, which takes minutes the first time", ROOT, ("--package", "eyot", "--bin", "eyot")),
    "hyper": Source("the plain hyper server", BENCH / "hyper"),
    **{name: _guest(name) for name in ("alone", "caller", "hello", "hello3", "jwt", "jwt3", "sized")},
}
GIVEN = ("eyot", "wasmtime", "workerd", "node", "nginx", "wrk")
"""Programs that a variable of the same name, in capitals, may supply."""
COMPILED = ".cwasm"
"""How the name of a guest ends that wasmtime has compiled."""


def find(names: list[str]) -> dict[str, Path]:
    """A path for each name. All that is missing is reported together, before anything is built."""
    # What is compiled comes from a component, which is built first.
    names = list(dict.fromkeys(part for name in names for part in (name.removesuffix(COMPILED), name)))
    if missing := [name for name in names if not is_there(name)]:
        raise SetupError(f"{' and '.join(missing)}: not found; `bench/install` gets what is missing")
    paths = {name: _given(name) or build(SOURCES[name]) for name in names if not name.endswith(COMPILED)}
    guests = [name for name in names if name.endswith(COMPILED)]
    return paths | {name: _compiled(name, paths["wasmtime"], paths[name.removesuffix(COMPILED)]) for name in guests}


def is_there(name: str) -> bool:
    """Whether it is installed, or built here."""
    return name.endswith(COMPILED) or name in SOURCES or _given(name) is not None


def version(program: Path) -> str:
    """What the program says about itself; wrk exits with 1 when it is asked, and nginx knows another option."""
    option = "-v" if program.name == "nginx" else "--version"
    done = subprocess.run([program, option], capture_output=True, text=True, check=False)
    said = ((done.stdout + done.stderr).splitlines() or ["unknown"])[0].split(" Copyright")[0].strip()
    return said if program.name in said else f"{program.name} {said}"


def commit() -> str:
    """The commit of the working tree, and whether something was changed since."""
    if shutil.which("git") is None:
        return "unknown"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty= with changes", "--abbrev=10", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _given(name: str) -> Path | None:
    """The program that a variable names, or else one that is installed."""
    variable = os.environ.get(name.upper()) if name in GIVEN else None
    found = shutil.which(variable or name, path=_search_path())
    if variable and found is None:
        raise SetupError(f"{name.upper()}={variable}: there is no such program")
    return Path(found).absolute() if found and (variable or name not in SOURCES) else None


def _search_path() -> str:
    # Debian has nginx where only root looks.
    return os.pathsep.join([str(HOME / "bin"), os.environ.get("PATH", ""), "/usr/sbin"])


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


def _compiled(name: str, wasmtime: Path, component: Path) -> Path:
    """What wasmtime makes of a component ahead of time. Each time anew, because only the wasmtime that made it takes it."""
    compiled = HOME / "compiled" / name
    compiled.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [wasmtime, "compile", "--output", compiled, component], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SetupError(f"{name}: wasmtime does not compile it: {done.stderr.strip()[-500:]}")
    return compiled
