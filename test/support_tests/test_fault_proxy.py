"""The fault proxy does the harm that it says, and no other."""

import contextlib
import email.utils
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse

import pytest

import faults as fp
import s3_client
from daemons import listening
from fault_proxy import FaultProxy
from faults import Random, on
from s3_client import parse_xml
from small_server import BODY, ended, seconds_left
from wire import Request

SUPPORT = os.path.dirname(os.path.abspath(fp.__file__))


def ask(proxy, method="GET", path="/b/o", body=None, headers=None, timeout=20):
    """One request on a connection of its own: (status, headers, body)."""
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def raw(proxy, method="GET", path="/b/o", body=b"", headers=""):
    """All that comes over the wire, and how it ends: "end", "reset"."""
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as sock:
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: h\r\n{headers}"
                     f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        data = b""
        try:
            while piece := sock.recv(1 << 20):
                data += piece
        except ConnectionResetError:
            return data, "reset"
        return data, "end"


def ask_for_a_while(proxy, method, path, body, seconds=0.3):
    """Goes away after that time, whatever comes meanwhile."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(OSError), socket.create_connection((proxy.host, proxy.port), timeout=20) as sock:
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            if not sock.recv(1 << 20):
                break


def body_of(data):
    return data.partition(b"\r\n\r\n")[2]


# --------------------------------------------------------------------------------------- what passes

def test_everything_passes_unchanged(through, upstream):
    proxy = through()
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=20)

    def same(method, path, body=None, headers=None, chunked=False):
        connection.request(method, path, body, headers or {}, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.read()

    assert same("GET", "/b/o") == (200, BODY)
    assert same("HEAD", "/b/o") == (200, b"")
    assert same("GET", "/b/o", headers={"Range": "bytes=10-19"}) == (206, BODY[10:20])
    assert same("PUT", "/b/new", BODY * 3) == (200, b"")
    assert same("PUT", "/b/chunked", iter([b"one", b"two" * 100_000]), {"Transfer-Encoding": "chunked"}, True)[0] == 200
    assert same("PUT", "/b/empty", b"") == (200, b"")
    assert same("GET", "/b/none") == (404, b"")
    assert same("DELETE", "/b/o") == (204, b"")
    assert same("GET", "/b?list-type=2&prefix=x%20y") == (200, b"/b/chunked/b/empty/b/new")
    connection.close()
    assert upstream.objects == {"/b/new": BODY * 3, "/b/chunked": b"one" + b"two" * 100_000, "/b/empty": b""}

    log = proxy.wait_for(lambda log: all(each.seconds is not None for each in log))
    assert {each.connection for each in log} == {1}
    assert [each.status for each in log] == [200, 200, 206, 200, 200, 200, 404, 204, 200]
    assert [each.number for each in log] == list(range(1, 10))
    assert all(each.complete and each.forwarded == 1 and each.fault is None for each in log)
    assert all(each.upstream_statuses == [each.status] for each in log)
    assert (log[2].range, log[2].answered_bytes) == ("bytes=10-19", 10)
    assert (log[3].sent_bytes, log[4].sent_bytes, log[3].answered_bytes) == (3 * len(BODY), 300_003, 0)
    assert log[8].is_list and log[8].query_value("prefix") == "x y" and not log[0].is_list
    assert [each.path for each in proxy.log("PUT", "new")] == ["/b/new"]
    assert proxy.connections == 1


def test_continue_is_the_servers_to_say(through, upstream):
    proxy = through()
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as sock:
        sock.sendall(b"PUT /b/e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert upstream.seen == []
        sock.sendall(b"hello")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    assert upstream.objects["/b/e"] == b"hello"


def test_a_body_without_length_ends_with_the_connection(through):
    data, end = raw(through(), path="/until-close")
    assert (body_of(data), end) == (b"no length", "end")


def test_what_the_client_did_not_finish_is_not_stored(through, upstream):
    proxy = through()
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as sock:
        sock.sendall(b"PUT /b/half HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
        proxy.wait_for(lambda log: log and log[0].sent_bytes == 500)
    log = proxy.wait_for(lambda log: log[0].seconds is not None)
    assert (log[0].complete, log[0].forwarded, log[0].status) == (False, 0, None)
    assert ask(proxy)[0] == 200
    assert "/b/half" not in upstream.objects


def test_a_server_that_is_not_there(through):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with FaultProxy(f"http://127.0.0.1:{port}") as proxy:
        assert raw(proxy) == (b"", "end")
        assert proxy.log()[0].upstream_statuses == []


def test_asked_as_a_proxy_is(through, upstream):
    proxy = through()
    assert ask(proxy, path="http://elsewhere.example:1234/b/o?x=y")[2] == BODY
    assert (proxy.log()[0].path, proxy.log()[0].query, upstream.seen) == ("/b/o", "x=y", [("GET", "/b/o?x=y")])
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=20)
    connection.set_tunnel("elsewhere.example", 443)
    connection.request("GET", "/b/o")
    assert connection.getresponse().read() == BODY
    connection.close()
    assert [each.path for each in proxy.log("CONNECT")] == ["elsewhere.example:443"]


def test_ipv6(upstream):
    with contextlib.ExitStack() as stack:
        try:
            proxy = stack.enter_context(FaultProxy(upstream.endpoint, host="::1"))
        except OSError as fault:
            pytest.skip(f"no IPv6 here: {fault}")
        assert proxy.endpoint == f"http://[::1]:{proxy.port}"
        assert ask(proxy)[2] == BODY


# ------------------------------------------------------------------------------------ what is cut off

@pytest.mark.parametrize("after", [0, 1, 1000, 700_000])
def test_cut_in_the_body(through, after):
    proxy = through(fp.ResetResponse(after), fp.Truncate(after))
    for expected_end in ("reset", "end"):
        data, end = raw(proxy)
        assert b"Content-Length: %d\r\n" % len(BODY) in data
        assert (body_of(data), end) == (BODY[:after], expected_end)
    log = proxy.wait_for(lambda log: all(each.seconds is not None for each in log))
    assert [(each.complete, each.answered_bytes, each.status) for each in log] == [(False, after, 200)] * 2
    assert log[0].fault == f"ResetResponse(after={after})"
    assert ask(proxy)[2] == BODY


def test_cut_in_a_chunked_body(through):
    proxy = through(fp.ResetResponse(2), fp.Truncate(2), fp.Shorten(2))
    for expected_end in ("reset", "end"):
        data, end = raw(proxy, path="/b?list-type=2")
        assert (body_of(data), end) == (b"2\r\n/b\r\n", expected_end)
    assert ask(proxy, path="/b?list-type=2")[2] == b"/b"


@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
def test_cut_where_there_is_no_body(through, upstream, method):
    proxy = through(fp.ResetResponse(5), fp.Truncate(5))
    for expected_end in ("reset", "end"):
        data, end = raw(proxy, method)
        assert data.startswith(b"HTTP/1.1 20") and b"\r\n\r\n" not in data
        assert end == expected_end
    assert upstream.saw(method, 2) == ["/b/o"] * 2


def test_shorter_with_a_length_that_agrees(through):
    proxy = through(fp.Shorten(10), fp.Shorten(1 << 30))
    status, headers, body = ask(proxy)
    assert (status, int(headers["Content-Length"]), body) == (200, len(BODY) - 10, BODY[:-10])
    assert ask(proxy)[2] == b""
    assert ask(proxy)[2] == BODY


def test_reset_before_and_after_it_took_effect(through, upstream):
    proxy = through(fp.ResetBefore(), fp.ResetBefore(after=0), fp.LostAnswer())
    for name in ("early", "at-once", "late"):
        assert raw(proxy, "PUT", f"/b/{name}", b"content") == (b"", "reset")
    assert upstream.saw("PUT", 1) == ["/b/late"]
    assert upstream.objects["/b/late"] == b"content"
    assert [each.forwarded for each in proxy.log()] == [0, 0, 1]
    assert [each.upstream_statuses for each in proxy.log()] == [[], [], [200]]


def test_refused_for_a_while(through):
    proxy = through(fp.Refuse(0.3))
    begin = time.monotonic()
    assert raw(proxy) == (b"", "reset")
    refused = 0
    while True:
        try:
            assert ask(proxy)[2] == BODY
            break
        except ConnectionRefusedError:
            refused += 1
    assert refused and 0.28 < time.monotonic() - begin < 5
    with proxy.closed():
        with pytest.raises(ConnectionRefusedError):
            ask(proxy)
    assert ask(proxy)[2] == BODY


def test_reset_on_accept(through):
    proxy = through(on(fp.ACCEPT, "", fp.ResetBefore(), times=2))
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            ask(proxy)
    assert ask(proxy)[2] == BODY
    assert (proxy.connections, len(proxy.log())) == (3, 1)


# -------------------------------------------------------------------------------------- what is slow

def arrivals(proxy, path="/b/o"):
    """(seconds, bytes so far) at each read."""
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as sock:
        begin, size, seen = time.monotonic(), 0, []
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        while piece := sock.recv(1 << 20):
            size += len(piece)
            seen.append((time.monotonic() - begin, size))
        return seen


def test_stalls(through):
    proxy = through(fp.Stall(0.5), fp.Stall(0.5, at=1000))
    first = arrivals(proxy)
    assert first[0][0] >= 0.5
    second = arrivals(proxy)
    before = [size for seconds, size in second if seconds < 0.5]
    assert 1000 <= before[-1] < 1500 and second[-1][0] >= 0.5
    assert first[-1][1] == second[-1][1] > len(BODY)


def test_a_stall_ends_when_the_client_does(through):
    proxy = through(fp.Stall(30))
    with pytest.raises(socket.timeout):
        ask(proxy, timeout=0.1)
    log = proxy.wait_for(lambda log: log[0].seconds is not None, timeout=5)
    assert not log[0].complete


@pytest.mark.parametrize("forward", [False, True])
def test_blackhole(through, upstream, forward):
    proxy = through(fp.Blackhole(forward))
    with pytest.raises(socket.timeout):
        ask(proxy, "PUT", "/b/x", b"content", timeout=0.2)
    log = proxy.wait_for(lambda log: log[0].seconds is not None)
    assert log[0].status is None and log[0].forwarded == forward
    assert ("/b/x" in upstream.objects) == forward


def test_deaf(through):
    proxy = through(fp.Blackhole(deaf=True))
    with pytest.raises(socket.timeout):
        ask(proxy, "PUT", "/b/x", b"x" * (64 << 20), timeout=0.5)
    assert proxy.log()[0].sent_bytes == 0


def test_drip(through, upstream):
    upstream.objects["/b/s"] = b"0123456789"
    proxy = through(fp.Drip(size=2, every_s=0.05))
    seen = arrivals(proxy, "/b/s")
    assert len(seen) >= 5 and seen[-1][0] >= 0.2


def test_shaping(through, upstream):
    fast, slow = through(), through(latency_s=0.1, bytes_per_s=4_000_000)
    begin = time.monotonic()
    assert ask(fast)[2] == BODY
    quick = time.monotonic() - begin
    seen = arrivals(slow)
    assert seen[0][0] >= 0.1
    assert max(0.2, quick) < seen[-1][0] - seen[0][0] < 3  # 1 MiB at 4 MB/s is 0.26 s
    begin = time.monotonic()
    assert ask(slow, "PUT", "/b/up", BODY)[0] == 200
    assert 0.3 < time.monotonic() - begin < 3
    assert upstream.objects["/b/up"] == BODY


# ------------------------------------------------------------------------------------- what is wrong

def bits_that_differ(one, other):
    assert len(one) == len(other)
    return bin(int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).count("1")


def test_flipped_bits(through, upstream):
    proxy = through(fp.Flip(), fp.Flip(seed=2), fp.Flip(count=5, within=100), fp.Flip(upload=True))
    one, two, three = (ask(proxy)[2] for _ in range(3))
    assert bits_that_differ(one, BODY) == bits_that_differ(two, BODY) == 1 and one != two
    assert bits_that_differ(three, BODY) > 1 and three[100:] == BODY[100:]
    assert ask(proxy, "PUT", "/b/up", BODY)[0] == 200
    assert bits_that_differ(upstream.objects["/b/up"], BODY) == 1


def test_errors(through, upstream):
    proxy = through(
        fp.Error("SlowDown", retry_after=2), fp.Error("InternalError", forward=True), fp.Error("RequestTimeout", 408),
        fp.Error("TooManyRequests"), fp.Error("RequestTimeTooSkewed", date_offset_s=86_400),
        fp.Error("BadGateway", body=b"<html>oops"), fp.Error("AuthorizationHeaderMalformed"))

    def error(method="PUT", path="/b/new"):
        status, headers, body = ask(proxy, method, path, b"content")
        return status, headers, parse_xml(body)

    status, headers, root = error()
    assert (status, root.findtext("Code"), headers["Retry-After"]) == (503, "SlowDown", "2")
    assert upstream.seen == []
    status, headers, root = error()
    assert (status, root.findtext("Code"), headers["Retry-After"]) == (500, "InternalError", None)
    assert upstream.objects["/b/new"] == b"content"
    assert [error()[0] for _ in range(2)] == [408, 429]
    status, headers, root = error()
    assert (status, root.findtext("Code")) == (403, "RequestTimeTooSkewed")
    assert 86_390 < email.utils.parsedate_to_datetime(headers["Date"]).timestamp() - time.time() <= 86_400
    assert 86_390 < seconds_left(root.findtext("ServerTime")) <= 86_400
    assert ask(proxy)[::2] == (502, b"<html>oops")
    assert error("GET")[2].findtext("Region") == "eu-west-1"


def test_an_error_to_head_has_no_body(through):
    proxy = through(fp.Error("SlowDown"))
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=20)
    for expected in (503, 200):
        connection.request("HEAD", "/b/o")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (expected, b"")
    connection.close()


@pytest.mark.parametrize("which, status", [("first", 200), ("second", 412)])
def test_duplicate(through, upstream, which, status):
    proxy = through(fp.Duplicate(which), fp.Duplicate(which))
    assert ask(proxy, "PUT", "/b/once", b"content", {"If-None-Match": "*"})[0] == status
    assert upstream.saw("PUT", 2) == ["/b/once"] * 2
    assert proxy.log()[0].upstream_statuses == [200, 412] and proxy.log()[0].forwarded == 2
    assert ask(proxy)[2] == BODY


def test_an_answer_that_comes_twice(through):
    data, _ = raw(through(fp.RepeatAnswer()), headers="Connection: close\r\n")
    assert data.count(b"HTTP/1.1 200") == 2 and data.count(BODY) == 2


def test_late(through, upstream):
    proxy = through(fp.Late(), fp.Late(0.05), on("PUT", "silent", fp.Late(silent=True)))
    assert raw(proxy, "PUT", "/b/x", b"old") == (b"", "reset")
    assert raw(proxy, "PUT", "/b/y", b"old") == (b"", "reset")
    assert upstream.saw("PUT", 1) == ["/b/y"]
    assert ask(proxy, "PUT", "/b/x", b"new")[0] == 200
    with pytest.raises(socket.timeout):
        ask(proxy, "PUT", "/b/silent", b"old", timeout=0.2)
    assert "/b/silent" not in upstream.objects
    proxy.release()
    assert upstream.objects["/b/x"] == upstream.objects["/b/silent"] == b"old"
    assert [each.upstream_statuses for each in proxy.log()] == [[200]] * 4


def test_redirects_and_pages(through):
    proxy = through(fp.Redirect(), fp.Redirect(307), fp.Redirect(302, location="http://x/"), fp.CaptivePortal())
    status, headers, body = ask(proxy)
    assert (status, headers["x-amz-bucket-region"], headers["Location"]) == (301, "eu-west-1", None)
    assert parse_xml(body).findtext("Endpoint") == "b.s3.eu-west-1.amazonaws.com"
    status, headers, _ = ask(proxy)
    assert (status, headers["Location"]) == (307, "https://b.s3.eu-west-1.amazonaws.com/")
    assert ask(proxy)[1]["Location"] == "http://x/"
    status, headers, body = ask(proxy)
    assert status == 200 and b"<html>" in body and headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("kind", sorted(fp.HOSTILE))
def test_hostile_xml(through, kind):
    proxy = through(fp.HostileXml(kind, size_bytes=3 << 20))
    status, _, body = ask(proxy, path="/b?list-type=2&prefix=p%2F", headers={})
    assert status == 200
    if kind in ("huge", "huge_name"):
        assert 2.9e6 < len(body) < 4e6
    if kind in ("cut", "deep", "empty", "no_xml"):
        with pytest.raises(s3_client.ElementTree.ParseError):
            parse_xml(body)
    elif kind not in ("entities", "external"):
        keys = [each.findtext("Key") for each in parse_xml(body).iter("Contents")]
        assert (kind == "unordered") == (keys == ["p/b", "p/a", "p/b"])
    else:
        assert b"<!ENTITY" in body


# ----------------------------------------------------------------------------------------- schedules

def test_script_steps(through):
    proxy = through(
        on("GET", "/b/o", fp.Error("NoSuchKey"), skip=1, times=2),
        on(None, "deny=", fp.Error("AccessDenied"), times=None),
        on("GET", "", fp.Error("SlowDown"), when=lambda request: request.range == "bytes=0-1"))
    statuses = [ask(proxy)[0] for _ in range(4)]
    assert statuses == [200, 404, 404, 200]
    assert [ask(proxy, path="/b/o?deny=1")[0] for _ in range(3)] == [403] * 3
    assert not proxy.schedule.spent
    assert ask(proxy, headers={"Range": "bytes=0-2"})[0] == 206
    assert [ask(proxy, headers={"Range": "bytes=0-1"})[0] for _ in range(2)] == [503, 206]


def request(method="GET", path="/b/o", query="", number=1):
    return Request(number, 1, method, path, query)


def test_random_depends_on_the_seed_alone(capsys):
    def choices(seed, order, name="0123456789abcdef0123456789abcdef"):
        schedule = Random(0.5, seed)
        found = {}
        for path in order:
            found.setdefault(path, []).append(schedule.choose(request(path=f"/b/{path}/ab/{name}")))
        return found
    paths = [f"p{i % 20}" for i in range(200)]
    one = choices(7, paths)
    assert one == choices(7, sorted(paths)) == choices(7, paths, "f" * 32)
    assert one != choices(8, paths)
    flat = [each for found in one.values() for each in found]
    assert 60 < sum(each is not None for each in flat) < 140
    assert len({type(each) for each in flat}) > 8
    assert "seed 7" in capsys.readouterr().out
    only = Random({"stall": 1.0}, 1, stall_s=3.5, method="GET", path="/b/")
    assert only.choose(request()).seconds == 3.5
    assert only.choose(request("PUT")) is None
    assert only.choose(request(path="/c/")) is None


@pytest.mark.parametrize("name", sorted(fp.KINDS))
def test_every_random_fault_leaves_the_proxy_well(through, name):
    """Whatever it did to one client, the next is served."""
    proxy = through(schedule=Random({name: 1.0}, 5, stall_s=0.05, path="[?]x"))
    for method, body in (("GET", b""), ("PUT", b"content"), ("HEAD", b"")):
        for _ in range(3):
            ask_for_a_while(proxy, method, "/b/o2?x" if body else "/b/o?x", body, seconds=0.1)
    while True:
        try:
            assert ask(proxy)[2] == BODY
            break
        except ConnectionRefusedError:
            assert name == "refuse"
    assert all(each.fault for each in proxy.log(path="[?]x"))


# --------------------------------------------------------------------------------- the proxy, outside

def test_bytes_that_nobody_reads(through):
    proxy = through(on(fp.ACCEPT, "", fp.ResetResponse(after=100)), raw=True)
    data, end = raw(proxy)
    assert (len(data), end) == (100, "reset")
    assert ask(proxy)[2] == BODY
    assert proxy.log() == []


def test_as_a_program(upstream, work):
    command = [sys.executable, f"{SUPPORT}/fault_proxy.py", "--upstream", upstream.endpoint, "--latency-ms", "50",
               "--fault", "slow_down=1", "--method", "HEAD", "--seed", "3", "--log", f"{work}/log", "--",
               sys.executable, "-c", "import os, sys, time, urllib.request as u; t = time.monotonic();"
               "size = len(u.urlopen(os.environ['THAW_TEST_S3_ENDPOINT'] + '/b/o').read());"
               "sys.exit(9 if size == 1 << 20 and time.monotonic() - t > 0.05 else 1)"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout) == (9, b"fault proxy: seed 3\n")
    with open(f"{work}/log", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert [(row["method"], row["status"], row["answered_bytes"]) for row in rows] == [("GET", 200, len(BODY))]


def test_a_program_ends_with_its_parent(upstream):
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE);"
         "print(p.pid, p.stdout.readline().decode().strip(), flush=True); sys.stdin.read()",
         sys.executable, f"{SUPPORT}/fault_proxy.py", "--upstream", upstream.endpoint],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pid, endpoint = parent.stdout.readline().decode().split()
    proxy = os.pidfd_open(int(pid))
    parts = urllib.parse.urlsplit(endpoint)
    assert listening(int(pid)) == {("127.0.0.1", parts.port)}
    parent.kill()
    parent.communicate()
    assert ended([proxy])

@pytest.mark.parametrize("after", [5, 60, 10_000])
def test_cut_in_the_headers(through, after):
    data, end = raw(through(fp.CutHead(after)))
    assert end == "end" and data.startswith(b"HTTP/1"[:after]) and b"\r\n\r\n" not in data and len(data) <= after


def test_headers_that_drip(through):
    proxy = through(fp.DripHead(0.001))
    assert ask(proxy)[2] == BODY
    proxy.wait_for(lambda log: log[0].complete)  # the client has it all a moment before the proxy knows


def test_answers_of_our_own(through, upstream):
    def instead(request, content):
        return 202, [("x-a", request.method)], content[::-1]
    proxy = through(on("PUT", "", fp.Instead(instead)),
                    on("GET", "", fp.Edited({"x_b": "1", "content_type": None}, lambda body: body[:3])),
                    fp.Edited({"x_b": "2"}))
    status, headers, body = ask(proxy, "PUT", "/b/p", b"abc")
    assert (status, headers["x-a"], body) == (202, "PUT", b"cba") and "/b/p" not in upstream.objects
    status, headers, body = ask(proxy)
    assert (status, headers["x-b"], headers["content-length"], body) == (200, "1", "3", BODY[:3])
    status, headers, body = ask(proxy, "HEAD")
    assert (status, headers["x-b"], body) == (200, "2", b"") and headers["content-length"] == str(len(BODY))
