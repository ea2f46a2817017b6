"""Counting Ctrl-C where the main thread cannot hear it."""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import os, signal, socket, sys, threading
from headrace import interrupts

def press():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass
    except KeyboardInterrupt:
        return "raised"
    return "handled"

said = []
def inner():
    said.append(press())

def outer():
    try:
        inner()
        said.append("went on")
    except KeyboardInterrupt:
        said.append("raised outside")

def find(frame, name):
    while frame is not None and frame.f_code.co_name != name:
        frame = frame.f_back
    return frame

def caller(frame):
    return find(frame, "inner") and find(frame, "outer")
"""
SCRIPTS = {
    "interrupts.watch(); print(interrupts.count(), press(), interrupts.count(), press(), interrupts.count())": (
        "0 raised 1 raised 2"
    ),
    "print(press(), interrupts.count())": "raised 0",
    "interrupts.watch(); interrupts.watch(); print(press(), interrupts.count())": "raised 1",
    "signal.signal(signal.SIGINT, lambda *_: None); interrupts.watch()\n"
    "print(press(), interrupts.count())": "handled 0",
    "ours, theirs = socket.socketpair(); ours.setblocking(False)\n"
    "signal.set_wakeup_fd(ours.fileno()); interrupts.watch()\n"
    "print(press(), interrupts.count(), signal.set_wakeup_fd(-1) == ours.fileno()); ours.close(); theirs.close()": (
        "raised 0 True"
    ),
    "watching = threading.Thread(target=interrupts.watch); watching.start(); watching.join()\n"
    "print(press(), interrupts.count())": "raised 0",
    "interrupts.redirect(caller); outer(); print(said, press(), sys.gettrace())": (
        "['handled', 'raised outside'] raised None"
    ),
    "def trace(*_): return local\n"
    "def local(*_): return local\n"
    "interrupts.redirect(caller); sys.settrace(trace); outer(); print(said, sys.gettrace() is trace)": (
        "['handled', 'raised outside'] True"
    ),
    "interrupts.watch(); interrupts.redirect(caller); outer(); print(said, press(), interrupts.count())": (
        "['handled', 'raised outside'] raised 2"
    ),
    "signal.signal(signal.SIGINT, lambda *_: None); interrupts.redirect(caller); outer(); print(said)": (
        "['handled', 'went on']"
    ),
    "interrupts.watch(); pid = os.fork()\n"
    "if pid == 0: press(); os._exit(0)\n"
    "os.waitpid(pid, 0); print(interrupts.count(), press(), interrupts.count())": "0 raised 1",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_is_counted_where_it_interrupts_and_nobody_else_reads_the_signals(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", START + script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == (SCRIPTS[script] + "\n", "")
