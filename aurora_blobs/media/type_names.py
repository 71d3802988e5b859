"""Media types by all their names: what a claim may be called, and what it may be of a file.

Sources: IANA's registry (https://www.iana.org/assignments/media-types), WHATWG MIME Sniffing
(https://mimesniff.spec.whatwg.org), and what is sent: [B] browsers, [P] phones, [S] SDKs and
servers, [D] desktops by shared-mime-info.
"""

import re

# They claim nothing. MIME Sniffing, 7.1, names the two "unknown"; the others are defaults of
# stores, servers and form libraries.
NO_CLAIMS = frozenset({
    "application/octet-stream",
    "application/unknown",
    "unknown/unknown",
    "application/binary",
    "application/download",
    "application/force-download",
    "application/octetstream",
    "application/x-binary",
    "application/x-download",
    "application/x-force-download",
    "application/x-octet-stream",
    "application/x-unknown",
    "application/x-unknown-content-type",
    "binary/octet-stream",  # S3's own
    "content/unknown",
    "octet/stream",
})  # fmt: skip


def _table(rows: dict[str, str]) -> dict[str, re.Pattern[str]]:
    return {found: re.compile("|".join(names.split())) for found, names in rows.items()}


# Claims that are mistakes, not lies: the type in the bytes is kept. Other names of what browsers
# show go the same way, so that records and their lexicons see one name.
MISTAKEN = _table({
    "image/jpeg": r"""
        image/(x-)?jpg image/(x-)?jpe image/x-jpeg
        image/pjpeg image/x-pjpeg
        image/(x-)?jfif image/pipeg
        image/(x-)?citrix-(jpeg|jpg) application/(x-)?jpe?g
        image/hei[cf]
        """,  # [B] Internet Explorer; [D] Windows' registry; [P] JPEG exports named .heic
    "image/png": r"image/apng image/x-png image/(x-)?citrix-png application/(x-)?png",  # [B]
    "image/apng": r"image/png image/x-png image/vnd\.mozilla\.apng",  # [B]
    "image/gif": r"image/x-gif image/(x-)?citrix-gif",
    "image/webp": r"image/x-webp",
    "image/avif": r"image/avif-sequence image/x-avif image/heif(-sequence)?",
    "video/mp4": r"video/quicktime video/mov video/x-mp4 video/mpeg4 video/x-mpeg4",
    "video/quicktime": r"video/mp4 video/mov video/x-mov video/x-quicktime video/qt image/mov",
    "video/webm": r"video/x-webm video/(x-)?(matroska|mkv)",
})  # fmt: skip

