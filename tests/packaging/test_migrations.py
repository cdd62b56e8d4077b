"""A migration is frozen once it is committed. Later changes of tables get a file of their own."""

from pathlib import Path

import pytest

from tests.packaging.environments import ROOT

pytestmark = pytest.mark.packaging

REMEDY = (
    "A database that has run a migration never runs it again, so it would miss the change. Restore"
    " the file, and let manage.py makemigrations write the change into a new one."
)


def changed_migrations(old: Path, new: Path) -> list[str]:
    """The migrations of the package in `old` that have another content in `new`, or are gone."""
    names = [path.relative_to(old) for path in old.glob("async_reply/**/migrations/[0-9]*.py")]
    return [
        str(name)
        for name in sorted(names)
        if not (new / name).exists() or (new / name).read_bytes() != (old / name).read_bytes()
    ]


def test_migrations__of_the_previous_commit_are_unchanged(previous: Path) -> None:
    changed = changed_migrations(previous, ROOT)
    assert not changed, f"{', '.join(changed)}: changed since the previous commit. {REMEDY}"


@pytest.mark.parametrize(
    ("contents", "changed"),
    [
        ({"0001_initial.py": "first", "0002_more.py": "second"}, False),
        ({"0001_initial.py": "another"}, True),
        ({"0002_more.py": "first"}, True),
    ],
    ids=["added", "edited", "renamed"],
)
def test_changed_migrations__are_found(
    contents: dict[str, str], changed: bool, tmp_path: Path
) -> None:
    name = "async_reply/contrib/webhooks/migrations/0001_initial.py"
    old, new = tmp_path / "old" / name, tmp_path / "new" / name
    for folder in (old.parent, new.parent):
        folder.mkdir(parents=True)
    old.write_text("first")
    for file, content in contents.items():
        new.with_name(file).write_text(content)
    assert changed_migrations(tmp_path / "old", tmp_path / "new") == [name] * changed
