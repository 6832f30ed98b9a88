"""What `thaw doctor` finds out about a bucket: a verdict and a hint for each thing that thaw needs."""

import calendar
import email.utils
import time

import pytest

from bucket import BucketThaw, ask_server
from faults import Blackhole, Edited, Error, Instead, Stall, error_xml, on
from trees import small_tree

CHECKS = ["credentials", "list", "put", "get", "latency", "create_only", "overwrite", "order", "clock", "delete", "format"]
PROBE = "/probe/"


def verdicts(answer):
    checks = answer["checks"]
    for each in checks:
        assert set(each) == {"name", "verdict", "detail", "hint"} and each["detail"], each
        assert each["verdict"] in ("good", "weaker", "bad", "unknown"), each
        assert bool(each["hint"]) or each["verdict"] in ("good", "unknown"), each
    return {each["name"]: each["verdict"] for each in checks}


def hint(answer, name):
    return next(each["hint"] for each in answer["checks"] if each["name"] == name)


def examined(thaw, code, *words, **kw):
    """The JSON and the table agree."""
    answer = thaw.run("doctor", *words, **kw)
    assert answer.code == code, answer
    found = verdicts(answer)
    assert answer["ok"] is (code == 0) and ("bad" in found.values()) is (code != 0), answer
    assert answer["store"]
    plain = thaw.run("doctor", *words, json=False, **kw)
    assert plain.code == code
    for name, verdict in found.items():
        assert any(name in line and verdict in line for line in plain.out.decode().splitlines()), (name, plain)
    return answer, found


@pytest.fixture
def other(s3):
    """The other user, who may do what the bucket's policy says."""
    keys = s3.server.keys["other"]
    return {"AWS_ACCESS_KEY_ID": keys.access, "AWS_SECRET_ACCESS_KEY": keys.secret}


def test_a_good_store(s3, work):
    answer, found = examined(s3, 0)
    assert found == dict.fromkeys(CHECKS, "good")
    assert list(found) == CHECKS
    s3.save("k", small_tree(f"{work}/tree", files=5))
    before = s3.objects()
    answer, found = examined(s3, 0)
    assert set(found.values()) == {"good"}
    assert s3.objects() == before, "nothing of the probe is left, and nothing else is touched"
    assert "environment" in answer["checks"][0]["detail"]
    assert s3.server.keys["main"].secret not in str(answer)


def test_a_good_folder(thaw):
    _, found = examined(thaw, 0)
    assert "credentials" not in found and set(found.values()) == {"good"}


def test_a_missing_bucket(s3):
    s3.use(bucket="no-such-bucket")
    answer, found = examined(s3, 1)
    assert found["credentials"] == "good" and found["list"] == "bad"
    assert {found[name] for name in CHECKS[2:-1]} == {"unknown"}
    assert "bucket" in hint(answer, "list")


@pytest.mark.parametrize("env", [
    {"AWS_ACCESS_KEY_ID": "AKIANOTKNOWN00000000"}, {"AWS_SECRET_ACCESS_KEY": "not-the-secret"}], ids=["key", "secret"])
def test_wrong_keys(s3, env):
    answer, found = examined(s3, 1, env=env)
    assert found["list"] == "bad"
    detail = next(each["detail"] for each in answer["checks"] if each["name"] == "list")
    assert ("access key" in detail) and ("s3:ListBucket" not in hint(answer, "list")), answer
    assert "not-the-secret" not in str(answer)


def test_no_credentials(s3):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del s3.env[name]
    with s3.through() as proxy:
        answer, found = examined(s3, 1)
        assert found == {"credentials": "bad"} and "AWS_ACCESS_KEY_ID" in hint(answer, "credentials")
        assert proxy.connections == 0


RIGHTS = {"list": "s3:ListBucket", "put": "s3:PutObject", "get": "s3:GetObject", "delete": "s3:DeleteObject"}


@pytest.mark.parametrize("missing", RIGHTS)
def test_a_permission_that_is_missing(s3, other, missing):
    everything = [f"arn:aws:s3:::{s3.bucket}", f"arn:aws:s3:::{s3.bucket}/*"]
    # Denied in so many words: who has written an object may read it here.
    s3.server.set_bucket_policy(s3.bucket, {"Version": "2012-10-17", "Statement": [
        {"Effect": effect, "Principal": {"AWS": ["arn:aws:iam:::user/other"]}, "Action": actions, "Resource": everything}
        for effect, actions in (("Allow", list(RIGHTS.values())), ("Deny", [RIGHTS[missing]]))]})
    answer, found = examined(s3, 1, env=other)
    assert found[missing] == "bad", answer
    assert RIGHTS[missing] in hint(answer, missing)
    # What does not hang on it is said all the same.
    good = {"list": ["credentials"], "put": ["credentials", "list"], "get": ["list", "put", "create_only", "order"],
            "delete": ["list", "put", "get", "create_only", "overwrite", "order", "clock"]}[missing]
    assert {found[name] for name in good} == {"good"}, answer


