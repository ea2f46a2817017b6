"""Counting Ctrl-C where the main thread cannot hear it."""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import os, signal, socket, sys, threading
from headrace import interrupts

def watch():
    interrupts.watch(lambda frame: None)

def press():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass
    except KeyboardInterrupt:
        return "raised"
    return "handled"
"""
SCRIPTS = {
    "watch(); print(interrupts.count(), press(), interrupts.count(), press(), interrupts.count())": (
        "0 raised 1 raised 2"
    ),
    "print(press(), interrupts.count())": "raised 0",
    "watch(); watch(); print(press(), interrupts.count())": "raised 1",
    "signal.signal(signal.SIGINT, lambda *_: None); watch()\nprint(press(), interrupts.count())": "handled 0",
    "ours, theirs = socket.socketpair(); ours.setblocking(False)\n"
    "signal.set_wakeup_fd(ours.fileno()); watch()\n"
    "print(press(), interrupts.count(), signal.set_wakeup_fd(-1) == ours.fileno()); ours.close(); theirs.close()": (
        "raised 0 True"
    ),
    "watching = threading.Thread(target=watch); watching.start(); watching.join()\n"
    "print(press(), interrupts.count())": "raised 0",
    "watch(); pid = os.fork()\n"
    "if pid == 0: press(); os._exit(0)\n"
    "os.waitpid(pid, 0); print(interrupts.count(), press(), interrupts.count())": "0 raised 1",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_is_counted_where_it_interrupts_and_nobody_else_reads_the_signals(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", START + script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == (SCRIPTS[script] + "\n", "")
