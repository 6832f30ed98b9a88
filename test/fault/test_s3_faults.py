"""What happens on the way to a bucket: each fault, at each step of a save and a restore, ends in the right tree or in a
clear failure. Every retry is of one call alone."""

import calendar
import email.utils
import random
import time

import pytest

import faults
from bucket import ask_server
from faults import (Blackhole, CaptivePortal, CutHead, Duplicate, Error, Instead, Late, LostAnswer, Redirect, Refuse,
                    RepeatAnswer, ResetBefore, ResetResponse, Shorten, Stall, Truncate, on)
from trees import assert_same, describe, small_tree, write

pytestmark = pytest.mark.alone

ENTRY = r"/keys/k/@/f"
LEASE, PACK, FORMAT, LIST = "/leases/", "/packs/", "/thaw.json", r"list-type=2"

# Each is met once, and a client goes on.
PASSING = {
    "refuse": Refuse(0.01),
    "reset_before": ResetBefore(),
    "reset_at_once": ResetBefore(0),
    "lost_answer": LostAnswer(),
    "reset_response": ResetResponse(1),
    "truncate": Truncate(1),
    "cut_status_line": CutHead(5),
    "cut_head": CutHead(60),
    "silence": Blackhole(),
    "silence_forwarded": Blackhole(forward=True),
    "deaf": Blackhole(deaf=True),
    "stall_in_body": Stall(5, at=1),
    "408": Error("RequestTimeout", 408),
    "400_timeout": Error("RequestTimeout", 400),
    "429": Error("TooManyRequests", 429),
    "500": Error("InternalError"),
    "500_forwarded": Error("InternalError", forward=True),
    "502": Error("BadGateway", body=b"<html>Bad gateway</html>"),
    "503": Error("ServiceUnavailable", body=b""),
    "503_slow_down": Error("SlowDown"),
    "504": Error("GatewayTimeout"),
    "duplicate_first": Duplicate("first"),
    "repeat_answer": RepeatAnswer(),
}
# Steps of a first save, and of a restore.
SAVE_STEPS = {
    "format_get": ("GET", FORMAT), "format_put": ("PUT", FORMAT), "lease_put": ("PUT", LEASE), "pack_put": ("PUT", PACK),
    "list": ("GET", LIST), "entry_put": ("PUT", ENTRY), "lease_head": ("HEAD", LEASE), "lease_delete": ("DELETE", LEASE),
}
RESTORE_STEPS = {"list": ("GET", LIST), "entry_get": ("GET", ENTRY), "pack_get": ("GET", PACK)}
# Never sent twice; what people are told.
FINAL = {
    "denied": (Error("AccessDenied"), "AccessDenied"),
    "signature": (Error("SignatureDoesNotMatch"), "secret key"),
    "access_key": (Error("InvalidAccessKeyId"), "access key"),
    "token": (Error("InvalidToken"), "InvalidToken"),
    "no_bucket": (Error("NoSuchBucket", 404), "NoSuchBucket"),
    "region": (Error("AuthorizationHeaderMalformed"), "region=eu-west-1"),
    "301": (Redirect(301), "region=eu-west-1"),
    "307": (Redirect(307), "307"),
    "405": (Error("MethodNotAllowed", 405), "405"),
    "501": (Error("NotImplemented", 501), "501"),
}


@pytest.fixture
def tree(work):
    return small_tree(f"{work}/tree", files=10)


def generations(s3, key="k"):
    return s3.objects(f"keys/{key}/@/")


def assert_saved_once(s3, tree, work):
    """Asked without the proxy."""
    assert len(generations(s3)) == 1
    s3.restore("k", f"{work}/proof")
    assert_same(tree, f"{work}/proof")
    s3.clean()


# ------------------------------------------------------------------------------------ what passes again

@pytest.mark.parametrize("step", SAVE_STEPS)
@pytest.mark.parametrize("fault", PASSING)
def test_save_goes_on(s3, work, tree, fault, step):
    method, path = SAVE_STEPS[step]
    steps = on(method, path, PASSING[fault])
    with s3.through(steps) as proxy:
        answer = s3.run("save", "k", tree, *s3.quick(), "--timeout", "20s")
        assert not steps.times, "the fault was not met"
        if fault == "repeat_answer" and answer.code == 1:
            return  # HTTP/1.1 cannot tell it from the next request's answer when it comes a moment late
        assert answer.code == 0, answer
        assert answer["generation"] == 1
        puts = len(proxy.log("PUT", PACK))
        if fault == "repeat_answer":
            assert puts in (1, 2)  # a moment late it is met by the next request, which is then made again
        else:
            # No other call was made again, uploads least of all.
            harmless = fault in ("duplicate_first", "stall_in_body")  # a put's answer has no body
            assert puts == 1 + (step == "pack_put" and not harmless)
    assert_saved_once(s3, tree, work)


