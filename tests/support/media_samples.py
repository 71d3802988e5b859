"""Samples of bytes with and without a recognizable media type."""

import io
import json
import struct
import zipfile
import zlib

from PIL import Image

from aurora_blobs.intake.spool import HEAD

HTML = b"<!DOCTYPE html><html><body><script>alert(1)</script></body></html>"
PROGRAM = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8\0\0\0" + bytes(44)


def jpeg(text):
    """Bytes that begin like a JPEG, different for each *text*."""
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + json.dumps(text).encode()


def picture(format, frames=1, **options):
    images = [Image.new("RGB", (16, 16), (shade * 40, 99, 7)) for shade in range(frames)]
    file = io.BytesIO()
    images[0].save(file, format, save_all=frames > 1, append_images=images[1:], **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"\0\0"))


def atom(kind, data=b""):
    return struct.pack(">I", 8 + len(data)) + kind + data


def ftyp(major, *brands):
    return atom(b"ftyp", major + struct.pack(">I", 512) + b"".join(brands)) + atom(
        b"free", bytes(40)
    )


def ebml(doc_type, *, before=b"", size_bytes=1):
    element = b"\x42\x82" + (len(doc_type) | 1 << 7 * size_bytes).to_bytes(size_bytes) + doc_type
    elements = b"\x42\x86\x81\x01" + before + element
    return (
        b"\x1a\x45\xdf\xa3"
        + (len(elements) | 1 << 28).to_bytes(4)
        + elements
        + b"\x18\x53\x80\x67\x01"
    )


