"""Tell the others: the event store, its relay, and deliveries to handlers."""