@pytest.mark.parametrize("step", RESTORE_STEPS)
@pytest.mark.parametrize("fault", PASSING)
def test_restore_goes_on(s3, work, tree, fault, step):
    s3.save("k", tree)
    method, path = RESTORE_STEPS[step]
    steps = on(method, path, PASSING[fault])
    with s3.through(steps) as proxy:
        s3.restore("k", f"{work}/out", *s3.quick(), "--timeout", "20s")
        assert not steps.times, "the fault was not met"
        counts = {name: len(proxy.log(*each)) for name, each in RESTORE_STEPS.items()}
    if fault != "repeat_answer":
        assert counts == {name: 1 + (fault != "duplicate_first" and name == step) for name in RESTORE_STEPS}
    assert_same(tree, f"{work}/out")


@pytest.mark.parametrize("step", RESTORE_STEPS)
@pytest.mark.parametrize("fault", [
    Shorten(1), Shorten(100), faults.Flip(1), faults.Flip(9), CaptivePortal()], ids=repr)
def test_a_damaged_answer_is_asked_again(s3, work, tree, fault, step):
    """HTTP sees nothing wrong with these: a good status, and a length that fits."""
    s3.save("k", tree)
    steps = on(*RESTORE_STEPS[step], fault)
    with s3.through(steps):
        answer = s3.run("restore", "k", f"{work}/out", *s3.quick(), "--timeout", "20s")
        assert not steps.times
    assert answer.code == 0, answer
    assert_same(tree, f"{work}/out")


@pytest.mark.parametrize("step", SAVE_STEPS)
@pytest.mark.parametrize("name", ["500", "503_slow_down", "lost_answer", "silence", "truncate"])
def test_save_gives_up(s3, work, tree, name, step):
    """The same fault at every attempt: five, and a clear failure that publishes nothing that is not whole."""
    if name == "truncate" and step not in ("list", "format_get"):
        pytest.skip("the answer has no body")
    method, path = SAVE_STEPS[step]
    with s3.through(on(method, path, PASSING[name], times=None)) as proxy:
        answer = s3.run("save", "k", tree, *s3.quick(), "--timeout", "30s")
        asked = len(proxy.log(method, path))
    if step == "lease_delete":  # nothing depends on it
        assert answer.code == 0, answer
    elif answer.code != 0:
        assert answer.code == 1 and answer["reason"] == "unavailable", answer
        assert "attempt 5 of 5" in answer["message"], answer
    assert asked >= (1 if step == "lease_delete" else 5)
    # Read calls may have been asked a second time each, within the budget.
    assert asked <= 5 * 2
    if generations(s3):
        assert_saved_once(s3, tree, work)
    else:
        assert answer.code == 1


@pytest.mark.parametrize("step", RESTORE_STEPS)
@pytest.mark.parametrize("name", ["500", "503_slow_down", "reset_before", "silence", "truncate", "cut_head"])
def test_restore_gives_up(s3, work, tree, name, step):
    s3.save("k", tree)
    old = small_tree(f"{work}/out", seed=2, files=5)
    before = describe(old)
    method, path = RESTORE_STEPS[step]
    with s3.through(on(method, path, PASSING[name], times=None)) as proxy:
        answer = s3.fails(1, "restore", "k", old, *s3.quick(), "--timeout", "30s")
        asked = len(proxy.log(method, path))
    assert answer["reason"] == "unavailable" and "attempt 5 of 5" in answer["message"], answer
    assert 5 <= asked <= 7  # two hedges are free
    assert_same(before, old)


# --------------------------------------------------------------------------------- what no retry mends

@pytest.mark.parametrize("step", ["list", "entry_get", "pack_get"])
@pytest.mark.parametrize("name", FINAL)
def test_not_retried_by_restore(s3, work, tree, name, step):
    s3.save("k", tree)
    before = describe(tree)
    fault, words = FINAL[name]
    with s3.through(on(*RESTORE_STEPS[step], fault, times=None)) as proxy:
        answer = s3.fails(1, "restore", "k", tree, *s3.quick())
        asked = len(proxy.log(*RESTORE_STEPS[step]))
    assert words in answer["message"], answer
    assert answer["reason"] in ("denied", "invalid"), answer
    assert asked == 1
    assert_same(before, tree)


