#!/usr/bin/env python
"""Django's command line: `manage.py help` lists what the shop adds."""

import sys

from django.core.management import execute_from_command_line

from shop import keys
from shop.environment import load_settings

if __name__ == "__main__":
    if sys.argv[1:2] == ["jwks"]:  # makes what the settings need
        keys.main(sys.argv[2:])
    else:
        load_settings()
        execute_from_command_line(sys.argv)
