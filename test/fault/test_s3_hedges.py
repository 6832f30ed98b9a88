"""Reads whose first byte is late are asked a second time, and not often."""

import collections
import time

import pytest

from faults import Blackhole, Error, Stall, on
from trees import assert_same, small_tree, write

pytestmark = pytest.mark.alone

STEPS = {"list": ("GET", r"list-type=2"), "entry": ("GET", "/keys/k/@/f"), "pack": ("GET", "/packs/")}
STALL_S = 5


@pytest.fixture
def tree(work):
    return small_tree(f"{work}/tree", files=10)


@pytest.mark.parametrize("step", STEPS)
def test_a_stalled_read_costs_little(s3, work, tree, step):
    """In a fresh process, with every setting as users have it."""
    s3.save("k", tree)
    with s3.through(on(*STEPS[step], Stall(STALL_S))) as proxy:
        began = time.monotonic()
        s3.restore("k", f"{work}/out")
        took = time.monotonic() - began
        counts = {name: len(proxy.log(*each)) for name, each in STEPS.items()}
        first, second = proxy.log(*STEPS[step])
    print(f"{step}: stalled for {STALL_S} s, asked again after {second.started - first.started:.3f} s, {took:.3f} s in all")
    assert took < STALL_S / 2
    assert counts == {name: 1 + (name == step) for name in STEPS}
    assert not first.complete and second.complete
    assert_same(tree, f"{work}/out")


@pytest.mark.parametrize("method, path, hedged", [
    ("GET", "/thaw.json", True), ("GET", "list-type=2", True), ("HEAD", "/leases/", True),
    ("PUT", "/leases/", False), ("PUT", "/packs/", False), ("PUT", "/keys/", False), ("DELETE", "/leases/", False)])
def test_writes_are_never_asked_twice(s3, work, tree, method, path, hedged):
    s3.save("other", tree)
    with s3.through() as proxy:
        s3.save("k2", tree)
        usual = len(proxy.log(method, path))
    with s3.through(on(method, path, Stall(1))) as proxy:
        s3.save("k", tree)
        asked = proxy.log(method, path)
    assert len(asked) == usual + hedged, asked
    s3.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")


def test_both_stall(s3, work, tree):
    """No third request: the first of the two that answers counts."""
    s3.save("k", tree)
    with s3.through(on(*STEPS["pack"], Stall(1), times=2)) as proxy:
        s3.restore("k", f"{work}/out")
        assert len(proxy.log(*STEPS["pack"])) == 2
    assert_same(tree, f"{work}/out")


def test_the_second_fails(s3, work, tree):
    """Which is no reason to wait for the first, nor to fail."""
    s3.save("k", tree)
    path = STEPS["pack"][1]
    with s3.through(on("GET", path, Stall(1)), on("GET", path, Error("InternalError"))) as proxy:
        s3.restore("k", f"{work}/out")
        assert [each.status for each in proxy.log("GET", path)] in ([206, 500], [None, 500, 206])
    assert_same(tree, f"{work}/out")


def test_hedging_can_be_switched_off(s3, work, tree):
    s3.save("k", tree)
    with s3.through(on("GET", "", Stall(0.5), times=None)) as proxy:
        s3.restore("k", f"{work}/out", *s3.config({"s3": {"hedge_after": "off"}}))
        assert len(proxy.log()) == 3


class FirstOfEach:
    """The first request for each name is met with silence."""

    def __init__(self):
        self.seen = set()

    def __call__(self, request):
        asked = (request.method, request.path, request.query, request.range)
        return asked not in self.seen and not self.seen.add(asked)


def test_a_budget(s3, work):
    """Everything stalls, so that every read would want a second request: two are free, then 2%."""
    write(f"{work}/tree/f", b"x" * 1000)
    for number in range(30):
        s3.save(f"k{number}", f"{work}/tree")
    with s3.through(on("GET", "", Blackhole(), times=None, when=FirstOfEach())) as proxy:
        s3.ok("ls", *s3.quick(s3={"stall_timeout": "600ms", "hedge_after": "50ms"}), timeout=300)
        log = proxy.log()
    times = collections.defaultdict(list)
    for each in log:
        times[each.path, each.query, each.range].append(each.started)
    # A retry comes after the stall's time, a hedge long before.
    hedges = sum(two - one < 0.5 for started in times.values() for one, two in zip(started, started[1:]))
    print(f"{len(log)} requests, {len(times)} of them different, {hedges} hedges")
    assert len(times) > 60
    assert 2 <= hedges <= 2 + len(log) // 50
    assert len(log) == 2 * len(times)
