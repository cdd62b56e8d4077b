from async_reply.database.identifiers import uuid7


def test_uuid7__sorts_by_time() -> None:
    ids = [uuid7() for _ in range(100)]
    assert sorted(ids) == ids
    assert {pk.version for pk in ids} == {7}
