"""Signals become one exception; while they are held they wait, and a process started then never sees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from squeeze_export import signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("threads", [0, 3])
def test_a_signal_is_raised_and_a_held_one_waits(number, threads):
    # The handler before: a shell without job control starts its background jobs with SIGINT ignored.
    reached, before, done = False, signal.getsignal(number), threading.Event()
    others = [threading.Thread(target=done.wait) for _ in range(threads)]  # the system may give the signal to one of them
    for thread in others:
        thread.start()
    try:
        with pytest.raises(signals.Signalled) as caught, signals.raised(), signals.held():
            os.kill(os.getpid(), number)
            time.sleep(0.05)
            reached = True
    finally:
        done.set()
        for thread in others:
            thread.join()
    assert reached
    assert (caught.value.number, caught.value.exit_code) == (number, 128 + number)
    assert signal.getsignal(number) is before


def test_a_process_started_meanwhile_is_deaf():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('lives')"
    told: list[str] = []
    for deaf in (True, False):
        with signals.held() if deaf else signals.raised():
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
        told.append(done.stdout.strip())
    assert told == ["lives", ""]
