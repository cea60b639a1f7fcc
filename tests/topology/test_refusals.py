"""A topology that cannot work, or could not be deployed, is refused with its line and its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from severable import topology
from severable.topology import TopologyError
from severable.topology.loading import line_of
from tests.processes import ROOT

GOOD = (ROOT / "topology.toml").read_text()
END = "\n[edge]\n"  # a place for further tables
GATEWAY = 'calls = ["orders", "users", "payments", "inventory"]'
ONE = "[placements.one.shop]\n"
ALL = 'contexts = ["users", "inventory", "payments", "orders", "notifications", "gateway"]'
USERS = '[placements.split.users]\ncontexts = ["users"]'
PAY = '[methods."payment.PaymentService/Pay"]\n'

CANNOT_RUN = {
    "no TOML": ("[contexts.users]", "[contexts.users", r"topology.toml: .*line \d+"),
    "no calls": ("[calls]", "[calling]", "calling: unknown table; there is: cached, calls,"),
    "a value for a table": (END, "\n[contexts]\ncats = 1\n" + END, "Cannot declare|is no table"),
    "an unknown key": ("breaker_seconds = 2.0", "breaker = 2.0", r"calls\.breaker: unknown key"),
    "a missing key": ("breaker_seconds = 2.0", "", r"calls\.breaker_seconds: is missing"),
    "no time": ("timeout = 5.0", "timeout = 0", r"calls\.timeout: 0: .* greater than or equal to"),
    "a switch for a number": ("timeout = 5.0", "timeout = true", r"timeout: True: .* valid number"),
    "half a retry": ("retries = 2 ", "retries = 1.5 ", r"calls\.retries: 1\.5: .* valid integer"),
    "a budget above all": ("budget = 0.2", "budget = 20", r"retry_budget: 20: .* less than"),
    "a word": ("concurrency = 32", 'concurrency = "all"', r"concurrency: 'all': .* valid integer"),
    "a circle": ("calls = []", 'calls = ["orders"]', "in a circle: .* -> .*orders"),
    "a call to nobody": (
        GATEWAY,
        'calls = ["order"]',
        r"gateway\.calls: no context 'order'; there",
    ),
    "a policy for nobody": (
        END,
        "\n[calls.cats]\nretries = 1" + END,
        "calls.cats: no context 'cats'",
    ),
    "a child that may take longer": (
        END,
        "\n[calls.users]\ntimeout = 9" + END,
        r"calls\.users\.timeout: 9 s is longer than the 5 s .* gateway -> orders -> .*users",
    ),
    "a method of no context": (
        END,
        '\n[methods."cat.Cats/Get"]' + END,
        "no context has this method",
    ),
    "an override that is no number": (END, f"\n{PAY}timeout = 'x'" + END, r"Pay\"\.timeout: 'x'"),
    "an unknown fault": (
        END,
        "\n[faults.users]\nabort = 'OK'" + END,
        r"faults\.users\.abort: 'OK': .*'UNAVAILABLE'.*'INTERNAL'",
    ),
    "a fault for nobody": (END, "\n[faults.cats]" + END, r"faults\.cats: no context 'cats'"),
    "more than all": (
        END,
        "\n[faults.users]\ndelay_percent = 101" + END,
        "delay_percent: 101: .*100",
    ),
    "an unknown context": (ALL, ALL[:-1] + ', "cats"]', r"one\.shop\.contexts: no context 'cats'"),
    "a context that nobody runs": (
        ALL,
        ALL.replace(', "gateway"', ""),
        "'gateway' is placed 0 times",
    ),
    "two owners": (USERS, USERS[:-1] + ', "orders"]', "'orders' is placed 2 times: users, orders"),
    "a port twice": (
        "127.0.0.1:8001",
        "127.0.0.1:8002",
        "'127.0.0.1:8002' is that of .*'users' too",
    ),
    "one database under two": (
        USERS,
        USERS + '\ndatabase = "orders"',
        "database: 'orders' is that of",
    ),
    "a name that is no host's": (
        "[placements.split.users]",
        "[placements.split.My_Users]",
        "My_Users",
    ),
    "a route of two": (
        '["/api/payments"]',
        '["/api/orders"]',
        "'/api/orders' is another context's",
    ),
    "an internal route": (
        '["/api/payments"]',
        '["/internal/x"]',
        "'/internal/x' is no public path",
    ),
    "a guard elsewhere": (
        '"/api/admin/orders" = "',
        '"/api/cats" = "',
        "is under none of its routes",
    ),
    "a composed path of nobody": (
        '["/api/orders/*/summary"]',
        '["/api/cats/*/summary"]',
        r"gateway\.composed: '/api/cats/\*/summary' is under no context's routes",
    ),
    "a context whose admin would be hidden": (
        "[contexts.notifications]",
        "[contexts.at]",
        "contexts.at: /admin/at/ is a path of the admin itself",
    ),
    "an unknown permission": (
        '= "admin:orders" }',
        '= "admin:all" }',
        "no permission 'admin:all'; the",
    ),
    "a secret with its value": (
        '["JWT_PRIVATE_KEY"]',
        '["KEY=abc"]',
        r"users\.secrets\.0: 'KEY=abc'",
    ),
    "no replica": ("replicas = 2\n", "replicas = 0\n", r"processes\.web\.replicas: 0: .* greater"),
    "no limit": ("memory = 384           # MiB\n", "", r"processes\.web\.memory: is missing"),
    "no kind": ("[processes.relay]", "[processes.clock]", r"processes.*relay: is missing"),
    "a missing tag": ('image = "shop:0.1.0"', 'image = "shop"', r"deploy\.image: 'shop': "),
    "a namespace that is none": (
        'namespace = "shop"',
        'namespace = "The Shop"',
        "deploy.namespace: ",
    ),
    "a host that is none": (
        'host = "shop.example.com"',
        'host = "https://x"',
        r"edge\.host: 'https",
    ),
}

CANNOT_BE_DEPLOYED = {
    "retries that multiply": (
        "retries = 0            # contexts",
        "retries = 1            # contexts",
        r"edge\.retries: 1 here and 2 of calls\.\w+ multiply to 6 calls .*edge -> \w+ -> \w+",
    ),
    "a retry that no contract allows": (
        END,
        '\n[methods."user.UserService/CreateThing"]\nretries = 1' + END,
        "no contract has this method",
    ),
    "an edge that gives up first": (
        "timeout = 20.0",
        "timeout = 4.0",
        r"edge\.timeout: 4 s is shorter than the 5 s of a call: edge -> \w+",
    ),
    "more connections than there are": (
        "database_connections = 500",
        "database_connections = 100",
        r"database_connections: placement 'split' may open \d+ connections, and 97 are free",
    ),
    "a kill in the middle": (
        "grace = 50.0",
        "grace = 9.0",
        r"deploy\.grace: 9 s is shorter than .*25",
    ),
    "less at most than at least": (
        "max_replicas = 4       #",
        "max_replicas = 1       #",
        r"one\.shop\.web: max_replicas = 1 is less than 2 replicas",
    ),
    "a limit below what is reserved": (
        "cpu_limit = 1.0        #",
        "cpu_limit = 0.1        #",
        r"cpu_limit = 0\.1 is less than cpu = 0\.25",
    ),
    "faults on purpose": (
        END,
        "\n[faults.users]\ndelay = 1" + END,
        "users: .*for development only",
    ),
    "no image": ('[deploy]\nimage = "shop:0.1.0"', "[deploy]", r"deploy\.image: is missing"),
}


def changed(folder: Path, old: str, new: str) -> Path:
    assert old in GOOD
    file = folder / "topology.toml"
    file.write_text(GOOD.replace(old, new, 1))
    return file


@pytest.mark.parametrize("case", CANNOT_RUN)
def test_what_cannot_run_is_refused(tmp_path: Path, case: str) -> None:
    old, new, complaint = CANNOT_RUN[case]
    with pytest.raises(TopologyError, match=complaint):
        topology.load(changed(tmp_path, old, new))


@pytest.mark.parametrize("case", CANNOT_BE_DEPLOYED)
def test_what_could_not_be_deployed_is_refused(tmp_path: Path, case: str) -> None:
    old, new, complaint = CANNOT_BE_DEPLOYED[case]
    file = changed(tmp_path, old, new)
    with pytest.raises(TopologyError, match=complaint):
        topology.refuse_undeployable(file, topology.load(file))


@pytest.mark.parametrize("table", ["edge", "deploy"])
def test_without_what_only_deployment_needs_it_runs(tmp_path: Path, table: str) -> None:
    file = tmp_path / "topology.toml"
    before, _, after = GOOD.partition(f"[{table}]")
    file.write_text(before + "".join(after.partition("\n[")[1:]))
    found = topology.load(file)
    with pytest.raises(TopologyError, match=rf"{table}: is missing"):
        topology.refuse_undeployable(file, found)


def test_each_fault_is_one_line_with_its_place(tmp_path: Path) -> None:
    """Whoever has made three mistakes would start the shop four times."""
    file = tmp_path / "topology.toml"
    no_time = GOOD.replace("timeout = 5.0", "timeout = 0")
    file.write_text(no_time.replace("retries = 2 ", "retries = -1 "))
    with pytest.raises(TopologyError) as raised:
        topology.load(file)
    lines = str(raised.value).splitlines()
    number = GOOD.splitlines().index("[calls]") + 1
    assert [line.split(": ")[:2] for line in lines] == [
        [f"topology.toml:{number + 1}", "calls.timeout"],
        [f"topology.toml:{number + 2}", "calls.retries"],
    ]


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("a",), 1),
        (("a", "x"), 2),
        (("a", "b.c/d", "y"), 4),
        (("a", "b.c/d", "z"), 3),
        (("q",), 0),
    ],
)
def test_the_line_of_a_key_or_of_the_table_around_it(place: tuple[str, ...], line: int) -> None:
    assert line_of('[a]\nx = 1\n[a."b.c/d"]\n"y" = [\n  2,\n]\n', place) == line
