"""Generates the code of the contracts: `make protos`. With --check, says whether it is fresh."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
FOLDERS = ("protos", "severable/protos")  # the contexts' contracts, and the package's own
BIN = Path(sys.executable).parent


def protoc(*options: str) -> None:
    """Run the compiler on every contract."""
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT)]
    command += ["-I", sysconfig.get_paths()["purelib"]]  # for google/api/annotations.proto
    sources = [str(f.relative_to(ROOT)) for f in _files(ROOT, "*.proto")]
    subprocess.run([*command, *options, *sources], check=True, cwd=ROOT)


def _files(root: Path, pattern: str) -> list[Path]:
    return sorted(file for folder in FOLDERS for file in (root / folder).glob(pattern))


def generate(out: Path) -> None:
    """Write the code generated from every contract below a folder."""
    options = [f"--{kind}_out={out}" for kind in ("python", "grpc_python")]
    for kind in ("mypy", "mypy_grpc"):
        options.append(f"--plugin=protoc-gen-{kind}={BIN / f'protoc-gen-{kind}'}")
        options.append(f"--{kind}_out=quiet:{out}")
    protoc(*options)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        generate(out)
        made = {file.relative_to(out): file.read_bytes() for file in _files(out, "*_pb2*")}
        there = {file.relative_to(ROOT): file.read_bytes() for file in _files(ROOT, "*_pb2*.py*")}
        if "--check" in sys.argv:
            stale = [str(n) for n in made.keys() | there.keys() if made.get(n) != there.get(n)]
            if stale:
                names = ", ".join(sorted(stale))
                sys.exit(f"not what the contracts generate: {names}; run `make protos`")
            return
        for name in there.keys() - made.keys():
            (ROOT / name).unlink()
        for name, code in made.items():
            (ROOT / name).write_bytes(code)


if __name__ == "__main__":
    main()
