"""Waiting for a device, to cool down or to come back, in a way that Ctrl-C ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Inside, Ctrl-C raises KeyboardInterrupt, even if a campaign would have a visit finished first: none is in flight.

    Elsewhere than in the main thread, and where Ctrl-C is ignored, nothing changes.
    """
    is_ours = threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT))
    if not is_ours:
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
