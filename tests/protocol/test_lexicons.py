"""Blob constraints of the built-in record types and of an operator's lexicon files."""

import json
import os

import pytest

from aurora_blobs.config import ConfigError
from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.cid import cid_of_digest
from aurora_blobs.protocol.lexicons import open_lexicons

CID = cid_of_digest(bytes(32))
KNOWN = [
    "app.bsky.actor.profile",
    "app.bsky.actor.status",
    "app.bsky.feed.generator",
    "app.bsky.feed.like",
    "app.bsky.feed.post",
    "app.bsky.feed.postgate",
    "app.bsky.feed.repost",
    "app.bsky.feed.threadgate",
    "app.bsky.graph.block",
    "app.bsky.graph.follow",
    "app.bsky.graph.list",
    "app.bsky.graph.listblock",
    "app.bsky.graph.listitem",
    "app.bsky.graph.starterpack",
    "app.bsky.graph.verification",
    "app.bsky.labeler.service",
    "app.bsky.notification.declaration",
    "chat.bsky.actor.declaration",
    "com.atproto.lexicon.schema",
    "com.germnetwork.declaration",
]


def blob(mime_type="image/png", size=1):
    return {"$type": "blob", "ref": {"$link": CID}, "mimeType": mime_type, "size": size}


def post(embed_type, **embed):
    return {
        "$type": "app.bsky.feed.post",
        "text": "",
        "embed": {"$type": f"app.bsky.embed.{embed_type}", **embed},
    }


def with_media(embed_type, **embed):
    return post("recordWithMedia", media={"$type": f"app.bsky.embed.{embed_type}", **embed})


# Each place of a blob in the records of Bluesky and standard.site: collection, record around the
# blob, its path, accept, maxSize.
PICTURE = ("image/png", "image/jpeg"), 1_000_000
PLACES = {
    "avatar of a profile": ("app.bsky.actor.profile", lambda b: {"avatar": b}, "avatar", *PICTURE),
    "banner of a profile": ("app.bsky.actor.profile", lambda b: {"banner": b}, "banner", *PICTURE),
    "avatar of a feed": ("app.bsky.feed.generator", lambda b: {"avatar": b}, "avatar", *PICTURE),
    "avatar of a list": ("app.bsky.graph.list", lambda b: {"avatar": b}, "avatar", *PICTURE),
    "second image of a post": (
        "app.bsky.feed.post",
        lambda b: post("images", images=[{"image": blob()}, {"image": b}]),
        "embed.images[1].image",
        ("image/*",),
        2_000_000,
    ),
    "gallery of a post": (
        "app.bsky.feed.post",
        lambda b: post("gallery", items=[{"$type": "app.bsky.embed.gallery#image", "image": b}]),
        "embed.items[0].image",
        ("image/*",),
        2_000_000,
    ),
    "video of a post": (
        "app.bsky.feed.post",
        lambda b: post("video", video=b),
        "embed.video",
        ("video/mp4",),
        300_000_000,
    ),
    "captions of a post": (
        "app.bsky.feed.post",
        lambda b: post("video", video=blob("video/mp4"), captions=[{"lang": "en", "file": b}]),
        "embed.captions[0].file",
        ("text/vtt",),
        20_000,
    ),
    "link card of a post": (
        "app.bsky.feed.post",
        lambda b: post("external", external={"thumb": b}),
        "embed.external.thumb",
        ("image/*",),
        1_000_000,
    ),
    "image beside a quote": (
        "app.bsky.feed.post",
        lambda b: with_media("images", images=[{"image": b}]),
        "embed.media.images[0].image",
        ("image/*",),
        2_000_000,
    ),
    "video beside a quote": (
        "app.bsky.feed.post",
        lambda b: with_media("video", video=b),
        "embed.media.video",
        ("video/mp4",),
        300_000_000,
    ),
    "link card of a status": (
        "app.bsky.actor.status",
        lambda b: {"embed": {"$type": "app.bsky.embed.external", "external": {"thumb": b}}},
        "embed.external.thumb",
        ("image/*",),
        1_000_000,
    ),
    "cover of a document": (
        "site.standard.document",
        lambda b: {"coverImage": b},
        "coverImage",
        ("image/*",),
        1_000_000,
    ),
    "icon of a publication": (
        "site.standard.publication",
        lambda b: {"icon": b},
        "icon",
        ("image/*",),
        1_000_000,
    ),
}
place = pytest.mark.parametrize(
    "collection, record, path, accept, max_size", PLACES.values(), ids=PLACES.keys()
)


