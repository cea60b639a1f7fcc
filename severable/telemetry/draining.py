"""The flag that this process is draining: it got SIGTERM, and still serves."""

import threading

draining = threading.Event()
