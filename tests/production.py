"""The environment of a shop in production, and what of it each deployment needs."""

from __future__ import annotations

PRODUCTION = {
    "SHOP_ENV": "production",
    "SECRET_KEY": "0123456789abcdefghij" * 3,
    "SERVICE_KEY": "jihgfedcba9876543210" * 3,
    "JWT_PRIVATE_KEY": "made below",
    "EMAIL_URL": "smtp://localhost:25",
    "ALLOWED_HOSTS": "shop.example.com",
    "DEFAULT_FROM_EMAIL": "shop@shop.example.com",
    "PAYMENT_PROVIDER": "tests.test_checks.Real",
    "PUBLIC_URL": "https://shop.example.com",
    "DATABASE_URL": "postgres://shop:a-password@db.example.com/shop",
    "BROKER_URL": "amqp://shop:a-password@mq.example.com//",
    "CACHE_URL": "redis://cache.example.com/0",
}


EVERYWHERE = {"SECRET_KEY", "SERVICE_KEY", "ALLOWED_HOSTS"}
NEEDED = {
    "users": {"JWT_PRIVATE_KEY", "PUBLIC_URL"},
    "orders": {"JWT_PUBLIC_KEYS"},
    "payments": {"JWT_PUBLIC_KEYS", "PAYMENT_PROVIDER"},
    "notifications": {"JWT_PUBLIC_KEYS", "EMAIL_URL"},
}
