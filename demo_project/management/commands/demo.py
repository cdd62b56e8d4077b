"""Prepares the demo, runs it once, or keeps it running, for somebody who tries the package."""

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils import timezone
from rest_framework.authtoken.models import Token

from async_reply.models import Worker
from demo_project.conversation import Conversation, check
from demo_project.processes import DemoError, Process, free_port, running, wait_for

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "seattle-weather.csv"


class Command(BaseCommand):
    help = "Profiles a CSV file over HTTP with a real web server and a real Celery worker."
    requires_system_checks: list[str] = []  # the database may not exist yet

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--prepare", action="store_true", help="migrate, create users, end")
        parser.add_argument("--serve", action="store_true", help="keep running until Ctrl-C")
        parser.add_argument("--file", type=Path, default=SAMPLE, help="a CSV file")
        parser.add_argument("--port", type=int, help="default: PORT, else a free one")

    def handle(self, *_args: Any, **options: Any) -> None:
        file: Path = options["file"]
        if not file.is_file():
            raise CommandError(f"There is no file {file}: give the path of a CSV file.")
        self.prepare()
        if options["prepare"]:
            self.stdout.write(f"The demo is prepared in {settings.DEMO_DIR}.")
            return
        port = options["port"] or int(os.environ.get("PORT") or free_port())
        connections.close_all()
        started_at = timezone.now()
        try:
            with running(port, logs=settings.DEMO_DIR / "logs") as processes:
                # Retry-After depends on the number of workers, so the worker has to be known first.
                workers = Worker.objects.filter(seen_at__gte=started_at)
                wait_for(workers.exists, processes=processes, what="the worker to report")
                connections.close_all()
                if options["serve"]:
                    self.serve(port, processes)
                else:
                    self.converse(port, file)
        except DemoError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stdout.write("\nStopped.")
            if not options["serve"]:
                sys.exit(130)

    def prepare(self) -> None:
        """Migrate, and create users with public passwords. Without DEBUG it refuses."""
        if not settings.DEBUG:
            raise CommandError("The demo's users have public passwords: set DEBUG=1 to use it.")
        call_command("migrate", verbosity=0)
        users = get_user_model().objects
        for name in ("demo", "other"):
            user, created = users.get_or_create(username=name)
            if created:
                user.set_password(name)
                user.save()
            # The key is the primary key. To change a token's key would add a second token.
            Token.objects.filter(user=user).exclude(key=name).delete()
            Token.objects.get_or_create(key=name, defaults={"user": user})
        if not users.filter(username="admin").exists():
            users.create_superuser("admin", "admin@example.org", "admin")

    def converse(self, port: int, file: Path) -> None:
        base = f"http://127.0.0.1:{port}"
        with Conversation(base, token="demo", write=self.stdout.write) as conversation:
            profile = conversation.profile(file)
            self.stdout.write(f"\n{check(profile, file)}\n")
            conversation.sleep(2)

    def serve(self, port: int, processes: list[Process]) -> None:
        base = f"http://127.0.0.1:{port}"
        names = ("csv-profiles", "exports", "datasets", "sleeps", "public-sleeps", "operations")
        urls = "\n        ".join(f"{base}/api/{name}/" for name in names)
        self.stdout.write(
            f"Page    {base}/   (demo / demo)\n"
            f"API     {urls}\n"
            f"Admin   {base}/admin/   (admin / admin)\n"
            f"Tokens  demo, other\n"
            f"Logs    {settings.DEMO_DIR / 'logs'}\n\n"
            f"  curl -i -H 'Authorization: Token demo' -F file=@{SAMPLE} {base}/api/csv-profiles/\n"
            f"  curl -i -H 'Authorization: Token demo' -d rows=1000 {base}/api/exports/\n"
            "\nCtrl-C stops it."
        )
        wait_for(lambda: False, processes=processes, what="Ctrl-C", seconds=float(10 * 365 * 86400))
