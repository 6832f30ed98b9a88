#!/usr/bin/python3
"""An HTTP/1.1 proxy between a client and an S3 server, which does harm on purpose and remembers what it was asked.

    with FaultProxy(server.endpoint, Script(on("GET", "/packs/", ResetResponse(after=1000)))) as proxy:
        ...                                   # talk to proxy.endpoint
        assert [each.status for each in proxy.log("GET")] == [206, 206]

A schedule chooses what happens to each request: `Script` by order and kind, `Random` by a seed, which it prints. What a
fault cuts is cut on the wire. As a program, for benchmarks (see --help), it adds latency and limits the rate:

    python3 fault_proxy.py --upstream URL --latency-ms 30 --rate-mb 40 -- COMMAND...
"""

import argparse
import asyncio
import contextlib
import ctypes
import dataclasses
import email.utils
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

from faults import ACCEPT, KINDS, Blackhole, Fault, Pass, Random, Refuse, ResetBefore, ResetResponse, Script
from wire import FLUSH_S, MAX_HEAD, PIECE, Body, Gone, Protocol, Request, Wire, chunk, make_head, read_head


# ---------------------------------------------------------------------------------------- the exchange

class Pacer:
    """Lets so many bytes a second through; what it was late once it may make good."""

    def __init__(self, bytes_per_s):
        self._bytes_per_s, self._due = bytes_per_s, 0.0
        self.piece = PIECE if not bytes_per_s else max(4096, min(PIECE, int(bytes_per_s / 250)))

    async def pay(self, size):
        if not self._bytes_per_s:
            return
        now = time.monotonic()
        self._due = max(self._due, now - 0.02) + size / self._bytes_per_s
        if self._due > now + 0.001:
            await asyncio.sleep(self._due - now)


class Answered:
    """A server's answer: its head has come, its body is still to be read."""

    def __init__(self, head, method, upstream):
        self.head, self.status = head, int(head.start[1])
        bodiless = method == "HEAD" or self.status in (204, 304)
        framing = 0 if bodiless else head.framing()
        self.framing = "close" if framing is None else framing
        self.body = Body(upstream.reader, self.framing)

    @property
    def has_body(self):
        return self.framing != 0


