"""Random schedules of faults: each save and each restore ends in the right tree or in a clear failure within its
deadline, never in a wrong tree, and never in two generations for one save.

    THAW_SCHEDULES=10000 python3 -m pytest -s test/fault/test_s3_random.py

runs so many (40 by default), THAW_SCHEDULE_WORKERS of them at a time; THAW_SCHEDULE_SEED=N THAW_SCHEDULES=1 repeats the
one that N names. The summary comes last, and a line for every 100.
"""

import collections
import concurrent.futures
import dataclasses
import os
import random
import sys
import threading
import time

from bucket import BucketThaw
from driver import stages_in
from faults import KINDS, PASSING, Flip, Random, Shorten
from trees import copy, describe, difference, remove, small_tree, write

TIMEOUT_S = 5
# Beyond the half second that is promised: other schedules want the same cores.
LATEST_S = TIMEOUT_S + 0.5 + float(os.environ.get("THAW_SCHEDULE_GRACE_S", "2"))
MOST_FAILURES = 5
# What a server can make thaw believe by an answer that is damaged in ways that HTTP does not tell, on plain HTTP.
DAMAGE = (repr(Flip())[:5], repr(Shorten())[:8])


class InAnyBucket:
    """The bucket's name is no part of what a schedule depends on."""

    def __init__(self, schedule):
        self._schedule = schedule

    def choose(self, request):
        rest = request.path.lstrip("/").partition("/")[2]
        return self._schedule.choose(dataclasses.replace(request, path=f"/bucket-1/{rest}" if rest else "/bucket-1"))


def schedule_of(seed):
    rng = random.Random(seed)
    share = rng.choice([0.03, 0.1, 0.1, 0.3])
    names = PASSING if rng.random() < 0.75 else list(KINDS)
    if rng.random() < 0.3:  # a few kinds, often
        names = rng.sample(names, 3)
    return InAnyBucket(Random(dict.fromkeys(names, share / len(names)), rng.getrandbits(32), stall_s=1.5))


@dataclasses.dataclass
class Place:
    """What one worker needs: a thaw of its own, trees and their descriptions."""
    thaw: BucketThaw
    trees: list
    old: str

    @classmethod
    def make(cls, root, server, bucket):
        thaw = BucketThaw(root, server, bucket)
        trees = [small_tree(f"{root}/tree1", files=10), small_tree(f"{root}/tree2", seed=2, files=60), f"{root}/tree3"]
        for i in range(3):
            write(f"{trees[2]}/f{i}", random.Random(i).randbytes(300_000 << i))
        old = small_tree(f"{root}/old", seed=9, files=5)
        return cls(thaw, [(each, describe(each)) for each in trees], old)


class Wrong(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise Wrong(*what)


def ran(thaw, *words):
    began = time.monotonic()
    answer = thaw.run(*words, "--timeout", f"{TIMEOUT_S}s", *thaw.quick(), timeout=60)
    took = time.monotonic() - began
    check(took < LATEST_S, "late", took, answer)
    if answer.code != 0:
        check(answer["message"] and answer["reason"] not in ("internal", "cancelled"), "unclear", answer)
        check(answer.code in (1, 3, 4), "wrong exit code", answer)
    return answer


def misled(proxy):
    """Whether an answer without a checksum of its own was damaged: a listing."""
    return any(each.fault and each.fault.startswith(DAMAGE) and "list-type" in each.query for each in proxy.log())


def one_schedule(place, seed):
    """Answers what became of the save and of the restore."""
    thaw = place.thaw
    rng = random.Random(seed + 1)
    thaw.prefix = f"p{seed}"
    thaw.use()
    tree, described = rng.choice(place.trees)
    target = f"{thaw.root}/target"
    copy(place.old, target)
    before = describe(target)
    try:
        with thaw.through(schedule=schedule_of(seed)) as proxy:
            saved = ran(thaw, "save", "k", tree)
            log = proxy.log()
        count = len(thaw.objects("keys/k/@/"))
        check(count <= 1, "generations", count, saved, log)
        check(count == 1 or saved.code != 0, "said to be saved, and is not", saved, log)
        check(saved.code in (0, 1, 4) or misled(proxy), "a save that misses", saved)
        if not count:
            thaw.save("k", tree)
        proof = f"{thaw.root}/proof"
        whole = thaw.run("restore", "k", proof)
        check(whole.code == 0, "a generation that cannot be restored", whole, saved, log)
        check(not difference(described, describe(proof)), "a wrong tree was saved", saved, log)
        remove(proof)
        with thaw.through(schedule=schedule_of(seed + (1 << 40))) as proxy:
            restored = ran(thaw, "restore", "k", target)
            log = proxy.log()
        wrong = difference(described if restored.code == 0 else before, describe(target))
        check(not wrong, "a wrong tree was restored", wrong[:5], restored, log)
        check(restored.code in (0, 1, 4) or misled(proxy), "a restore that misses", restored, log)
        check(stages_in(thaw.root) == [], "staging folders are left", restored)
        return saved.get("reason", "right"), restored.get("reason", "right")
    finally:
        remove(target)
        for name in thaw.objects():
            thaw.client.delete(f"{thaw.prefix}/{name}")


def test_random_schedules(work, s3_server):
    count = int(os.environ.get("THAW_SCHEDULES", "40"))
    seed = int(os.environ.get("THAW_SCHEDULE_SEED", random.SystemRandom().randrange(1 << 31)))
    workers = int(os.environ.get("THAW_SCHEDULE_WORKERS", "4"))
    print(f"schedules: {count} from seed {seed}", flush=True)
    bucket = s3_server.create_bucket()
    places, made, failures = threading.local(), [], []
    saves, restores = collections.Counter(), collections.Counter()
    began = time.monotonic()

    def run(number):
        if len(failures) >= MOST_FAILURES:
            return
        if not hasattr(places, "own"):
            made.append(None)
            folder = f"{work}/{len(made)}-{threading.get_ident()}"
            os.mkdir(folder)
            places.own = Place.make(folder, s3_server, bucket)
        try:
            saved, restored = one_schedule(places.own, seed + number)
            saves[saved] += 1
            restores[restored] += 1
        except (Wrong, AssertionError, OSError) as fault:
            failures.append((seed + number, fault))
            print(f"seed {seed + number}: {fault!r}"[:6000], flush=True)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(run, range(count)), 1):
            if done % 100 == 0:
                print(f"{done} schedules, {time.monotonic() - began:.0f} s: saves {dict(saves)}, restores "
                      f"{dict(restores)}, {len(failures)} wrong", file=sys.stderr, flush=True)
                if hasattr(s3_server, "collect_garbage"):
                    s3_server.collect_garbage()
    print(f"random schedules: {sum(saves.values())} of {count} from seed {seed} in {time.monotonic() - began:.0f} s; "
          f"saves {dict(saves)}; restores {dict(restores)}; wrong: {[each for each, _ in failures]}", flush=True)
    assert not failures, failures[0]
    assert saves["right"] and restores["right"]