@pytest.fixture(scope="module")
def lexicons():
    return open_lexicons(None)


def refusal(lexicons, collection, value, validate=None):
    with pytest.raises(InvalidRequest) as caught:
        lexicons.check(collection, value, validate)
    return caught.value.message


@place
def test_a_blob_as_large_as_its_place_allows_is_valid(
    lexicons, collection, record, path, accept, max_size
):
    mime_type = accept[0].replace("*", "webp")

    assert lexicons.check(collection, record(blob(mime_type, max_size)), None) == "valid"


@place
def test_a_blob_that_is_too_big_for_its_place_is_refused(
    lexicons, collection, record, path, accept, max_size
):
    mime_type = accept[0].replace("*", "webp")

    message = refusal(lexicons, collection, record(blob(mime_type, max_size + 1)))

    assert message == (
        f"Invalid {collection} record: blob too big (maximum {max_size}, got {max_size + 1}) "
        f"at $.record.{path}"
    )


@place
def test_a_blob_of_a_type_that_its_place_does_not_accept_is_refused(
    lexicons, collection, record, path, accept, max_size
):
    message = refusal(lexicons, collection, record(blob("text/plain")))

    expected = {1: '"{}"', 2: 'one of "{}" or "{}"'}[len(accept)].format(*accept)
    assert message == (
        f'Invalid {collection} record: Expected {expected} (got "text/plain") at '
        f"$.record.{path}.mimeType"
    )


@pytest.mark.parametrize("collection", KNOWN)
def test_each_record_type_of_the_reference_is_known(lexicons, collection):
    assert lexicons.check(collection, {"$type": collection}, True) == "valid"


def test_an_unknown_type_is_unknown_and_passes(lexicons):
    assert lexicons.check("com.example.record", {"blob": blob("x/y", 10**9)}, None) == "unknown"


def test_an_unknown_type_is_refused_where_validation_is_asked_for(lexicons):
    assert (
        refusal(lexicons, "com.example.record", {}, True)
        == "Unknown lexicon type: com.example.record"
    )


def test_nothing_is_checked_where_validation_is_declined(lexicons):
    assert lexicons.check("app.bsky.actor.profile", {"avatar": blob("text/plain")}, False) is None


@pytest.mark.parametrize(
    "value, shown",
    [
        ("cat.png", '"cat.png"'),
        (11.5, "11.5"),
        (None, "null"),
        (True, "true"),
        ([1, 2], "[...]"),
        ({}, "{}"),
        ({**blob(), "size": "1"}, '{"$type": ..., "ref": ..., ...}'),
        ({**blob(), "mimeType": "png"}, '{"$type": ..., "ref": ..., ...}'),
        ({"$type": "blob"}, '{"$type": ...}'),
        ("x" * 1000, '"' + "x" * 99 + '…"'),
    ],
)
def test_a_value_that_is_no_blob_where_one_belongs_is_refused(lexicons, value, shown):
    message = refusal(lexicons, "app.bsky.actor.profile", {"avatar": value})

    assert message == (
        f"Invalid app.bsky.actor.profile record: Expected blob value type (got {shown}) at "
        "$.record.avatar"
    )


def test_the_legacy_form_is_left_to_the_check_of_references(lexicons):
    assert (
        lexicons.check("app.bsky.actor.profile", {"avatar": {"cid": CID, "mimeType": "x/y"}}, None)
        == "valid"
    )


