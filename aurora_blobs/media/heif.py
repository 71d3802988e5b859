"""The sizes of AVIF and HEIC images, as shown, from their boxes alone. ISO/IEC 23008-12."""

from collections.abc import Iterator
from itertools import islice

from aurora_blobs.media import video
from aurora_blobs.media.boxes import Box, boxes, child
from aurora_blobs.media.byte_source import ByteSource, Unreadable, uint_be

# Items with properties; a guess. A picture of 50 megapixels in tiles of 512 pixels has 200.
_MAX_ITEMS = 2000
_MAX_LISTS = 4  # of items: one for each version and size of numbers

Size = tuple[int, int]


def heif_size(source: ByteSource) -> Size:
    """Width and height in pixels, cut and turned as *source* says. Raises Unreadable.

    EXIF says nothing here: readers ignore its orientation. A sequence without a still picture has
    the size of its track.
    """
    try:
        meta = child(source, Box(b"", 0, len(source)), b"meta")
        content = Box(b"meta", meta.start + 4, meta.stop)
        properties = list(_primary_properties(source, content))
    except Unreadable:
        properties = []
    if not any(found.kind == b"ispe" for found in properties):
        size = video.mp4_info(source).size
    else:
        size = _shown(source, properties)
    if size is None or 0 in size:
        raise Unreadable("no size")
    return size


def _shown(source: ByteSource, properties: list[Box]) -> Size:
    width = height = turns = 0
    for found in properties:
        if found.kind == b"ispe":
            width, height = uint_be(source, found.start + 4, 4), uint_be(source, found.start + 8, 4)
        elif found.kind == b"clap":  # two fractions
            width, height = (
                uint_be(source, at, 4) // (uint_be(source, at + 4, 4) or 1)
                for at in (found.start, found.start + 8)
            )
        elif found.kind == b"irot":  # quarter turns
            turns = uint_be(source, found.start, 1) & 3
    return (height, width) if turns % 2 else (width, height)


def _primary_properties(source: ByteSource, meta: Box) -> Iterator[Box]:
    """The properties of the picture that is shown, in their order."""
    primary = child(source, meta, b"pitm")
    item = uint_be(source, primary.start + 4, 4 if _version(source, primary) else 2)
    described = child(source, meta, b"iprp")
    shared = child(source, described, b"ipco")
    properties = list(boxes(source, shared.start, shared.stop))
    lists = (box for box in boxes(source, described.start, described.stop) if box.kind == b"ipma")
    for found in islice(lists, _MAX_LISTS):
        for index in _associations(source, found, item):
            if 0 < index <= len(properties):
                yield properties[index - 1]


def _associations(source: ByteSource, ipma: Box, item: int) -> Iterator[int]:
    """The numbers, from 1, of the properties of *item*."""
    id_size = 4 if _version(source, ipma) else 2
    index_size = 2 if uint_be(source, ipma.start + 3, 1) & 1 else 1
    at = ipma.start + 8
    for _ in range(min(uint_be(source, ipma.start + 4, 4), _MAX_ITEMS)):
        count = uint_be(source, at + id_size, 1)
        first = at + id_size + 1
        if uint_be(source, at, id_size) == item:
            essential = 1 << 8 * index_size - 1
            for number in range(count):
                yield uint_be(source, first + number * index_size, index_size) & ~essential
            return
        at = first + count * index_size


def _version(source: ByteSource, box: Box) -> int:
    return uint_be(source, box.start, 1)
