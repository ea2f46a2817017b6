"""How the server sets its connections up; what it sends over them is tested with the streams."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from headrace_server.wire import PayloadProtocol, leave_unpaced

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there it can be chosen")


def congestion_control(connection: Any) -> bytes:
    name: bytes = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    return name.rstrip(b"\0")


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that nobody asks."""


def test_a_connection_within_one_machine_is_not_paced() -> None:
    async def look() -> bytes:
        made = PayloadProtocol(uvicorn.Config(nothing), ServerState(), {}, stall_timeout=10)
        server = await asyncio.get_running_loop().create_server(lambda: made, "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            while made.transport is None:
                await asyncio.sleep(0)
            found = congestion_control(made.transport.get_extra_info("socket"))
            writer.close()
            await writer.wait_closed()
        return found

    assert asyncio.run(look()) == b"reno"


def test_what_comes_from_elsewhere_is_left_to_the_system() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), source_address=("127.0.0.2", 0)),
        listener.accept()[0] as accepted,
    ):
        before = congestion_control(accepted)
        leave_unpaced(accepted)
        assert congestion_control(accepted) == before


def test_sockets_that_are_not_tcp_or_have_gone_are_left_alone() -> None:
    one, other = socket.socketpair()
    with one, other:
        leave_unpaced(one)
        one.sendall(b"still there")
        assert other.recv(100) == b"still there"
    leave_unpaced(one)
    assert one.fileno() == -1
