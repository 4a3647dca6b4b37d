"""Header fields: lines read strictly, and what those about framing mean together, the same for both directions.

Rules of every head
1. What can be read in two ways is refused: `Bad` names the reason. Refusing is rare, so it may be an exception.
2. No byte of a received head reaches the other side unread; names keep their case, lines their order.
3. Lines end in CRLF and nothing else; bytes above 0x7F in values are passed untouched and never decoded.

Source: RFC 9112, RFC 9110; the framing tables of the load balancing notes (2.1, 2.2).
"""

from __future__ import annotations

import re

from balancer.model.reason import Reason

MAX_LINE = 16 * 1024
MAX_LENGTH = 2**63 - 1
CHUNKED = -1  # as a length
UNTIL_CLOSE = -2  # as a length of a response

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# The blanks around a value are cut off afterwards: three patterns side by side that match them would take cubic time.
_FIELD = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
IS_TOKEN = re.compile(_TOKEN)
_CODINGS = re.compile(_TOKEN + rb"(?: *, *" + _TOKEN + rb")*")

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# A Connection header may not take these away: hop-by-hop abuse strips identity (2.2).
PROTECTED = frozenset(
    (
        b"host",
        b"content-length",
        b"content-type",
        b"cookie",
        b"authorization",
        b"x-real-ip",
        b"forwarded",
        b"x-request-id",
        b"cache-control",
    )
)


