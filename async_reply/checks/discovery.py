"""Checks that workers import the module that declares a view's task.

The module is looked for among those that Celery imports by name, and in the import statements of
these. Nothing is said where a module imports others by a name that only the running code knows.
"""

import ast
import inspect
import sys
import weakref
from collections.abc import Iterator
from importlib.util import resolve_name
from types import ModuleType

from celery import current_app, signals
from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from vine import promise

from async_reply.attempts.kinds import Kind
from async_reply.checks.mounted import Mounted

#: Functions that import modules by names which no import statement shows.
COMPUTED = frozenset(
    {"import_module", "import_string", "__import__", "walk_packages", "iter_modules", "exec"}
)
#: Packages that import no module of a project by a statement.
FRAMEWORKS = frozenset({"django", "rest_framework", "celery", "async_reply"})
#: Modules of an app that Django imports at its start, with the admin.
AT_START = ("apps", "models", "admin")


def check_module(view: Mounted, kind: Kind) -> Iterator[CheckMessage]:
    """A worker that imports no views knows the task of this view."""
    module = kind.function.__module__
    if _is_imported_by_workers(module):
        return
    yield checks.Warning(
        f"Workers do not import {module}, where the task {kind.name!r} is declared: they know it "
        "only if their checks import the URLconf, else its operations stay pending.",
        hint=f"Import {module} in the tasks.py of an app, or name it in CELERY_IMPORTS.",
        obj=view.cls,
        id="async_reply.W114",
    )


def _is_imported_by_workers(name: str) -> bool:
    """Whether the module is imported, or may be: only an import by a computed name is unknown."""
    roots = _roots()
    if roots is None:
        return True
    families = {_family(root) for root in roots} - FRAMEWORKS
    waiting, seen = {part for root in roots for part in _with_parents(root)}, set[str]()
    while waiting:
        current = waiting.pop()
        if current == name:
            return True
        seen.add(current)
        module = sys.modules.get(current)
        if module is None or _family(current) not in families:
            continue
        imported = _imports(module)
        if imported is None:
            return True
        waiting |= imported - seen
    return False


def _roots() -> set[str] | None:
    """The modules that a worker imports by name; None if only the running code knows them."""
    names = {*current_app.loader.default_modules, settings.SETTINGS_MODULE or ""}
    related = {"tasks"}
    for _key, registered in signals.import_modules.receivers or ():
        receiver = registered() if isinstance(registered, weakref.ref) else registered
        if receiver is None or getattr(receiver, "__module__", "").startswith("celery."):
            continue
        packages, related_name = getattr(receiver, "args", None) or ("unknown", "")
        if not isinstance(receiver, promise) or packages:
            return None
        related.add(related_name)
    for config in apps.get_app_configs():
        parts = (*AT_START, *related)
        names |= {f"{config.name}.{part}" if part else config.name for part in parts}
        names.add(type(config).__module__)
    return names - {""}


def _imports(module: ModuleType) -> set[str] | None:
    """The modules that its import statements may name; None if it computes names of modules."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, SyntaxError, TypeError):  # no file, no Python, or built in
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module)
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif getattr(node, "id", getattr(node, "attr", "")) in COMPUTED:
            return None
    return {part for name in names for part in _with_parents(name)}


def _base(node: ast.ImportFrom, module: ModuleType) -> str:
    relative = "." * node.level + (node.module or "")
    return resolve_name(relative, module.__package__ or "") if node.level else relative


def _with_parents(name: str) -> set[str]:
    """`a.b.c`, and the packages `a.b` and `a`, which are imported with it."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def _family(name: str) -> str:
    return name.partition(".")[0]
