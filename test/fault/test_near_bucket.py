"""A tier in a bucket near the machine, which fails in every way: no command fails for it, no byte is wrong, and what
cannot help is asked no more. Requests are counted in the proxy before the tier; what they take is not asserted."""

import os
import random
import shutil
import signal

import pytest

from bucket import packs
from fault_proxy import FaultProxy
from faults import (Blackhole, Error, Flip, HostileXml, ResetBefore, ResetResponse, Script, Shorten, Stall, Truncate,
                    on)
from tiers import Stats, bucket, disk, with_tiers
from trees import assert_same, small_tree, write

pytestmark = pytest.mark.alone

MIB = 1 << 20
BLOCK = 256 << 10
BLOCKS = 56  # of the tree below, at least
# Reads under way when the breaker opens, those it takes to open it, fills that wait, a hedge or two, a probe.
MOST_REQUESTS = 40


@pytest.fixture
def content():
    return random.Random(12).randbytes(14 * MIB + 99)


@pytest.fixture
def tree(work, content):
    write(f"{work}/tree/large", content)
    return small_tree(f"{work}/tree", files=10)


def in_time(command):
    """Its answer. A tier that takes more than a second for a block is stepped over, as a busy machine makes it."""
    for _ in range(10):
        answer = command()
        if not any(each["failures"] for each in Stats(answer).tiers):
            return answer
    raise AssertionError(f"always late: {answer}")


class Near:
    """A bucket of its own, asked through a proxy that does what `steps` say."""

    def __init__(self, s3):
        self.s3 = s3
        self.bucket = s3.server.create_bucket()
        self.client = s3.server.client(self.bucket)
        self.steps = []
        self.proxy = FaultProxy(s3.server.endpoint, self)

    def choose(self, request):
        return Script(*self.steps).choose(request)

    def url(self, **more):
        return self.s3.url(self.proxy.endpoint, **{"bucket": self.bucket, "prefix": "near", **more})

    def words(self, url=None, **more):
        quick = {"stall_timeout": "500ms", "connect_timeout": "500ms"}
        return with_tiers(self.s3, bucket(url or self.url(), block_size=f"{BLOCK}B", **more), s3=quick)

    def blocks(self):
        return self.client.keys_below("near/blocks/")


@pytest.fixture
def near(s3, tree):
    s3.save("k", tree)
    near = Near(s3)
    with near.proxy:
        yield near
    near.client.close()


def read(near, *words):
    return near.s3.ok("read", "k", "large", *words, json=False)


def warm_up(near, *words):
    """Until the tier has all of it: at its end a command waits for fills only so long."""
    for _ in range(30):
        near.s3.restore("k", f"{near.s3.root}/warm", *words)
        stats = Stats(read(near, *words)).tiers
        if not any(each["misses"] for each in stats):
            return
    raise AssertionError(f"never warm: {stats}")


# --------------------------------------------------------------------------------------------- it is well

def test_warm(near, s3, tree, content, work):
    """All that is asked of the store itself is what may not be cached."""
    words = near.words()
    with s3.through() as store:
        cold = read(near, *words)
        assert cold.out == content
        stats = Stats(cold)
        assert stats.tier["misses"] >= BLOCKS and packs(store, "GET")
        # What is being put when the command ends is counted as dropped, and may arrive.
        assert 0 < stats.tier["fills"] <= len(list(near.blocks())) <= stats.tier["misses"]
        warm_up(near, *words)
        answer = in_time(lambda: (store.forget(), read(near, *words))[1])
        assert answer.out == content
        assert packs(store, "GET") == [] and len(store.log()) <= 3
        in_time(lambda: (store.forget(), s3.restore("k", f"{work}/again", *words))[1])
        assert packs(store, "GET") == []
        in_time(lambda: (store.forget(), s3.ok("extract", "k", "large", f"{work}/file", *words))[1])
        assert packs(store, "GET") == []
    assert_same(tree, f"{work}/again")
    assert open(f"{work}/file", "rb").read() == content
    stats = Stats(answer)
    assert (stats.tier["misses"], stats.tier["failures"], stats.tier["corrupt"]) == (0, 0, 0)