class Exchange:
    """One request and its answer. Faults are made of these steps."""

    def __init__(self, proxy, client, head, request):
        self.proxy, self.client, self.request = proxy, client, request
        self.head = head
        self._framing = head.framing() or 0
        self._incoming = Body(client.wire.reader, self._framing)
        self._content = None
        self._sending = None
        self._told_to_continue = not head.has_token("expect", "100-continue")
        self.keeps_alive = head.keeps_alive

    async def content(self):
        """The request's whole body."""
        if self._content is None:
            if not self._told_to_continue:
                await self.client.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._told_to_continue = True
            pieces = []
            while piece := await self._incoming.read(self.client.upload.piece):
                await self.client.upload.pay(len(piece))
                self.request.sent_bytes += len(piece)
                pieces.append(piece)
            self._content = b"".join(pieces)
        return self._content

    async def forward(self, content=None):
        """Sends the request on; answers once the server has. Without `content` the body passes as it comes."""
        content = self._content if content is None else content
        upstream = await self.client.connect_upstream()
        if content is None and self._incoming.done:
            await upstream.send(self.head.raw)
            self.request.forwarded += 1
        elif content is None:
            await upstream.send(self.head.raw)
            self._sending = asyncio.ensure_future(self._pass_body(upstream))
            self._sending.add_done_callback(lambda task: task.cancelled() or task.exception())  # it is seen here
        else:
            length = len(content) if content or self._framing else self.head.get("content-length")
            head = self.head.changed(expect=None, transfer_encoding=None, content_length=length)
            with contextlib.suppress(Gone):  # it may have answered before it read everything
                await upstream.send(head.raw + content)
                self.request.forwarded += 1
        while True:
            head = await read_head(upstream.reader)
            if int(head.start[1]) >= 200:
                break
            if not self._told_to_continue:
                await self.client.wire.send(head.raw)
                self._told_to_continue = int(head.start[1]) == 100
        answer = Answered(head, self.request.method, upstream)
        self.request.upstream_statuses.append(answer.status)
        return answer

    async def _pass_body(self, upstream):
        """From the client to the server, and to nowhere once the server takes no more."""
        open_upstream = True
        try:
            while piece := await self._incoming.read(self.client.upload.piece):
                await self.client.upload.pay(len(piece))
                self.request.sent_bytes += len(piece)
                if open_upstream:
                    try:
                        await upstream.send(chunk(piece) if self._framing == "chunked" else piece)
                    except Gone:
                        open_upstream = False
            if open_upstream and self._framing == "chunked":
                await upstream.send(b"0\r\n\r\n")
            self.request.forwarded += open_upstream
        except Gone:
            upstream.reset()  # what the client did not finish, the server must not take for whole
            raise

    async def start(self, answer, **changes):
        """The head of an answer, with headers changed."""
        if self.proxy.latency_s:
            await self.pause(self.proxy.latency_s)
        self.request.status = answer.status
        await self.client.wire.send(answer.head.changed(**changes).raw if changes else answer.head.raw)

    async def send(self, answer, piece):
        if not piece:
            return
        self.request.answered_bytes += len(piece)
        await self.client.wire.send(chunk(piece) if answer.framing == "chunked" else piece)
        await self.client.download.pay(len(piece))

    async def copy(self, answer, most=None, change=None):
        """Passes on that many bytes of the body, or all. `change(offset, piece)` answers what is sent instead."""
        size, done = self.client.download.piece, 0
        while most is None or done < most:
            piece = await answer.body.read(size if most is None else min(size, most - done))
            if not piece:
                break
            await self.send(answer, change(done, piece) if change else piece)
            done += len(piece)
        return done

    async def end(self, answer):
        """The answer is whole; the connections are ready for the next request, or will be closed."""
        if answer.framing == "chunked":
            await self.client.wire.send(b"0\r\n\r\n")
        self.request.complete = True
        if answer.framing == "close" or not answer.head.keeps_alive:
            self.keeps_alive = False
        if not answer.body.done:
            self.client.drop_upstream()
        if self._sending and not self._sending.done() and self._told_to_continue:
            await asyncio.wait([self._sending], timeout=FLUSH_S)
        if not self._incoming.done:
            self.keeps_alive = False  # a body that nobody asked for may or may not follow
        if self._sending and self._sending.done():
            self._sending.result()

    async def relay(self, answer, change=None, **changes):
        await self.start(answer, **changes)
        await self.copy(answer, change=change)
        await self.end(answer)

    async def answer(self, status, reason, headers, body=b""):
        """An answer of our own; `body` may be an iterable of pieces, which go out chunked."""
        await self.content()
        headers = [("Date", email.utils.formatdate(usegmt=True)), *headers]
        whole = isinstance(body, bytes)
        headers = [*dict(headers).items(), ("Content-Length", len(body)) if whole else ("Transfer-Encoding", "chunked")]
        head = make_head(f"HTTP/1.1 {status} {reason}", headers)
        answer = Answered(head, self.request.method, self.client.wire)
        answer.body.done = True
        await self.start(answer)
        if answer.has_body:
            for piece in [body] if whole else body:
                await self.send(answer, piece)
        await self.end(answer)

    async def pause(self, seconds):
        """Ends early, and the exchange with it, when the client does not wait so long."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.client.wire.gone.wait(), seconds)
            raise Gone("the client gave up")

    async def reset(self):
        await self.client.wire.flush()
        self.client.wire.reset()
        raise Gone("reset on purpose")

    async def cut(self):
        await self.client.wire.finish()
        raise Gone("cut on purpose")

    def abandon(self):
        if self._sending:
            self._sending.cancel()


# ---------------------------------------------------------------------------------------------- proxy

class Connection:
    """A connection of the client's, and the one to the server that belongs to it."""

    def __init__(self, proxy, wire, number):
        self.wire, self.number, self.upstream = wire, number, None
        self.idle = True    # no exchange is under way
        self.upload, self.download = Pacer(proxy.bytes_per_s), Pacer(proxy.bytes_per_s)
        self._address = proxy.upstream

    async def connect_upstream(self):
        if self.upstream is None or self.upstream.gone.is_set():
            self.upstream = await Wire.connect(*self._address)
        return self.upstream

    def drop_upstream(self):
        if self.upstream:
            self.upstream.reset()
            self.upstream = None


