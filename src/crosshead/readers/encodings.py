"""Bytes → text: compression, byte order marks, encodings, and what is no text at all."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from crosshead.errors import ArticleError

# UTF-32 first: its mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_TEXT = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive or an office document"),
    (b"\xd0\xcf\x11\xe0", "an old office document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"PAR1", "a Parquet table"),
    (b"\x7fELF", "a program"),
)
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class DamagedZstdError(EOFError):
    """What the end of a damaged zstd file raises, as that of a gzip file does."""


GZIP_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error)
"""What reading a damaged packed file raises, whichever of the two it is packed with."""
# The encodings that articles are met in; more would only be taken for each other.
_CANDIDATES = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "koi8_u"),
    *("gb18030", "big5", "cp932", "euc_jp", "cp949"),
]
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x0b\x1a\x1b")) + b"\x7f"
_MAX_CONTROL_SHARE = 0.02
SAMPLE_BYTES = 256 * 1024
_ZSTD_BLOCK = 64 * 1024
_DECLARED = re.compile(rb"""<(?:meta|\?xml)[^>]{0,300}?(?:charset|encoding)\s*=\s*["']?([\w-]{1,40})""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text, and the encoding it was in; a word on bytes that could not be read stands behind its name."""

    text: str
    encoding: str


def decode(data: bytes) -> Decoded:
    """Decode by byte order mark, else as UTF-8, else as HTML declares, else by charset-normalizer's guess.

    Raises
    ------
    ArticleError
        If the bytes are empty, are no text, or no encoding fits.
    """
    refuse_binary(data)
    try:
        return _decode_marked(data) or Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        pass
    if (repaired := _decode_damaged_utf8(data)) is not None:
        return repaired
    for encoding in (_declared_encoding(data), guess_encoding(data[:SAMPLE_BYTES])):
        try:
            if encoding is not None:
                return Decoded(data.decode(encoding), encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    raise ArticleError("it is not text in an encoding that can be told from its bytes; save it as UTF-8")


def refuse_binary(data: bytes) -> None:
    """Raise ArticleError for empty bytes, for known formats that are not text, and for control characters."""
    if not data.strip():
        raise ArticleError(f"it holds no text ({len(data)} bytes); give a file with at least one paragraph")
    for magic, name in _NOT_TEXT:
        if data.startswith(magic):
            raise ArticleError(f"it is {name}, not text; convert it to text, Markdown or HTML first")
    if byte_order_encoding(data) in ("utf-16", "utf-32"):
        return
    if b"\0" in data or has_many_controls(data):
        raise ArticleError(
            "it holds NUL or many control characters, so it is binary, or UTF-16 without a byte order mark; "
            "save it as UTF-8 text"
        )


def has_many_controls(data: bytes) -> bool:
    """Whether there are more control characters at the beginning than in any text."""
    sample = data[:SAMPLE_BYTES]
    return len(sample) - len(sample.translate(None, _CONTROLS)) > _MAX_CONTROL_SHARE * len(sample)


def byte_order_encoding(data: bytes) -> str | None:
    """Name the encoding that a byte order mark at the start of ``data`` tells."""
    return next((encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark)), None)


def guess_encoding(sample: bytes) -> str | None:
    """Guess a legacy encoding; where cp1252 fits as well as the best guess it wins, being by far the commonest."""
    from charset_normalizer import from_bytes

    matches = from_bytes(sample, cp_isolation=_CANDIDATES)
    best = matches.best()
    if best is None:
        return None
    for match in matches:
        as_good = match.chaos <= best.chaos and match.coherence >= best.coherence
        if as_good and "cp1252" in (match.encoding, *match.could_be_from_charset):
            return "cp1252"
    return str(best.encoding)


def unpack(stream: io.BufferedReader) -> BinaryIO:
    """Give the stream, or what is packed in it if it is gzip or zstd."""
    head = stream.peek(4)
    if head.startswith(GZIP_MAGIC):
        return cast("BinaryIO", gzip.GzipFile(fileobj=stream))
    if head.startswith(ZSTD_MAGIC):
        return io.BufferedReader(_Zstd(stream), _ZSTD_BLOCK)
    return stream


class _Zstd(io.RawIOBase):
    """What is packed in a zstd stream, unpacked by pyarrow, whose errors do not say that the file is to blame."""

    def __init__(self, stream: BinaryIO) -> None:
        import pyarrow as pa

        self._unpacked = pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._unpacked.read(len(buffer))
        except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
            raise DamagedZstdError(str(error).partition("\n")[0]) from error
        buffer[: len(block)] = block
        return len(block)


def damaged_gzip(error: BaseException) -> ArticleError:
    """Say what to do about one of ``GZIP_ERRORS``."""
    kind = "zstd" if isinstance(error, DamagedZstdError) else "gzip"
    return ArticleError(f"it is a damaged {kind} file ({error}); pack it again")


def read_limited(stream: io.BufferedReader, limit: int) -> bytes:
    """Read a whole stream, unpacked if it is packed, or refuse it: nothing is held beyond ``limit``."""
    try:
        data = unpack(stream).read(limit + 1)
    except GZIP_ERRORS as error:
        raise damaged_gzip(error) from error
    if len(data) > limit:
        raise ArticleError(
            f"it is larger than {limit} bytes, the most that is read as one document; "
            "cut it into articles, or give it as a file of rows (jsonl, csv, parquet)"
        )
    return data


def _decode_marked(data: bytes) -> Decoded | None:
    encoding = byte_order_encoding(data)
    if encoding is None:
        return None
    return Decoded(data.decode(encoding), encoding.removesuffix("-sig"))


def _decode_damaged_utf8(data: bytes) -> Decoded | None:
    """Read UTF-8 with a few bad bytes as what it is: guessing would garble every other letter."""
    text = data.decode("utf-8", errors="replace")
    n_bad = text.count("\ufffd")
    n_good = sum(character > "\x7f" for character in text) - n_bad
    return Decoded(text, f"utf-8, {n_bad} unreadable") if n_bad * 10 <= n_good else None


def _declared_encoding(data: bytes) -> str | None:
    """Take what HTML or XML declares if it is a legacy encoding; Latin-1 means cp1252, as in every browser."""
    found = _DECLARED.search(data, 0, 2048)
    if found is None:
        return None
    try:
        name = codecs.lookup(found[1].decode("ascii")).name.replace("-", "_")
    except LookupError:
        return None
    if name in ("iso8859_1", "ascii"):
        return "cp1252"
    return name if name in _CANDIDATES or name.startswith(("iso8859_", "mac_", "shift_jis", "euc_", "gb")) else None
