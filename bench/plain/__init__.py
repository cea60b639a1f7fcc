"""A plain Django monolith that sells the same things: the peer of bench/orders.py.

Django's and Celery's usual settings, one app, one transaction for an order.
"""