@pytest.mark.parametrize("step", ["format_get", "lease_put", "pack_put", "entry_put"])
@pytest.mark.parametrize("name", FINAL)
def test_not_retried_by_save(s3, tree, name, step):
    s3.save("other", small_tree(tree + "2", seed=3, files=5))
    fault, words = FINAL[name]
    with s3.through(on(*SAVE_STEPS[step], fault, times=None)) as proxy:
        answer = s3.fails(1, "save", "k", tree, *s3.quick())
        if step != "format_get":  # it is read by more than one call
            assert len(proxy.log(*SAVE_STEPS[step])) == 1
    assert words in answer["message"], answer
    assert generations(s3) == []


def test_redirects_are_not_followed(s3, tree):
    """Whoever answers elsewhere gets neither credentials nor data."""
    with s3.through() as elsewhere, s3.through(
            on("GET", LIST, Redirect(307, location=elsewhere.endpoint + "/x"), times=None)):
        s3.fails(1, "restore", "k", tree, *s3.quick())
        assert elsewhere.connections == 0


def test_captive_portal(s3, work, tree):
    with s3.through(on(None, "", CaptivePortal(), times=None)):
        for words in (["restore", "k", f"{work}/out"], ["save", "k", tree], ["ls"], ["rm", "k", "--yes"], ["verify"]):
            answer = s3.fails(1, *words, *s3.quick())
            assert "HTML page" in answer["message"], answer
    assert s3.objects() == []


# --------------------------------------------------------------------------------------- the last step

def test_a_lost_answer_publishes_once(s3, work, tree):
    """The retry of the create-only put is answered 412, and the entry's nonce says whose it is."""
    with s3.through(on("PUT", ENTRY, LostAnswer())) as proxy:
        assert s3.save("k", tree, *s3.quick())["generation"] == 1
        assert [each.upstream_statuses for each in proxy.log("PUT", ENTRY)] == [[200], [412]]
    assert_saved_once(s3, tree, work)


@pytest.mark.parametrize("fault", [Late(None), Late(None, silent=True)], ids=repr)
def test_a_late_put_publishes_once(s3, work, tree, fault):
    """The first attempt reaches the server after the second was answered."""
    with s3.through(on("PUT", ENTRY, fault)) as proxy:
        assert s3.save("k", tree, *s3.quick())["generation"] == 1
        proxy.release()
        assert len(proxy.log("PUT", ENTRY)) == 2
    assert_saved_once(s3, tree, work)


def test_an_own_entry_beside_anothers(s3, work, tree):
    """The answer was lost, and somebody else published next: still one generation for each."""
    other = small_tree(f"{work}/other", seed=5, files=5)
    with s3.through(on("PUT", ENTRY, LostAnswer())):
        s3.save("k", tree, *s3.quick())
    s3.save("k", other, "--allow-shrink")
    assert len(generations(s3)) == 2
    s3.restore("k@1", f"{work}/one")
    s3.restore("k@2", f"{work}/two")
    assert_same(tree, f"{work}/one")
    assert_same(other, f"{work}/two")


class Replay:
    """The real server, and its last answer once more for a request that it never gets."""

    def __init__(self, server):
        self.server, self.answer = server, None

    def pass_on(self, request, content):
        self.answer = ask_server(self.server, request, content)
        return self.answer

    def repeat(self, request, content):
        return self.answer


@pytest.mark.parametrize("step", ["lease_put", "pack_put", "entry_put"])
def test_the_answer_to_another_request(s3, work, tree, step):
    """A duplicate of the answer before, taken for this put's: that it was good says nothing of what was not stored."""
    replay = Replay(s3.server)
    steps = on(*SAVE_STEPS[step], Instead(replay.repeat))
    with s3.through(steps, on(None, "", Instead(replay.pass_on), times=None)):
        answer = s3.run("save", "k", tree, *s3.quick())
        assert not steps.times
    if answer.code == 0:
        assert_saved_once(s3, tree, work)
    else:
        assert answer.code in (1, 4), answer  # what was published is retracted: a tombstone stays
        s3.fails(3, "restore", "k", f"{work}/proof")


def test_conflict_is_tried_again(s3, work, tree):
    """409: two puts of one name at once, of which neither has won yet."""
    with s3.through(on("PUT", ENTRY, Error("ConditionalRequestConflict"), times=2)) as proxy:
        s3.save("k", tree, *s3.quick())
        assert [each.status for each in proxy.log("PUT", ENTRY)] == [409, 409, 200]
    assert_saved_once(s3, tree, work)


