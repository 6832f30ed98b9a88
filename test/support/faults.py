"""What the fault proxy does to requests, and the schedules that choose it: see fault_proxy.py.

A fault is made of the steps of fault_proxy.Exchange, which is the `x` of its `run`.
"""

import asyncio
import dataclasses
import email.utils
import hashlib
import os
import random
import re
import time

from xml.sax.saxutils import escape

from wire import Gone, chunk


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens to one request. This one is none: it passes."""

    async def run(self, x):
        await x.relay(await x.forward())


Pass = Fault


@dataclasses.dataclass(frozen=True)
class Refuse(Fault):
    """The connection is reset, and for a while nobody listens."""
    seconds: float = 0.5

    async def run(self, x):
        x.proxy.stop_listening(self.seconds)
        x.client.wire.reset()
        raise Gone("refused on purpose")


@dataclasses.dataclass(frozen=True)
class ResetBefore(Fault):
    """The server never hears of it. The request's body is read up to `after` bytes, None: in full."""
    after: int = None

    async def run(self, x):
        if self.after is None:
            await x.content()
        elif self.after:
            await x._incoming.read(self.after)
        await x.reset()


@dataclasses.dataclass(frozen=True)
class LostAnswer(Fault):
    """The server did as it was told, and the client never hears of it."""

    async def run(self, x):
        await x.content()
        await x.forward()
        x.client.drop_upstream()
        await x.reset()


