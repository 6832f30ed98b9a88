"""Answers that no S3 server gives: XML that is hostile, names that were not asked for, bodies without end."""

import time

import pytest

from faults import HOSTILE, Error, HostileXml, Instead, on
from trees import assert_same, describe, small_tree

LIST = ("GET", "list-type=2")
# The whole of a command: a page of a listing is refused long before it is read to its end.
MOST_MIB = 192
MOST_S = 20


@pytest.fixture
def tree(work):
    return small_tree(f"{work}/tree", files=10)


@pytest.mark.parametrize("command", ["restore", "save", "ls", "rm", "verify"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_listing(s3, tree, kind, command):
    s3.save("k", tree)
    objects, before = s3.objects(), describe(tree)
    words = {"restore": ["restore", "k", tree], "save": ["save", "k2", tree], "ls": ["ls"],
             "rm": ["rm", "k", "--yes"], "verify": ["verify"]}[command]
    with s3.through(on(*LIST, HostileXml(kind), times=None)):
        began = time.monotonic()
        code, answer, memory_mib = s3.measured(*words, *s3.quick())
        took = time.monotonic() - began
    assert code == 1, answer
    assert answer["message"] and answer["reason"] in ("unavailable", "invalid", "corrupt", "exhausted"), answer
    assert "/etc/passwd" not in answer["message"] and "lollol" not in answer["message"]
    assert memory_mib < MOST_MIB, memory_mib
    assert took < MOST_S, took
    assert_same(before, tree)
    kept = [each for each in objects if not each.startswith("leases/")]
    assert set(kept) <= set(s3.objects())
    assert s3.objects("keys/k2/") == []


@pytest.mark.parametrize("status", [403, 503])
@pytest.mark.parametrize("kind", ["entities", "external", "huge_name", "deep", "cut", "empty", "no_xml"])
def test_hostile_error(s3, tree, kind, status):
    """The same in place of an error's body."""
    s3.save("k", tree)
    before = describe(tree)
    with s3.through(on(*LIST, HostileXml(kind, status=status), times=None)):
        code, answer, memory_mib = s3.measured("restore", "k", tree, *s3.quick())
    assert code == 1 and answer["reason"] == ("denied" if status == 403 else "unavailable"), answer
    assert str(status) in answer["message"] and len(answer["message"]) < 2000, answer
    assert memory_mib < MOST_MIB
    assert_same(before, tree)


@pytest.mark.parametrize("path", ["/keys/k/@/f", "/packs/", "/thaw.json"])
def test_a_body_without_end(s3, tree, path):
    """100 MB where some hundred bytes were stored: by its range or its cap, it is not read to its end."""
    s3.save("k", tree)
    before = describe(tree)
    with s3.through(on("GET", path, HostileXml("huge_name", size_bytes=1 << 30), times=None)):
        began = time.monotonic()
        words = ["save", "k", tree] if path == "/thaw.json" else ["restore", "k", tree]
        code, answer, memory_mib = s3.measured(*words, *s3.quick(), "--timeout", "30s")
    print(f"{path}: {memory_mib:.0f} MiB, {time.monotonic() - began:.1f} s: {answer['message']}")
    assert code in (1, 4), answer
    assert memory_mib < 256
    assert_same(before, tree)


@pytest.mark.parametrize("message", ["<script>\x1b[31m\x07\n" * 100, "A" * 60_000, "&lt;x&gt; \u202e"])
def test_what_a_server_says_of_itself(s3, tree, message):
    """One line, no control characters, not too long."""
    body = f"<Error><Code>Odd</Code><Message><![CDATA[{message}]]></Message></Error>".encode()
    with s3.through(on(*LIST, Error("AccessDenied", body=body), times=None)):
        answer = s3.fails(1, "restore", "k", tree, *s3.quick())
        plain = s3.fails(1, "restore", "k", tree, *s3.quick(), json=False)
    assert len(answer["message"]) < 1000
    for text in (answer.err, plain.err):
        assert text.count(b"\n") == 1 and not set(text) & (set(range(32)) - {10}), text


@pytest.mark.parametrize("headers", [
    [("Content-Range", "bytes 0-0/1")], [("Content-Range", "bytes 8-99999999999999999999/5")],
    [("Content-Range", "bytes 18446744073709551615-18446744073709551615/18446744073709551615")],
    [("Content-Range", "nonsense")], []], ids=repr)
def test_ranges_that_were_not_asked_for(s3, tree, headers):
    s3.save("k", tree)
    before = describe(tree)
    with s3.through(on("GET", "/packs/", Instead(lambda request, content: (206, headers, b"x" * 100)), times=None)):
        answer = s3.fails(1, "restore", "k", tree, *s3.quick())
    assert answer["reason"] in ("unavailable", "corrupt"), answer
    assert_same(before, tree)


def test_headers_without_end(s3, tree):
    many = [(f"x-{i}", "v" * 1000) for i in range(1000)]
    with s3.through(on(*LIST, Instead(lambda request, content: (200, many, b"")), times=None)):
        answer = s3.fails(1, "restore", "k", tree, *s3.quick())
    assert answer["reason"] in ("unavailable", "exhausted"), answer
