"""What Prometheus scrapes is served, and what Grafana shows exists."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.test import Client
from django.urls import resolve

from severable.deploy import compose, prometheus, render
from tests.processes import ROOT

FOLDER = ROOT / "deploy/observability"
FILES = render(settings.TOPOLOGY, "compose")
SERVICES: dict[str, Any] = yaml.safe_load(FILES[compose.PATH])["services"]
DASHBOARDS = sorted((FOLDER / "grafana/dashboards").glob("*.json"))


@pytest.mark.parametrize("placement", settings.TOPOLOGY.placements)
def test_every_web_process_is_scraped(placement: str) -> None:
    jobs = yaml.safe_load(FILES[prometheus.path(placement)])["scrape_configs"]
    names = {name for job in jobs for found in job["dns_sd_configs"] for name in found["names"]}
    of_placement = {n for n, own in SERVICES.items() if own.get("profiles") == [placement]}
    assert names == {name for name in of_placement if name.endswith("-web")}
    for job in jobs:
        assert resolve(job["metrics_path"])
        (found,) = job["dns_sd_configs"]
        command = SERVICES[found["names"][0]]["command"]
        assert command[command.index("--port") + 1] == str(found["port"])
    # The file that the token is read from is the one that the container writes.
    start = " ".join(SERVICES[f"{placement}-prometheus"]["entrypoint"])
    assert f">{jobs[0]['authorization']['credentials_file']} " in start


def expressions() -> list[str]:
    boards = [json.loads(file.read_text()) for file in DASHBOARDS]
    return [t["expr"] for board in boards for panel in board["panels"] for t in panel["targets"]]


@pytest.mark.django_db
def test_dashboards_show_metrics_that_exist_and_all_of_the_shops(client: Client) -> None:
    answer = client.get("/metrics", headers={"authorization": f"Bearer {settings.METRICS_TOKEN}"})
    there = set(re.findall(r"^# TYPE (\w+)", answer.content.decode(), re.MULTILINE)) | {"up"}
    shown = {name for e in expressions() for name in re.findall(r"\b(\w+)\{", e)}
    assert shown <= there
    assert {name for name in there if name.startswith("shop_")} <= shown


def test_dashboards_use_the_data_sources_that_are_provided() -> None:
    file = FOLDER / "grafana/provisioning/datasources/shop.yaml"
    sources = {each["uid"]: each for each in yaml.safe_load(file.read_text())["datasources"]}
    for each in sources.values():
        host, _, port = each["url"].removeprefix("http://").partition(":")
        assert f":{port}" in str(answering(host)["ports"]), each["name"]
    for board in DASHBOARDS:
        assert set(re.findall(r'"uid": "(\w+)"', board.read_text())) <= {*sources, board.stem}


def answering(host: str) -> dict[str, Any]:
    """Return a service that has a name on the network, by its own name or by an alias."""
    alias = {n: str(own["networks"]) for n, own in SERVICES.items()}
    name = next(name for name in SERVICES if name == host or f"'{host}'" in alias[name])
    found: dict[str, Any] = SERVICES[name]
    return found


def test_traces_go_where_the_collector_listens_and_from_there_to_jaeger() -> None:
    config = yaml.safe_load((FOLDER / "otel-collector.yaml").read_text())
    http = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    (endpoint,) = {
        own["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        for own in SERVICES.values()
        if "SHOP_PLACEMENT" in own.get("environment", {})
    }
    assert endpoint == f"http://otel-collector:{http.rpartition(':')[2]}"
    assert config["exporters"]["otlp"]["endpoint"].partition(":")[0] in SERVICES
    pipeline = config["service"]["pipelines"]["traces"]
    for part in ("receivers", "processors", "exporters"):
        assert set(pipeline[part]) <= config[part].keys()
