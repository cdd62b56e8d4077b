"""`python -m async_reply.client URL --json '{…}'`: shows the progress, writes the result."""

import argparse
import json
import mimetypes
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from async_reply.client import OperationFailed, OperationTimeout, Progress, follow, submit

DESCRIPTION = "Submit a request, wait for its result, and write the result to standard output."
BAR_CHARACTERS = 30
#: Exit codes. argparse has 2 for wrong arguments, and shells 130 for Ctrl-C.
FAILED, UNFINISHED, INTERRUPTED = 1, 3, 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m async_reply.client", description=DESCRIPTION)
    parser.add_argument("url", help="where to submit; with --follow, the Location of a 202")
    parser.add_argument("--json", metavar="JSON", help="the body of the request")
    parser.add_argument(
        "--file", metavar="FIELD=PATH", action="append", default=[], help="a file to upload"
    )
    parser.add_argument("--field", metavar="NAME=VALUE", action="append", default=[])
    parser.add_argument("--method", default="POST")
    parser.add_argument("--header", "-H", metavar="NAME: VALUE", action="append", default=[])
    parser.add_argument("--user", "-u", metavar="NAME:PASSWORD")
    parser.add_argument("--idempotency-key", metavar="KEY")
    parser.add_argument("--timeout", type=float, metavar="SECONDS")
    parser.add_argument("--follow", action="store_true", help="wait for an earlier submit")
    parser.add_argument("--quiet", "-q", action="store_true", help="show no progress")
    return parser


class Bar:
    """One line on standard error, which each change writes anew. Off a terminal, a line each."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._is_terminal = sys.stderr.isatty()
        #: Where to wait on, if the server has said so.
        self.location = ""

    def show(self, progress: Progress) -> None:
        links = progress.document.get("links")
        if isinstance(links, dict):
            self.location = str(links.get("monitor") or links.get("self") or "")
        if self._is_quiet:
            return
        percent = progress.progress or 0
        done = percent * BAR_CHARACTERS // 100
        bar = "#" * done + "-" * (BAR_CHARACTERS - done)
        question = progress.question
        asked = "" if question is None else f"asks {question.name}: answer at {question.link}"
        line = f"[{bar}] {percent:3} % {progress.status} {asked or progress.message}".rstrip()
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r{line[:width]:<{width}}")
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        if self._is_terminal and not self._is_quiet:
            sys.stderr.write("\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    bar = Bar(is_quiet=options.quiet)
    try:
        response = _ask(options, bar)
    except OperationFailed as error:
        return _end(json.dumps(error.problem, indent=2) if error.problem else str(error), FAILED)
    except OperationTimeout as error:
        return _end(f"{error}\nWait on by --follow {error.location}", UNFINISHED)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _end(f"{type(error).__name__}: {error}", FAILED)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        where = f"\nWait on by --follow {bar.location}" if bar.location else ""
        return _end(f"Interrupted. What was accepted goes on.{where}", INTERRUPTED)
    finally:
        bar.close()
    sys.stdout.buffer.write(response.content)
    if sys.stdout.isatty():
        sys.stdout.write("\n")
    sys.stdout.flush()
    return 0


def _ask(options: argparse.Namespace, bar: Bar) -> httpx.Response:
    fields = [_split(text, ":", "--header") for text in options.header]
    user = None if options.user is None else _split(options.user, ":", "--user")
    with ExitStack() as stack:
        # A result may take long to be sent.
        limits = httpx.Timeout(10, read=60)
        http = stack.enter_context(httpx.Client(headers=fields, auth=user, timeout=limits))
        if options.follow:
            return follow(http, options.url, timeout=options.timeout, on_change=bar.show)
        return submit(
            http,
            options.url,
            method=options.method,
            idempotency_key=options.idempotency_key,
            timeout=options.timeout,
            on_change=bar.show,
            **_body(options, stack),
        )


def _body(options: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if options.json is not None:
        body["json"] = json.loads(options.json)
    if options.field:
        body["data"] = dict(_split(text, "=", "--field") for text in options.field)
    files = [_split(text, "=", "--file") for text in options.file]
    if files:
        body["files"] = [(name, _upload(Path(path), stack)) for name, path in files]
    return body


def _upload(path: Path, stack: ExitStack) -> tuple[str, Any, str]:
    content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return path.name, stack.enter_context(path.open("rb")), content_type


def _split(text: str, separator: str, option: str) -> tuple[str, str]:
    name, found, value = text.partition(separator)
    if not found:
        raise ValueError(f"{option} {text!r} has no {separator!r}")
    return name.strip(), value.strip()


def _end(text: str, code: int) -> int:
    sys.stderr.write(f"{text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
