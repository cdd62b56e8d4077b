"""The URLs of the app, read from its URLconf: a new URL is tested without a change here."""

from dataclasses import dataclass
from typing import Any

from async_reply import urls

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
#: The prefix under which the project includes the app.
MOUNT = "/api/"


@dataclass(frozen=True)
class Route:
    """A URL of the app: of one operation if it takes an id, otherwise of all of a caller's."""

    name: str
    template: str
    handled: frozenset[str]

    @property
    def takes_id(self) -> bool:
        return "<str:id>" in self.template

    def url(self, id: object = "") -> str:
        url = MOUNT + self.template.replace("<str:id>", str(id))
        assert "<" not in url, f"tests/hostile has no values for {self.template}"
        return url

    def __str__(self) -> str:
        return self.name


def _handled(view: Any) -> frozenset[str]:
    """The methods that the view handles; in Django GET handles HEAD as well."""
    methods = {method for method in METHODS if hasattr(view.view_class, method.lower())}
    return frozenset(methods | ({"HEAD"} if "GET" in methods else set()))


ROUTES = [
    Route(pattern.name or "", str(pattern.pattern), _handled(pattern.callback))
    for pattern in urls.urlpatterns
    # Questions have a name besides: tests/views/test_inputs.py asks for those.
    if "<str:name>" not in str(pattern.pattern)
]
OF_ONE = [route for route in ROUTES if route.takes_id]
