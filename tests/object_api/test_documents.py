"""XML of a client is read within bounds, or refused."""

import pytest

from aurora_blobs.object_api.documents import (
    MAX_KEYS,
    document,
    parse_completion,
    parse_deletion,
)
from aurora_blobs.object_api.refusals import Refusal


def deletion(inner):
    return f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</Delete>'.encode()


def completion(inner):
    return f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>".encode()


def refused(parse, data):
    with pytest.raises(Refusal) as caught:
        parse(data)
    return caught.value.error


def test_keys_are_read_with_what_was_escaped_in_them():
    data = deletion("<Quiet>true</Quiet><Object><Key>a&amp;&#x20;b</Key></Object>")

    assert parse_deletion(data) == (["a& b"], True)


def test_as_many_keys_are_read_as_may_be():
    one = "<Object><Key>k</Key></Object>"

    assert parse_deletion(deletion(one * MAX_KEYS)) == (["k"] * MAX_KEYS, False)
    assert refused(parse_deletion, deletion(one * (MAX_KEYS + 1))) == "MalformedXML"


def test_parts_are_read_in_their_order():
    one, two = (
        f"<Part><ETag>&quot;{tag}&quot;</ETag><PartNumber>{number}</PartNumber>"
        "<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>"
        for number, tag in ((1, "a"), (7, "b"))
    )

    assert parse_completion(completion(one + two)) == [(1, '"a"'), (7, '"b"')]
    assert refused(parse_completion, completion(two + one)) == "InvalidPartOrder"
    assert refused(parse_completion, completion(one + one)) == "InvalidPartOrder"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"<Delete>",
        deletion(""),
        deletion("<Object></Object>"),
        b"<Other><Object><Key>k</Key></Object></Other>",
        deletion("<Object><Key>" + "k" * 5000 + "</Key></Object>"),
        deletion("<a>" * 10 + "</a>" * 10),
        b'<!DOCTYPE d [<!ENTITY a "aaaa">]>' + deletion("<Object><Key>&a;</Key></Object>"),
        b'<?xml version="1.0" encoding="nonsense"?>' + deletion("<Object><Key>k</Key></Object>"),
        b"\xff\xfe" + deletion("<Object><Key>k</Key></Object>"),
    ],
    ids=[
        *("nothing", "JSON", "half", "no keys", "an object without a key", "another root"),
        *("a long key", "deep", "entities", "no encoding", "broken text"),
    ],
)
def test_another_document_is_refused(data):
    assert refused(parse_deletion, data) == "MalformedXML"


def test_what_is_written_is_escaped():
    assert document("Error", [("Message", "<a> & b\0")]).endswith(
        b"<Error><Message>&lt;a&gt; &amp; b\xef\xbf\xbd</Message></Error>"
    )