@pytest.mark.parametrize("step", ["entry_put", "lease_head", "list"])
def test_the_last_steps_do_not_upload_again(s3, work, step):
    rng_tree = f"{work}/tree"
    for i in range(3):
        write(f"{rng_tree}/f{i}", bytes([i]) + random.Random(i).randbytes(9 << 20))
    with s3.through(on(*SAVE_STEPS[step], Error("InternalError"), times=4)) as proxy:
        s3.save("k", rng_tree, *s3.quick())
        uploads = [each.path for each in proxy.log("PUT", PACK)]
        assert len(uploads) == len(set(uploads)) == len(s3.objects("packs/")) >= 2
    assert_saved_once(s3, rng_tree, work)


# ----------------------------------------------------------------------------- what the server asks for

def gap(proxy, method, path):
    one, two = proxy.log(method, path)[:2]
    return two.started - (one.started + (one.seconds or 0))


@pytest.mark.parametrize("code", ["SlowDown", "TooManyRequests", "ServiceUnavailable"])
@pytest.mark.parametrize("step", ["pack_put", "entry_put"])
def test_retry_after(s3, work, tree, code, step):
    with s3.through(on(*SAVE_STEPS[step], Error(code, retry_after=1))) as proxy:
        s3.save("k", tree, *s3.quick())
        assert 0.95 <= gap(proxy, *SAVE_STEPS[step]) < 5
    assert_saved_once(s3, tree, work)


def test_retry_after_as_a_date(s3, work, tree):
    class Dated(str):
        def __str__(self):
            return email.utils.formatdate(int(time.time()) + 2, usegmt=True)
    with s3.through(on(*SAVE_STEPS["pack_put"], Error("SlowDown", retry_after=Dated()))) as proxy:
        s3.save("k", tree, *s3.quick())
        assert 0.95 <= gap(proxy, *SAVE_STEPS["pack_put"]) < 5
    assert_saved_once(s3, tree, work)


@pytest.mark.parametrize("asked", [3600, 5])
def test_retry_after_beyond_the_deadline(s3, tree, asked):
    """The wait is not begun: the error is the better answer."""
    with s3.through(on("PUT", PACK, Error("SlowDown", retry_after=asked), times=None)) as proxy:
        began = time.monotonic()
        answer = s3.fails(1, "save", "k", tree, *s3.quick(), "--timeout", "4s")
        assert time.monotonic() - began < 3
        assert "SlowDown" in answer["message"], answer
        assert len(proxy.log("PUT", PACK)) == 1
    assert generations(s3) == []


def test_backoff_grows(s3, tree):
    """Without a word of the server: full jitter, so only the upper bounds and the sum say something."""
    with s3.through(on("PUT", PACK, Error("SlowDown"), times=None)) as proxy:
        s3.fails(1, "save", "k", tree, *s3.config({"retry": {"base": "400ms", "cap": "800ms"}}))
        log = proxy.log("PUT", PACK)
    gaps = [two.started - (one.started + one.seconds) for one, two in zip(log, log[1:])]
    assert len(gaps) == 4
    assert all(gap < bound + 0.5 for gap, bound in zip(gaps, [0.4, 0.8, 0.8, 0.8]))
    assert sum(gaps) > 0.1  # below that with a probability of 1 in 20,000


class SkewedServer:
    """The real server with a clock that is `offset_s` ahead of everybody's."""

    def __init__(self, server, offset_s):
        self.server, self.offset_s, self.refused = server, offset_s, 0

    def __call__(self, request, content):
        now = time.time() + self.offset_s
        date = time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        dated = [("Date", email.utils.formatdate(now, usegmt=True)), ("Content-Type", "application/xml")]
        if abs(calendar.timegm(date) - now) > 900:
            self.refused += 1
            return 403, dated, faults.error_xml("RequestTimeTooSkewed")
        status, headers, body = ask_server(self.server, request, content)
        return status, [*headers, dated[0]], body


@pytest.mark.parametrize("offset_s", [-86_400, 3600])
def test_skew_is_corrected_once(s3, work, tree, offset_s):
    skewed = SkewedServer(s3.server, offset_s)
    with s3.through(on(None, "", Instead(skewed), times=None)):
        answer = s3.save("k", tree)
        assert skewed.refused == 1  # and remembered for all calls after it
        assert b"clock" in answer.err, answer
        skewed.refused = 0
        s3.restore("k", f"{work}/out")
        assert skewed.refused == 1
    assert_same(tree, f"{work}/out")
    assert_saved_once(s3, tree, work)


def test_skew_that_stays_is_an_error(s3, work, tree):
    s3.save("k", tree)
    with s3.through(on("GET", LIST, Error("RequestTimeTooSkewed", date_offset_s=7200), times=None)) as proxy:
        answer = s3.fails(1, "restore", "k", f"{work}/out", *s3.quick())
        assert len(proxy.log("GET", LIST)) == 2
    assert answer["reason"] == "denied" and "RequestTimeTooSkewed" in answer["message"], answer
