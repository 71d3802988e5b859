"""The media type of a file, detected from its first bytes."""

import re
from struct import Struct

import filetype  # type: ignore[import-untyped]

UNKNOWN = "application/octet-stream"

_PNG = b"\x89PNG\r\n\x1a\n"
_CHUNK = Struct(">I4s")  # of a PNG: the length of the data, the kind
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
# Kinds of the first box of an ISO base media file, or of QuickTime from before there were brands.
_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_BRANDS = {  # all that is not plain MP4; https://mp4ra.org/registered-types/brands
    b"qt  ": "video/quicktime",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic-sequence",
    b"hevx": "image/heic-sequence",
    b"M4A ": "audio/x-m4a",
    b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4",
    b"F4A ": "audio/mp4",
    b"F4B ": "audio/mp4",
    b"M4V ": "video/x-m4v",
    b"M4VH": "video/x-m4v",
    b"M4VP": "video/x-m4v",
    b"mif1": "image/heif",
    b"msf1": "image/heif-sequence",
    b"crx ": "image/x-canon-cr3",
    b"mjp2": "video/mj2",
}
_EBML_DOC_TYPES: dict[bytes | None, str] = {b"webm": "video/webm", b"matroska": "video/matroska"}
_SIGNATURES = [
    (re.compile(pattern, re.DOTALL), mime_type)
    for pattern, mime_type in [
        (rb"\x7fELF", "application/x-elf"),
        (rb"\0asm", "application/wasm"),
        # Which kind of document it is stands beyond the head.
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-cfb"),
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
        # Packets of 188 bytes, or of 192 on a camera's card.
        (rb"G(.{187}G){2}|.{4}G(.{191}G){2}", "video/mp2t"),
        (rb"(\xef\xbb\xbf)?WEBVTT([\0\t\n\r ]|\Z)", "text/vtt"),
        (rb"(\xef\xbb\xbf)?<\?xml[\t\n\r ]", "application/xml"),
    ]
]
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]*")

# These are decided above, by `filetype`'s names or ours; all others are left to `filetype`. UNKNOWN
# is its name for a font that it recognises by two bytes.
_DECIDED = {
    *_RIFF.values(),
    *_BRANDS.values(),
    *_EBML_DOC_TYPES.values(),
    "image/jpeg",
    "image/png",
    "image/apng",
    "image/gif",
    "audio/ogg",
    "audio/x-wav",
    "video/x-matroska",
    "video/mp4",
    "video/3gpp",
    "application/x-executable",
    "application/wasm",
    UNKNOWN,
}
_MATCHERS = tuple(kind for kind in filetype.TYPES if kind.mime not in _DECIDED)
_NAMES = {  # those of the reference PDS, by extension
    "aiff": "audio/aiff",
    "avi": "video/vnd.avi",
    "flac": "audio/flac",
    "otf": "font/otf",
    "ttf": "font/ttf",
    "wmv": "video/x-ms-asf",
    "woff": "font/woff",
    "woff2": "font/woff2",
}
# Some signatures are two or three letters, which a sentence may begin with. If the head is text,
# only these types are looked for.
_TEXT_MATCHERS = tuple(
    kind
    for kind in _MATCHERS
    if kind.mime.removeprefix("application/")
    in ("pdf", "postscript", "rtf", "x-tar", "x-deb", "x-unix-archive")
)


def detect(head: bytes) -> str | None:
    """The media type of a file whose first 8192 bytes are *head*; None if it is not recognised.

    Names are those of the reference PDS. The rest of the file is not looked at, so it may be
    damaged or harmful.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(_PNG):
        return _png_type(head)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] in _FIRST_BOXES and not _TEXT.fullmatch(head, 0, 4):
        return _iso_media_type(head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _EBML_DOC_TYPES.get(_ebml_doc_type(head))
    if head.startswith(b"OggS"):
        return _ogg_type(head)
    for signature, mime_type in _SIGNATURES:
        if signature.match(head):
            return mime_type
    return _filetype_type(head)


def _png_type(head: bytes) -> str | None:
    # An animation has an acTL chunk before its image data.
    # https://www.w3.org/TR/png-3/#apngFrame-based-animation
    position = len(_PNG)
    if len(head) == position:
        return None
    while position + _CHUNK.size <= len(head):
        length, kind = _CHUNK.unpack_from(head, position)
        if kind == b"acTL":
            return "image/apng"
        if kind == b"IDAT":
            break
        position += length + 12
    return "image/png"


def _iso_media_type(head: bytes) -> str | None:
    if head[4:8] != b"ftyp":
        return "video/quicktime"
    major = head[8:12].replace(b"\0", b" ")
    if len(major) < 4 or not _TEXT.fullmatch(major):
        return None
    if major.startswith(b"3g"):
        return "video/3gpp2" if major.startswith(b"3g2") else "video/3gpp"
    return _BRANDS.get(major, "video/mp4")


def _ebml_doc_type(head: bytes) -> bytes | None:
    # RFC 8794: the header is an element that holds others. Each is an ID and a size, of 1 to 8
    # bytes, then its content.
    position = 4 + _vint_length(head, 4)
    while position < len(head):
        id_end = position + _vint_length(head, position)
        size_end = id_end + _vint_length(head, id_end)
        size = int.from_bytes(head[id_end:size_end]) & ~(-1 << 7 * (size_end - id_end))
        if head[position:id_end] == b"\x42\x82":
            return head[size_end : size_end + size].rstrip(b"\0")
        position = size_end + size
    return None


def _vint_length(head: bytes, position: int) -> int:
    return 9 - head[position].bit_length() if position < len(head) else 1


def _ogg_type(head: bytes) -> str:
    codec = head[28:36]
    if codec.startswith((b"\x01vorbis", b"OpusHead", b"Speex  ", b"\x7fFLAC")):
        return "audio/ogg"
    return "video/ogg" if codec.startswith(b"\x80theora") else "application/ogg"


def _filetype_type(head: bytes) -> str | None:
    if not head:
        return None
    kind = filetype.match(head, _TEXT_MATCHERS if _TEXT.fullmatch(head, 0, 32) else _MATCHERS)
    return None if kind is None else _NAMES.get(kind.extension, str(kind.mime))