# What a header line is for us, by its name: one look-up for what would be a dozen comparisons (-4 µs a block). Of a
# PLAIN one nothing is asked; it, NAMED (plain, unless Connection says the word that is its name) and MAX_FORWARDS are
# passed on.
PLAIN, NAMED, MAX_FORWARDS, HOST, LENGTH, CODING, CONNECTION, UPGRADE, EXPECT, REQUEST_ID, HOPS = range(11)
FORWARDED_FOR, SAYS, HOP, DISGUISED = range(11, 15)
HEARD = -1  # passed on in a request, looked at in a response
_CLIENT_SAYS = frozenset((b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip"))
_OURS = frozenset((b"x-request-id", b"x-balancer-hops"))
_MERGED = frozenset((b"content-length", b"transfer-encoding", b"host", b"connection", b"forwarded", b"x-real-ip"))
KINDS: dict[bytes, int] = {
    **dict.fromkeys(HOP_BY_HOP, HOP),
    b"early-data": HOP,
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"x-request-id": REQUEST_ID,
    b"x-balancer-hops": HOPS,
    b"x-forwarded-for": FORWARDED_FOR,
    b"max-forwards": MAX_FORWARDS,
    b"x-balancer-drain": HEARD,
    b"close": NAMED,
    **dict.fromkeys(_CLIENT_SAYS, SAYS),
}
# The names that most heads have, so that they are found as fast.
KINDS |= dict.fromkeys(
    b"accept accept-encoding accept-language accept-ranges access-control-allow-origin age authorization cache-control "
    b"content-encoding content-language content-security-policy content-type cookie date dnt etag expires if-match "
    b"if-modified-since if-none-match if-range last-modified link location origin pragma priority range referer "
    b"sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user server "
    b"set-cookie strict-transport-security upgrade-insecure-requests user-agent vary via x-api-key x-cache "
    b"x-content-type-options x-frame-options x-powered-by x-requested-with".split(),
    PLAIN,
)
KEEPS = {b"keep-alive": True, b"Keep-Alive": True, b"close": False, b"Close": False}  # values of Connection
# Names as they are mostly spelt → (in lower case, kind): a line of such a name, with a value that can be printed, needs
# no pattern.
_SPELT = {
    spelt: (name, kind)
    for name, kind in KINDS.items()
    for spelt in (name, b"-".join(word.capitalize() for word in name.split(b"-")))
}
_MARKS = 1 << 14
_FEW = 256  # hosts, and status lines, that are remembered


class Bad(Exception):
    """A head or body that is refused: a reason, and a detail for the log."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.word, detail)
        self.reason = reason
        self.detail = detail


class Lines:
    """Header lines that were seen twice: line → (name in lower case, value, kind). Bounded; a full table starts anew.

    Beside them what the value of a Host line, and a status line, came to.
    """

    __slots__ = ("_limit", "_marks", "hosts", "known", "plain", "statuses")

    def __init__(self, limit: int = 4096) -> None:
        self.known: dict[bytes, tuple[bytes, bytes, int]] = {}
        self.plain: set[bytes] = set()  # those of `known` that are PLAIN
        self.hosts: dict[bytes, tuple[str, str, bytes]] = {}
        self.statuses: dict[bytes, tuple[int, int, bytes]] = {}
        self._limit = limit
        self._marks = bytearray(_MARKS)

    def keep_host(self, raw: bytes, host: tuple[str, str, bytes]) -> None:
        """Keep what the value of a Host line means."""
        if self._limit:
            if len(self.hosts) >= _FEW:
                self.hosts.clear()
            self.hosts[raw] = host

    def keep_status(self, line: bytes, status: tuple[int, int, bytes]) -> None:
        """Keep what a status line means."""
        if self._limit and len(line) <= 128:
            if len(self.statuses) >= _FEW:
                self.statuses.clear()
            self.statuses[line] = status

    def read(self, line: bytes) -> tuple[bytes, bytes, int]:
        """Return (lower-case name, value, kind) of a header line that is not known yet; raises Bad."""
        spelt, colon, value = line.partition(b":")
        usual = _SPELT.get(spelt)
        if usual is None or not colon or not str(value, "latin-1").isprintable():
            match = _FIELD.fullmatch(line)
            if match is None:
                raise Bad(Reason.BAD_HEADER, _what_is_wrong(line))
            name = spelt.lower()
            kind = KINDS.get(name)
            field = (name, value.strip(b" \t"), _kind(name) if kind is None else kind)
        else:
            field = (usual[0], value.strip(b" \t"), usual[1])
        if self._limit and len(line) <= 512:
            mixed = hash(line)
            at, mark = mixed & (_MARKS - 1), (mixed >> 16) & 0xFF or 1
            if self._marks[at] == mark:
                self._keep(line, field)
            else:
                self._marks[at] = mark  # a line that never comes again pushes nothing out
        return field

    def _keep(self, line: bytes, field: tuple[bytes, bytes, int]) -> None:
        if len(self.known) >= self._limit:
            self.known.clear()
            self.plain.clear()
        self.known[line] = field
        if field[2] == PLAIN:
            self.plain.add(line)


def _kind(name: bytes) -> int:
    if name.startswith(b"x-forwarded-"):
        return SAYS
    return DISGUISED if b"_" in name and _is_disguised(name) else PLAIN


def _is_disguised(name: bytes) -> bool:
    """Return True for a name that a CGI-like upstream would merge with a field that we guard."""
    plain = name.replace(b"_", b"-")
    return plain in _MERGED or plain in _CLIENT_SAYS or plain in _OURS or plain.startswith(b"x-forwarded-")


def _what_is_wrong(line: bytes) -> str:
    if line[:1] in (b" ", b"\t"):
        return "a folded header line"
    name, colon, _ = line.partition(b":")
    if not colon:
        return "a header line without a colon"
    if not IS_TOKEN.fullmatch(name):
        return "a header name that is no token"
    return "a control character in a header value"


def split(block: bytes, max_fields: int, too_large: Reason) -> list[bytes]:
    """Return the header lines of a block that begins with CRLF and ends in CRLF CRLF; raises Bad."""
    if not block.endswith(b"\r\n\r\n"):
        raise Bad(Reason.BAD_HEADER, "a block without an empty line at its end")
    if block == b"\r\n\r\n":
        return []
    lines = block[2:-4].split(b"\r\n")
    longest = max(map(len, lines)) if len(block) > MAX_LINE else 0
    if len(lines) > max_fields or longest > MAX_LINE:
        # Where less of the head is here, this is seen before its size is known: another cut, the same verdict.
        if any(b"\r" in line or b"\n" in line for line in lines):
            raise Bad(Reason.BAD_HEADER, "a line that does not end in CRLF")
        what = f"{len(lines)} header fields" if len(lines) > max_fields else "a header line over 16 KiB"
        raise Bad(too_large, what)
    return lines


def read_length(lengths: list[bytes], codings: list[bytes]) -> int:
    """Return the length of a body: bytes, or CHUNKED; 0 when nothing is said. Raises Bad. Source: RFC 9112, 6."""
    if codings:
        if lengths:
            raise Bad(Reason.FRAMING_CONFLICT, "Transfer-Encoding and Content-Length together")
        if len(codings) > 1:
            raise Bad(Reason.FRAMING_CONFLICT, "more than one Transfer-Encoding line")
        coding = codings[0].strip(b" ").lower()
        if coding == b"chunked":
            return CHUNKED
        words = [word.strip(b" ") for word in coding.split(b",")]
        if _CODINGS.fullmatch(coding) is None or words.count(b"chunked") > 1:
            raise Bad(Reason.FRAMING_CONFLICT, "a malformed Transfer-Encoding")
        raise Bad(Reason.UNSUPPORTED_CODING, f"Transfer-Encoding {coding[:40].decode('latin-1')}")
    if not lengths:
        return 0
    if len(lengths) > 1:
        raise Bad(Reason.FRAMING_CONFLICT, "more than one Content-Length")
    text = lengths[0]
    if not text.isdigit() or len(text) > 19 or (length := int(text)) > MAX_LENGTH:
        raise Bad(Reason.FRAMING_CONFLICT, "a Content-Length that is not a plain number")
    return length
