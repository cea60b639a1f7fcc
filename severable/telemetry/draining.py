"""Whether this process was told to end, and still serves."""

import threading

draining = threading.Event()
