#!/usr/bin/env python
"""Django's command line: `manage.py help` lists what the shop adds."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    from django.core.management import execute_from_command_line

    from severable import keys
    from severable.config.environment import load_settings

    if sys.argv[1:2] == ["jwks"]:  # makes what the settings need
        keys.main(sys.argv[2:])
    else:
        load_settings()
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
