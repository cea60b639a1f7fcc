"""On PYTHONPATH, lets every process of a shop die at a random point of its work.

DEATHS names a folder. While the file `armed` is in it, each process that has set Django up passes
points, and dies at one of its first 150; `log` gets a line for each death. Where `freezing` is in
it, a worker stands still before its next commit.
"""

import os
import sys

if os.environ.get("DEATHS"):
    import django

    set_up = django.setup

    def set_up_and_install(*args, **kwargs):
        set_up(*args, **kwargs)
        if "prepare" not in sys.argv:
            from tests.chaos.crash_points import install_in_a_shop

            install_in_a_shop(os.environ["DEATHS"])

    django.setup = set_up_and_install
