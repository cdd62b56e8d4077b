"""Ways in which a broker is away, and back."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from demo_project.processes import listens
from tests.faults.servers import RabbitMQ, Server


@contextmanager
def refused(broker: Server) -> Iterator[None]:
    """Nothing listens."""
    broker.kill()
    yield
    broker.start()


@contextmanager
def black_holed(broker: Server) -> Iterator[None]:
    """Packets vanish: a backlog that is full makes the kernel drop who knocks."""
    broker.kill()
    with _listener(broker.port, backlog=0) as listener:
        knocking = []
        for _ in range(8):
            one = socket.socket()
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(listener.getsockname())
            knocking.append(one)
        yield
        for one in knocking:
            one.close()
    broker.start()


@contextmanager
def silent(broker: Server) -> Iterator[None]:
    """Something accepts connections and says nothing."""
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
        for one in accepted:
            one.close()
    broker.start()


@contextmanager
def frozen(broker: Server) -> Iterator[None]:
    """It stops in the middle of its conversations."""
    broker.freeze()
    try:
        yield
    finally:
        broker.thaw()


@contextmanager
def restarted_empty(broker: Server) -> Iterator[None]:
    """Gone for a moment, back with nothing of what it held."""
    broker.kill()
    broker.forget()
    broker.start()
    yield


@contextmanager
def blocked(broker: Server) -> Iterator[None]:
    """A RabbitMQ short of memory reads nothing from who publishes, a farewell neither."""
    assert isinstance(broker, RabbitMQ)
    broker.control("set_vm_memory_high_watermark", "0")
    try:
        yield
    finally:
        broker.control("set_vm_memory_high_watermark", "0.4")


WAYS = {
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
