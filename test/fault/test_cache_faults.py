"""Twenty CI caches on a real S3 server, with 5% of the requests harmed on the way: the job never fails, each cache is
restored right or not at all, and nothing that the server took and said so is sent again.

    THAW_CACHE_FAULT_SEED=N python3 -m pytest -s test/fault/test_cache_faults.py

repeats the faults that N names; by default they are others each time, and the test prints N.
"""

import os
import random

from faults import PASSING, Random
from trees import assert_same, describe, remove, small_tree, write

COUNT = 20
# A server that refuses connections for half a second is waited for.
PATIENT = {"retry": {"base": "20ms", "cap": "400ms"}}
SHARE = 0.05
# A byte every fifth of a second is what a deadline is for (test_s3_deadlines.py), and takes its time here.
KINDS = [each for each in PASSING if each != "drip"]
FILE = "caches:\n" + "".join(
    f"  - {{name: c{i}, cache_key: [v1, {{fallback_limit: true}}, {{checksum: lock}}], target_paths: [t{i}, ~/h{i}]}}\n"
    for i in range(COUNT))


def sent_again(proxy):
    """Uploads that began after one to the same name had been answered whole, and well."""
    done, again = {}, []
    for each in sorted(proxy.log("PUT"), key=lambda request: request.number):
        earlier = done.get(each.path)
        if earlier is not None and earlier <= each.started:
            again.append(each)
        if each.complete and each.status is not None and each.status < 300:
            done.setdefault(each.path, each.started + each.seconds)
    return again


def counted(records):
    states = {}
    for each in records:
        states[each["state"]] = states.get(each["state"], 0) + 1
    return states


def test_twenty_caches_and_a_bad_network(s3):
    seed = int(os.environ.get("THAW_CACHE_FAULT_SEED", random.SystemRandom().randrange(1 << 31)))
    print(f"cache faults: seed {seed}", flush=True)
    write(f"{s3.cwd}/.thaw/cache.yml", FILE.encode())
    write(f"{s3.cwd}/lock", b"1")
    places = [path for i in range(COUNT) for path in (f"{s3.cwd}/t{i}", f"{s3.home}/h{i}")]
    for i, place in enumerate(places):
        small_tree(place, seed=i, files=4)
    trees = {place: describe(place) for place in places}
    # The store's marker: each saver of a new store would offer one.
    s3.save("before", places[0])

    def run(what, number):
        with s3.through(schedule=Random(dict.fromkeys(KINDS, SHARE / len(KINDS)), seed + number, stall_s=1.0)) as proxy:
            answer = s3.ok("cache", what, "--concurrency", "8", *s3.quick(**PATIENT))
            proxy.wait_for(lambda log: all(each.seconds is not None for each in log))
            harmed = sum(each.fault is not None for each in proxy.log())
            print(f"{what}: {counted(answer['caches'])}, {harmed} of {len(proxy.log())} requests harmed", flush=True)
            for each in answer["caches"]:
                if each["state"] == "failed":
                    print(f"  {each['name']}: {each['message']}", flush=True)
            return answer["caches"], sent_again(proxy)

    saved, again = run("save", 0)
    assert again == [], again
    assert counted(saved).get("saved", 0) >= COUNT // 2, saved
    # What failed is saved by the next job, and what was saved is not.
    saved, again = run("save", 1)
    assert again == [], again
    assert {each["state"] for each in saved} <= {"saved", "exists", "unchanged", "failed"}, saved

    for place in places:
        remove(place)
    restored, _ = run("restore", 2)
    check_restored(s3, restored, trees)
    # Here some are in place, and others are not.
    restored, _ = run("restore", 3)
    check_restored(s3, restored, trees)
    assert len(restored) == COUNT
    assert counted(restored).get("equal", 0) + counted(restored).get("restored", 0) >= COUNT // 2, restored


def check_restored(s3, records, trees):
    for record in records:
        number = record["name"].removeprefix("c")
        targets = {f"t{number}": f"{s3.cwd}/t{number}", f"~/h{number}": f"{s3.home}/h{number}"}
        whole = record["state"] in ("restored", "equal")
        assert whole or record["state"] in ("miss", "failed"), record
        for name, place in targets.items():
            # A target of a cache that failed is whole, or is not there.
            if whole or os.path.lexists(place):
                assert_same(trees[place], place)
            assert not whole or name in record["restored"], record
