"""The media type of a file, detected from its first bytes."""

import re
from struct import Struct

import filetype  # type: ignore[import-untyped]

from aurora_blobs.media.audio_streams import frames_type, tags_end
from aurora_blobs.media.iso_brands import FIRST_BOXES, iso_media_type
from aurora_blobs.media.zip_types import zip_type

UNKNOWN = "application/octet-stream"

# A start of frame of JPEG-LS and its length, for 1 to 4 components. ITU T.87, C.2.2
_JPEG_LS_FRAMES = frozenset(bytes([0xF7, 0, 8 + 3 * count]) for count in range(1, 5))
_PNG = b"\x89PNG\r\n\x1a\n"
_CHUNK = Struct(">I4s")  # of a PNG: the length of the data, the kind
_RIFF = {
    b"WEBP": "image/webp",
    b"WAVE": "audio/wav",
    b"AVI ": "video/vnd.avi",
    b"QLCM": "audio/qcelp",
}
_EBML_DOC_TYPES: dict[bytes | None, str] = {b"webm": "video/webm", b"matroska": "video/matroska"}
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")  # header object; ASF 10.1
_ASF_STREAM = bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")  # stream properties object
_ASF_AUDIO = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")
_ASF_VIDEO = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")
# Where a byte is none of these, it is binary data. Bytes above ASCII may be of any encoding.
# https://mimesniff.spec.whatwg.org/#binary-data-byte
_TEXT = re.compile(rb"[^\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]*")
_TEXT_WINDOW = 1445  # bytes; https://mimesniff.spec.whatwg.org/#reading-the-resource-header
_MARK = rb"(\xef\xbb\xbf)?"  # UTF-8's byte order mark


def _compiled(*signatures: tuple[bytes, str]) -> list[tuple[re.Pattern[bytes], str]]:
    return [(re.compile(pattern, re.DOTALL), mime_type) for pattern, mime_type in signatures]


# Text that is of a type, or the beginning of a file that may go on with other bytes.
_TEXT_SIGNATURES = _compiled(
    (_MARK + rb"WEBVTT([\0\t\n\r ]|\Z)", "text/vtt"),
    (_MARK + rb"<\?xml[\t\n\r ]", "application/xml"),
    (_MARK + rb"BEGIN:VCARD\r?\n", "text/vcard"),
    (_MARK + rb"BEGIN:VCALENDAR\r?\n", "text/calendar"),
    (rb"-----BEGIN PGP MESSAGE-----", "application/pgp-encrypted"),
    (_MARK + rb"%PDF-\d", "application/pdf"),
    (rb"%!PS-Adobe-\S+ EPSF-", "application/eps"),
    (rb"%!PS", "application/postscript"),
    (rb"\{\\rtf\d", "application/rtf"),
    (rb"!<arch>\ndebian-binary", "application/x-deb"),
    (rb"!<arch>\n", "application/x-unix-archive"),
    (rb"#!AMR(-WB)?\n", "audio/amr"),
)
_SIGNATURES = _compiled(
    (rb"\x7fELF", "application/x-elf"),
    (rb"\0asm", "application/wasm"),
    # Which kind of document it is stands beyond the head.
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-cfb"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (rb"\xff\x4f\xff\x51", "image/j2c"),
    # Packets of 188 bytes, or of 192 on a camera's card.
    (rb"G(.{187}G){2}|.{4}G(.{191}G){2}", "video/mp2t"),
    (rb"fLaC", "audio/flac"),
    (rb"FORM.{4}AIF[FC]", "audio/aiff"),
    (rb"(RF64|BW64).{4}WAVE", "audio/wav"),
    (rb"caff\0\x01", "audio/x-caf"),
    (rb"wvpk.{4}[\x02-\x10]\x04", "audio/wavpack"),
    (rb"MAC .[\x0d-\x0f]", "audio/ape"),
    (rb"MP\+.|MPCK", "audio/x-musepack"),
    (rb"DSD \x1c\0{7}", "audio/x-dsf"),
    (rb"FRM8.{8}DSD ", "audio/x-dff"),
    (rb"\.RMF\0\0\0", "application/vnd.rn-realmedia"),
    (rb"gimp xcf (file|v\d{3})\0", "image/x-xcf"),
    (rb"icns\0", "image/icns"),
    (rb"FUJIFILMCCD-RAW", "image/x-fujifilm-raf"),
    (rb"II(RO|RS)\x08\0\0\0", "image/x-olympus-orf"),
    (rb"IIU\0\x18\0\0\0", "image/x-panasonic-rw2"),
    (rb"glTF[\x01\x02]\0\0\0", "model/gltf-binary"),
    (rb"ttcf\0[\x01\x02]\0\0", "font/collection"),
    (rb"\xca\xfe\xba\xbe\0.\0[\x2d-\xff]", "application/java-vm"),
    (rb".{36}acsp", "application/vnd.iccprofile"),
    (rb".{8}(\0\0\x01|\x01\0\x02|\x02\0\x02).{23}LP", "application/vnd.ms-fontobject"),
    # A UTF-16 text says so in its first two bytes, and is not looked into.
    (rb"\xff\xfe<\0\?\0x\0m\0l\0[\t\n\r ]\0", "application/xml"),
    (rb"\xfe\xff\0<\0\?\0x\0m\0l\0[\t\n\r ]", "application/xml"),
)