def test_below_a_disk(near, s3, content, work):
    """Disk, then the bucket, then the store: each fills from what is below it."""
    words = with_tiers(s3, disk(f"{work}/disk"), bucket(near.url()))
    other = with_tiers(s3, disk(f"{work}/other"), bucket(near.url()), name="other.json")
    third = with_tiers(s3, disk(f"{work}/third"), bucket(near.url()), name="third.json")
    with s3.through() as store:
        warm_up(near, *words)
        store.forget()
        near.proxy.forget()
        assert in_time(lambda: read(near, *words)).out == content
        assert near.proxy.log() == [] and packs(store, "GET") == []

        def elsewhere():
            shutil.rmtree(f"{work}/other", ignore_errors=True)
            store.forget()
            return read(near, *other)
        assert in_time(elsewhere).out == content
        assert near.proxy.log("GET", "/blocks/") and packs(store, "GET") == []
        with near.proxy.closed():
            assert read(near, *words).out == content
            assert read(near, *third).out == content


def test_raw_objects(near, s3, content):
    s3.client.put(f"{s3.prefix}/t/raw", content)
    words = ["read", "--object", "t/raw", *near.words()]
    with s3.through() as store:
        for _ in range(30):
            store.forget()
            answer = s3.ok(*words, json=False)
            assert answer.out == content
            if not Stats(answer).tier["misses"]:
                break
        assert [each.method for each in store.log()] == ["HEAD"]
        s3.client.put(f"{s3.prefix}/t/raw", content[::-1])
        assert s3.ok(*words, json=False).out == content[::-1]


def test_an_object_that_changes_while_it_is_read(near, s3, content):
    """Its version is gone when the next piece is asked for: an error, and nothing of the other version."""
    s3.client.put(f"{s3.prefix}/t/raw", content)

    class Changing:
        """The schedule of the store's proxy: after the first piece was fetched, the object is another one."""
        asked = 0

        def choose(self, request):
            if request.method == "GET" and request.path.endswith("/t/raw"):
                self.asked += 1
                if self.asked == 2:
                    s3.client.put(f"{s3.prefix}/t/raw", content[::-1])
    with s3.through(schedule=Changing()):
        answer = s3.run("read", "--object", "t/raw", *near.words(), json=False)
    assert answer.code == 4 and b"changed while it was read" in answer.err, answer
    assert content.startswith(answer.out)
    assert s3.ok("read", "--object", "t/raw", *near.words(), json=False).out == content[::-1]


# ------------------------------------------------------------------------------------------- it is not well

ALWAYS = {"times": None}
FAULTS = {
    "reset": [on(None, "", ResetBefore(0), **ALWAYS)],
    "blackholed": [on(None, "", Blackhole(), **ALWAYS)],
    "deaf": [on(None, "", Blackhole(deaf=True), **ALWAYS)],
    "slow by 2 s": [on(None, "", Stall(2), **ALWAYS)],
    "stalls in the body": [on("GET", "", Stall(5, at=100), **ALWAYS)],
    "500": [on(None, "", Error("InternalError"), **ALWAYS)],
    "slow down": [on(None, "", Error("SlowDown", retry_after=60), **ALWAYS)],
    "403": [on(None, "", Error("AccessDenied"), **ALWAYS)],
    "hostile": [on("GET", "", HostileXml("huge", size_bytes=4 * MIB), **ALWAYS)],
}
# These say something only of blocks that are there.
OF_BLOCKS = {
    "corrupt": [on("GET", "/blocks/", Flip(9), **ALWAYS)],
    "corrupt headers": [on("GET", "/blocks/", Flip(3, within=4000), **ALWAYS)],
    "shorter": [on("GET", "/blocks/", Shorten(10), **ALWAYS)],
    "truncated": [on("GET", "/blocks/", Truncate(1000), **ALWAYS)],
    "reset in the body": [on("GET", "/blocks/", ResetResponse(5000), **ALWAYS)],
    "reads denied": [on("GET", "/blocks/", Error("AccessDenied"), **ALWAYS)],
}