def archive(*names, packed=zipfile.ZIP_STORED, **contents):
    """A ZIP of entries *names*, then of *contents* by name, where ``_`` is any other character."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packed) as zipped:
        for name in names:
            zipped.writestr(name, "content")
        for name, content in contents.items():
            zipped.writestr(name, content)
    return file.getvalue()


def content_types(main_part):
    """A list of content types as office programs write it, with *main_part* in it."""
    return {
        "[Content_Types].xml": (
            '<?xml version="1.0"?><Types><Default Extension="rels" ContentType="application/x"/>'
            f'<Override PartName="/main.xml" ContentType="{main_part}"/></Types>'
        )
    }


def streamed_archive(**contents):
    """A ZIP whose entries say their sizes behind their contents."""

    class Pipe(io.RawIOBase):
        written = b""

        def writable(self):
            return True

        def write(self, data):
            self.written += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in contents.items():
            zipped.writestr(name, content)
    return pipe.written


def id3(size, content=b""):
    """An ID3 tag with *size* bytes in it."""
    length = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + length + content + bytes(size - len(content))


def ape_tag(size):
    return struct.pack("<8sIIII8x", b"APETAGEX", 2000, size, 1, 0xA0000000) + bytes(size)


def mp3(version=3, layer=3, frames=3):
    """Frames of MPEG audio: 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5; at the first rates of each."""
    head = bytes([0xFF, 0xE0 | version << 3 | (4 - layer) << 1 | 1, 0x10, 0])
    kbits = {(3, 1): 32, (3, 2): 32, (3, 3): 32, (2, 1): 32, (0, 1): 32}.get((version, layer), 8)
    rate = {3: 44100, 2: 22050, 0: 11025}[version]
    size = (
        12 * kbits * 1000 // rate * 4
        if layer == 1
        else (144 if layer == 2 or version == 3 else 72) * kbits * 1000 // rate
    )
    return head.ljust(size, b"\0") * frames


def adts(frames=3, size=64):
    return (
        bytes([0xFF, 0xF1, 0x50, 0x80, size >> 3, size << 5 & 0xE0, 0xFC]).ljust(size, b"\1")
    ) * (frames)


def asf(*streams):
    """The header of an ASF file with *streams*: ``audio`` and ``video``."""
    kinds = {
        "audio": "409e69f84d5bcf11a8fd00805f5c442b",
        "video": "c0ef19bc4d5bcf11a8fd00805f5c442b",
    }
    objects = b"".join(
        bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")
        + struct.pack("<Q", 78)
        + bytes.fromhex(kinds[kind])
        + bytes(38)
        for kind in streams
    )
    return (
        bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
        + struct.pack("<QIBB", 30 + len(objects), len(streams), 1, 2)
        + objects
        + bytes(100)
    )


OFFICE = "application/vnd.openxmlformats-officedocument."


void = b"\xec\x50\x00" + bytes(4096)  # an EBML Void element of 4096 bytes

SHOWN = {
    "jpeg": (picture("JPEG"), "image/jpeg"),
    "progressive jpeg": (picture("JPEG", progressive=True), "image/jpeg"),
    "jpeg, its three bytes alone": (b"\xff\xd8\xff", "image/jpeg"),
    "jpeg without APP0": (b"\xff\xd8\xff\xdb\0\x43" + bytes(66), "image/jpeg"),
    "png": (picture("PNG"), "image/png"),
    "png by hand": (png(), "image/png"),
    "png, cut off after its header": (png()[:33], "image/png"),
    "apng": (picture("PNG", frames=3), "image/apng"),
    "apng with a long profile": (
        png(chunk(b"iCCP", bytes(3000)), chunk(b"acTL", bytes(8))),
        "image/apng",
    ),
    "png that says acTL in a text": (png(chunk(b"tEXt", b"acTL\0acTL")), "image/png"),
    "png with acTL after the picture": (png() + chunk(b"acTL", bytes(8)), "image/png"),
    "png with a chunk past the head": (png(chunk(b"iCCP", bytes(HEAD))), "image/png"),
    "gif": (picture("GIF"), "image/gif"),
    "animated gif": (picture("GIF", frames=3), "image/gif"),
    "gif of 1987": (b"GIF87a\x01\0\x01\0\0\0\0;", "image/gif"),
    "webp": (picture("WEBP"), "image/webp"),
    "lossless webp": (picture("WEBP", lossless=True), "image/webp"),
    "animated webp": (picture("WEBP", frames=3), "image/webp"),
    "avif": (picture("AVIF"), "image/avif"),
    "bmp": (picture("BMP"), "image/bmp"),
    "tiff": (picture("TIFF"), "image/tiff"),
    "ico": (picture("ICO"), "image/x-icon"),
    "jpeg xl, bare": (b"\xff\x0a\xfa\x1f\x01", "image/jxl"),
    "jpeg xl, boxed": (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    "mp4 isom": (ftyp(b"isom", b"isom", b"iso2", b"avc1", b"mp41"), "video/mp4"),
    "mp4 mp42": (ftyp(b"mp42", b"isom", b"mp42"), "video/mp4"),
    "mp4 iso5 with dash": (ftyp(b"iso5", b"iso5", b"dash"), "video/mp4"),
    "mp4 avc1": (ftyp(b"avc1", b"iso2"), "video/mp4"),
    "mp4 cmfc": (ftyp(b"cmfc", b"iso6"), "video/mp4"),
    "mp4 MSNV of a camera": (ftyp(b"MSNV", b"MSNV", b"mp42"), "video/mp4"),
    "mp4 with a long list of brands": (ftyp(b"isom", *[b"iso2"] * 3000), "video/mp4"),
    "mp4 whose list names 3gp": (ftyp(b"isom", b"3gp4"), "video/mp4"),
    "quicktime": (ftyp(b"qt  ", b"qt  "), "video/quicktime"),
    "quicktime that lists mp42": (ftyp(b"qt  ", b"qt  ", b"mp42"), "video/quicktime"),
    "old quicktime, moov first": (atom(b"moov", atom(b"mvhd", bytes(100))), "video/quicktime"),
    "old quicktime, mdat first": (atom(b"mdat", bytes(100)), "video/quicktime"),
    "old quicktime, mdat of unknown size": (b"\0\0\0\0mdat" + bytes(100), "video/quicktime"),
    "old quicktime, large mdat": (b"\0\0\0\x01mdat\0\0\0\x01" + bytes(100), "video/quicktime"),
    "old quicktime, wide first": (atom(b"wide") + atom(b"mdat", bytes(100)), "video/quicktime"),
    "old quicktime, free first": (
        atom(b"free", bytes(8)) + atom(b"moov", bytes(100)),
        "video/quicktime",
    ),
    "old quicktime, skip first": (
        atom(b"skip", bytes(8)) + atom(b"moov", bytes(100)),
        "video/quicktime",
    ),
    "old quicktime, pnot first": (
        atom(b"pnot", bytes(12)) + atom(b"moov", bytes(100)),
        "video/quicktime",
    ),
    "3gp": (ftyp(b"3gp4", b"isom", b"mp42"), "video/3gpp"),
    "3gp of another release": (ftyp(b"3gr6", b"isom"), "video/3gpp"),
    "3g2": (ftyp(b"3g2a", b"isom"), "video/3gpp2"),
    "m4a": (ftyp(b"M4A ", b"M4A ", b"mp42", b"isom"), "audio/x-m4a"),
    "m4b": (ftyp(b"M4B ", b"mp42", b"isom"), "audio/mp4"),
    "m4v": (ftyp(b"M4V ", b"M4V ", b"mp42", b"isom"), "video/x-m4v"),
    "heic": (ftyp(b"heic", b"mif1", b"heic"), "image/heic"),
    "heic, ten bit": (ftyp(b"heix", b"mif1"), "image/heic"),
    "heif": (ftyp(b"mif1", b"mif1", b"heic"), "image/heif"),
    "heif sequence": (ftyp(b"msf1", b"hevc"), "image/heif-sequence"),
    "avif by hand": (ftyp(b"avif", b"mif1", b"miaf"), "image/avif"),
    "avif sequence": (ftyp(b"avis", b"msf1"), "image/avif"),
    "webm": (ebml(b"webm"), "video/webm"),
    "webm with a padded name": (ebml(b"webm\0\0"), "video/webm"),
    "webm, a size of eight bytes": (ebml(b"webm", size_bytes=8), "video/webm"),
    "webm, its name far in": (ebml(b"webm", before=void), "video/webm"),
    "matroska": (ebml(b"matroska"), "video/matroska"),
    "matroska that says webm elsewhere": (
        ebml(b"matroska", before=b"\xec\x87\x42\x82\x84webm"),
        "video/matroska",
    ),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(16), "audio/wav"),
    "avi": (b"RIFF\x24\0\0\0AVI LIST" + bytes(16), "video/vnd.avi"),
    "mpeg transport stream": ((b"G" + bytes(187)) * 4, "video/mp2t"),
    "mpeg transport stream of a camera": ((bytes(4) + b"G" + bytes(187)) * 4, "video/mp2t"),
    "flac": (b"fLaC\0\0\0\x22" + bytes(34), "audio/flac"),
    "truetype font": (b"\0\x01\0\0\0\x12\x01\0" + bytes(40), "font/ttf"),
    "web font": (b"wOF2\0\x01\0\0" + bytes(40), "font/woff2"),
    "mp3": (b"ID3\x04\0\0\0\0\0\0" + bytes(40), "audio/mpeg"),
    "ogg": (b"OggS\0\x02" + bytes(40), "application/ogg"),
    "ogg vorbis": (b"OggS\0\x02" + bytes(22) + b"\x01vorbis" + bytes(9), "audio/ogg"),
    "ogg opus": (b"OggS\0\x02" + bytes(22) + b"OpusHead" + bytes(9), "audio/ogg"),
    "ogg theora": (b"OggS\0\x02" + bytes(22) + b"\x80theora" + bytes(9), "video/ogg"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "application/pdf"),
    "pdf, its start all text": (
        b"%PDF-1.4\n1 0 obj <</Type /Catalog /Pages 2 0 R>>",
        "application/pdf",
    ),
    "zip": (archive("a.txt"), "application/zip"),
    "empty zip": (archive(), "application/zip"),
    "docx": (
        archive("[Content_Types].xml", "_rels/.rels", "word/document.xml"),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    "docx by its list of types": (
        archive(**content_types(f"{OFFICE}wordprocessingml.document.main+xml")),
        f"{OFFICE}wordprocessingml.document",
    ),
    "docx, compressed": (
        archive(
            packed=zipfile.ZIP_DEFLATED,
            **content_types(f"{OFFICE}wordprocessingml.document.main+xml"),
        ),
        f"{OFFICE}wordprocessingml.document",
    ),
    "xlsx, streamed": (
        streamed_archive(**content_types(f"{OFFICE}spreadsheetml.sheet.main+xml")),
        f"{OFFICE}spreadsheetml.sheet",
    ),
    "xlsm": (
        archive(**content_types("application/vnd.ms-excel.sheet.macroEnabled.main+xml")),
        "application/vnd.ms-excel.sheet.macroenabled.12",
    ),
    "pptx, its list of types last": (
        archive("_rels/.rels", "ppt/presentation.xml", "[Content_Types].xml"),
        f"{OFFICE}presentationml.presentation",
    ),
    "epub": (archive(mimetype="application/epub+zip"), "application/epub+zip"),
    "epub, streamed": (
        streamed_archive(mimetype="application/epub+zip", more="x"),
        "application/epub+zip",
    ),
    "odt": (
        archive(mimetype="application/vnd.oasis.opendocument.text"),
        "application/vnd.oasis.opendocument.text",
    ),
    **{
        f"opendocument {kind}": (
            archive(mimetype=f"application/vnd.oasis.opendocument.{kind}"),
            f"application/vnd.oasis.opendocument.{kind}",
        )
        for kind in ("graphics", "presentation", "spreadsheet", "text-template")
    },
    "ppsx": (
        archive(**content_types(f"{OFFICE}presentationml.slideshow.main+xml")),
        f"{OFFICE}presentationml.slideshow",
    ),
    "zip that states a type of its own": (archive(mimetype="text/html"), "application/zip"),
    "jar": (archive("META-INF/", "META-INF/MANIFEST.MF", "A.class"), "application/java-archive"),
    "apk": (archive("classes.dex"), "application/vnd.android.package-archive"),
    "firefox extension": (archive("META-INF/mozilla.rsa"), "application/x-xpinstall"),
    "keynote": (
        archive("Index/Document.iwa", "Index/MasterSlide-1.iwa"),
        "application/vnd.apple.keynote",
    ),
    "numbers": (
        archive("Index/Tables/a.iwa", "Index/Document.iwa"),
        "application/vnd.apple.numbers",
    ),
    "3mf": (archive("3D/3dmodel.model"), "model/3mf"),
    "gzip": (zlib.compressobj(wbits=31).flush(), "application/gzip"),
    "tar": (b"a" * 100 + bytes(157) + b"ustar\0" + bytes(249), "application/x-tar"),
    "old word": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + b"\xec\xa5\xc1\0",
        "application/x-cfb",
    ),
    "elf": (b"\x7fELF\x02\x01\x01" + bytes(9), "application/x-elf"),
    "windows program": (PROGRAM, "application/x-msdownload"),
    "wasm": (b"\0asm\x01\0\0\0", "application/wasm"),
    "jpeg-ls": (b"\xff\xd8\xff\xf7\0\x0b", "image/jls"),
    "heif of miaf alone": (ftyp(b"miaf", b"miaf", b"MiHB"), "image/heif"),
    "heic under miaf": (ftyp(b"miaf", b"mif1", b"heic"), "image/heic"),
    "heic, layered": (ftyp(b"heim", b"mif1"), "image/heic"),
    "heic sequence, layered": (ftyp(b"hevs", b"msf1"), "image/heic-sequence"),
    "avif under mif1": (ftyp(b"mif1", b"mif1", b"avif", b"miaf"), "image/avif"),
    "avif sequence under msf1": (ftyp(b"msf1", b"msf1", b"avis"), "image/avif"),
    "pictures of a brand of their own": (ftyp(b"jpeg", b"mif1", b"jpeg"), "image/heif"),
    "avc picture": (ftyp(b"avci", b"mif1"), "image/avci"),
    "mp4 that lists pictures": (ftyp(b"isom", b"mif1", b"heic"), "video/mp4"),
    "mp4 of a brand of its own": (ftyp(b"XAVC", b"mp42", b"iso2"), "video/mp4"),
    "segment": (atom(b"styp", b"msdh\0\0\0\0msdhmsix") + atom(b"sidx", bytes(40)), "video/mp4"),
    "segment without a styp": (atom(b"moof", atom(b"mfhd", bytes(8))), "video/mp4"),
    "jpeg 2000": (
        atom(b"jP  ", b"\r\n\x87\n") + atom(b"ftyp", b"jp2 \0\0\0\0jp2 "),
        "image/jp2",
    ),
    "jpeg 2000, extended": (
        atom(b"jP  ", b"\r\n\x87\n") + atom(b"ftyp", b"jpx \0\0\0\0jpx "),
        "image/jpx",
    ),
    "glb": (b"glTF\2\0\0\0" + bytes(40), "model/gltf-binary"),
    "icns": (b"icns\0\0\1\0TOC " + bytes(40), "image/icns"),
    "font collection": (b"ttcf\0\1\0\0\0\0\0\2" + bytes(40), "font/collection"),
    "pgp message": (b"-----BEGIN PGP MESSAGE-----\n\nhQ", "application/pgp-encrypted"),
    "jpeg 2000, bare": (b"\xff\x4f\xff\x51\0\x2f" + bytes(40), "image/j2c"),
    "xcf": (b"gimp xcf v011\0" + bytes(40), "image/x-xcf"),
    "xcf of the first gimp": (b"gimp xcf file\0" + bytes(40), "image/x-xcf"),
    "wav of more than 4 GiB": (b"RF64\xff\xff\xff\xffWAVEds64" + bytes(40), "audio/wav"),
    "aiff": (b"FORM\0\0\1\0AIFFCOMM" + bytes(40), "audio/aiff"),
    "flac behind a tag": (id3(50) + b"fLaC\0\0\0\x22" + bytes(34), "audio/flac"),
    "flac behind two tags": (id3(50) + id3(9) + b"fLaC\0\0\0\x22" + bytes(34), "audio/flac"),
    "wav behind a tag": (id3(50) + b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "audio/wav"),
    "aiff behind a tag": (id3(0) + b"FORM\0\0\1\0AIFFCOMM" + bytes(40), "audio/aiff"),
    "aac behind a tag": (id3(90) + adts(), "audio/aac"),
    "mp3 behind a tag": (id3(4000) + mp3(), "audio/mpeg"),
    "mp3 behind a tag and an ape tag": (id3(40) + ape_tag(100) + mp3(), "audio/mpeg"),
    "musepack behind an ape tag": (ape_tag(64) + b"MPCKSH\x0e" + bytes(40), "audio/x-musepack"),
    "a picture behind a tag": (id3(30) + picture("PNG"), "audio/mpeg"),
    "a tag that never ends": (id3(200_000)[:HEAD], "audio/mpeg"),
    "mp3, mpeg-1": (mp3(3), "audio/mpeg"),
    "mp3, mpeg-2": (mp3(2), "audio/mpeg"),
    "mp3, mpeg-2.5": (mp3(0), "audio/mpeg"),
    "mp2": (mp3(3, layer=2), "audio/mpeg"),
    "mp2, mpeg-2": (mp3(2, layer=2), "audio/mpeg"),
    "mp1": (mp3(3, layer=1), "audio/mpeg"),
    "mp3 of one frame": (mp3(3, frames=1), "audio/mpeg"),
    "aac": (adts(), "audio/aac"),
    "ac-3": (b"\x0b\x77\x12\x34\x10\x40" + bytes(60), "audio/vnd.dolby.dd-raw"),
    "e-ac-3": (b"\x0b\x77\x00\x1f\x10\x80".ljust(64, b"\0") * 3, "audio/vnd.dolby.dd-raw"),
    "wavpack": (b"wvpk\x40\0\0\0\x10\4" + bytes(54), "audio/wavpack"),
    "monkey's audio": (b"MAC \x96\x0f\0\0" + bytes(40), "audio/ape"),
    "musepack, stream version 7": (b"MP+\x07" + bytes(40), "audio/x-musepack"),
    "dsf": (b"DSD \x1c\0\0\0\0\0\0\0" + bytes(40), "audio/x-dsf"),
    "dff": (b"FRM8\0\0\0\0\0\0\1\0DSD FVER" + bytes(40), "audio/x-dff"),
    "caf": (b"caff\0\1\0\0desc" + bytes(40), "audio/x-caf"),
    "amr": (b"#!AMR\n\x3c" + bytes(31), "audio/amr"),
    "wma": (asf("audio"), "audio/x-ms-asf"),
    "wmv, its sound first": (asf("audio", "video"), "video/x-ms-asf"),
    "ogm": (b"OggS\0\x02" + bytes(22) + b"\x01video\0\0" + bytes(9), "video/ogg"),
    "vcard": (b"BEGIN:VCARD\r\nVERSION:4.0\r\n", "text/vcard"),
    "calendar": (b"BEGIN:VCALENDAR\nVERSION:2.0\n", "text/calendar"),
    "rtf": (b"{\\rtf1\\ansi hello}", "application/rtf"),
    "postscript": (b"%!PS-Adobe-3.0\n%%Pages: 1\n", "application/postscript"),
    "encapsulated postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "application/eps"),
    "utf-16 xml": ("\ufeff<?xml version='1.0'?><a/>".encode("utf-16-le"), "application/xml"),
    "colour profile": (bytes(36) + b"acsp" + bytes(90), "application/vnd.iccprofile"),
    "webvtt": (b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello", "text/vtt"),
    "webvtt, the word alone": (b"WEBVTT", "text/vtt"),
    "webvtt after a byte order mark": (b"\xef\xbb\xbfWEBVTT - title\n", "text/vtt"),
    "xml": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "application/xml"),
}

NOT_SHOWN = {
    "nothing": b"",
    "one byte": b"\xff",
    "html": HTML,
    "json": b'{"hello":"world"}',
    "text": b"hello world!",
    "svg without a prolog": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "script": b"#!/bin/sh\necho",
    "utf-16": "hello".encode("utf-16"),
    "car": b"\x3a\xa2eroots\x81\xd8*X%\0\x01q\x12 " + bytes(40),
    "png signature alone": b"\x89PNG\r\n\x1a\n",
    "png signature cut short": b"\x89PNG text",
    "png with unix line ends": b"\x89PNG\n\x1a\n" + bytes(20),
    "a text that begins as a gif": b"GIFT certificate",
    "gif of another year": b"GIF88a" + bytes(20),
    "a text that begins as a bmp": b"BMW is a car, and not a picture of one",
    "a text that begins as a program": b"MZ is what a program begins with",
    "a text that begins as a database": b"SQLite is a database in a library",
    "a text that begins as flash": b"CWS is short for many things, all of them long",
    "a text in utf-8 that begins as a bmp": "BMW für alle".encode(),
    "a text in latin-1 that begins as a bmp": "BMW für alle".encode("latin-1"),
    "a text in windows-1252 that begins as a program": "MZ – für alle".encode("cp1252"),
    "a text in shift-jis that begins as a bmp": "BM方式のメモ".encode("shift-jis"),
    "a text that begins as a tag": b"ID3 tags are in front of sound, and say who plays it",
    "a text that begins as a picture": b"GIF89a is a format of 1989",
    "a text that begins as musepack": b"MP+ is a codec",
    "a text that begins as postscript": b"%! is how it begins",
    "a text that begins as a pdf": b"%PDF is how it begins",
    "a text that begins as a model": b"solid ground is what we need",
    "a text that begins as a drawing": b"AC1015 is a version of AutoCAD",
    "a text that begins as an extension": b"Cr24 is how extensions of Chrome begin",
    "frames that do not follow each other": mp3()[:60] + bytes(2000),
    "utf-16 text of latin letters": "ｈello".encode("utf-16"),
    "a tag's name and no tag": b"ID3\xff\xff\0\0\0\0\0" + bytes(40),
    "webvtt with more to the word": b"WEBVTTX\n",
    "a text that begins as a transport stream": b"G" * 100 + b" is a letter " * 30,
    "a text about a ftyp": b"the ftyp box comes first",
    "a text about a free lunch": b"the free lunch is a story for children",
    "a text about a mdat": b"abc mdat",
    "ftyp without a brand": b"\0\0\0\x08ftyp",
    "ftyp whose brand is no text": b"\0\0\0\x10ftyp\x01\x02\x03\x04" + bytes(8),
    "riff of no known kind": b"RIFF\x24\0\0\0SFBKLIST",
    "ebml of no known kind": ebml(b"other"),
    "ebml, cut off": b"\x1a\x45\xdf\xa3",
    "ebml, cut off in a size": b"\x1a\x45\xdf\xa3\x9f\x42\x82",
    "ebml of zeros": b"\x1a\x45\xdf\xa3" + bytes(40),
    "ebml that names webm past its header": b"\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01<b>webm</b>",
    "windows font of no name": bytes(8) + b"\x02\0\x01" + bytes(23) + b"LP" + bytes(40),
}
