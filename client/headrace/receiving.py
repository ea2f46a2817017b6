"""Receiving from a socket in few, large pieces.

A socket wakes its reader for every packet or two. Much that is to come is therefore received in one call (MSG_WAITALL),
during which the kernel wakes nobody before a good part of it is there (SO_RCVLOWAT): this saves the trainer most of the
wake-ups, and Python's lock most of its changes of hands.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import sys

_PATIENCE = 2 * 1024 * 1024
"""Bytes that are worth waiting for."""


class Receiver:
    """Receives from a connected socket, which is its own until `give_back`, with the time-out that the socket has.

    Raises what sockets raise. Elsewhere than on Linux, and under TLS, it receives what comes.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket, self._seconds = sock, sock.gettimeout()
        self._patient = sys.platform == "linux" and not isinstance(sock, ssl.SSLSocket)
        self._least = 1
        """Bytes for which the kernel wakes a reader."""
        if self._patient:
            # Told of the time-out, the kernel waits in the read itself; Python would do it in a call before each.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._seconds))
            sock.settimeout(None)
            self._milliseconds = None if self._seconds is None else 1000 * self._seconds
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)

    def some(self, most: int) -> bytes:
        """What there is, once there is something; nothing where the connection has ended."""
        self._wake_for(1)
        try:
            return self._socket.recv(most)
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error

    def into(self, buffer: memoryview, behind: memoryview) -> int:
        """One read of what is to come for certain: all of `buffer`, and what stands behind it, if that is there, too.

        Returns how many bytes of the two came, 0 where the connection has ended.
        """
        if not self._patient:
            return self._socket.recv_into(buffer)
        try:
            return self._read(buffer, behind)
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error

    def at_once(self, most: int) -> bytes:
        """What there is by now; nothing, too, where the connection has ended or broken, which the next read meets."""
        seconds = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            return self._socket.recv(most)
        except OSError:
            return b""
        finally:
            self._socket.settimeout(seconds)

    def give_back(self) -> None:
        """The socket is as it was."""
        if self._patient:
            self._wake_for(1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(None))
            self._socket.settimeout(self._seconds)

    def _read(self, buffer: memoryview, behind: memoryview) -> int:
        """All but the last good part in one call; then that, as much as is there, or once it all is.

        The kernel would wake nobody for a last piece that is smaller than what it was told to wait for.
        """
        if len(buffer) >= 2 * _PATIENCE:
            self._wake_for(_PATIENCE)
            return self._socket.recv_into(buffer[:-_PATIENCE], 0, socket.MSG_WAITALL)
        try:
            return self._socket.recvmsg_into((buffer, behind), 0, socket.MSG_DONTWAIT)[0]
        except BlockingIOError:
            self._wake_for(min(len(buffer), _PATIENCE))
            self._poll.poll(self._milliseconds)  # a read would take what there is and wait for as much once more
            return self._socket.recvmsg_into((buffer, behind), 0, socket.MSG_DONTWAIT)[0]

    def _wake_for(self, nbytes: int) -> None:
        """Has the kernel wake a reader when so many bytes are there, or the connection has ended."""
        if self._patient and nbytes != self._least:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, nbytes)
            self._least = nbytes


def _timeval(seconds: float | None) -> bytes:
    """C's `struct timeval`; all zeros is for ever."""
    microseconds = 0 if seconds is None else max(1, round(seconds * 1e6))
    return struct.pack("@ll", *divmod(microseconds, 1_000_000))
