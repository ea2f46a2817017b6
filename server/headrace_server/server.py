"""Life of the server: start, serve, shut down."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial

import uvicorn

from .access import Access, read_grants
from .app import create_app
from .errors import ConfigurationError
from .lobby import lobby
from .logs import logger
from .metrics import forget_gauges, share_metrics
from .processes import Supervisor, awaited_signals, orphaned, run_directory
from .service import Holdings, Service
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


def listen(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Listening sockets on one address. Raises ConfigurationError where it is taken or is none of this machine's.

    On Linux the kernel spreads connections over the sockets by a hash: were one shared, the same few processes would
    be woken first and take most. Elsewhere there is no such spreading, and one is shared.
    """
    with contextlib.ExitStack() as stack:
        try:
            first = stack.enter_context(_bound(host, port, shared=False))  # fails where others listen, of whatever kind
            sockets = [first]
            if sys.platform == "linux" and count > 1:
                first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                port = first.getsockname()[1]
                sockets += [stack.enter_context(_bound(host, port, shared=True)) for _ in range(1, count)]
            for listener in sockets:
                listener.listen(_BACKLOG)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigurationError(
                f"cannot listen on {host} port {port}: {reason}; choose another --host or --port"
            ) from error
        stack.pop_all()
    return sockets if len(sockets) == count else sockets * count


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def serve(settings: Settings, progress: Callable[[str, int], None], announce: Callable[[Holdings, str], None]) -> None:
    """Serves until SIGINT or SIGTERM. `announce(holdings, url)` is called when the server listens.

    Raises ConfigurationError where there is nothing to serve or nowhere to listen, WorkersFailed where several
    processes should serve and do not stay alive.
    """
    settings.check_exposure()
    read_grants(settings.tokens, settings.tokens_file)  # now, before folders are scanned
    tls = _tls(settings)
    listeners = listen(settings.host, settings.port, settings.processes)
    try:
        with lobby(listeners, tls):
            holdings = Holdings.open(settings, progress)
        url = url_of(listeners[0], "http" if tls is None else "https")
        if settings.processes == 1:
            _run(Service(settings, holdings), listeners[0], lambda: announce(holdings, url))
        else:
            _serve_in_processes(settings, holdings, listeners, lambda: announce(holdings, url))
    finally:
        _close(listeners)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """What greets connections, where they are to be secured. Raises ConfigurationError."""
    if settings.tls_cert is None:
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        files = filter(None, (settings.tls_cert, settings.tls_key, settings.tls_client_ca))
        raise ConfigurationError(f"cannot load {', '.join(map(str, files))}: {error}") from error
    return context


def _serve_in_processes(
    settings: Settings, holdings: Holdings, listeners: list[socket.socket], announce: Callable[[], None]
) -> None:
    """The parent keeps every socket open, so that connections wait in it while a worker is replaced."""
    parent = os.getpid()
    with awaited_signals(), run_directory() as shared:

        def work(number: int, ready: Callable[[], None]) -> None:
            own = listeners[number]
            _close([other for other in listeners if other is not own])
            try:
                share_metrics(shared, number)
                _run(Service(settings.share(number), holdings, shared), own, ready)
            finally:
                if orphaned(parent):
                    shutil.rmtree(shared, ignore_errors=True)

        Supervisor(
            settings.processes,
            work,
            on_end=lambda: _close(listeners),  # else connections would wait in them for workers that have ended
            on_death=lambda number: forget_gauges(shared, number),
            grace=settings.grace_seconds,
        ).run(announce)


def _run(service: Service, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serves in this process. `ready()` is called when signals end it in good order."""
    settings = service.settings
    access = Access(read_grants(settings.tokens, settings.tokens_file), settings.processes)
    config = uvicorn.Config(
        create_app(service, access),
        loop="uvloop",
        http=partial(PayloadProtocol, stall_timeout=settings.stall_timeout),  # type: ignore[arg-type]
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        ssl_ca_certs=None if settings.tls_client_ca is None else str(settings.tls_client_ca),
        ssl_cert_reqs=ssl.CERT_NONE if settings.tls_client_ca is None else ssl.CERT_REQUIRED,
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
    # What is there now stays. To visit it again and again would take the collector a tenth of a second each time,
    # in which every stream stands still.
    gc.freeze()
    ready()
    try:
        server.run(sockets=[listener])
    finally:
        service.close()


def _close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()