@pytest.mark.parametrize(
    "embed",
    [
        None,
        "text",
        [],
        {},
        {"$type": 1, "images": [{"image": 1}]},
        {"$type": "com.example.embed", "image": blob("x/y")},
        {"$type": "app.bsky.embed.images#image", "image": blob("x/y")},
        {"$type": "app.bsky.embed.images", "images": "none"},
    ],
    ids=repr,
)
def test_properties_outside_the_schema_are_not_checked(lexicons, embed):
    assert lexicons.check("app.bsky.feed.post", {"embed": embed}, None) == "valid"


def lexicon(lexicon_id, **defs):
    return {"lexicon": 1, "id": lexicon_id, "defs": defs}


def record_with(**properties):
    return {"type": "record", "key": "tid", "record": {"type": "object", "properties": properties}}


def write(folder, **documents):
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))


def test_an_operators_lexicon_is_followed_through_refs_unions_and_arrays(tmp_path):
    (tmp_path / "deeper").mkdir()
    write(
        tmp_path,
        album=lexicon(
            "com.example.album",
            main=record_with(
                pages={
                    "type": "array",
                    "items": {"type": "union", "refs": ["#page", "com.example.sheet"]},
                },
                **{"cover-art": {"type": "ref", "ref": "com.example.sheet#picture"}},
            ),
            page={
                "type": "object",
                "properties": {
                    "sub": {"type": "array", "items": {"type": "ref", "ref": "#page"}},
                    "scan": {"type": "blob", "accept": ["image/png"], "maxSize": 10},
                },
                "nullable": ["scan"],
            },
        ),
    )
    write(
        tmp_path / "deeper",
        sheet=lexicon(
            "com.example.sheet",
            main={"type": "object", "properties": {"picture": {"type": "ref", "ref": "#picture"}}},
            picture={"type": "blob", "maxSize": 20},
        ),
    )
    lexicons = open_lexicons(tmp_path)

    def page(**fields):
        return {"pages": [{"$type": "com.example.album#page", **fields}]}

    def sheet(picture):
        return {"pages": [page(), {"$type": "com.example.sheet", "picture": picture}]}

    prefix = "Invalid com.example.album record: "
    assert lexicons.check("com.example.album", page(scan=blob(size=10)), True) == "valid"
    assert lexicons.check("com.example.album", page(scan=None), True) == "valid"
    assert lexicons.check("com.example.album", sheet(blob("any/thing", 20)), True) == "valid"
    assert refusal(lexicons, "com.example.album", page(sub=[{}, {"scan": blob("image/gif")}])) == (
        prefix + 'Expected "image/png" (got "image/gif") at $.record.pages[0].sub[1].scan.mimeType'
    )
    assert refusal(lexicons, "com.example.album", sheet(blob(size=21))) == (
        prefix + "blob too big (maximum 20, got 21) at $.record.pages[1].picture"
    )
    assert refusal(lexicons, "com.example.album", {"cover-art": 7}) == (
        prefix + 'Expected blob value type (got 7) at $.record["cover-art"]'
    )


def test_a_very_deep_record_is_checked_to_its_bottom(tmp_path):
    write(
        tmp_path,
        tree=lexicon(
            "com.example.tree",
            main=record_with(root={"type": "ref", "ref": "#node"}),
            node={
                "type": "object",
                "properties": {
                    "next": {"type": "ref", "ref": "#node"},
                    "leaf": {"type": "blob", "maxSize": 1},
                },
            },
        ),
    )
    node = {"leaf": blob(size=2)}
    for _ in range(50_000):
        node = {"next": node}

    assert "blob too big" in refusal(open_lexicons(tmp_path), "com.example.tree", {"root": node})


