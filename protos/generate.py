"""Generates the code of the contracts: `make protos`. With --check, says whether it is fresh."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent


def protoc(*options: str) -> None:
    """Run the compiler on every contract."""
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(PROTOS.parent)]
    command += ["-I", sysconfig.get_paths()["purelib"]]  # for google/api/annotations.proto
    sources = sorted(f"protos/{file.name}" for file in PROTOS.glob("*.proto"))
    subprocess.run([*command, *options, *sources], check=True, cwd=PROTOS.parent)


def generate(out: Path) -> None:
    """Write the code generated from every contract into out/protos."""
    options = [f"--{kind}_out={out}" for kind in ("python", "grpc_python")]
    for kind in ("mypy", "mypy_grpc"):
        options.append(f"--plugin=protoc-gen-{kind}={BIN / f'protoc-gen-{kind}'}")
        options.append(f"--{kind}_out=quiet:{out}")
    protoc(*options)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        generate(out)
        made = {file.name: file.read_bytes() for file in (out / "protos").iterdir()}
        there = {file.name: file.read_bytes() for file in PROTOS.glob("*_pb2*.py*")}
        if "--check" in sys.argv:
            stale = sorted(n for n in made.keys() | there.keys() if made.get(n) != there.get(n))
            if stale:
                sys.exit(f"not what the contracts generate: {', '.join(stale)}; run `make protos`")
            return
        for name in there.keys() - made.keys():
            (PROTOS / name).unlink()
        for file in (out / "protos").iterdir():
            shutil.copy(file, PROTOS / file.name)


if __name__ == "__main__":
    main()
