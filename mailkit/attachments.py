"""Files in a message: what may be attached, and its form as the end of all messages.

Everything behind the text parts of a letter to many is the same for all recipients: it is made
once, and messages refer to it instead of holding copies (mailkit.smtp.message.WireMessage).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import quote

from mailkit.mime import base64_lines
from mailkit.rfc2047 import CONTROL

# Octets of a whole message. What receivers take: Postfix 10,240,000 as it is installed
# (postconf(5), message_size_limit), Gmail 25 MB (support.google.com/mail/answer/6584), Exchange
# Online 36 MB. The smallest decides: a list has recipients everywhere.
LARGEST_MESSAGE = 10_240_000
# Octets of all files of a letter together, and so of one. Base64 in lines makes 10,044,255 of
# them and leaves room for the letter.
LARGEST_FILES = 7 * 1024 * 1024
MOST_FILES = 10
# From here on it is worth a thought: a link costs each recipient less.
HEAVY_MESSAGE = 1_000_000
LONGEST_NAME = 120

# What Gmail refuses, also within archives: support.google.com/mail/answer/6590.
BLOCKED_TYPES = frozenset(
    (
        *("ade", "adp", "apk", "appx", "appxbundle", "bat", "cab", "chm", "cmd", "com", "cpl"),
        *("diagcab", "diagcfg", "diagpkg", "dll", "dmg", "ex", "ex_", "exe", "hta", "img", "ins"),
        *("iso", "isp", "jar", "jnlp", "js", "jse", "lib", "lnk", "mde", "mjs", "msc", "msi"),
        *("msix", "msixbundle", "msp", "mst", "nsh", "pif", "ps1", "scr", "sct", "shb", "sys"),
        *("vb", "vbe", "vbs", "vhd", "vxd", "wsc", "wsf", "wsh", "xll"),
    )
)
_PACKED = frozenset(("gz", "tgz", "bz2", "z"))
# Not the mimetypes module: what it says depends on the machine.
_OFFICE = "application/vnd.openxmlformats-officedocument."
_TYPES = {
    "pdf": "application/pdf",
    "docx": f"{_OFFICE}wordprocessingml.document",
    "xlsx": f"{_OFFICE}spreadsheetml.sheet",
    "pptx": f"{_OFFICE}presentationml.presentation",
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "rtf": "application/rtf",
    "zip": "application/zip",
    "csv": "text/csv",
    "txt": "text/plain",
    "ics": "text/calendar",
    "vcf": "text/vcard",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
}
# A file's header in a zip archive's directory (APPNOTE 4.3.12), up to the file's name.
_ZIP_ENTRY = re.compile(rb"PK\x01\x02.{24}(..).{16}", re.DOTALL)
_NOT_IN_NAMES = re.compile(r'[<>:"|?*]')
_CHUNK = 57 * 1024  # whole lines of base64
_ROOM = 60  # characters of a name in a line of a header


@dataclass(frozen=True, slots=True)
class Attachments:
    """The files of a letter. `tail` gives all that is behind the text parts, where `boundary`
    parts them; kept for a while by whoever made it, so that letters do not keep it."""

    boundary: bytes
    tail: Callable[[], bytes]


def clean_name(name: str) -> str:
    """A file's name as any system takes it, without what hides its end or its type."""
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    # Format characters such as U+202E turn the direction of what is read: "cod.exe" for a .doc.
    shown = (" " if one.isspace() else one for one in name if one.isspace() or one.isprintable())
    name = _NOT_IN_NAMES.sub("_", " ".join("".join(shown).split())).strip(". ")
    stem, dot, ending = name.rpartition(".")
    if not dot or not stem or len(ending) > 20:
        return name[:LONGEST_NAME].strip(". ") or "file"
    return f"{stem[: LONGEST_NAME - len(ending) - 1].rstrip('. ')}.{ending}"


def content_type(name: str) -> str:
    return _TYPES.get(_ending(name), "application/octet-stream")


def blocked_name(name: str, data: bytes) -> str:
    """The name that mail providers refuse: the file's own or one in the archive; "" for none."""
    ending = _ending(name)
    if ending in BLOCKED_TYPES or _is_program(data):
        return name
    if ending in _PACKED and _ending(name.rpartition(".")[0]) in BLOCKED_TYPES:
        return name
    if ending == "zip":
        for entry in _ZIP_ENTRY.finditer(data):
            length = int.from_bytes(entry[1], "little")
            inner = data[entry.end() : entry.end() + length].decode("utf-8", "replace")
            if _ending(inner) in BLOCKED_TYPES:
                return clean_name(inner)
    return ""


def _ending(name: str) -> str:
    """Lower-case. Windows ignores dots and spaces at the end of a name."""
    stem, _dot, ending = name.rstrip(". ").rpartition(".")
    return ending.lower() if stem else ""


def _is_program(data: bytes) -> bool:
    """A program of Windows or Linux, whatever its name says."""
    return data.startswith(b"\x7fELF") or (data.startswith(b"MZ") and b"\0" in data[:64])


def mixed_boundary(*seeds: str) -> bytes:
    """What parts the text from files that `seeds` name. Like `mime.boundary_of` it occurs in
    nothing that is quoted-printable or base64."""
    return b"=_m" + blake2b("\n".join(seeds).encode(), digest_size=15).hexdigest().encode()


def part_head(boundary: bytes, name: str, content_type: str) -> bytes:
    """What is between the part before and a file's base64."""
    lines = (
        f"Content-Type: {content_type}",
        "Content-Transfer-Encoding: base64",
        f"Content-Disposition: attachment;\r\n {_file_name(CONTROL.sub('_', name))}",
    )
    return b"\r\n--%b\r\n%b\r\n\r\n" % (boundary, "\r\n".join(lines).encode())


def tail_of(boundary: bytes, files: Iterable[tuple[str, str, bytes]]) -> bytes:
    """What stands behind the text parts. `files`: name, content type, content.

    Canonical in the sense of DKIM (RFC 6376 section 3.4.4), and no line begins with a dot.
    """
    pieces = []
    for name, kind, data in files:
        pieces.append(part_head(boundary, name, kind))
        # In chunks: base64_lines takes some ten times the size of what it cuts.
        chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
        pieces.append(b"\r\n".join(map(base64_lines, chunks)))
    return b"".join((*pieces, _end(boundary)))


def tail_size(boundary: bytes, files: Iterable[tuple[str, str, int]]) -> int:
    """The length of what `tail_of` gives. `files`: name, content type, octets of the content."""
    heads = (
        len(part_head(boundary, name, kind)) + _encoded_size(size) for name, kind, size in files
    )
    return sum(heads) + len(_end(boundary))


def _end(boundary: bytes) -> bytes:
    return b"\r\n--%b--\r\n" % boundary


def _encoded_size(size: int) -> int:
    characters = -(-size // 3) * 4
    return characters + 2 * max(-(-characters // 76) - 1, 0)


def _file_name(name: str) -> str:
    """The parameter by RFC 2183, or by RFC 2231 where it is not plain or too long for a line."""
    # Two spaces would be one to DKIM's relaxed form.
    if name.isascii() and len(name) <= _ROOM and "  " not in name:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'filename="{escaped}"'
    pieces = ["utf-8''"]
    for character in name:  # whole ones: some programs decode piece by piece
        encoded = quote(character, safe="")
        if len(pieces[-1]) + len(encoded) > _ROOM:
            pieces.append("")
        pieces[-1] += encoded
    if len(pieces) == 1:
        return f"filename*={pieces[0]}"
    return ";\r\n ".join(f"filename*{number}*={one}" for number, one in enumerate(pieces))
