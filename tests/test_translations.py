"""The texts of the admin, in the languages that the package ships."""

import ast
import gettext
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib import admin
from django.test import Client
from django.utils.translation import override
from django.utils.translation.template import templatize
from pytest_django import Settings

import async_reply
from async_reply.models import Operation
from async_reply.status import Status

PACKAGE = Path(async_reply.__file__).parent
LANGUAGES = sorted(path.name for path in (PACKAGE / "locale").iterdir())
SINGULAR = {"_", "gettext", "gettext_lazy", "gettext_noop"}
IN_CONTEXT = {"pgettext", "pgettext_lazy"}
PLURAL = {"ngettext", "ngettext_lazy"}
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sd]")


def translated_texts() -> Iterator[tuple[str, str | None]]:
    """The text and, where it has one, the plural of each call in the package's code."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    sources += [templatize(path.read_text()) for path in PACKAGE.rglob("*.html")]
    for source in sources:
        yield from texts_of(source)


def texts_of(source: str) -> Iterator[tuple[str, str | None]]:
    try:
        tree: ast.AST = ast.parse(source)
    except SyntaxError:  # a template: the calls stand between its own text
        calls = re.findall(r"n?gettext\((?:[^()]|\([^()]*\))*\)", source)
        tree = ast.Module([ast.parse(call.replace("\n", " ")).body[0] for call in calls], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if name in SINGULAR and texts:
                yield str(texts[0]), None
            elif name in IN_CONTEXT and len(texts) == 2:
                yield "\x04".join(map(str, texts)), None  # the key of a catalog
            elif name in PLURAL and len(texts) >= 2:
                yield str(texts[0]), str(texts[1])


TEXTS = sorted(set(translated_texts()), key=str)


def catalog(language: str) -> gettext.GNUTranslations:
    """The compiled catalog, as a project installs it."""
    path = PACKAGE / "locale" / language / "LC_MESSAGES" / "django.mo"
    with path.open("rb") as file:
        return gettext.GNUTranslations(file)


def test_texts__come_from_code_and_templates() -> None:
    assert ("Who did what", None) in TEXTS
    assert ("Oldest waiting", None) in TEXTS
    assert ("%d operation", "%d operations") in TEXTS
    assert ("Waited %(waited)s in all, ran %(ran)s in all.", None) in TEXTS


@pytest.mark.parametrize("language", LANGUAGES)
def test_catalog__has_every_text(language: str) -> None:
    """After a change: `make messages`, translate, and `make messages` again."""
    compiled = catalog(language)
    compiled.add_fallback(Missing())
    missing = []
    for text, plural in TEXTS:
        try:
            compiled.gettext(text) if plural is None else compiled.ngettext(text, plural, 2)
        except LookupError:
            missing.append(text)
    assert missing == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_catalog__agrees_with_the_admin_of_django(language: str) -> None:
    """Catalogs of all apps are one: another text of ours would show on the project's own pages."""
    folder = Path(admin.__file__).parent / "locale" / language / "LC_MESSAGES"
    with (folder / "django.mo").open("rb") as file:
        django = gettext.GNUTranslations(file)
    ours = catalog(language)
    shared = [text for text, plural in TEXTS if plural is None and django.gettext(text) != text]
    assert {text: ours.gettext(text) for text in shared} == {
        text: django.gettext(text) for text in shared
    }


class Missing(gettext.NullTranslations):
    """Raises for a text that the catalog lacks."""

    def gettext(self, message: str) -> str:
        raise LookupError(message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        raise LookupError(msgid1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_catalog__keeps_the_placeholders(language: str) -> None:
    compiled = catalog(language)
    for text, plural in TEXTS:
        one = compiled.gettext(text) if plural is None else compiled.ngettext(text, plural, 1)
        assert sorted(PLACEHOLDER.findall(one)) == sorted(PLACEHOLDER.findall(text))
        if plural is not None:
            many = compiled.ngettext(text, plural, 2)
            assert sorted(PLACEHOLDER.findall(many)) == sorted(PLACEHOLDER.findall(plural))


@pytest.mark.django_db
def test_admin__is_german_for_a_german_operator(
    settings: Settings, admin_client: Client, submit: Callable[..., Operation]
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    operation = submit()
    headers = {"Accept-Language": "de"}
    url = f"/admin/async_reply/operation/{operation.pk}/change/"
    with override("en"):  # the middleware leaves its language to the thread
        rows = admin_client.get("/admin/async_reply/operation/", headers=headers).content.decode()
        page = admin_client.get(url, headers=headers).content.decode()
    assert "Wartend" in rows
    assert "Am längsten wartend" in rows
    for text in ("Warum wartet sie?", "Eingereicht", "Wer hat was getan", "Abbrechen"):
        assert text in page


def test_status__labels_follow_the_language_and_values_do_not() -> None:
    with override("de"):
        assert str(Status.CANCELED.label) == "Abgebrochen"
        assert Status.CANCELED.value == "canceled"
    assert str(Status.CANCELED.label) == "Canceled"
