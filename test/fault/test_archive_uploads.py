"""What breaks on the way while `thaw archive put` uploads: the old object stays, and no part is left."""

import os
import signal
import time

import pytest

from fault_proxy import FaultProxy
from faults import Error, LostAnswer, ResetBefore, Script, Shorten, on
from trees import assert_same, write

BEGIN, PART, END = ("POST", r"\?uploads"), ("PUT", "partNumber="), ("POST", "uploadId=")


@pytest.fixture
def uploaded(s3, work):
    """An archive that is there, and a tree of 40 MiB that is to take its place."""
    write(f"{work}/tree/one", os.urandom(20 << 20))
    s3.ok("archive", "put", f"{work}/tree", s3.url(prefix="a/b.tar"))
    write(f"{work}/tree/two", os.urandom(20 << 20))
    return s3.client.head("a/b.tar")["etag"]


def through(s3, *steps):
    return FaultProxy(s3.server.endpoint, Script(*steps))


def put(s3, work, proxy, run, *words):
    return run(*s3.quick(), "archive", "put", f"{work}/tree", s3.url(endpoint=proxy.endpoint, prefix="a/b.tar"), *words)


@pytest.mark.parametrize("step", [
    on(*BEGIN, Error("AccessDenied"), times=None),
    on(*BEGIN, Error("SlowDown"), times=None),
    on(*PART, Error("AccessDenied"), times=None, skip=2),
    on(*PART, Error("InternalError"), times=None, skip=1),
    on(*PART, ResetBefore(100_000), times=None, skip=1),
    on(*END, Error("AccessDenied"), times=None),
    on(*END, Error("InternalError"), times=None),
    on(*END, Error("InternalError", status=200), times=None),
], ids=["begin_denied", "begin_slow", "part_denied", "part_broken", "part_reset", "end_denied", "end_broken",
        "end_broken_in_200"])
def test_a_put_that_fails_leaves_what_was_there(s3, work, uploaded, step):
    with through(s3, step) as proxy:
        answer = put(s3, work, proxy, s3.run)
    assert answer.code != 0, answer
    assert s3.client.head("a/b.tar")["etag"] == uploaded
    assert s3.client.uploads() == []


@pytest.mark.parametrize("step", [
    on(*BEGIN, Error("SlowDown")),
    on(*PART, Error("InternalError"), times=2),
    on(*PART, ResetBefore(100_000)),
    on(*PART, LostAnswer()),
    on(*END, LostAnswer()),
    on(*END, Error("InternalError")),
], ids=["begin_slow", "part_broken", "part_reset", "part_answer_lost", "end_answer_lost", "end_broken"])
def test_what_passes_is_tried_again(s3, work, uploaded, step):
    with through(s3, step) as proxy:
        put(s3, work, proxy, s3.ok)
    assert s3.client.head("a/b.tar")["etag"] != uploaded
    assert s3.client.uploads() == []
    s3.ok("archive", "get", s3.url(prefix="a/b.tar"), f"{work}/out")
    assert_same(f"{work}/tree", f"{work}/out")


def test_a_stop_takes_the_parts_away(s3, work, uploaded):
    # The last request never comes to an end: the stop comes in the middle.
    with through(s3, on(*PART, Error("SlowDown", retry_after=10), times=None, skip=2)) as proxy:
        process = s3.start("archive", "put", f"{work}/tree", s3.url(endpoint=proxy.endpoint, prefix="a/b.tar"))
        deadline = time.monotonic() + 20
        while len(s3.client.uploads()) == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode != 0
    assert s3.client.head("a/b.tar")["etag"] == uploaded
    assert s3.client.uploads() == []


def test_a_time_limit_takes_the_parts_away(s3, work, uploaded):
    with through(s3, on(*PART, Error("SlowDown", retry_after=10), times=None, skip=2)) as proxy:
        url = s3.url(endpoint=proxy.endpoint, prefix="a/b.tar")
        answer = s3.run("--timeout", "2s", "archive", "put", f"{work}/tree", url)
    assert answer.code == 1, answer
    assert s3.client.head("a/b.tar")["etag"] == uploaded
    assert s3.client.uploads() == []


def test_an_archive_that_ends_early_on_the_way_is_fetched_again(s3, work, uploaded):
    with through(s3, on("GET", "b.tar", Shorten(1000))) as proxy:
        s3.ok(*s3.quick(), "archive", "get", s3.url(endpoint=proxy.endpoint, prefix="a/b.tar"), f"{work}/out")
    assert os.path.getsize(f"{work}/out/one") == 20 << 20