def test_a_server_that_ignores_if_none_match(s3):
    def unconditional(request, content):
        return ask_server(s3.server, request, content, drop=("if-none-match",))
    with s3.through(on("PUT", PROBE, Instead(unconditional), times=None)):
        answer, found = examined(s3, 0)
        assert found["create_only"] == "weaker" and "create=check" in hint(answer, "create_only")
        assert {found[name] for name in CHECKS if name != "create_only"} == {"good"}


def test_create_check_on_such_a_server(s3, work):
    """What the hint says helps: a second saver of the same number then does not replace the first one's entry."""
    def unconditional(request, content):
        return ask_server(s3.server, request, content, drop=("if-none-match",))
    tree = small_tree(f"{work}/tree", files=5)
    with s3.through(on("PUT", "", Instead(unconditional), times=None)) as proxy:
        s3.use(proxy.endpoint, create="check")
        _, found = examined(s3, 0)
        assert found["create_only"] == "good"
        s3.save("k", tree)
        assert not any("if-none-match" in each.headers for each in proxy.log("PUT"))


def test_a_server_that_refuses_if_none_match(s3):
    with s3.through(on("PUT", PROBE, Error("NotImplemented", 501), times=None,
                       when=lambda request: "if-none-match" in request.headers)):
        answer, found = examined(s3, 1)
        assert found["create_only"] == "bad" and "create=check" in hint(answer, "create_only")


def reversed_listing(body):
    head, *contents = body.split(b"<Contents>")
    if len(contents) < 2:
        return body
    last, tail = contents[-1].split(b"</Contents>", 1)
    contents[-1] = last + b"</Contents>"
    return head + b"".join(b"<Contents>" + each for each in reversed(contents)) + tail


def without_first(body):
    head, _, rest = body.partition(b"<Contents>")
    return head + rest.partition(b"</Contents>")[2] if rest else body


def test_unordered_listings_are_refused(s3, work):
    with s3.through(on("GET", "list-type=2", Edited(body=reversed_listing), times=None)):
        _, found = examined(s3, 1)
        assert found["order"] == "bad"
    tree = small_tree(f"{work}/tree", files=5)
    for key in ("a", "b"):
        s3.save(key, tree)
    with s3.through(on("GET", "list-type=2", Edited(body=reversed_listing), times=None)):
        answer = s3.fails(1, "ls")
        assert "order" in answer["message"], answer


def test_listings_that_lack_what_was_just_written(s3):
    with s3.through(on("GET", "list-type=2", Edited(body=without_first), times=None)):
        _, found = examined(s3, 1)
        assert found["order"] == "bad"


@pytest.mark.parametrize("offset_s, verdict", [(30, "good"), (300, "weaker"), (-300, "weaker"), (1200, "bad")])
def test_a_clock_that_differs(s3, offset_s, verdict):
    """The server's: within 15 minutes it takes the requests, and only its dates show it."""
    def skewed(request, content):
        now = time.time() + offset_s
        asked = calendar.timegm(time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
        date = ("Date", email.utils.formatdate(now, usegmt=True))
        if abs(asked - now) > 900:
            return 403, [date, ("Content-Type", "application/xml")], error_xml("RequestTimeTooSkewed")
        status, headers, body = ask_server(s3.server, request, content)
        modified = ("Last-Modified", email.utils.formatdate(now, usegmt=True))
        return status, [*(each for each in headers if each[0].lower() != "last-modified"), date, modified], body
    with s3.through(on(None, "", Instead(skewed), times=None)):
        answer, found = examined(s3, 1 if verdict == "bad" else 0)
        assert found["clock"] == verdict, answer
        assert verdict == "good" or "NTP" in hint(answer, "clock")


def test_latency_is_told(s3):
    with s3.through(on("GET", PROBE, Stall(0.2), times=None)):
        answer = s3.ok("doctor")
    detail = next(each["detail"] for each in answer["checks"] if each["name"] == "latency")
    assert 200 <= float(detail.split("takes ")[1].split(" ms")[0]) < 2000, detail


def test_a_server_that_is_not_there(s3):
    s3.use("http://127.0.0.1:1")
    answer, found = examined(s3, 1, *s3.quick())
    assert found["list"] == "bad" and "endpoint" in hint(answer, "list")


def test_a_region_that_is_another(s3):
    with s3.through(on(None, "", Error("AuthorizationHeaderMalformed"), times=None)):
        answer, found = examined(s3, 1)
    assert found["list"] == "bad" and "region=eu-west-1" in str(answer["checks"]), answer


def test_under_a_deadline(s3):
    with s3.through(on("GET", PROBE, Blackhole(), times=None)):
        answer = s3.run("doctor", "--timeout", "1s")
        assert answer.code == 1 and answer["ms"] <= 1500, answer
        assert verdicts(answer)["get"] == "bad"


def test_no_delete_leaves_only_the_probe(s3, other, work, s3_server):
    """Who may not delete leaves a few bytes below probe/, and no more."""
    s3.server.allow_other(s3.bucket, "s3:ListBucket", "s3:PutObject", "s3:GetObject")
    BucketThaw(f"{work}/other", s3_server, s3.bucket).run("doctor", env=other)
    assert all(each.startswith("probe/") for each in s3.objects()) and len(s3.objects()) <= 3
