"""The rendered files: written, or compared with those on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from severable.deploy import compose, istio, kubernetes, nginx, procfile, prometheus
from severable.topology import Topology

Files = dict[str, str]  # text by path, from the root of the repository

RENDERERS: Mapping[str, Callable[[Topology], Files]] = {
    "compose": compose.render,
    "nginx": nginx.render,
    "procfile": procfile.render,
    "kubernetes": kubernetes.render,
    "istio": istio.render,
}
# Folders in which every file is rendered. One that nothing renders any more is removed.
FOLDERS = {
    "compose": prometheus.FOLDER,
    "nginx": "deploy/nginx",
    "procfile": "deploy/procfile",
    "kubernetes": "deploy/kubernetes",
    "istio": "deploy/istio",
}
HEADER = "# Made of topology.toml by `manage.py topology render {}`. Change that, not this.\n"


def render(topology: Topology, target: str) -> Files:
    """Return the files of a target, such as "compose", or of "all"."""
    targets = RENDERERS if target == "all" else [target]
    return {
        path: HEADER.format(each) + text
        for each in targets
        for path, text in RENDERERS[each](topology).items()
    }


def differing(root: Path, target: str, files: Files) -> Iterator[str]:
    """Yield the path of each file that is not as rendered: changed, missing, or not rendered."""
    for path, text in files.items():
        there = root / path
        if not there.is_file() or there.read_text() != text:
            yield path
    yield from _leftover(root, target, files)


def write(root: Path, target: str, files: Files) -> None:
    """Write the files, and remove those that are no longer rendered."""
    for path in list(_leftover(root, target, files)):
        (root / path).unlink()
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def _leftover(root: Path, target: str, files: Files) -> Iterator[str]:
    for each in FOLDERS if target == "all" else [target]:
        if each in FOLDERS:
            for there in sorted((root / FOLDERS[each]).rglob("*")):
                path = str(there.relative_to(root))
                if there.is_file() and path not in files:
                    yield path
