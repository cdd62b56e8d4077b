"""Starts brokers and databases on free ports, which tests kill, freeze and restart."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

from demo_project.processes import Process, free_port, listens, wait_for

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
RABBITMQCTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"


def binary(*candidates: str) -> str:
    """The path of the first program that exists. Skip the test if none exists, or fail."""
    for candidate in candidates:
        for path in sorted(Path("/").glob(candidate.lstrip("/")), reverse=True):
            return str(path)
    text = f"{candidates[0]} is not installed"
    if os.environ.get("ASYNC_REPLY_REQUIRE_SERVICES"):
        pytest.fail(f"{text}: install it.")
    pytest.skip(text)


def descendants(pid: int) -> list[int]:
    """A process and all its descendants, parents first."""
    pids = [pid]
    for parent in pids:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
    return pids


def signal_all(pids: Sequence[int], signum: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


class Server:
    """A program with a port and a folder of its own."""

    name: ClassVar[str]
    user: ClassVar[str] = ""
    boot_seconds: ClassVar[float] = 60

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"faults-{self.name}-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.process: Process | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder)}

    def prepare(self) -> None:
        """Make the files that the first start needs."""

    def is_ready(self) -> bool:
        return listens(self.port)

    def as_user(self, command: list[str]) -> list[str]:
        """The command as another user, if the program refuses to run as root."""
        if not self.user or os.getuid() != 0:
            return command
        rights = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        return ["setpriv", *rights, *command]

    def launch(self) -> None:
        """Start the server; do not wait for it."""
        command = self.as_user(self.command())
        logs = self.folder / "logs"
        self.process = Process(self.name, command, logs=logs, environment=self.environment())

    def start(self) -> None:
        self.launch()
        assert self.process is not None
        wait_for(
            self.is_ready,
            processes=[self.process],
            what=f"{self.name} to listen",
            seconds=self.boot_seconds,
        )

    def kill(self) -> None:
        """Kill all processes of the server at once, as a power cut does."""
        if self.process is not None:
            signal_all(descendants(self.process.popen.pid), signal.SIGKILL)
            self.process.popen.wait()
            # Its children are not our children. They hold the port for a moment.
            wait_for(lambda: not listens(self.port), processes=[], what=f"{self.name} to end")

    def delete_data(self) -> None:
        """Delete the persisted data of a server that does not run."""

    def freeze(self) -> None:
        """Stop the server's processes. Connections are still accepted, but nothing answers."""
        if self.process is not None:
            signal_all(descendants(self.process.popen.pid), signal.SIGSTOP)

    def thaw(self) -> None:
        if self.process is not None:
            signal_all(descendants(self.process.popen.pid), signal.SIGCONT)

    def stop(self) -> None:
        """End the server and delete its folder."""
        if self.process is not None and self.process.popen.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Server):
    """Redis without persistence: a restart loses every message."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        program = binary("/usr/bin/redis-server", "/usr/local/bin/redis-server")
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no"}
        options["dir"] = str(self.folder)
        return [program, *(str(part) for key in options for part in (f"--{key}", options[key]))]


class RabbitMQ(Server):
    """A RabbitMQ node with its own cookie, folder and port mapper."""

    name = "rabbitmq"
    boot_seconds = 120

    def __init__(self) -> None:
        super().__init__()
        self.mapper_port, self.distribution_port = free_port(), free_port()
        self.mapper: Process | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def environment(self) -> dict[str, str]:
        absent = str(self.folder / "absent")
        return super().environment() | {
            "ERL_EPMD_PORT": str(self.mapper_port),
            "RABBITMQ_NODENAME": f"faults{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": absent,
            "RABBITMQ_CONFIG_FILE": absent,
            "RABBITMQ_ADVANCED_CONFIG_FILE": absent,
            "RABBITMQ_CONF_ENV_FILE": absent,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }

    def command(self) -> list[str]:
        return [binary(RABBITMQ)]

    def delete_data(self) -> None:
        shutil.rmtree(self.folder / "mnesia", ignore_errors=True)

    def control(self, *arguments: str) -> None:
        """Run a command of rabbitmqctl on the running node."""
        command = [binary(RABBITMQCTL), *arguments]
        subprocess.run(command, check=True, capture_output=True, env=self.environment())

    def launch(self) -> None:
        if self.mapper is None:
            command = [binary("/usr/bin/epmd"), "-port", str(self.mapper_port)]
            self.mapper = Process("epmd", command, logs=self.folder / "logs")
            wait_for(lambda: listens(self.mapper_port), processes=[self.mapper], what="epmd")
        super().launch()

    def stop(self) -> None:
        if self.mapper is not None:
            self.mapper.stop()
        super().stop()


class PostgreSQL(Server):
    name = "postgresql"
    user = "postgres"

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def program(self, name: str) -> str:
        return binary(f"/usr/lib/postgresql/*/bin/{name}", f"/usr/local/bin/{name}")

    def prepare(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.folder, self.user)
        options = ["-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "-N"]
        command = self.as_user([self.program("initdb"), *options])
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder)

    def command(self) -> list[str]:
        options = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        options += ["-c", f"unix_socket_directories={self.folder}", "-c", "max_connections=200"]
        return [self.program("postgres"), "-D", str(self.folder / "data"), *options]

    def is_ready(self) -> bool:
        command = [self.program("pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(command, check=False).returncode == 0

    def kill(self) -> None:
        """End without a checkpoint. After SIGKILL, its children would prevent a restart."""
        if self.process is not None:
            signal_all(descendants(self.process.popen.pid), signal.SIGCONT)
            signal_all([self.process.popen.pid], signal.SIGQUIT)
            try:
                self.process.popen.wait(10)
            except subprocess.TimeoutExpired:
                super().kill()


class MariaDB(Server):
    name = "mariadb"

    @property
    def url(self) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/faults"

    def prepare(self) -> None:
        options = [f"--datadir={self.folder / 'data'}", "--auth-root-authentication-method=normal"]
        command = [binary("/usr/bin/mariadb-install-db"), "--no-defaults", *options]
        owner = ["--user=root"] if os.getuid() == 0 else []
        subprocess.run([*command, *owner], check=True, capture_output=True)

    def command(self) -> list[str]:
        program = binary("/usr/sbin/mariadbd")
        initial = self.folder / "init.sql"
        initial.write_text("CREATE DATABASE IF NOT EXISTS faults CHARACTER SET utf8mb4;\n")
        options = {
            "datadir": self.folder / "data",
            "socket": self.folder / "mariadb.sock",
            "pid-file": self.folder / "mariadb.pid",
            "port": self.port,
            "bind-address": "127.0.0.1",
            "init-file": initial,
        }
        owner = ["--user=root"] if os.getuid() == 0 else []
        rest = [f"--{key}={value}" for key, value in options.items()]
        return [program, "--no-defaults", *rest, *owner]
