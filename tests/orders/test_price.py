"""The price of one paid order: the SQL statements and transactions of its request, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.users.models import User
from tests.conftest import ClientFor

# Every statement that a card order may cost, in its order. A new one needs a reason here.
STATEMENTS = [
    "INSERT severable_api_attempts",  # the rate limit
    "INSERT severable_api_idempotencykey",  # claims the Idempotency-Key
    "BEGIN",  # 1: the order is placed
    "INSERT orders_order",  # unless it exists
    "INSERT orders_orderline",
    "INSERT severable_events_event",  # OrderCreated
    "INSERT severable_saga_saga",  # claimed by this request
    "COMMIT",
    "SELECT users_user",  # GetUser, a read-only step: no commit of its own
    "BEGIN",  # 2: Reserve
    "INSERT inventory_reservation",  # unless it exists
    "UPDATE inventory_product",  # for each line: takes the stock, returns the price
    "INSERT inventory_reservedline",
    "INSERT severable_events_event",  # StockReserved
    "COMMIT",
    "UPDATE severable_saga_saga",  # what is reserved must be known before money moves
    "INSERT payments_payment",  # Pay: the payment has its row before money moves
    "INSERT payments_testcharge",  # the test provider
    "BEGIN",  # 3: the payment is settled
    "UPDATE payments_payment",  # if it is still pending
    "INSERT payments_ledgerentry",  # both entries
    "INSERT severable_events_event",  # PaymentReceived
    "COMMIT",
    "BEGIN",  # 4: the order is paid
    "UPDATE orders_order",  # if it is still pending; also total and payment
    "UPDATE orders_orderline",  # the prices of all lines
    "INSERT severable_events_event",  # OrderPaid
    "UPDATE severable_saga_saga",  # the saga is completed, with its log
    "COMMIT",
    "UPDATE severable_api_idempotencykey",  # the response, for a repeated request
]
# On PostgreSQL, after each commit with events: the relay need not wait for its next poll.
HINT = "NOTIFY"

COMMAND = re.compile(r"\W*(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|NOTIFY|INSERT|UPDATE|SELECT)")
TABLE = re.compile(r'(?:INTO|UPDATE|FROM)\s+"?(\w+)')


def named(sql: str) -> str:
    """Return a statement's command and its table, if it has one."""
    command = COMMAND.match(sql)
    assert command, sql
    table = TABLE.search(sql)
    return f"{command[1]} {table[1]}" if table and command[1] != HINT else command[1]


@pytest.fixture
def statements(
    transactional_db: None, alice: User, mug: Product, client_for: ClientFor
) -> Iterator[list[str]]:
    """The statements of the second order: the first one fills caches."""
    client = client_for(alice)
    order(client, "1")
    with CaptureQueriesContext(connection) as captured:
        order(client, "2")
    yield [named(query["sql"]) for query in captured]


def order(client: APIClient, key: str) -> None:
    body = {
        "items": [{"sku": "MUG", "quantity": 2}],
        "payment": {"method": "card", "token": "tok_visa"},
    }
    response = client.post("/api/orders", body, headers={"Idempotency-Key": key})
    assert (response.status_code, response.json()["status"]) == (201, "paid")


def test_a_paid_order_costs_these_statements_and_no_more(statements: list[str]) -> None:
    """A SELECT of what is known, a savepoint for what is new, a commit for a read."""
    assert [statement for statement in statements if statement != HINT] == STATEMENTS
    assert len(STATEMENTS) <= 30
    assert STATEMENTS.count("COMMIT") <= 6


def test_the_relay_is_notified_once_for_each_commit_with_events(statements: list[str]) -> None:
    assert statements.count(HINT) == (4 if connection.vendor == "postgresql" else 0)
