"""The advisory promise on a bucket: whatever fails, the exit code is 0, the result has a reason, the log has a line, and
the target is exactly as it was."""

import os
import random
import socket

import pytest

from faults import (Blackhole, CaptivePortal, Error, Flip, HostileXml, Redirect, ResetBefore, Shorten, Truncate, on)
from trees import assert_same, describe, small_tree, write

pytestmark = pytest.mark.alone

LIST, ENTRY, PACK = "list-type=2", "/keys/k/@/f", "/packs/"


@pytest.fixture
def tree(work):
    return small_tree(f"{work}/tree", files=10)


@pytest.fixture
def target(work):
    return small_tree(f"{work}/target", seed=2, files=5)


FAILING = {
    "reset": [on(None, "", ResetBefore(), times=None)],
    "silence": [on(None, "", Blackhole(), times=None)],
    "500": [on(None, "", Error("InternalError"), times=None)],
    "slow_down": [on(None, "", Error("SlowDown", retry_after=3600), times=None)],
    "403": [on(None, "", Error("AccessDenied"), times=None)],
    "signature": [on(None, "", Error("SignatureDoesNotMatch"), times=None)],
    "no_bucket": [on(None, "", Error("NoSuchBucket", 404), times=None)],
    "301": [on(None, "", Redirect(301), times=None)],
    "portal": [on(None, "", CaptivePortal(), times=None)],
    "expired": [on(None, "", Error("ExpiredToken"), times=None)],
    "skewed": [on(None, "", Error("RequestTimeTooSkewed", date_offset_s=9999), times=None)],
    "hostile_list": [on("GET", LIST, HostileXml("entities"), times=None)],
    "huge_list": [on("GET", LIST, HostileXml("huge"), times=None)],
    "list_denied": [on("GET", LIST, Error("AccessDenied"), times=None)],
}
RESTORES = {
    "entry_denied": [on("GET", ENTRY, Error("AccessDenied"), times=None)],
    "entry_flipped": [on("GET", ENTRY, Flip(3), times=None)],
    "entry_short": [on("GET", ENTRY, Shorten(10), times=None)],
    "pack_denied": [on("GET", PACK, Error("AccessDenied"), times=None)],
    "pack_missing": [on("GET", PACK, Error("NoSuchKey"), times=None)],
    "pack_flipped": [on("GET", PACK, Flip(9), times=None)],
    "pack_short": [on("GET", PACK, Shorten(100), times=None)],
    "pack_cut": [on("GET", PACK, Truncate(100), times=None)],
    "second_pack": [on("GET", PACK, Error("InternalError"), times=None, skip=1)],
}
SAVES = {
    "format_put": [on("PUT", "/thaw.json", Error("AccessDenied"), times=None)],
    "lease_put": [on("PUT", "/leases/", Error("AccessDenied"), times=None)],
    "pack_put": [on("PUT", PACK, Error("InternalError"), times=None)],
    "entry_put": [on("PUT", "/keys/", Error("AccessDenied"), times=None)],
    "entry_conflict": [on("PUT", "/keys/", Error("ConditionalRequestConflict"), times=None)],
}


def advised(thaw, *words, env=None):
    answer = thaw.run(*words, "--advisory", *thaw.quick(), "--timeout", "20s", env=env)
    assert answer.code == 0, answer
    assert answer["ok"] is False and answer["reason"] and answer["message"], answer
    return answer


@pytest.mark.parametrize("name", {**FAILING, **RESTORES})
@pytest.mark.parametrize("mode", ["replace", "merge", "sync"])
def test_restore(s3, work, tree, target, name, mode):
    for i in range(3):
        write(f"{tree}/large{i}", random.Random(i).randbytes(9 << 20 if name == "second_pack" else 1000))
    s3.save("k", tree)
    before = describe(target)
    steps = {**FAILING, **RESTORES}[name]
    for step in steps:
        step.skip = 1 if name == "second_pack" else 0
    with s3.through(*steps):
        answer = advised(s3, "restore", "k", target, "--mode", mode)
    assert answer.err.startswith(b"thaw: ") and answer["reason"] not in ("miss", "disabled"), answer
    assert_same(before, target)
    assert [each for each in os.listdir(work) if each.startswith(".thaw-stage-")] == []


@pytest.mark.parametrize("name", {**FAILING, **SAVES})
def test_save(s3, work, tree, name):
    before = describe(tree)
    with s3.through(*{**FAILING, **SAVES}[name]):
        answer = advised(s3, "save", "k", tree)
    assert answer.err.startswith(b"thaw: "), answer
    assert s3.objects("keys/k/") == []
    assert_same(before, tree)