@dataclasses.dataclass(frozen=True)
class CutResponse(Fault):
    after: int = 0

    async def run(self, x):
        answer = await x.forward()
        if answer.has_body:
            await x.start(answer)
            sent = await x.copy(answer, self.after)
            if answer.body.done and sent and answer.framing != "chunked":
                x.request.complete = True  # it was shorter than that: nothing is missing
        else:
            await x.client.wire.send(answer.head.raw[:len(answer.head.raw) // 2])
        x.client.drop_upstream()
        await self.end(x)


@dataclasses.dataclass(frozen=True)
class ResetResponse(CutResponse):
    """A reset after so many bytes of the answer's body; in the middle of the head where there is no body."""

    async def end(self, x):
        await x.reset()


@dataclasses.dataclass(frozen=True)
class Truncate(CutResponse):
    """The connection ends after so many bytes, fewer than Content-Length promised."""

    async def end(self, x):
        await x.cut()


@dataclasses.dataclass(frozen=True)
class Shorten(Fault):
    """The body lacks its last bytes, and Content-Length agrees: nothing is wrong for HTTP."""
    by: int = 1

    async def run(self, x):
        answer = await x.forward()
        if answer.framing == "chunked":
            whole = await answer.body.read_all()
            await x.start(answer)
            await x.send(answer, whole[:max(0, len(whole) - self.by)])
        elif answer.has_body and answer.framing != "close":
            left = max(0, answer.framing - self.by)
            await x.start(answer, content_length=left)
            await x.copy(answer, left)
            x.client.drop_upstream()
        else:
            await x.start(answer)
            await x.copy(answer)
        await x.end(answer)


@dataclasses.dataclass(frozen=True)
class Stall(Fault):
    """Nothing comes for a while: before the first byte, or after `at` bytes of the body."""
    seconds: float = 5.0
    at: int = None

    async def run(self, x):
        answer = await x.forward()
        if self.at is None:
            await x.pause(self.seconds)
        await x.start(answer)
        if self.at is not None:
            await x.copy(answer, self.at)
            await x.pause(self.seconds)
        await x.copy(answer)
        await x.end(answer)


@dataclasses.dataclass(frozen=True)
class Blackhole(Fault):
    """Never an answer, until the client goes away. `forward`: the server heard of it all the same. `deaf`: not even
    the request's body is read."""
    forward: bool = False
    deaf: bool = False

    async def run(self, x):
        if not self.deaf:
            await x.content()
        if self.forward:
            await x.forward()
            x.client.drop_upstream()
        await x.client.wire.gone.wait()
        raise Gone("the client gave up")


@dataclasses.dataclass(frozen=True)
class Drip(Fault):
    """A few bytes at a time, so that there is always some progress."""
    size: int = 1
    every_s: float = 0.1

    async def run(self, x):
        answer = await x.forward()
        await x.start(answer)
        while await x.copy(answer, self.size):
            await x.pause(self.every_s)
        await x.end(answer)


@dataclasses.dataclass(frozen=True)
class DripHead(Fault):
    """The headers come byte by byte."""
    every_s: float = 0.1

    async def run(self, x):
        answer = await x.forward()
        for byte in answer.head.raw:
            await x.client.wire.send(bytes([byte]))
            await x.pause(self.every_s)
        await x.copy(answer)
        await x.end(answer)


@dataclasses.dataclass(frozen=True)
class Flip(Fault):
    """Bits of the body turn: of the answer's, or of the request's on its way to the server."""
    count: int = 1
    within: int = None       # among the first so many bytes, None: anywhere
    upload: bool = False
    seed: int = 1

    def places(self, size):
        rng = random.Random(self.seed)
        size = min(size, self.within or size)
        return {rng.randrange(size): 1 << rng.randrange(8) for _ in range(self.count)} if size else {}

    def flipped(self, places, offset, piece):
        hit = {at: bit for at, bit in places.items() if offset <= at < offset + len(piece)}
        if not hit:
            return piece
        out = bytearray(piece)
        for at, bit in hit.items():
            out[at - offset] ^= bit
        return bytes(out)

    async def run(self, x):
        if self.upload:
            content = await x.content()
            await x.relay(await x.forward(self.flipped(self.places(len(content)), 0, content)))
            return
        answer = await x.forward()
        size = answer.framing if isinstance(answer.framing, int) else self.within or 200
        places = self.places(size)
        await x.relay(answer, change=lambda offset, piece: self.flipped(places, offset, piece))


CODES = {
    "AccessDenied": 403, "AuthorizationHeaderMalformed": 400, "BadDigest": 400, "BadGateway": 502,
    "ConditionalRequestConflict": 409, "ExpiredToken": 400, "GatewayTimeout": 504, "InternalError": 500,
    "InvalidAccessKeyId": 403, "InvalidToken": 400, "NoSuchKey": 404, "PreconditionFailed": 412,
    "RequestTimeTooSkewed": 403, "RequestTimeout": 400, "ServiceUnavailable": 503, "SignatureDoesNotMatch": 403,
    "SlowDown": 503, "TooManyRequests": 429,
}


def error_xml(code, **more):
    inner = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in
                    {"Code": code, "Message": f"{code}, says the fault proxy", **more, "RequestId": "FAULT"}.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


@dataclasses.dataclass(frozen=True)
class Error(Fault):
    """An S3 error in place of an answer. `status` None: as S3 has it for this code. `forward`: it happened anyhow."""
    code: str = "SlowDown"
    status: int = None
    retry_after: object = None
    date_offset_s: float = 0.0     # how far the server's clock, in Date and in the body, differs from ours
    forward: bool = False
    body: bytes = None

    async def run(self, x):
        await x.content()
        if self.forward:
            await x.forward()
            x.client.drop_upstream()
        now = time.time() + self.date_offset_s
        headers = [("Date", email.utils.formatdate(now, usegmt=True)), ("Content-Type", "application/xml")]
        if self.retry_after is not None:
            headers.append(("Retry-After", self.retry_after))
        more = {"Resource": x.request.path}
        if self.code == "RequestTimeTooSkewed":
            more["ServerTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
            more["MaxAllowedSkewMilliseconds"] = 900_000
        if self.code == "AuthorizationHeaderMalformed":
            more["Region"] = "eu-west-1"
        body = error_xml(self.code, **more) if self.body is None else self.body
        await x.answer(self.status or CODES[self.code], self.code, headers, body)


@dataclasses.dataclass(frozen=True)
class Duplicate(Fault):
    """The server gets the request twice; the client hears the answer to the `first` or to the `second`."""
    answer: str = "second"

    async def run(self, x):
        await x.content()
        answer = await x.forward()
        if self.answer == "first":
            whole = await answer.body.read_all()
            await (await x.forward()).body.read_all()
            await x.start(answer)
            await x.send(answer, whole)
            await x.end(answer)
            return
        await answer.body.read_all()
        await x.relay(await x.forward())


@dataclasses.dataclass(frozen=True)
class RepeatAnswer(Fault):
    """The whole answer stands on the wire twice: the second must not be taken for that of the next request."""

    async def run(self, x):
        answer = await x.forward()
        whole = await answer.body.read_all()
        await x.start(answer)
        await x.send(answer, whole)
        await x.end(answer)
        again = answer.head.raw + (chunk(whole) + b"0\r\n\r\n" if answer.framing == "chunked" else whole)
        await x.client.wire.send(again)


@dataclasses.dataclass(frozen=True)
class Late(Fault):
    """The server gets it only after the client gave up: after so many seconds, None: upon FaultProxy.release().

    The client is reset at once, or left without an answer (`silent`) until it goes."""
    seconds: float = None
    silent: bool = False

    async def run(self, x):
        await x.content()
        x.proxy.deliver_later(x, self.seconds)
        if self.silent:
            await x.client.wire.gone.wait()
            raise Gone("the client gave up")
        await x.reset()


@dataclasses.dataclass(frozen=True)
class Redirect(Fault):
    """As S3 redirects: 301 without Location, which names the region, or 307 with one."""
    status: int = 301
    region: str = "eu-west-1"
    location: str = None

    async def run(self, x):
        bucket = x.request.path.split("/")[1]
        code = {301: "PermanentRedirect", 307: "TemporaryRedirect"}.get(self.status, "Redirect")
        endpoint = f"{bucket}.s3.{self.region}.amazonaws.com"
        location = self.location or (f"https://{endpoint}/" if self.status == 307 else None)
        headers = [("x-amz-bucket-region", self.region), ("Content-Type", "application/xml")]
        headers += [("Location", location)] if location else []
        await x.answer(self.status, code, headers, error_xml(code, Bucket=bucket, Endpoint=endpoint))


@dataclasses.dataclass(frozen=True)
class CutHead(Fault):
    """The connection ends inside the answer's headers, after so many bytes of them."""
    after: int = 40

    async def run(self, x):
        answer = await x.forward()
        await x.client.wire.send(answer.head.raw[:min(self.after, len(answer.head.raw) - 4)])
        x.client.drop_upstream()
        await x.cut()


@dataclasses.dataclass(frozen=True)
class Edited(Fault):
    """The server's answer with other headers (names in lower case with _ for -, None takes one away), and with
    `body(bytes)` in place of its body."""
    headers: dict = dataclasses.field(default_factory=dict)
    body: object = None

    async def run(self, x):
        answer = await x.forward()
        if self.body is None or not answer.has_body:
            await x.relay(answer, **self.headers)
            return
        whole = self.body(await answer.body.read_all())
        kept = [(name, value) for name, value in answer.head.changed(**self.headers).headers
                if name.lower() not in ("content-length", "transfer-encoding")]
        await x.answer(answer.status, " ".join(answer.head.start[2:]), kept, whole)


@dataclasses.dataclass(frozen=True)
class Instead(Fault):
    """Not the server but `function(request, content)` answers: status, a list of headers, body. It may take its time
    and ask the server itself."""
    function: object = None

    async def run(self, x):
        content = await x.content()
        status, headers, body = await asyncio.get_running_loop().run_in_executor(
            None, self.function, x.request, content)
        await x.answer(status, "Instead", headers, body)


@dataclasses.dataclass(frozen=True)
class CaptivePortal(Fault):
    """Somebody else's page, with 200."""

    async def run(self, x):
        await x.answer(200, "OK", [("Content-Type", "text/html; charset=utf-8")],
                       b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>Welcome to our network."
                       b"<br>Please sign in.<form><input name=user></form></body></html>")


LIST_OPEN = (b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
             b"<Name>b</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys>")
LIST_CLOSE = b"</ListBucketResult>"


def listed(key):
    return (f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>1</Size></Contents>").encode()


def billion_laughs():
    entities = ['<!ENTITY l0 "lol">'] + [f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10)]
    return ('<?xml version="1.0"?><!DOCTYPE r [' + "".join(entities) + "]><ListBucketResult><Contents><Key>&l9;</Key>"
            "<Size>1</Size></Contents><IsTruncated>false</IsTruncated></ListBucketResult>").encode()


def huge(size):
    yield LIST_OPEN
    piece = b"".join(listed(f"keys/{i:060}") for i in range(1000))
    for _ in range(max(1, size // len(piece))):
        yield piece
    yield b"<IsTruncated>false</IsTruncated>" + LIST_CLOSE


def huge_name(size):
    yield LIST_OPEN + b"<Contents><Key>"
    for _ in range(max(1, size >> 20)):
        yield b"k" * (1 << 20)
    yield b"</Key><Size>1</Size></Contents><IsTruncated>false</IsTruncated>" + LIST_CLOSE


def page(keys, more=b"<IsTruncated>false</IsTruncated>"):
    return LIST_OPEN + b"".join(map(listed, keys)) + more + LIST_CLOSE


HOSTILE = {
    "entities": lambda size, prefix: billion_laughs(),
    "external": lambda size, prefix: (
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]><ListBucketResult><Contents><Key>&x;</Key>'
        b"<Size>1</Size></Contents><IsTruncated>false</IsTruncated></ListBucketResult>"),
    "huge": lambda size, prefix: huge(size),
    "huge_name": lambda size, prefix: huge_name(size),
    "deep": lambda size, prefix: b"<a>" * 200_000,
    "cut": lambda size, prefix: LIST_OPEN + listed(prefix + "x") + b"<Contents><Key>" + prefix.encode(),
    "empty": lambda size, prefix: b"",
    "other_root": lambda size, prefix: b"<Other><IsTruncated>false</IsTruncated></Other>",
    "no_xml": lambda size, prefix: b"\xff\xfe\x00{\"keys\": []}",
    "no_end": lambda size, prefix: page(  # each page names itself as the next one
        [], b"<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>"),
    "no_token": lambda size, prefix: page([prefix + "x"], b"<IsTruncated>true</IsTruncated>"),
    "outside": lambda size, prefix: page(["../../etc/passwd", "/etc/passwd", "elsewhere/x", prefix + "../x"]),
    "unordered": lambda size, prefix: page([prefix + "b", prefix + "a", prefix + "b"]),
    "bad_numbers": lambda size, prefix: page([prefix + "x"]).replace(b"<Size>1<", b"<Size>-99999999999999999999<"),
}


@dataclasses.dataclass(frozen=True)
class HostileXml(Fault):
    """One of HOSTILE, with a good status; `size_bytes` for those that are huge."""
    kind: str = "entities"
    size_bytes: int = 100 << 20
    status: int = 200

    async def run(self, x):
        body = HOSTILE[self.kind](self.size_bytes, x.request.query_value("prefix") or "")
        await x.answer(self.status, "OK", [("Content-Type", "application/xml")], body)


# ------------------------------------------------------------------------------------------ schedules

ACCEPT = "ACCEPT"


@dataclasses.dataclass
class Step:
    """`times` requests that match get `fault`; None: all of them. A Request of the method ACCEPT stands for a new
    connection: only Refuse, ResetBefore and Blackhole mean something to it, and ResetResponse where bytes pass
    unread."""

    fault: Fault
    method: str = None
    path: str = ""        # a pattern, searched in path and query together
    times: int = 1
    when: object = None   # what else must hold: request -> bool
    skip: int = 0         # let so many pass first

    def takes(self, request):
        if self.times == 0 or (request.method != self.method if self.method else request.method == ACCEPT):
            return False
        if not re.search(self.path, f"{request.path}?{request.query}") or (self.when and not self.when(request)):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


def on(method, path, fault, **kw):
    return Step(fault, method, path, **kw)


class Script:
    """The first step that takes a request decides; what no step takes passes. A bare fault is for any one request."""

    def __init__(self, *steps):
        self._steps = [Step(each) if isinstance(each, Fault) else each for each in steps]

    def choose(self, request):
        return next((step.fault for step in self._steps if step.takes(request)), None)

    @property
    def spent(self):
        """Every step with a number of times has had them."""
        return all(not step.times for step in self._steps)


def some_size(rng):
    return rng.choice([0, 1, rng.randrange(1000), rng.randrange(1 << 16), rng.randrange(1 << 22)])


# By name, how a fault is made from a random source and a time that stalls take.
KINDS = {
    "refuse": lambda rng, s: Refuse(rng.uniform(0.05, 0.5)),
    "reset_before": lambda rng, s: ResetBefore(rng.choice([None, 0, 1000])),
    "lost_answer": lambda rng, s: LostAnswer(),
    "reset_response": lambda rng, s: ResetResponse(some_size(rng)),
    "truncate": lambda rng, s: Truncate(some_size(rng)),
    "shorten": lambda rng, s: Shorten(1 + some_size(rng)),
    "slow_first_byte": lambda rng, s: Stall(s),
    "stall": lambda rng, s: Stall(s, some_size(rng)),
    "blackhole": lambda rng, s: Blackhole(rng.random() < 0.5),
    "drip": lambda rng, s: Drip(rng.choice([1, 100, 10_000]), rng.uniform(0.01, 0.2)),
    "flip": lambda rng, s: Flip(rng.choice([1, 1, 9]), None, rng.random() < 0.3, rng.getrandbits(32)),
    "slow_down": lambda rng, s: Error("SlowDown", retry_after=rng.choice([None, 0, 1])),
    "too_many": lambda rng, s: Error("TooManyRequests", retry_after=rng.choice([None, 1])),
    "server_error": lambda rng, s: Error(
        rng.choice(["InternalError", "BadGateway", "ServiceUnavailable", "GatewayTimeout"]),
        forward=rng.random() < 0.5),
    "request_timeout": lambda rng, s: Error("RequestTimeout", rng.choice([400, 408])),
    "duplicate": lambda rng, s: Duplicate(rng.choice(["first", "second"])),
    "repeat_answer": lambda rng, s: RepeatAnswer(),
    "late": lambda rng, s: Late(rng.uniform(0, s), rng.random() < 0.3),
    "portal": lambda rng, s: CaptivePortal(),
    "redirect": lambda rng, s: Redirect(rng.choice([301, 307])),
    "denied": lambda rng, s: Error(rng.choice(["AccessDenied", "ExpiredToken", "SignatureDoesNotMatch"])),
    "skewed": lambda rng, s: Error("RequestTimeTooSkewed", date_offset_s=rng.choice([-86400, 3600])),
}
# After these a client can go on; the others it must report.
PASSING = [name for name in KINDS if name not in ("portal", "redirect", "denied", "skewed")]
RANDOM_NAME = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-f]{2}/)?[0-9a-f-]{16,}")


class Random:
    """Each request meets a fault with its probability. What it meets depends only on the seed, on what is asked (random
    names aside) and on how often that was asked before, so that a run can be repeated although its order varies.

    `faults` maps names of KINDS to probabilities; one number stands for that much in all, spread over PASSING."""

    def __init__(self, faults=0.1, seed=None, stall_s=2.0, method=None, path=""):
        self.seed = int.from_bytes(os.urandom(4), "big") if seed is None else seed
        print(f"fault proxy: seed {self.seed}", flush=True)
        if not isinstance(faults, dict):
            faults = dict.fromkeys(PASSING, faults / len(PASSING))
        assert set(faults) <= set(KINDS), set(faults) - set(KINDS)
        self._faults, self._stall_s, self._method, self._path = faults, stall_s, method, re.compile(path)
        self._asked = {}

    def choose(self, request):
        if request.method == ACCEPT or (self._method or request.method) != request.method:
            return None
        if not self._path.search(f"{request.path}?{request.query}"):
            return None
        asked = RANDOM_NAME.sub("*", f"{request.method} {request.path}?{request.query} {request.range}")
        before = self._asked[asked] = self._asked.get(asked, 0) + 1
        digest = hashlib.sha256(f"{self.seed} {before} {asked}".encode()).digest()
        rng = random.Random(digest)
        left = rng.random()
        for name, share in self._faults.items():
            left -= share
            if left < 0:
                return KINDS[name](rng, self._stall_s)
        return None