class FaultProxy:
    """Listens on loopback from `start` to `stop`, in a thread of its own. Usable from any thread."""

    def __init__(self, upstream, schedule=None, latency_s=0.0, bytes_per_s=0, host="127.0.0.1", port=0, raw=False):
        """`latency_s` comes before each answer's first byte, `bytes_per_s` bounds each connection in each direction.
        `raw`: bytes pass unread, as TLS needs it; only ACCEPT is scheduled then."""
        parts = urllib.parse.urlsplit(upstream)
        self.upstream = (parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme])
        self.schedule = schedule or Script()
        self.latency_s, self.bytes_per_s = latency_s, bytes_per_s
        self.host, self.port = host, port
        self._scheme, self._raw = parts.scheme, raw
        self._log, self._changed = [], threading.Condition()
        self._tasks, self._held, self._errors = set(), [], []
        self.connections = 0         # that were accepted so far
        self._loop = self._server = self._place = self._reopen = None
        self._thread = None
        self.on_finished = None      # called with each Request that is over, in the proxy's thread

    @property
    def endpoint(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self._scheme}://{host}:{self.port}"

    # What tests ask, from any thread.
    def log(self, method=None, path=""):
        """The requests so far, in order of arrival, those under way included; never ACCEPT."""
        with self._changed:
            return [each for each in self._log if (method or each.method) == each.method
                    and re.search(path, f"{each.path}?{each.query}")]

    def forget(self):
        with self._changed:
            self._log.clear()

    def wait_for(self, condition, timeout=20):
        """Until `condition(log)` holds; answers the log."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition(self._log):
                if time.monotonic() > deadline:
                    raise AssertionError(f"never happened; the log is {self._log}")
                self._changed.wait(0.02)  # numbers of a request under way grow without notice
            return list(self._log)

    def release(self):
        """What Late(None) holds back goes to the server, now and in order. Returns when it has answered."""
        asyncio.run_coroutine_threadsafe(self._release(), self._loop).result()

    @contextlib.contextmanager
    def closed(self):
        """Nobody listens meanwhile: connections are refused. Those that are open stay."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        # Holds the port while nobody listens on it.
        self._place = self._bind()
        self.port = self._place.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def stop(self):
        async def end():
            await self._close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(asyncio.sleep(0))  # closes what was closed last
        self._loop.close()
        self._place.close()
        if self._errors:
            raise AssertionError("the proxy itself failed") from self._errors[0]

    # Listening.
    def _bind(self):
        # Without its protocol's number asyncio would not take it for TCP, and leave Nagle's delay of 40 ms on.
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((self.host, self.port))
        return sock

    async def _listen(self):
        if self._server is None:
            self._server = await self._loop.create_server(self._protocol, sock=self._bind(), backlog=1024)

    async def _close(self):
        if self._server:
            self._server.close()
            self._server = None

    def stop_listening(self, seconds):
        async def later():
            await self._close()
            await asyncio.sleep(seconds)
            await self._listen()
        if self._reopen:
            self._reopen.cancel()
        self._reopen = self._task(later())

    def _protocol(self):
        return Protocol(asyncio.StreamReader(MAX_HEAD, self._loop), self._accepted, loop=self._loop)

    def _task(self, coroutine):
        def over(task):
            self._tasks.discard(task)
            if not task.cancelled() and task.exception():
                self._errors.append(task.exception())
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(over)
        return task

    def _accepted(self, reader, writer):
        self.connections += 1
        self._task(self._serve(Connection(self, Wire(reader, writer), self.connections)))

    # Requests.
    def _request(self, client, head):
        target = head.start[1]
        if "://" in target.split("?")[0]:  # asked as a proxy is
            parts = urllib.parse.urlsplit(target)
            target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            head = make_head(" ".join([head.start[0], target, head.start[2]]), head.headers)
        path, _, query = target.partition("?")
        request = Request(0, client.number, head.start[0], urllib.parse.unquote(path, errors="surrogateescape"), query,
                          head.get("range"), {name.lower(): value for name, value in head.headers})
        with self._changed:
            request.number = len(self._log) + 1
            self._log.append(request)
            self._changed.notify_all()
        return head, request

    def _over(self, request):
        with self._changed:
            request.seconds = time.monotonic() - request.started
            self._changed.notify_all()
        if self.on_finished:
            self.on_finished(request)

    async def _serve(self, client):
        try:
            fault = await self._accept(client)
            if self._raw:
                await self._tunnel(client, fault.after if isinstance(fault, ResetResponse) else None)
            while await self._exchange(client):
                pass
        except (Gone, OSError):
            pass
        finally:
            if client.idle and client.upstream:
                client.upstream.writer.close()
            else:
                client.drop_upstream()
            client.wire.writer.close()

    async def _accept(self, client):
        fault = self.schedule.choose(Request(0, client.number, ACCEPT))
        if isinstance(fault, Refuse):
            self.stop_listening(fault.seconds)
        if isinstance(fault, (Refuse, ResetBefore)):
            client.wire.reset()
            raise Gone("reset on purpose")
        if isinstance(fault, Blackhole):
            await client.wire.gone.wait()
            raise Gone("the client gave up")
        return fault

    async def _exchange(self, client):
        """One request; whether another may follow."""
        head, request = self._request(client, await read_head(client.wire.reader))
        if request.method == "CONNECT":
            request.status = 200
            await client.wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._over(request)
            await self._tunnel(client)
        x = Exchange(self, client, head, request)
        fault = self.schedule.choose(request) or Pass()
        request.fault = None if type(fault) is Fault else repr(fault)
        client.idle = False
        try:
            await fault.run(x)
            client.idle = True
        finally:
            x.abandon()
            self._over(request)
        return x.keeps_alive

    async def _tunnel(self, client, reset_after=None):
        upstream = await client.connect_upstream()

        async def copy(source, target, most=None):
            while piece := await source.reader.read(PIECE if most is None else min(PIECE, most)):
                await target.send(piece)
                most = None if most is None else most - len(piece)
                if most == 0:
                    await target.flush()
                    target.reset()
                    raise Gone("reset on purpose")
            with contextlib.suppress(OSError):
                target.writer.write_eof()
        both = [self._loop.create_task(copy(client.wire, upstream)),
                self._loop.create_task(copy(upstream, client.wire, reset_after))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        raise Gone("the tunnel has ended")

    def deliver_later(self, x, seconds):
        async def deliver():
            spare = Connection(self, x.client.wire, x.client.number)
            x.client, x.head = spare, x.head.changed(connection="close")
            with contextlib.suppress(Gone):
                await (await x.forward()).body.read_all()
            spare.drop_upstream()
            with self._changed:
                self._changed.notify_all()

        async def wait():
            await asyncio.sleep(seconds)
            await deliver()
        if seconds is None:
            self._held.append(deliver)
        else:
            self._task(wait())

    async def _release(self):
        held, self._held = self._held, []
        for deliver in held:
            await deliver()


# -------------------------------------------------------------------------------------------- program

STOPPING = {signal.SIGINT, signal.SIGTERM}


def record(request):
    return json.dumps({name: value for name, value in dataclasses.asdict(request).items() if name != "headers"})


def main():
    parser = argparse.ArgumentParser(description="Runs COMMAND with THAW_TEST_S3_ENDPOINT naming this proxy; without "
                                     "COMMAND it prints its endpoint and serves until it is interrupted.")
    parser.add_argument("--upstream", default=os.environ.get("THAW_TEST_S3_ENDPOINT"), help="URL of the server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0, help="before the first byte of each answer")
    parser.add_argument("--rate-mb", type=float, default=0, help="10^6 bytes a second for each connection")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=SHARE", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--method", help="faults only for this method")
    parser.add_argument("--stall-s", type=float, default=5)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--log", help="gets a JSON object for each request that is over")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    options = parser.parse_args()
    if not options.upstream:
        parser.error("--upstream is missing, and THAW_TEST_S3_ENDPOINT is not set")
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: it serves nobody but its parent
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    faults = {name: float(share) for name, share in (each.split("=") for each in options.fault)}
    schedule = Random(faults, options.seed, options.stall_s, options.method) if faults else None
    proxy = FaultProxy(options.upstream, schedule, options.latency_ms / 1e3, int(options.rate_mb * 1e6),
                       port=options.port)
    with contextlib.ExitStack() as stack:
        if options.log:
            file = stack.enter_context(open(options.log, "w", encoding="utf-8", buffering=1))
            proxy.on_finished = lambda request: print(record(request), file=file)
        stack.enter_context(proxy)
        if not options.command:
            print(proxy.endpoint, flush=True)
            signal.sigwait(STOPPING)
            return 0
        child = subprocess.Popen(
            options.command, env={**os.environ, "THAW_TEST_S3_ENDPOINT": proxy.endpoint},
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING))
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal has sent it to the command as well
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