@pytest.mark.parametrize("words", [["ls"], ["inspect", "k"], ["verify"], ["rm", "k", "--yes"], ["diff", "k@1", "k@2"], ["doctor"]])
def test_other_commands(s3, tree, words):
    s3.save("k", tree)
    before = s3.objects()
    with s3.through(on(None, "", Error("AccessDenied"), times=None)):
        advised(s3, *words)
    assert s3.objects() == before


@pytest.mark.parametrize("case", ["nobody_listens", "wrong_secret", "wrong_bucket", "no_credentials", "unreadable_ca"])
def test_settings_that_do_not_work(s3, tree, target, case):
    before, env = describe(target), {}
    if case == "nobody_listens":
        s3.use("http://127.0.0.1:1")
    elif case == "wrong_secret":
        env = {"AWS_SECRET_ACCESS_KEY": "wrong"}
    elif case == "wrong_bucket":
        s3.use(bucket="no-such-bucket")
    elif case == "no_credentials":
        env = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    else:
        s3.use("https://127.0.0.1:1", ca_file="/does/not/exist")
    for words in (["restore", "k", target], ["save", "k", tree]):
        assert advised(s3, *words, env=env).err.startswith(b"thaw: ")
    assert_same(before, target)


def test_a_miss_is_no_failure(s3, tree, target):
    """It is told at info level: nothing on standard error unless -v asks for it."""
    s3.save("other", tree)
    before = describe(target)
    for words in (["restore", "k", target], ["restore", "other@2", target], ["restore", "k", target, "--fallback", "z"]):
        answer = s3.run(*words, "--advisory")
        assert answer.code == 0 and answer["reason"] == "miss" and answer["ok"] is False, answer
        assert answer.get("hit", "miss") == "miss"
        assert b"error" not in answer.err and b"warning" not in answer.err, answer
        assert s3.run(*words, "--advisory", "-v").err
    assert_same(before, target)


def test_refusals(s3, work, target):
    """What policy refuses is said, and no failure either."""
    os.mkdir(f"{work}/empty")
    assert advised(s3, "save", "k", f"{work}/empty")["reason"] == "empty"
    write(f"{work}/large/f", os.urandom(100_000))
    write(f"{work}/small/f", b"x")
    s3.save("k", f"{work}/large")
    assert advised(s3, "save", "k", f"{work}/small")["reason"] == "shrunken"
    assert len(s3.objects("keys/k/@/")) == 1


def test_usage_errors_stay_errors(s3, target):
    for words in (["restore", "k"], ["restore", "k@0", target], ["ls", "--store", "s3://b/p?regoin=x"], ["ls", "--store", "s3://B/p"],
                  ["ls", "--store", "s3://u:p@bucket/p"]):
        answer = s3.run(*words, "--advisory")
        assert answer.code == 2 and answer["reason"] == "invalid", answer


@pytest.fixture
def listener():
    """Somewhere that nobody may call."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(8)
        one.setblocking(False)
        yield f"http://127.0.0.1:{one.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            one.accept()


@pytest.mark.parametrize("words", [
    ["restore", "k", "TARGET"], ["save", "k", "TARGET"], ["ls"], ["rm", "k", "--yes"], ["verify"], ["doctor"]])
@pytest.mark.parametrize("how", ["flag", "environment", "file"])
def test_a_store_that_nobody_named(s3, target, listener, words, how):
    """Nothing is asked: neither a server nor any place that credentials may come from; nothing is written."""
    before = describe(target)
    del s3.env["THAW_STORE"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        del s3.env[name]
    env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": listener, "AWS_CONTAINER_CREDENTIALS_FULL_URI": listener + "/c",
           "AWS_ENDPOINT_URL_S3": listener, "AWS_ENDPOINT_URL": listener, "http_proxy": listener, "https_proxy": listener}
    words, more = [target if each == "TARGET" else each for each in words], []
    if how == "flag":
        more = ["--advisory"]
    elif how == "environment":
        env["THAW_ADVISORY"] = "1"
    else:
        more = s3.config({"advisory": True})
    answer = s3.run(*words, *more, env={**env, "THAW_ADVISORY": env.get("THAW_ADVISORY", "1" if how == "file" else "")}
                    if how != "flag" else env)
    assert answer.code == 0 and answer["reason"] == "disabled", answer
    assert answer["message"]
    assert_same(before, target)
    assert not os.path.exists(s3.store)


def test_what_works_is_as_ever(s3, work, tree, target):
    saved = s3.run("save", "k", tree, "--advisory")
    assert saved.code == 0 and saved["ok"] is True and saved["generation"] == 1
    restored = s3.run("restore", "k", target, "--advisory")
    assert restored["ok"] is True and restored["hit"] == "exact"
    assert_same(tree, target)
