"""What the benchmarks start with: the project's folder, free ports, and runs in a process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_json(command: list[str], environment: dict[str, str]) -> Any:
    """Run a program to its end, and return the JSON of the last line that it prints. Exits with
    its messages if it fails; ends it if this process is interrupted."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, messages = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        sys.exit(f"bench: {' '.join(command)} failed: {messages[-2000:]}")
    return json.loads(output.splitlines()[-1])