def test_an_operators_lexicon_replaces_the_one_that_is_built_in(tmp_path):
    write(
        tmp_path,
        profile=lexicon(
            "app.bsky.actor.profile", main=record_with(avatar={"type": "blob", "maxSize": 9_000})
        ),
    )
    lexicons = open_lexicons(tmp_path)

    assert lexicons.check("app.bsky.actor.profile", {"banner": blob("text/plain")}, None) == "valid"
    assert "maximum 9000" in refusal(
        lexicons, "app.bsky.actor.profile", {"avatar": blob("text/plain", 9_001)}
    )


def test_a_reference_to_a_lexicon_that_is_not_there_is_not_checked(tmp_path):
    write(
        tmp_path,
        a=lexicon("com.example.a", main=record_with(x={"type": "ref", "ref": "com.example.b#c"})),
    )

    assert open_lexicons(tmp_path).check("com.example.a", {"x": blob("x/y")}, True) == "valid"


GOOD = lexicon("com.example.good", main=record_with(x={"type": "blob"}))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{", "Expecting property name"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "recursion"),
        ("{}", "not a lexicon"),
        (json.dumps({"lexicon": 1, "id": "nodots", "defs": {}}), "not a lexicon"),
        (json.dumps({"lexicon": 2, "id": "com.example.a", "defs": {}}), "not a lexicon"),
        (json.dumps({"lexicon": 1, "id": "com.example.a"}), 'needs "defs"'),
        (json.dumps(lexicon("com.example.a", main=1)), 'defs.main: not an object with a "type"'),
        (
            json.dumps(lexicon("com.example.a", a={"type": "ref", "ref": "#a"})),
            "defs.a: a ref cannot be",
        ),
        (
            json.dumps(lexicon("com.example.a", other={"type": "record"})),
            "only main can be a record",
        ),
        (
            json.dumps(lexicon("com.example.a", main={"type": "record"})),
            "defs.main.record: not an object",
        ),
        (
            json.dumps(lexicon("com.example.a", main=record_with(x={"type": "ref", "ref": "#y"}))),
            "refers to #y",
        ),
        (
            json.dumps(lexicon("com.example.a", main=record_with(x={"type": "ref"}))),
            "defs.main.record.x.ref",
        ),
        (
            json.dumps(
                lexicon("com.example.a", main=record_with(x={"type": "blob", "maxSize": "1MB"}))
            ),
            "defs.main.record.x.maxSize: not a number of bytes",
        ),
        (
            json.dumps(
                lexicon("com.example.a", main=record_with(x={"type": "blob", "accept": ["png"]}))
            ),
            "defs.main.record.x.accept: accepted are media types",
        ),
        (
            json.dumps(
                lexicon(
                    "com.example.a", main=record_with(x={"type": "blob", "accept": "image/png"})
                )
            ),
            "defs.main.record.x.accept: not a list of strings",
        ),
        (
            json.dumps(lexicon("com.example.a", main=record_with(x={"type": "array"}))),
            'defs.main.record.x.items: not an object with a "type"',
        ),
        (json.dumps(GOOD), "same id as bad.json"),
    ],
    ids=range(18),
)
def test_a_bad_lexicon_file_ends_the_start_with_one_line(tmp_path, text, reason):
    write(tmp_path, z_good=GOOD)
    (tmp_path / "bad.json").write_text(text)

    with pytest.raises(ConfigError) as caught:
        open_lexicons(tmp_path)

    line = str(caught.value)
    assert line.startswith(f"AURORA_BLOBS_LEXICON_DIR={str(tmp_path)!r}: ")
    assert "bad.json" in line and reason in line and "\n" not in line


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_lexicon_folder_without_lexicons_ends_the_start(tmp_path, name):
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConfigError, match="accepted is a folder with lexicon files"):
        open_lexicons(tmp_path / name)


def test_a_lexicon_file_that_is_a_fifo_ends_the_start_and_hangs_nobody(tmp_path):
    write(tmp_path, good=GOOD)
    os.mkfifo(tmp_path / "lexicon.json")

    with pytest.raises(ConfigError, match="lexicon.json: .*not a regular file"):
        open_lexicons(tmp_path)
