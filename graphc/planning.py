"""The one lock under which plans are made while they run: types bound to sizes, schedules, machine code loaded.

Whoever forks waits until nobody plans, so that a child finds whole plans and a free lock.
"""

from __future__ import annotations

import os
import threading

PLANNING = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=PLANNING.acquire, after_in_parent=PLANNING.release, after_in_child=PLANNING.release)
