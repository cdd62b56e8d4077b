"""What the URLconf offers, read from itself: a URL that is added joins the matrix."""

from dataclasses import dataclass
from typing import Any

from async_reply import urls

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
#: Where the project mounts the app.
MOUNT = "/api/"


@dataclass(frozen=True)
class Route:
    """A URL of the app: of one operation where it takes an id, of all of a caller's elsewhere."""

    name: str
    template: str
    handled: frozenset[str]

    @property
    def takes_id(self) -> bool:
        return "<str:id>" in self.template

    def url(self, id: object = "") -> str:
        made = MOUNT + self.template.replace("<str:id>", str(id))
        assert "<" not in made, f"teach tests/hostile what goes into {self.template}"
        return made

    def __str__(self) -> str:
        return self.name


def _handled(view: Any) -> frozenset[str]:
    """The methods the view has code for; Django lets GET answer HEAD."""
    found = {method for method in METHODS if hasattr(view.view_class, method.lower())}
    return frozenset(found | ({"HEAD"} if "GET" in found else set()))


ROUTES = [
    Route(pattern.name or "", str(pattern.pattern), _handled(pattern.callback))
    for pattern in urls.urlpatterns
]
OF_ONE = [route for route in ROUTES if route.takes_id]