# These are decided above, by `filetype`'s names or ours; all others are left to `filetype`. UNKNOWN
# is its name for a font that it recognises by two bytes.
_DECIDED = {
    *_RIFF.values(),
    "image/jpeg",
    "image/png",
    "image/apng",
    "image/gif",
    "image/avif",
    "image/heic",
    "image/jpx",
    "image/x-xcf",
    "audio/aac",
    "audio/amr",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "audio/x-aiff",
    "audio/x-flac",
    "audio/x-wav",
    "video/3gpp",
    "video/mp4",
    "video/quicktime",
    "video/webm",
    "video/x-m4v",
    "video/x-matroska",
    "video/x-ms-wmv",
    "video/x-msvideo",
    "application/epub+zip",
    "application/msword",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
    "application/vnd.oasis.opendocument.presentation",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.text",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/x-executable",
    "application/wasm",
    UNKNOWN,
}
_MATCHERS = tuple(kind for kind in filetype.TYPES if kind.mime not in _DECIDED)
_NAMES = {  # those of the reference PDS, by extension
    "otf": "font/otf",
    "ttf": "font/ttf",
    "woff": "font/woff",
    "woff2": "font/woff2",
}


# Bytes behind tags in which sound shows its type: two of the longest MPEG frames, or the first box
# of a film and its list of brands.
_BEHIND_TAGS = 4096


def wanted_bytes(head: bytes) -> int:
    """How many bytes of a file that begins with *head* `detect` should have, 0 for no more.

    More are wanted of sound behind a tag that is longer than *head*.
    """
    end = tags_end(head)
    return end + _BEHIND_TAGS if end else 0


def detect(head: bytes) -> str | None:
    """The media type of a file whose first 8192 bytes are *head*; None if it is not recognised.

    Behind tags, *head* may be longer, see `wanted_bytes`. Names are those of the reference PDS. The
    rest of the file is not looked at, so it may be damaged or harmful.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jls" if head[3:6] in _JPEG_LS_FRAMES else "image/jpeg"
    if head.startswith(_PNG):
        return _png_type(head)
    if head.startswith(b"RIFF") and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] in FIRST_BOXES and not _is_text(head[:_TEXT_WINDOW]):
        return iso_media_type(head)
    if (end := tags_end(head)) != 0:
        return _type_behind_tags(head[end : end + _BEHIND_TAGS])
    if _is_text(head[:_TEXT_WINDOW]):
        return _first_match(_TEXT_SIGNATURES, head)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"PK\x03\x04"):
        return zip_type(head)
    return _binary_type(head)


def _is_text(data: bytes) -> bool:
    return _TEXT.fullmatch(data) is not None


def _first_match(signatures: list[tuple[re.Pattern[bytes], str]], head: bytes) -> str | None:
    return next((mime_type for pattern, mime_type in signatures if pattern.match(head)), None)


def _binary_type(head: bytes) -> str | None:
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _EBML_DOC_TYPES.get(_ebml_doc_type(head))
    if head.startswith(b"OggS"):
        return _ogg_type(head)
    if head.startswith(_ASF):
        return _asf_type(head)
    found = _first_match(_TEXT_SIGNATURES, head) or _first_match(_SIGNATURES, head)
    return found or _filetype_type(head) or frames_type(head)


def _type_behind_tags(start: bytes) -> str:
    """The type of sound that begins with *start* behind its tags; MP3 if it is not recognised.

    Only sound is looked for: a tag in front of anything else is for those who look into neither.
    """
    found = detect(start)
    return found if found is not None and found.startswith("audio/") else "audio/mpeg"


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
    is_film = codec.startswith((b"\x80theora", b"\x01video\0"))
    return "video/ogg" if is_film else "application/ogg"


def _asf_type(head: bytes) -> str:
    # Which streams there are stands in the header. A film has sound too, in any order.
    kinds = {stream[8:24] for stream in head.split(_ASF_STREAM)[1:]}
    is_sound = _ASF_AUDIO in kinds and _ASF_VIDEO not in kinds
    return "audio/x-ms-asf" if is_sound else "video/x-ms-asf"


def _filetype_type(head: bytes) -> str | None:
    if not head:
        return None
    kind = filetype.match(head, _MATCHERS)
    return None if kind is None else _NAMES.get(kind.extension, str(kind.mime))


def hides_sound(head: bytes) -> bool:
    """Whether tags fill *head* up to its end: any sound may be behind them."""
    return tags_end(head) >= len(head) > 0


_MP4_PICTURES = re.compile(rb"hdlr.{8}vide", re.DOTALL)  # ISO/IEC 14496-12, 8.4.3
_MATROSKA_PICTURES = re.compile(rb"\x83\x81\x01")  # RFC 9559, 5.1.4.1.3: TrackType
# Tracks of pictures, as far as they are declared in the head.
_PICTURE_TRACKS = {
    "video/mp4": _MP4_PICTURES,
    "video/3gpp": _MP4_PICTURES,
    "video/3gpp2": _MP4_PICTURES,
    "video/quicktime": _MP4_PICTURES,
    "video/webm": _MATROSKA_PICTURES,
    "video/matroska": _MATROSKA_PICTURES,
    "application/ogg": re.compile(rb"\x80theora|\x01video\0"),
}


def shows_pictures(found: str, head: bytes) -> bool:
    """Whether *head*, the first bytes of a file of type *found*, declares a track of pictures."""
    return found in _PICTURE_TRACKS and _PICTURE_TRACKS[found].search(head) is not None
