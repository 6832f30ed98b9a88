"""HTTP/1.1 as it is on the wire, for the fault proxy: heads, bodies of either framing, connections that know when
their peer has gone."""

import asyncio
import contextlib
import dataclasses
import fcntl
import socket
import struct
import termios
import time
import urllib.parse

PIECE = 256 << 10
MAX_HEAD = 256 << 10
# How long the proxy waits for a peer to take what it was sent before a connection is cut all the same.
FLUSH_S = 2.0


class Gone(Exception):
    """A peer has closed its connection, or it was cut: this exchange is over."""


class Head:
    """A start line and headers; `raw` is what came over the wire."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode("latin-1").split("\r\n")[:-2]
        self.start = lines[0].split(" ", 2)
        self.headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]

    def get(self, name, default=None):
        return next((value for key, value in self.headers if key.lower() == name), default)

    def has_token(self, name, token):
        return any(token == part.strip().lower() for key, value in self.headers if key.lower() == name
                   for part in value.split(","))

    def changed(self, **changes):
        """A copy; names in lower case with _ for -, None takes a header away."""
        changes = {name.replace("_", "-"): value for name, value in changes.items()}
        kept = [(name, value) for name, value in self.headers if name.lower() not in changes]
        return make_head(" ".join(self.start), kept + [(n, v) for n, v in changes.items() if v is not None])

    def framing(self):
        """How its body ends: "chunked", a number of bytes, or None where the head does not say."""
        if self.has_token("transfer-encoding", "chunked"):
            return "chunked"
        length = self.get("content-length")
        return None if length is None else int(length)

    @property
    def keeps_alive(self):
        version = self.start[0] if self.start[0].startswith("HTTP/") else self.start[-1]
        if version == "HTTP/1.0":
            return self.has_token("connection", "keep-alive")
        return not self.has_token("connection", "close")


def make_head(start, headers):
    return Head("\r\n".join([start, *(f"{n}: {v}" for n, v in headers), "", ""]).encode("latin-1"))


async def read_head(reader):
    try:
        return Head((await reader.readuntil(b"\r\n\r\n")).lstrip(b"\r\n"))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as fault:
        raise Gone("before a whole head") from fault


class Body:
    """Reads a body of either framing, piece by piece. `done` once all of it was read."""

    def __init__(self, reader, framing):
        self._reader, self._framing = reader, framing
        self._left = framing if isinstance(framing, int) else 0
        self.done = framing == 0

    async def read(self, most=PIECE):
        """Some bytes; none at its end."""
        try:
            if self._framing == "chunked" and not self._left and not self.done:
                await self._next_chunk()
            if self.done:
                return b""
            piece = await self._reader.read(most if self._framing == "close" else min(most, self._left))
            if self._framing == "close":
                self.done = not piece
                return piece
            self._left -= len(piece)
            if self._framing != "chunked":
                self.done = not self._left
            elif not self._left:
                await self._reader.readexactly(2)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError) as fault:
            raise Gone("inside a body") from fault
        if not piece:
            raise Gone("inside a body")
        return piece

    async def read_all(self):
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def _next_chunk(self):
        line = await self._reader.readuntil(b"\r\n")
        self._left = int(line.split(b";")[0], 16)
        if not self._left:
            while await self._reader.readuntil(b"\r\n") != b"\r\n":
                pass  # a trailer
            self.done = True


def chunk(piece):
    return b"%x\r\n%b\r\n" % (len(piece), piece)


class Protocol(asyncio.StreamReaderProtocol):
    """Knows when its peer has gone, even while nobody reads."""

    def connection_made(self, transport):
        self.gone = asyncio.Event()
        super().connection_made(transport)

    def eof_received(self):
        self.gone.set()
        return super().eof_received()

    def connection_lost(self, fault):
        self.gone.set()
        super().connection_lost(fault)


class Wire:
    """One connection, to the client or to the server."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.gone = writer.transport.get_protocol().gone
        writer.transport.set_write_buffer_limits(2 * PIECE)

    @classmethod
    async def connect(cls, host, port):
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(MAX_HEAD, loop)
        try:
            transport, protocol = await loop.create_connection(lambda: Protocol(reader, loop=loop), host, port)
        except OSError as fault:
            raise Gone("no connection to the server") from fault
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def send(self, data):
        if self.writer.transport.is_closing():
            raise Gone("while sending")
        self.writer.write(data)
        try:
            await self.writer.drain()
        except OSError as fault:
            raise Gone("while sending") from fault

    async def flush(self):
        """Waits until the peer's kernel has everything: a reset throws away what is on its way."""
        transport = self.writer.transport
        deadline = time.monotonic() + FLUSH_S
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            while not transport.is_closing() and time.monotonic() < deadline:
                waiting = fcntl.ioctl(self.writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
                if not transport.get_write_buffer_size() and not struct.unpack("i", waiting)[0]:
                    return
                await asyncio.sleep(0.0005)

    def reset(self):
        """The peer sees ECONNRESET."""
        if not self.writer.transport.is_closing():
            self.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()

    async def finish(self):
        """The peer sees an end of data, also when it is still sending."""
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            self.writer.write_eof()
            await asyncio.wait_for(self.gone.wait(), FLUSH_S)
        self.writer.close()


@dataclasses.dataclass
class Request:
    """One request as the log keeps it, and as schedules see it. Times are time.monotonic()."""

    number: int
    connection: int
    method: str
    path: str = ""
    query: str = ""
    range: str = None
    headers: dict = dataclasses.field(default_factory=dict, repr=False)
    started: float = dataclasses.field(default_factory=time.monotonic)
    fault: str = None
    sent_bytes: int = 0          # of the body, by the client
    forwarded: int = 0           # times that the server got it in full
    upstream_statuses: list = dataclasses.field(default_factory=list)
    status: int = None           # what the client was told
    answered_bytes: int = 0      # of the body, to the client
    complete: bool = False       # the client was sent a whole answer
    seconds: float = None        # until it was over

    def query_value(self, name):
        return dict(urllib.parse.parse_qsl(self.query, keep_blank_values=True)).get(name)

    @property
    def is_list(self):
        return self.method == "GET" and self.query_value("list-type") is not None
