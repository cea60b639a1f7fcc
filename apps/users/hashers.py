"""The password hasher."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class LightArgon2(Argon2PasswordHasher):
    """Argon2id with OWASP's minimum of memory: Django's default takes 100 MB for each sign-in."""

    time_cost = 2
    memory_cost = 19_456
    parallelism = 1
