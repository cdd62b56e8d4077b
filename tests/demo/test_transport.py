"""The broker of files: no message is lost, and names stay in their folder."""

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Consumer, Exchange, Queue
from kombu.asynchronous.hub import Hub
from kombu.exceptions import ChannelError

from demo_project.transport import Transport

TRANSPORT = "demo_project.transport:Transport"
WRITERS = 3
READERS = 3
MESSAGES = 1_000
# Longer than one write to a pipe or one page of memory.
FILLING = "ü" * 10_000
JOBS = Queue("jobs", Exchange("jobs"), routing_key="jobs")

Options = dict[str, Any]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    # A process shares its declarations between connections, also between folders.
    Transport.global_state.clear()
    messages = str(tmp_path / "broker" / "messages")
    return {
        "data_folder_in": messages,
        "data_folder_out": messages,
        "control_folder": str(tmp_path / "broker" / "control"),
    }


@pytest.fixture
def connection(options: Options) -> Iterator[Any]:
    with connect(options) as connection:
        yield connection


def connect(options: Options) -> Any:
    return Connection("filesystem://", transport=TRANSPORT, transport_options=options)


def publish(connection: Any, *bodies: Any) -> None:
    producer = connection.Producer()
    for body in bodies:
        producer.publish(body, exchange=JOBS.exchange, routing_key="jobs", declare=[JOBS])


def names(options: Options) -> list[str]:
    return sorted(path.name for path in Path(options["data_folder_in"]).iterdir())


def write_many(options: Options, writer: int) -> None:
    with connect(options) as connection:
        publish(connection, *([writer, number, FILLING] for number in range(MESSAGES)))


def read_many(options: Options) -> list[list[int]]:
    """Read until the message "stop", and check the text of each message."""
    received: list[list[int]] = []
    bodies: list[Any] = []
    with connect(options) as connection:
        consumer = Consumer(connection, [JOBS], no_ack=True)
        consumer.register_callback(lambda body, _: bodies.append(body))
        with consumer:
            while True:
                connection.drain_events(timeout=30)
                body = bodies.pop()
                if body == "stop":
                    return received
                writer, number, filling = body
                assert filling == FILLING
                received.append([writer, number])


def test_transport__delivers_each_message_once_and_whole(options: Options) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WRITERS + READERS, mp_context=spawn) as pool:
        readers = [pool.submit(read_many, options) for _ in range(READERS)]
        writers = [pool.submit(write_many, options, writer) for writer in range(WRITERS)]
        for future in writers:
            future.result(timeout=60)
        with connect(options) as connection:
            publish(connection, *["stop"] * READERS)
        received = [future.result(timeout=60) for future in readers]
    expected = [[writer, number] for writer in range(WRITERS) for number in range(MESSAGES)]
    assert expected == sorted(chain.from_iterable(received))
    assert names(options) == []


def test_transport__delivers_messages_in_the_order_of_sending(connection: Any) -> None:
    publish(connection, *range(200))
    queue = connection.SimpleQueue(JOBS)
    assert list(range(200)) == [queue.get_nowait().payload for _ in range(200)]
    with pytest.raises(Empty):
        queue.get_nowait()
    queue.close()


def test_transport__is_used_by_celery_with_the_documented_settings(options: Options) -> None:
    app = Celery("demo", broker="filesystem://", set_as_current=False)
    app.conf.update(broker_transport=TRANSPORT, broker_transport_options=options)
    connection: Any
    with app.connection_for_write() as connection:
        assert isinstance(connection.transport, Transport)
        assert connection.transport.polling_interval == 0.05
        app.send_task("a.task", connection=connection, retry=False)
        assert connection.default_channel.queue_declare("celery", passive=True).message_count == 1


def test_transport__takes_the_interval_from_its_options(options: Options) -> None:
    with connect({**options, "polling_interval": 0.5}) as connection:
        assert connection.transport.polling_interval == 0.5


def test_channel__counts_and_purges_one_queue(connection: Any, options: Options) -> None:
    publish(connection, 1, 2, 3)
    other = connection.SimpleQueue("other.jobs")
    other.put("kept")
    Path(options["data_folder_in"], "half.part").write_text("{", "utf-8")
    channel = connection.default_channel
    assert (channel._size("jobs"), channel._size("other.jobs")) == (3, 1)
    assert (channel.queue_purge("jobs"), channel.queue_purge("jobs")) == (3, 0)
    assert (channel._size("jobs"), other.get_nowait().payload) == (0, "kept")
    other.close()


