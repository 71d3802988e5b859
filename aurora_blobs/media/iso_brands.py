"""The media type of an ISO base media file (MP4, 3GPP, HEIF, AVIF …) or QuickTime film."""

import re

# Kinds of the first box: of files, of QuickTime from before there were brands, and of segments.
_FILE, _SEGMENT = b"ftyp", b"styp"
_OLD_QUICKTIME = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_PARTS = frozenset({_SEGMENT, b"moof", b"sidx", b"emsg", b"prft"})  # ISO/IEC 23009-1, 6.3
FIRST_BOXES = frozenset({_FILE, b"jP  "}) | _OLD_QUICKTIME | _PARTS

_BRAND = re.compile(rb"[\x20-\x7e]{4}")
_BRANDS = {  # all that is not plain MP4; https://mp4ra.org/registered-types/brands
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/x-m4a",
    b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4",
    b"F4A ": "audio/mp4",
    b"F4B ": "audio/mp4",
    b"M4V ": "video/x-m4v",
    b"M4VH": "video/x-m4v",
    b"M4VP": "video/x-m4v",
    b"crx ": "image/x-canon-cr3",
    b"mjp2": "video/mj2",
}
_PICTURES = {  # ISO/IEC 23008-12, annexes B to K, and the AV1 image file format
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"hevc": "image/heic-sequence",
    b"hevx": "image/heic-sequence",
    b"hevm": "image/heic-sequence",
    b"hevs": "image/heic-sequence",
    b"avci": "image/avci",
    b"avcs": "image/avcs",
}
# Brands that say "pictures" and not their coding, which another brand of the list says.
_GENERAL_PICTURES = {b"mif1": "image/heif", b"mif2": "image/heif", b"msf1": "image/heif-sequence"}
_MIAF = b"miaf"
_FILMS = re.compile(rb"iso[m2-9a-c]|mp4[12]|avc1|dash|cmf.")
# Brands of JPEG 2000 files, ISO/IEC 15444-1, I.5.2
_JPEG_2000 = {
    b"jp2 ": "image/jp2",
    b"jpx ": "image/jpx",
    b"jpm ": "image/jpm",
    b"mjp2": "video/mj2",
}


def iso_media_type(head: bytes) -> str | None:
    """The type of a file that begins with *head*, whose first box is of `FIRST_BOXES`."""
    kind = head[4:8]
    if kind == b"jP  ":
        return _JPEG_2000.get(head[20:24])
    if kind in _OLD_QUICKTIME:
        return "video/quicktime"
    if kind != _FILE:
        return "video/mp4"
    major = head[8:12].replace(b"\0", b" ")
    if not _BRAND.fullmatch(major):
        return None
    if major in _BRANDS:
        return _BRANDS[major]
    if major.startswith(b"3g"):
        return "video/3gpp2" if major.startswith(b"3g2") else "video/3gpp"
    return _PICTURES.get(major) or _type_by_list(major, head)


def compatible_brands(head: bytes) -> list[bytes]:
    """The brands in the list of the first box, as far as *head* has them; the last may be cut."""
    listed = head[16 : int.from_bytes(head[:4])]
    return [listed[at : at + 4] for at in range(0, len(listed), 4)]


def _type_by_list(major: bytes, head: bytes) -> str:
    if _FILMS.fullmatch(major):
        return "video/mp4"
    brands = compatible_brands(head)
    general = next((brand for brand in (major, *brands) if brand in _GENERAL_PICTURES), None)
    if general is None and _MIAF not in (major, *brands):
        return "video/mp4"
    coding = next((_PICTURES[brand] for brand in brands if brand in _PICTURES), None)
    # The reference PDS calls pictures of these two brands HEIF, whatever else is in the list.
    if major in _GENERAL_PICTURES and coding != "image/avif":
        return _GENERAL_PICTURES[major]
    return coding or _GENERAL_PICTURES.get(general or b"", "image/heif")
