"""Variants of media files by the hundred: brands of films and pictures, archives, sound in tags."""

import zipfile
from collections.abc import Iterator

from support.media_samples import (
    OFFICE,
    adts,
    ape_tag,
    archive,
    asf,
    atom,
    content_types,
    ebml,
    ftyp,
    id3,
    mp3,
    picture,
    streamed_archive,
)

_FILMS = [b"isom", b"iso5", b"mp41", b"mp42", b"avc1", b"dash", b"cmfc", b"MSNV", b"M4V ", b"3gp5"]
_PICTURES = [b"heic", b"heix", b"heim", b"hevc", b"hevs", b"avif", b"avis", b"avci", b"crx "]
_GENERAL = [b"mif1", b"msf1", b"miaf"]
_SOUND = [b"M4A ", b"M4B ", b"M4P ", b"F4A "]
_LISTS = [(), (b"isom",), (b"mif1", b"heic"), (b"mif1", b"avif", b"miaf"), (b"qt  ", b"mp42")]
_STREAMS = {
    "mp3": mp3(),
    "mp3 8 kHz": mp3(0),
    "mp2": mp3(layer=2),
    "aac": adts(),
    "flac": b"fLaC\0\0\0\x22" + bytes(34),
    "wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
    "aiff": b"FORM\0\0\1\0AIFFCOMM" + bytes(40),
    "wavpack": b"wvpk\x40\0\0\0\x10\4" + bytes(54),
    "ape": b"MAC \x96\x0f\0\0" + bytes(40),
    "musepack": b"MPCKSH\x0e" + bytes(40),
    "ogg": b"OggS\0\x02" + bytes(22) + b"\x01vorbis" + bytes(9),
}
_TAGS = {
    "no tag": b"",
    "id3": id3(100),
    "long id3": id3(20_000),
    "two id3": id3(9) + id3(300),
    "ape": ape_tag(64),
    "id3 and ape": id3(64) + ape_tag(64),
}
_DOCUMENTS = {
    "docx": f"{OFFICE}wordprocessingml.document.main+xml",
    "xlsx": f"{OFFICE}spreadsheetml.sheet.main+xml",
    "pptx": f"{OFFICE}presentationml.presentation.main+xml",
    "xlsm": "application/vnd.ms-excel.sheet.macroEnabled.main+xml",
    "3mf": "application/vnd.ms-package.3dmanufacturing-3dmodel+xml",
}


def variants() -> Iterator[tuple[str, bytes]]:
    """A name and the bytes of each."""
    for major in (*_FILMS, *_PICTURES, *_GENERAL, *_SOUND, b"qt  "):
        for listed in _LISTS:
            yield (
                f"ftyp {major.decode()}, {b' '.join(listed).decode() or 'no list'}",
                ftyp(major, major, *listed),
            )
    for tag_name, tag in _TAGS.items():
        for name, stream in _STREAMS.items():
            yield f"{name}, {tag_name}", tag + stream
    for name, main_part in _DOCUMENTS.items():
        types = content_types(main_part)
        yield f"{name}, stored", archive(**types, more="x")
        yield f"{name}, packed", archive(packed=zipfile.ZIP_DEFLATED, **types)
        yield f"{name}, streamed", streamed_archive(**types, more="x")
    for kind in ("text", "spreadsheet", "presentation", "graphics"):
        mime_type = f"application/vnd.oasis.opendocument.{kind}"
        yield f"opendocument {kind}", archive(mimetype=mime_type, more="x")
    yield "epub", archive(mimetype="application/epub+zip", more="x")
    yield "jar", archive("META-INF/MANIFEST.MF", "A.class")
    yield "apk", archive("res/a.xml", "classes.dex")
    for streams in (("audio",), ("video",), ("video", "audio"), ("audio", "video")):
        yield f"asf of {' and '.join(streams)}", asf(*streams)
    for doc_type in (b"webm", b"matroska"):
        yield f"ebml {doc_type.decode()}", ebml(doc_type)
    for format in ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO"):
        yield format, picture(format)
    yield "styp", atom(b"styp", b"msdh\0\0\0\0msdhmsix") + atom(b"sidx", bytes(40))
