"""REST framework's tokens, read by a fixed statement, let in whom REST framework lets in."""

import copy
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.sql import compiler
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings
from rest_framework.authentication import BasicAuthentication, TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from async_reply import tokens

pytestmark = pytest.mark.django_db


class BearerAuthentication(TokenAuthentication):
    keyword = "Bearer"


class ExpiringAuthentication(TokenAuthentication):
    def authenticate_credentials(self, key: str) -> Any:
        raise AuthenticationFailed("It has expired.")


class OtherModel(TokenAuthentication):
    model = object  # type: ignore[assignment]


class OtherGetter(TokenAuthentication):
    def get_model(self) -> Any:
        return Token


class InstanceModel(TokenAuthentication):
    def __init__(self) -> None:
        self.model = object  # type: ignore[assignment]


class InstanceGetter(TokenAuthentication):
    def __init__(self) -> None:
        self.get_model = lambda: Token  # type: ignore[method-assign]


class InstanceCredentials(TokenAuthentication):
    def __init__(self) -> None:
        vars(self)["authenticate_credentials"] = lambda key: (key, key)


class CheckedAuthentication(TokenAuthentication):
    def authenticate(self, request: Request) -> Any:
        result: Any = super().authenticate(request)
        assert isinstance(result[1], self.get_model())
        return result


class NoRelations:
    """A router that lets no two rows be related."""

    def allow_relation(self, *_rows: Any, **_hints: Any) -> bool:
        return False


@pytest.fixture
def token() -> Token:
    return Token.objects.create(user=User.objects.create_user("ada", first_name="Äda"))


def request(key: str, keyword: str = "Token") -> Request:
    return Request(APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"{keyword} {key}"))


def refusal(authenticator: Any, key: str) -> tuple[int, Any]:
    with pytest.raises(AuthenticationFailed) as caught:
        authenticator.authenticate(request(key))
    return caught.value.status_code, caught.value.detail


@pytest.mark.parametrize("cls", [TokenAuthentication, BearerAuthentication])
def test_token__is_found_as_rest_framework_finds_it(
    cls: type[TokenAuthentication], token: Token
) -> None:
    asked = request(token.key, cls.keyword)
    user, found = cls().authenticate(asked)  # type: ignore[misc]
    quick = tokens.quicken(cls())
    assert type(quick) is cls
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            quick_user, quick_token = quick.authenticate(asked)  # type: ignore[misc]
            assert quick_token.user is quick_user
            assert quick_user.auth_token is quick_token
        assert len(queries) == 1
        for one, other in ((quick_user, user), (quick_token, found)):
            assert type(one) is type(other)
            assert {**vars(one), "_state": None} == {**vars(other), "_state": None}


def test_token__is_read_by_a_statement_that_is_compiled_once(
    token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.quicken(TokenAuthentication()).authenticate(request(token.key))
    monkeypatch.delattr(compiler.SQLCompiler, "as_sql")
    assert tokens.quicken(TokenAuthentication()).authenticate(request(token.key))


@pytest.mark.parametrize("key", ["", "unknown", "two parts", "ÿ"])
def test_token__wrong_one_is_refused_as_rest_framework_does(key: str, token: Token) -> None:
    authenticator = TokenAuthentication()
    assert refusal(tokens.quicken(TokenAuthentication()), key) == refusal(authenticator, key)


def test_token__of_an_inactive_user_is_refused(token: Token) -> None:
    User.objects.update(is_active=False)
    expected = refusal(TokenAuthentication(), token.key)
    assert refusal(tokens.quicken(TokenAuthentication()), token.key) == expected


def test_token__that_was_deleted_is_refused_at_once(token: Token) -> None:
    authenticator = tokens.quicken(TokenAuthentication())
    assert authenticator.authenticate(request(token.key))
    token.delete()
    assert refusal(authenticator, token.key) == refusal(TokenAuthentication(), token.key)


def test_token__is_read_whatever_a_router_says_of_relations(
    token: Token, settings: Settings
) -> None:
    settings.DATABASE_ROUTERS = [f"{__name__}.NoRelations"]
    assert TokenAuthentication().authenticate(request(token.key))
    assert tokens.quicken(TokenAuthentication()).authenticate(request(token.key))


@pytest.mark.skipif(connection.vendor != "postgresql", reason="has one type of times")
def test_token__of_a_user_with_times_without_a_zone(token: Token) -> None:
    """Tables that an older program has made may have such columns."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE auth_user ALTER date_joined TYPE timestamp")
    user, _ = TokenAuthentication().authenticate(request(token.key))  # type: ignore[misc]
    quick: Any = tokens.quicken(TokenAuthentication())
    quick_user, _ = quick.authenticate(request(token.key))
    assert quick_user.date_joined == user.date_joined
    assert quick_user.date_joined.tzinfo is None


OTHERS = [
    CheckedAuthentication,
    ExpiringAuthentication,
    OtherModel,
    OtherGetter,
    InstanceModel,
    InstanceGetter,
    InstanceCredentials,
    BasicAuthentication,
]


@pytest.mark.parametrize("cls", OTHERS)
def test_authenticator__with_a_way_of_its_own_stays_as_it_is(cls: type[Any]) -> None:
    authenticator, expected = cls(), vars(cls()).keys()
    assert tokens.quicken(authenticator) is authenticator
    assert vars(authenticator).keys() == expected


def test_authenticator__can_be_copied(token: Token) -> None:
    authenticator = copy.deepcopy(tokens.quicken(TokenAuthentication()))
    assert authenticator.authenticate(request(token.key))


def test_authenticator__asks_a_manager_that_a_test_has_replaced(token: Token) -> None:
    assert tokens.quicken(TokenAuthentication()).authenticate(request(token.key))
    with mock.patch.object(Token, "objects") as objects:
        objects.select_related("user").get.return_value = token
        user, _ = tokens.quicken(TokenAuthentication()).authenticate(request("k"))  # type: ignore[misc]
    assert user == token.user


QUERIES: list[Callable[[Any], Any]] = [
    lambda model: model.objects.get(user__username="ada"),
    lambda model: model.objects.only("key").get(),
    lambda model: model.objects.select_related("user").filter(user__username="ada").get(),
    lambda model: model.objects.exclude(user__username="eve").get(key=model.objects.get().key),
    lambda model: model.objects.filter(pk__contains="").first(),
    lambda model: Token(model.objects.select_related("user").values("key").get()["key"]),
    lambda model: model.objects.select_related("user").get(pk=model.objects.get().pk),
    lambda model: model._default_manager.get(),
]


@pytest.mark.parametrize("query", QUERIES)
def test_model__answers_other_queries_as_ever(query: Callable[[Any], Any], token: Token) -> None:
    authenticator: Any = tokens.quicken(TokenAuthentication())
    model = authenticator.get_model()
    assert query(model) == token
    with pytest.raises(Token.DoesNotExist):
        model.objects.filter(user__username="eve").get(key=token.key)
