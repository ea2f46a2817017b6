"""What went wrong in a generator of batches, out of what TensorFlow says about it."""

from __future__ import annotations

_TRACEBACK = "\nTraceback (most recent call last)"
_PLACE_ENDS = "}} "


def cause_in(message: str) -> str:
    """The generator's error in one line, "StreamBroken: ...", in the message of a `tf.errors.OpError`.

    TensorFlow passes an error on as text only: where in the graph it was, the error's line, then Python's traceback.
    A message without a traceback is of TensorFlow's own, and comes back as its first line.
    """
    before, found, _ = message.strip().partition(_TRACEBACK)
    lines = before.splitlines()
    return lines[-1 if found else 0].split(_PLACE_ENDS)[-1].strip() if lines else message
