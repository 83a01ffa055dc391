"""Signals that ask a run to stop, turned into a question that the run asks between two steps."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ONE_WISH, ONE_WISH_TO_SEVERAL = 0.5, 30.0
"""Signals within so many seconds are one: torchrun passes a Ctrl-C on to processes that have had it themselves, and
kills them after 30 seconds."""


class StopRequest:
    """Whether somebody has asked to stop, and by which signal; calling it answers the first question."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.made_at = 0.0

    def __call__(self) -> bool:
        """Whether to stop now."""
        return self.signal_number is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """While active, Ctrl-C and SIGTERM make the request; a second Ctrl-C, half a second later, interrupts at once.

    Only the main thread can receive signals; elsewhere the request is never made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if not request():
            request.signal_number, request.made_at = number, time.monotonic()
        elif time.monotonic() - request.made_at > (ONE_WISH_TO_SEVERAL if several else ONE_WISH):
            raise KeyboardInterrupt

    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
