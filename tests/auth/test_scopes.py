"""OAuth scopes: their grammar, and what each grants."""

import pytest
from support.accounts import ALICE

from aurora_blobs.auth import Administrator, Person
from aurora_blobs.auth.scopes import allows_blob, allows_import, allows_repo
from aurora_blobs.errors import ScopeMissing


@pytest.mark.parametrize(
    "scope, mime_type, granted",
    [
        ("atproto", "image/png", False),
        ("atproto blob:image/*", "image/png", True),
        ("atproto blob:image/*", "video/mp4", False),
        ("atproto blob:*/*", "x/y", True),
        ("atproto blob:*/*", "*/*", False),
        ("atproto blob:*/*", "image/*", False),
        ("blob?accept=image/png&accept=video/mp4", "video/mp4", True),
        ("blob?accept=image/png&accept=video/mp4", "video/webm", False),
        ("blob?accept=image%2Fpng", "image/png", True),
        ("blob:image%2Fpng", "image/png", True),
        ("blob:image/svg+xml", "image/svg+xml", True),
        ("blob:IMAGE/PNG", "image/png", False),
        ("blob:image/png", "IMAGE/PNG", False),
        ("transition:generic", "*/*", True),
        ("transition:generic", "anything", True),
        ("transition:email", "image/png", False),
        ("blob", "image/png", False),
        ("blob:", "image/png", False),
        ("blob?", "image/png", False),
        ("blob:*", "image/png", False),
        ("blob:/image", "image/png", False),
        ("blob:image/", "image/png", False),
        ("blob:image/png/x", "image/png/x", False),
        ("blob:*/png", "image/png", False),
        ("blob?accept=*/*&accept=image", "image/png", False),
        ("blob?accept=image/png&max=5", "image/png", False),
        ("blob:image/png?accept=image/png", "image/png", False),
        ("blob:image%2png", "image/png", False),
        ("blob:image/%ff", "image/\ufffd", False),
        ("blobs:*/*", "image/png", False),
        ("BLOB:*/*", "image/png", False),
        ("include:app.bsky.authFull", "image/png", False),
        ("", "image/png", False),
    ],
)
def test_a_scope_grants_the_types_that_it_names(scope, mime_type, granted):
    assert allows_blob(scope, mime_type) is granted


@pytest.mark.parametrize(
    "scope, action, granted",
    [
        ("repo:*", "create", True),
        ("repo:app.bsky.feed.post", "delete", True),
        ("repo:app.bsky.feed.like", "create", False),
        ("repo:app.bsky.feed.post?action=create", "create", True),
        ("repo:app.bsky.feed.post?action=create", "update", False),
        (
            "repo?collection=app.bsky.feed.post&collection=app.bsky.feed.like&action=update",
            "update",
            True,
        ),
        ("repo:app.bsky.feed.post?action=create&action=fly", "create", False),
        ("repo:app.bsky.*", "create", False),
        ("repo", "create", False),
        ("transition:generic", "create", True),
        ("atproto", "create", False),
    ],
)
def test_a_scope_grants_writes_to_the_collections_that_it_names(scope, action, granted):
    assert allows_repo(scope, "app.bsky.feed.post", action) is granted


@pytest.mark.parametrize(
    "scope, granted",
    [
        ("account:repo?action=manage", True),
        ("account?attr=repo&action=manage&action=read", True),
        ("account:repo", False),
        ("account:email?action=manage", False),
        ("account:repo?action=manage&action=x", False),
        ("transition:generic", False),
    ],
)
def test_only_its_own_scope_grants_to_replace_the_repository(scope, granted):
    assert allows_import(scope) is granted


def test_a_missing_scope_is_named():
    person = Person(ALICE, "atproto")

    with pytest.raises(
        ScopeMissing, match='^Missing required scope "blob:image/svg\\+xml"$'
    ) as caught:
        person.require_upload("image/svg+xml")
    with pytest.raises(
        ScopeMissing, match='^Missing required scope "repo:app.bsky.feed.post\\?action=create"$'
    ):
        person.require_write("app.bsky.feed.post", "create")
    with pytest.raises(
        ScopeMissing, match='^Missing required scope "account:repo\\?action=manage"$'
    ):
        person.require_import()

    assert (caught.value.status, caught.value.error) == (403, "ScopeMissingError")


def test_scopes_limit_oauth_tokens_alone():
    person = Person(ALICE)

    person.require_upload("*/*")
    person.require_write("app.bsky.feed.post", "create")
    person.require_import()


def test_no_scope_limits_the_administrator():
    administrator = Administrator()

    administrator.require_write("app.bsky.feed.post", "create")
    administrator.require_import()