def assert_all_right(near, tree, content, work, words):
    """Every command that reads, each with a breaker of its own; answers what was said and asked of the tier."""
    seen = []
    near.proxy.forget()
    for command in (lambda: read(near, *words),
                    lambda: near.s3.ok("extract", "k", "large", f"{work}/file", *words),
                    lambda: near.s3.restore("k", f"{work}/out", *words)):
        answer = command()
        if answer.words[0] == "read":
            assert answer.out == content
        seen.append((Stats(answer).tier, len(near.proxy.log())))
        near.proxy.forget()
    assert open(f"{work}/file", "rb").read() == content
    assert_same(tree, f"{work}/out")
    return seen


def assert_stepped_over(seen):
    for stats, asked in seen:
        assert stats["failures"] + stats["corrupt"] >= 3 and stats["stepped over"] > 0, stats
        assert asked <= MOST_REQUESTS, f"{asked} requests to a tier that fails: {stats}"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_it_fails(near, tree, content, work, fault, warm):
    words = near.words()
    if warm:
        warm_up(near, *words)
    near.steps = FAULTS[fault]
    assert_stepped_over(assert_all_right(near, tree, content, work, words))
    near.steps = []
    assert read(near, *words).out == content


@pytest.mark.parametrize("fault", OF_BLOCKS)
def test_its_blocks_are_bad(near, tree, content, work, fault):
    words = near.words()
    warm_up(near, *words)
    near.steps = OF_BLOCKS[fault]
    seen = assert_all_right(near, tree, content, work, words)
    assert_stepped_over(seen)
    if fault in ("corrupt", "corrupt headers"):
        assert all(stats["corrupt"] >= 3 for stats, _ in seen), seen
    near.steps = []
    warm_up(near, *words)
    answer = read(near, *words)
    assert answer.out == content and Stats(answer).tier["corrupt"] == 0


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_nobody_listens(near, tree, content, work, warm):
    words = near.words()
    if warm:
        warm_up(near, *words)
    with near.proxy.closed():
        before = near.proxy.connections
        for stats, _ in assert_all_right(near, tree, content, work, words):
            assert stats["failures"] >= 3 and stats["stepped over"] > 0, stats
        assert near.proxy.connections == before
    assert read(near, *words).out == content


@pytest.mark.parametrize("fault", [Error("AccessDenied"), Error("InternalError"), Blackhole(), Error("SlowDown")],
                         ids=repr)
def test_it_takes_no_writes(near, tree, content, work, fault):
    near.steps = [on("PUT", "", fault, **ALWAYS)]
    words = near.words()
    for stats, _ in assert_all_right(near, tree, content, work, words):
        assert stats["fills"] == 0 and stats["failed"] + stats["dropped"] == stats["misses"] >= BLOCKS, stats
    assert list(near.blocks()) == []
    near.steps = []
    warm_up(near, *words)
    # What is there is read all the same.
    near.steps = [on("PUT", "", fault, **ALWAYS)]
    stats = Stats(in_time(lambda: read(near, *words))).tier
    assert stats["misses"] == 0 and stats["hits"] >= BLOCKS


def test_puts_that_are_refused_end(near, content):
    """After a few the breaker opens, and no block is offered any more."""
    near.steps = [on("PUT", "", Error("AccessDenied"), **ALWAYS)]
    stats = Stats(read(near, *near.words())).tier
    assert len(near.proxy.log("PUT")) <= MOST_REQUESTS // 2, stats
    # Whether reads are stepped over depends on how many blocks were looked up by then.
    assert stats["failed"] >= 3 and stats["dropped"] > 0, stats


