"""The command that makes the Secrets of a placement, one for each deployment."""

from __future__ import annotations

from collections.abc import Iterator

from severable.deploy.kubernetes.resources import required, secret
from severable.deploy.workloads import secrets
from severable.topology import Topology

SCRIPT = """\
# Make the Secrets of this placement from variables of the environment; again, to change them:
#   bash secrets.sh
set -euo pipefail

# make_secret NAME VARIABLE ...: kubectl reads the values from its standard input, where no list of
# processes shows them. Each is one line: the newlines of a PEM are written as \\n.
make_secret() {{
  for key in "${{@:2}}"; do
    [[ -n ${{!key:-}} ]] || {{ echo "$key must be set" >&2; exit 1; }}
    [[ ${{!key}} != *$'\\n'* ]] || {{ echo "$key: write newlines as \\\\n" >&2; exit 1; }}
  done
  for key in "${{@:2}}"; do printf '%s=%s\\n' "$key" "${{!key}}"; done |
    kubectl create secret generic "$1" --namespace {namespace} \\
      --from-env-file=/dev/stdin --dry-run=client --output yaml | kubectl apply --filename -
}}

"""


def script(topology: Topology, placement: str) -> str:
    """Return a shell script. Each Secret has only the variables of the deployment's contexts."""
    text = SCRIPT.format(namespace=required(topology)[1].namespace)
    return text + "".join(f"{line}\n" for line in _lines(topology, placement))


def _lines(topology: Topology, placement: str) -> Iterator[str]:
    for deployment in topology.deployments(placement):
        keys = " \\\n  ".join(secrets(topology, deployment))
        yield f"make_secret {secret(deployment.name)} \\\n  {keys}"