# Claims that are true too: other names of the type, and what a container of that type is used for.
_FONT = r"(font|application)/.*(sfnt|ttf|otf|opentype|truetype)"
_OFFICE = r"application/(x-)?zip application/vnd\..+"
_ASF = r"(video|audio)/x-ms-.+ (video|audio)/asf application/vnd\.ms-asf"
_HEIF = r"image/hei[cf](-sequence)?"
_MP4_SOUND = r"audio/(x-)?mp4 audio/(x-)?m4[abp] audio/mp4a-latm"
_OGG = r"(audio|video|application)/ogg audio/(x-)?(ogg|opus|vorbis|speex) application/x-ogg"
_3GPP = rf"(audio|video)/(x-)?3gpp?2? (audio|video)/3gp2 video/mp4 audio/amr(-wb)? {_MP4_SOUND}"
_POSTSCRIPT = r"application/(x-)?(postscript|eps|illustrator) image/(x-)?eps text/plain"
_OPEN = "application/vnd.oasis.opendocument."
_OOXML = "application/vnd.openxmlformats-officedocument."
TRUE = _table({
    "application/epub+zip": r"application/(x-)?zip",
    "application/eps": _POSTSCRIPT,
    "application/gzip": r"application/(x-gzip|x-gunzip|x-tgz|x-compressed-tar|.+\+gzip)",
    "application/java-archive": r"application/(x-)?(zip|java-archive|jar) application/vnd\..+",
    "application/ogg": _OGG,
    "application/pdf": r"application/(x-pdf|acrobat|vnd\.pdf|illustrator) text/(x-)?pdf",
    "application/pgp-encrypted": r"text/plain application/pgp",
    "application/postscript": _POSTSCRIPT,
    "application/rtf": r"text/(rtf|richtext|plain) application/(x-rtf|msword)",
    **dict.fromkeys(
        (
            *(f"{_OPEN}{kind}" for kind in ("graphics", "presentation", "spreadsheet", "text")),
            *(f"{_OOXML}presentationml.{kind}" for kind in ("presentation", "slideshow")),
            f"{_OOXML}spreadsheetml.sheet",
            f"{_OOXML}wordprocessingml.document",
        ),
        _OFFICE,
    ),
    "application/vnd.ms-cab-compressed": r"application/(x-)?(cab|ms-cab).*",
    "application/x-7z-compressed": r"application/x-7zip",
    "application/x-bzip2": r"application/(x-bzip|bzip2)",
    "application/x-cfb": r"application/(msword|vnd\..+|x-msi|x-msg|x-ole-storage)",
    "application/x-deb": r"application/vnd\.debian\.binary-package",
    "application/x-elf": r"application/x-(executable|sharedlib|pie-executable)",
    "application/x-msdownload": r"""
        application/(vnd\.microsoft\.portable-executable|x-dosexec|x-ms(dos-program|-dos-executable))
        """,
    "application/x-rar-compressed": r"application/(vnd\.rar|x-rar|rar)",
    "application/x-sqlite3": r"application/(vnd\.sqlite3|.+\+sqlite3)",
    "application/x-tar": r"application/tar",
    "application/x-xz": r"application/xz",
    "application/xml": r"text/(xml|plain|html) .+\+xml",
    "application/zip": r"""
        application/(x-zip(-compressed)?|vnd\..+|.+\+zip|(x-)?java-archive|x-xpinstall)
        model/3mf
        """,
    "application/zstd": r"application/(x-)?zst(d|andard)",
    "audio/aac": r"audio/(x-aac|aacp|x-hx-aac-adts|vnd\.dlna\.adts|adts)",  # [P] [S] DLNA
    "audio/aiff": r"(audio|sound)/(x-)?aiff? audio/x-pn-aiff",
    "audio/amr": r"audio/(x-)?amr(-[nw]b)? audio/3gpp",
    "audio/ape": r"audio/(x-ape|(x-)?monkeys-audio)",
    "audio/flac": r"(audio|application)/x-flac application/flac",
    "audio/midi": r"audio/(x-)?midi? audio/sp-midi application/(x-)?midi",
    "audio/mp4": rf"{_MP4_SOUND} audio/aac",
    "audio/mpeg": r"audio/(x-)?(mp[123]|mpe?g|mpeg-?3|mpa) audio/vnd\.dlna\.mp3",
    "audio/ogg": _OGG,
    "audio/vnd.dolby.dd-raw": r"audio/(x-)?e?ac-?3",
    "audio/wav": r"audio/(x-wav|wave|x-wave|vnd\.wave|x-pn-wav)",
    "audio/wavpack": r"audio/(x-)?wavpack audio/x-wv",
    "audio/x-caf": r"audio/caf",
    "audio/x-dff": r"audio/(dff|dsd|x-dsd)",
    "audio/x-dsf": r"audio/(dsf|dsd|x-dsd)",
    "audio/x-m4a": rf"{_MP4_SOUND} audio/aac",
    "audio/x-ms-asf": _ASF,
    "audio/x-musepack": r"audio/(musepack|x-mpc|mpc)",
    "font/collection": _FONT,
    "font/otf": _FONT,
    "font/ttf": _FONT,
    "font/woff": r"application/.*woff",
    "font/woff2": r"application/.*woff2",
    "image/bmp": r"image/(x-)?(ms-|windows-|win-)?(bmp|bitmap) application/(x-)?bmp",
    "image/heic": _HEIF,
    "image/heic-sequence": _HEIF,
    "image/heif": rf"{_HEIF} image/avif",
    "image/heif-sequence": _HEIF,
    "image/icns": r"image/x-icns",
    "image/jp2": r"image/(x-)?jpeg-?2000(-image)? image/jp[xm]",
    "image/jpx": r"image/(x-)?jpeg-?2000(-image)? image/jp[2m]",
    "image/jxl": r"image/x-jxl",
    "image/tiff": r"image/(x-)?tiff? image/x-(adobe|nikon|sony|canon|pentax|kodak|epson)-.+",
    "image/vnd.adobe.photoshop": r"(image|application)/(x-)?(photoshop|psd)",
    "image/vnd.ms-photo": r"image/jxr",
    "image/x-icon": r"image/(vnd\.microsoft\.icon|ico|icon|x-ico)",  # [B]
    "image/x-xcf": r"(image|application)/(x-)?xcf image/x-compressed-xcf",
    "model/3mf": r"application/(zip|vnd\.ms-(package\.)?3d.*)",
    "model/gltf-binary": r"model/gltf\.binary",
    "text/calendar": r"text/(x-vcalendar|plain)",
    "text/vcard": r"text/((x-)?vcard|directory|plain)",
    "text/vtt": r"text/plain",
    "video/3gpp": _3GPP,
    "video/3gpp2": _3GPP,
    "video/matroska": r"(video|audio)/(x-)?(matroska|mkv|mka)(-3d)?",
    "video/mp2t": r"video/(x-)?(mpeg-?ts|m2ts|mts|mpeg) video/vnd\.dlna\.mpeg-tts audio/mp2t",
    "video/mp4": rf"application/mp4 video/x-m4v video/m4v video/iso\.segment {_MP4_SOUND}",
    "video/mpeg": r"video/(x-)?(mpe?g2?|mp1s|mp2p|mpeg-system)",
    "video/ogg": _OGG,
    "video/quicktime": r"audio/quicktime",
    "video/vnd.avi": r"video/(x-msvideo|x-avi|avi|msvideo) application/x-troff-msvideo",
    "video/webm": r"audio/(webm|x-matroska)",
    "video/x-flv": r"video/flv",
    "video/x-m4v": r"video/(m4v|mp4) application/mp4",
    "video/x-ms-asf": _ASF,
})  # fmt: skip

# Other names of a type, for where it is not allowed and nothing was claimed.
BROADER = {"video/x-m4v": ("video/mp4",)}
