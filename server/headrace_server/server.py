"""Life of the server: start, serve, shut down."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

import uvicorn

from .app import create_app
from .errors import ConfigurationError
from .logs import logger
from .service import Service
from .settings import Settings
from .wire import PayloadProtocol

_BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn, but streams are told to end before the listener closes."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Streams finish the batch in hand and say why they end; those that take too long are cut."""
        logger.info("shutting down", streams=self._service.open_streams)
        self._service.drain()
        deadline = asyncio.get_running_loop().time() + self._service.settings.grace_seconds
        while self.server_state.tasks and asyncio.get_running_loop().time() < deadline and not self.force_exit:
            await asyncio.sleep(0.02)
        if self.server_state.tasks:  # to these requests it is as if their clients had gone away
            for connection in list(self.server_state.connections):
                connection.transport.abort()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigurationError where the address is taken or is none of this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {reason}; choose another --host or --port"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(settings: Settings, progress: Callable[[str, int], None], announce: Callable[[Service, str], None]) -> None:
    """Serves until SIGINT or SIGTERM. `announce(service, url)` is called when the server listens.

    Raises ConfigurationError where there is nothing to serve or nowhere to listen.
    """
    listener = listen(settings.host, settings.port)
    try:
        service = Service(settings, progress)
        config = uvicorn.Config(
            create_app(service),
            loop="uvloop",
            http=PayloadProtocol,
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=1,  # nothing is left to wait for, see Server.shutdown
        )
        server = Server(config, service)
        # uvicorn raises the signals that ended it once more, for whoever handled them before it. That is the server
        # itself, so that it ends as it should, and listens to signals from before it is announced.
        for which in (signal.SIGINT, signal.SIGTERM):
            signal.signal(which, server.handle_exit)
        announce(service, url_of(listener))
        try:
            server.run(sockets=[listener])
        finally:
            service.close()
    finally:
        listener.close()
