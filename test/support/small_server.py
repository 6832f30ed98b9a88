"""A small server that the tests of test/support talk to, and what else they share."""

import calendar
import http.server
import os
import select
import threading
import time

from wire import chunk

BODY = bytes(range(256)) * 4096  # 1 MiB


def ended(pidfds, timeout_s=10):
    """Waits until all of these processes have ended."""
    waiting, deadline = set(pidfds), time.monotonic() + timeout_s
    while waiting and time.monotonic() < deadline:
        ready, _, _ = select.select(list(waiting), [], [], deadline - time.monotonic())
        waiting -= set(ready)
    for each in pidfds:
        os.close(each)
    return not waiting


def seconds_left(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) - time.time()


class Upstream:
    """A small server that keeps objects, and remembers which requests it got in full."""

    def __init__(self):
        self.objects, self.seen = {"/b/o": BODY}, []
        self.changed = threading.Condition()

    def saw(self, method, count, timeout=10):
        """Waits until it has seen so many; answers their paths."""
        with self.changed:
            self.changed.wait_for(lambda: sum(m == method for m, _ in self.seen) >= count, timeout)
            return [path for m, path in self.seen if m == method]

    def handler(upstream):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def note(self):
                with upstream.changed:
                    upstream.seen.append((self.command, self.path))
                    upstream.changed.notify_all()

            def body(self):
                if self.headers.get("Transfer-Encoding") != "chunked":
                    wanted = int(self.headers.get("Content-Length", 0))
                    whole = self.rfile.read(wanted)
                    return whole if len(whole) == wanted else None
                whole = b""
                while size := int(self.rfile.readline() or b"0", 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return whole

            def reply(self, status, body=b"", **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_PUT(self):
                body = self.body()
                if body is None:
                    self.close_connection = True
                    return
                self.note()
                if "If-None-Match" in self.headers and self.path in upstream.objects:
                    self.reply(412)
                else:
                    upstream.objects[self.path] = body
                    self.reply(200, ETag='"e"')

            def do_GET(self):
                self.note()
                if "list-type" in self.path:  # chunked, in small chunks
                    self.send_response(200)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for name in sorted(upstream.objects):
                        self.wfile.write(chunk(name.encode()))
                    self.wfile.write(b"0\r\n\r\n")
                elif self.path == "/until-close":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nno length")
                    self.close_connection = True
                elif (name := self.path.partition("?")[0]) not in upstream.objects:
                    self.reply(404)
                elif "Range" in self.headers:
                    first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
                    self.reply(206, upstream.objects[name][first:last + 1])
                else:
                    self.reply(200, upstream.objects[name])

            do_HEAD = do_GET

            def do_DELETE(self):
                self.note()
                upstream.objects.pop(self.path, None)
                self.reply(204)

            def log_message(self, *_):
                pass
        return Handler

    def __enter__(self):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self._server.daemon_threads = True
        # A peer that was cut off, as many are here, is no news.
        self._server.handle_error = lambda *_: None
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
