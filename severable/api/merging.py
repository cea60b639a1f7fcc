"""One OpenAPI document of all deployments, for the deployment with the gateway."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from http import HTTPStatus
from typing import Any

from django.conf import settings
from urllib3.exceptions import HTTPError

from severable.api.address import GATEWAY
from severable.rpc import Peer, identity, tls_server_name
from severable.topology import ENTRY, Deployment

log = logging.getLogger(__name__)

REFERENCE = "#/components/schemas/"
SECONDS = 5.0  # for one document: a process that has just started builds it first

Document = dict[str, Any]


def others() -> list[Deployment]:
    """Return the deployments whose operations this one documents, too."""
    if ENTRY not in settings.DEPLOYMENT.contexts:
        return []
    placed = settings.TOPOLOGY.placements[settings.PLACEMENT].values()
    return [deployment for deployment in placed if deployment != settings.DEPLOYMENT]


def fetch(deployments: list[Deployment], host: str) -> dict[str, Document | None]:
    """Return the documents of deployments by name, None for one that does not respond.

    Args:
        deployments: at least one. All are asked at the same time.
        host: the Host of the request that asked for the documents.
    """
    with ThreadPoolExecutor(len(deployments)) as threads:
        documents = threads.map(lambda deployment: _fetch(deployment, host), deployments)
        return dict(zip((each.name for each in deployments), documents, strict=True))


def merge(own: Document, found: dict[str, Document | None]) -> Document:
    """Return a document with the operations of all. Its description names those missing."""
    missing = ", ".join(name for name, document in found.items() if document is None)
    info = own["info"]
    if missing:
        text = f"Not listed, because they do not respond now: {missing}."
        info = info | {"description": f"{info.get('description', '')}\n\n{text}".strip()}
    documents = [own]
    for name, document in found.items():
        if document is not None:
            documents.append(_without_collisions(document, documents, name))
    kinds = {kind for document in documents for kind in document.get("components", {})}
    return own | {
        "info": info,
        "paths": _united(document["paths"] for document in documents),
        "components": {
            kind: _united(document.get("components", {}).get(kind, {}) for document in documents)
            for kind in sorted(kinds)
        },
    }


def _without_collisions(document: Document, before: list[Document], name: str) -> Document:
    """Return a document whose schemas have other names than different schemas of those before.

    Schemas of choices are named after their field: two contexts may both have a StatusEnum.
    """
    taken = _united(_schemas(each) for each in before)
    other = {key for key, schema in _schemas(document).items() if taken.get(key, schema) != schema}
    if not other:
        return document
    text = json.dumps(document)
    for key in other:
        text = text.replace(f'"{REFERENCE}{key}"', f'"{REFERENCE}{name.title()}{key}"')
    renamed = dict(json.loads(text))
    renamed["components"]["schemas"] = {
        f"{name.title()}{key}" if key in other else key: schema
        for key, schema in _schemas(renamed).items()
    }
    return renamed


def _schemas(document: Document) -> dict[str, Any]:
    return dict(document.get("components", {}).get("schemas", {}))


def _united(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    united: dict[str, Any] = {}
    for part in parts:
        united |= part
    return dict(sorted(united.items()))


@cache
def _peer(deployment: Deployment) -> Peer:
    return Peer(deployment.http, 1, tls_server_name(deployment))


def _fetch(deployment: Deployment, host: str) -> Document | None:
    headers = {"Host": host, GATEWAY: identity.token()}
    target = "/api/schema?format=json"
    try:
        with _peer(deployment).request(
            "GET", target, repeatable=True, timeout=SECONDS, headers=headers
        ) as response:
            if response.status == HTTPStatus.OK:
                return dict(json.loads(response.data))
            reason = f"status {response.status}"
    except (HTTPError, ValueError) as error:
        reason = str(error)
    log.warning("the API's documentation lacks %s: %s", deployment.name, reason)
    return None
