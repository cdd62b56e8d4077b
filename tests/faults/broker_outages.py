"""Outages of a broker: each function is a block in which the broker fails in one way."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from demo_project.processes import listens
from tests.faults.servers import RabbitMQ, Server


@contextmanager
def refused(broker: Server) -> Iterator[None]:
    """Nothing listens on the port."""
    broker.kill()
    yield
    broker.start()


@contextmanager
def black_holed(broker: Server) -> Iterator[None]:
    """Packets are lost: the backlog is full, so the kernel drops new connections."""
    broker.kill()
    with _listener(broker.port, backlog=0) as listener:
        clients = []
        for _ in range(8):
            client = socket.socket()
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(listener.getsockname())
            clients.append(client)
        yield
        for client in clients:
            client.close()
    broker.start()


@contextmanager
def silent(broker: Server) -> Iterator[None]:
    """Connections are accepted, but nothing answers."""
    broker.kill()
    with _listener(broker.port, backlog=128) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in accepted:
            connection.close()
    broker.start()


@contextmanager
def frozen(broker: Server) -> Iterator[None]:
    """The broker's processes stop in the middle of their work, and continue at the end."""
    broker.freeze()
    try:
        yield
    finally:
        broker.thaw()


@contextmanager
def restarted_empty(broker: Server) -> Iterator[None]:
    """The broker restarts and has lost all messages."""
    broker.kill()
    broker.delete_data()
    broker.start()
    yield


@contextmanager
def blocked(broker: Server) -> Iterator[None]:
    """RabbitMQ is short of memory: it reads nothing from publishers, not even a close."""
    assert isinstance(broker, RabbitMQ)
    broker.control("set_vm_memory_high_watermark", "0")
    try:
        yield
    finally:
        broker.control("set_vm_memory_high_watermark", "0.4")


#: The name of an outage -> its block.
OUTAGES = {
    "refused": refused,
    "black-holed": black_holed,
    "silent": silent,
    "frozen": frozen,
    "restarted empty": restarted_empty,
    "blocked": blocked,
}


@contextmanager
def _listener(port: int, *, backlog: int) -> Iterator[socket.socket]:
    assert not listens(port)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(backlog)
        yield listener