def test_channel__skips_messages_that_another_reader_took(options: Options) -> None:
    with connect(options) as first, connect(options) as second:
        publish(first, *range(4))
        channels = [first.default_channel, second.default_channel]
        taken = [channels[turn % 2].basic_get("jobs", no_ack=True) for turn in range(4)]
        assert [message.payload for message in taken] == [0, 1, 2, 3]
        assert [channel.basic_get("jobs") for channel in channels] == [None, None]


def test_channel__sets_an_unreadable_message_aside(
    connection: Any, options: Options, caplog: pytest.LogCaptureFixture
) -> None:
    publish(connection, "fine")
    Path(options["data_folder_in"], "00_torn.jobs.msg").write_bytes(b'{"body": "ab')
    message = connection.default_channel.basic_get("jobs", no_ack=True)
    assert message.payload == "fine"
    assert names(options) == ["00_torn.jobs.msg.claimed"]
    assert "cannot be read" in caplog.text


def test_channel__reports_a_message_that_cannot_be_written(
    connection: Any, options: Options
) -> None:
    channel = connection.default_channel
    Path(options["data_folder_out"]).rmdir()
    with pytest.raises(ChannelError, match="Cannot write the message"):
        channel._put("jobs", {})


def test_channel__keeps_processed_messages_when_asked(options: Options, tmp_path: Path) -> None:
    processed = tmp_path / "processed"
    with connect({**options, "store_processed": True, "processed_folder": processed}) as connection:
        publish(connection, "kept")
        name = names(options)[0]
        message = connection.default_channel.basic_get("jobs", no_ack=True)
        assert message.payload == "kept"
    assert ([], [name]) == (names(options), [path.name for path in processed.iterdir()])


def test_channel__returns_unacknowledged_messages_to_the_queue(options: Options) -> None:
    with connect(options) as connection:
        publish(connection, "again")
        connection.default_channel.basic_get("jobs")
    with connect(options) as connection:
        message = connection.default_channel.basic_get("jobs", no_ack=True)
        assert (message.payload, message._raw["redelivered"]) == ("again", True)


def test_channel__keeps_the_bindings_of_concurrent_writers(options: Options) -> None:
    def bind(number: int) -> None:
        with connect(options) as connection:
            channel = connection.default_channel
            for step in range(10):
                channel._queue_bind("all", "", "", f"queue{number}.{step}")
            channel._delete(f"queue{number}.0", "all", "", "")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bind, range(8)))
    with connect(options) as connection:
        table = connection.default_channel.get_table("all")
    expected = {f"queue{number}.{step}" for number in range(8) for step in range(1, 10)}
    assert (72, expected) == (len(table), {row[2] for row in table})


@pytest.mark.parametrize("name", ["../../escaped", "..", "a/b", "celery@host.pidbox"])
def test_channel__keeps_every_name_inside_its_folder(
    connection: Any, options: Options, tmp_path: Path, name: str
) -> None:
    channel = connection.default_channel
    channel._queue_bind(name, "", "", name)
    channel._put(name, {"a": 1})
    assert ([("", "", name)], {"a": 1}) == (channel.get_table(name), channel._get(name))
    assert [path.name for path in tmp_path.iterdir()] == ["broker"]
    control = Path(options["control_folder"])
    assert all(path.is_file() for path in control.iterdir())
    assert json.loads(next(control.glob("*.exchange")).read_text("utf-8")) == [["", "", name]]


def test_transport__delivers_from_the_event_loop_until_it_is_closed(options: Options) -> None:
    hub = Hub()
    received: list[Any] = []
    with connect(options) as connection:
        consumer = Consumer(connection, [JOBS], no_ack=True)
        consumer.register_callback(lambda body, _: received.append(body))
        consumer.consume()
        connection.register_with_event_loop(hub)
        publish(connection, *range(250))
        loop = hub.create_loop()
        for _ in range(10):
            next(loop)
        assert list(range(250)) == received
    assert not hub.on_tick
    hub.close()
