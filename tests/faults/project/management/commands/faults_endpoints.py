"""Registers receivers for the owner of the clients' operations, and prints their secrets."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from rest_framework.authtoken.models import Token

from async_reply.contrib.webhooks import events
from async_reply.contrib.webhooks.models import Endpoint

EVENTS = [events.STARTED, *events.OUTCOMES.values()]


class Command(BaseCommand):
    help = "Registers receivers of webhooks. They hear of starts and outcomes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("urls", nargs="+")

    def handle(self, *_args: Any, **options: Any) -> None:
        owner = str(Token.objects.get(key="demo").user_id)
        secrets = {}
        for url in options["urls"]:
            endpoint = Endpoint(owner=owner, url=url, events=EVENTS)
            secrets[url] = endpoint.renew_secret()
            endpoint.save()
        self.stdout.write(json.dumps(secrets))