def test_wrong_credentials(near, s3, tree, content, work):
    write(f"{s3.home}/.aws/credentials", (
        "[good]\naws_access_key_id = {0.access}\naws_secret_access_key = {0.secret}\n"
        "[bad]\naws_access_key_id = {0.access}\naws_secret_access_key = not/the/secret\n"
        "[nobody]\naws_access_key_id = NOBODY00000000000000\naws_secret_access_key = x\n"
    ).format(s3.server.keys["main"]).encode())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        s3.env.pop(name)
    s3.use(profile="good")
    for profile in ("bad", "nobody", "absent"):
        seen = assert_all_right(near, tree, content, work, near.words(near.url(profile=profile)))
        assert_stepped_over(seen)
    assert_stepped_over(assert_all_right(near, tree, content, work, near.words(near.url(anonymous="true"))))
    assert list(near.blocks()) == []


def test_no_such_bucket(near, tree, content, work):
    words = near.words(near.url(bucket="thaw-test-no-such-bucket"))
    assert_stepped_over(assert_all_right(near, tree, content, work, words))


def test_somebody_elses_place(near, tree, content, work):
    """What is there and is no tier stays as it is: nothing is put beside it."""
    near.client.put("near/photo.jpg", b"mine")
    for stats, _ in assert_all_right(near, tree, content, work, near.words()):
        assert stats["fills"] == 0 and stats["failed"] > 0, stats
    assert b"photo.jpg" in read(near, *near.words()).err
    assert list(near.client.keys_below("")) == ["near/photo.jpg"]


def test_places_that_meet(near, s3):
    for one, other in ((near.url(), near.url()), (near.url(), near.url(prefix="near/below")),
                       (near.url(), near.url(prefix="")), (near.url(prefix=""), near.url())):
        answer = s3.fails(2, "ls", *with_tiers(s3, bucket(one), bucket(other)))
        assert "in the place of another" in answer["message"], answer
    for place in (s3.url(), s3.url(prefix="st/ore/below"), s3.url(prefix="st")):
        assert "of the store" in s3.fails(2, "ls", *with_tiers(s3, bucket(place)))["message"]
    s3.ok("ls", *with_tiers(s3, bucket(s3.url(prefix="st/ore2"))))
    s3.ok("ls", *with_tiers(s3, bucket(near.url()), bucket(near.url(prefix="near2"))))


def test_advisory_and_a_time_limit(near, s3, content, work):
    near.steps = FAULTS["blackholed"]
    words = [*near.words(), "--advisory", "--timeout", "60s"]
    assert read(near, *words).out == content
    s3.ok("extract", "k", "large", f"{work}/file", *words)
    assert open(f"{work}/file", "rb").read() == content


def test_a_time_limit_that_a_silent_tier_could_use_up(near, s3, content):
    """Each look takes a share of what is left, so that the store gets the rest."""
    patient = with_tiers(s3, bucket(near.url()))
    near.steps = FAULTS["blackholed"]
    s3.client.put(f"{s3.prefix}/t/raw", content)
    for words in (["k", "large"], ["--object", "t/raw"]):
        assert s3.ok("read", *words, *patient, "--timeout", "1500ms", json=False).out == content


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_fills_hang(near, s3, content, work, number):
    """Answered already, and waiting for fills that never end: a signal ends that, too."""
    near.steps = [on("PUT", "", Blackhole(deaf=True), **ALWAYS)]
    process = s3.start("extract", "k", "large", f"{work}/file", *near.words())
    near.proxy.wait_for(lambda log: any(each.method == "PUT" for each in log), timeout=60)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (0, 1), (out, err)
    near.steps = []
    assert read(near, *near.words()).out == content


def test_random_faults(near, tree, content, work):
    """Any schedule of faults before the tier: never a wrong byte, never a failure."""
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    rng = random.Random(seed)
    kinds = [*FAULTS.values(), *OF_BLOCKS.values(), []]
    words = near.words()
    for _ in range(6):
        near.steps = [step for each in rng.sample(kinds, 3) for step in fewer(rng, each)]
        assert_all_right(near, tree, content, work, words)
    near.steps = []
    assert read(near, *words).out == content


def fewer(rng, steps):
    """The same faults, for some of the requests only."""
    return [on(each.method, each.path, each.fault, times=None, when=lambda _: rng.random() < 0.3) for each in steps]
