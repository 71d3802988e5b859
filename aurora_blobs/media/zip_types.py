"""What a ZIP archive is used for, from the names and the first entries in its beginning."""

import re
import zlib
from collections.abc import Iterator
from struct import Struct

ZIP = "application/zip"
_ENTRY = Struct("<4sHHH8xIIHH")  # the local header, APPNOTE.TXT 4.3.7
_ENTRY_SIZE = 30
_SIGNATURE = b"PK\x03\x04"
_MAX_ENTRIES = 300  # more do not fit into the head that is looked at
_MAX_CONTENT = 64 * 1024  # bytes of an entry; a guess, lists of content types have a few thousand
_DEFLATED, _STORED = 8, 0
_HAS_DESCRIPTOR, _IS_ENCRYPTED = 1 << 3, 1 << 0

_OFFICE = "application/vnd.openxmlformats-officedocument."
_MODEL = "application/vnd.ms-package.3dmanufacturing-3dmodel+xml"
# A list of content types names the type of the main part, which is the document's and ".main+xml".
_MAIN_PART = re.compile(rb'"([\x20\x21\x23-\x7e]{1,200})\.main\+xml"')
_OFFICE_TYPES = {
    **{
        f"{_OFFICE}{kind}": f"{_OFFICE}{kind}"
        for kind in (
            "presentationml.presentation",
            "presentationml.slideshow",
            "presentationml.template",
            "spreadsheetml.sheet",
            "spreadsheetml.template",
            "wordprocessingml.document",
            "wordprocessingml.template",
        )
    },
    **{
        f"application/vnd.ms-{kind}": f"application/vnd.ms-{kind}.12"
        for kind in (
            "excel.sheet.macroenabled",
            "excel.template.macroenabled",
            "powerpoint.presentation.macroenabled",
            "powerpoint.slideshow.macroenabled",
            "powerpoint.template.macroenabled",
            "word.document.macroenabled",
        )
    },
    "application/vnd.ms-word.template.macroenabledtemplate": (
        "application/vnd.ms-word.template.macroenabled.12"
    ),
    "application/vnd.ms-visio.drawing": "application/vnd.visio",
}
# An entry "mimetype" comes first and says the type. OpenDocument 1.2, part 3, 3.3; EPUB OCF 3.3
_STATED = re.compile(
    rb"application/(epub\+zip|vnd\.oasis\.opendocument\."
    rb"(text|spreadsheet|presentation|graphics)(-template)?)"
)
# Names that only one kind of archive has, as far as the reference PDS names it.
_NAMES = [
    (re.compile(pattern), mime_type)
    for pattern, mime_type in [
        (r"META-INF/mozilla\.rsa", "application/x-xpinstall"),
        (r"classes\d*\.dex", "application/vnd.android.package-archive"),
        (r"META-INF/MANIFEST\.MF", "application/java-archive"),
    ]
]
_FOLDERS = {
    "word/": f"{_OFFICE}wordprocessingml.document",
    "ppt/": f"{_OFFICE}presentationml.presentation",
    "xl/": f"{_OFFICE}spreadsheetml.sheet",
}


def zip_type(head: bytes) -> str:
    """The media type of the ZIP archive whose first bytes are *head*.

    Entries are read in the order of the file, as far as *head* has them.
    """
    by_folder = None
    is_iwork = is_keynote = is_numbers = False
    for name, content in _entries(head):
        if name == "mimetype" and (stated := _STATED.fullmatch(content.strip())) is not None:
            return stated[0].decode()
        if name == "[Content_Types].xml" and (found := _office_type(content)) is not None:
            return found
        for pattern, mime_type in _NAMES:
            if pattern.fullmatch(name):
                return mime_type
        by_folder = by_folder or _type_by_folder(name)
        is_iwork |= name == "Index/Document.iwa"
        is_keynote |= name.startswith("Index/MasterSlide")
        is_numbers |= name.startswith("Index/Tables/")
    if by_folder is not None:
        return by_folder
    # Pages documents are what lacks the others' entries, which may stand beyond the head.
    if is_iwork and is_keynote:
        return "application/vnd.apple.keynote"
    if is_iwork and is_numbers:
        return "application/vnd.apple.numbers"
    return ZIP


def _type_by_folder(name: str) -> str | None:
    if name.startswith("3D/") and name.endswith(".model"):
        return "model/3mf"
    return next((kind for folder, kind in _FOLDERS.items() if name.startswith(folder)), None)


def _office_type(content_types: bytes) -> str | None:
    if (main := _MAIN_PART.search(content_types)) is not None:
        return _OFFICE_TYPES.get(main[1].decode().lower())
    return "model/3mf" if f'ContentType="{_MODEL}"'.encode() in content_types else None


def _entries(head: bytes) -> Iterator[tuple[str, bytes]]:
    """The name of each entry and the beginning of its content, empty where it is not needed."""
    at = 0
    for _ in range(_MAX_ENTRIES):
        if len(head) < at + _ENTRY_SIZE or head[at : at + 4] != _SIGNATURE:
            return
        _, _, flags, method, packed_size, _, name_size, extra_size = _ENTRY.unpack_from(head, at)
        name_at = at + _ENTRY_SIZE
        start = name_at + name_size + extra_size
        name = head[name_at : name_at + name_size].decode(errors="replace")
        has_size = not flags & _HAS_DESCRIPTOR
        is_read = name in ("mimetype", "[Content_Types].xml") and not flags & _IS_ENCRYPTED
        packed = head[start : start + packed_size] if has_size else head[start:]
        yield name, _unpacked(packed, method) if is_read else b""
        if has_size:
            at = start + packed_size
        else:  # the size follows the content
            at = head.find(_SIGNATURE, start)
            if at < 0:
                return


def _unpacked(packed: bytes, method: int) -> bytes:
    if method == _STORED:
        # Without a size, what follows belongs to other entries.
        return packed.partition(b"PK")[0][:_MAX_CONTENT]
    if method != _DEFLATED:
        return b""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, _MAX_CONTENT)
    except zlib.error:
        return b""
