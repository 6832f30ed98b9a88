"""Twenty CI caches on a real S3 server, with 5% of the requests harmed on the way: the job never fails, each cache is
restored right or not at all, and nothing that the server took and said so is sent again.

    THAW_CACHE_FAULT_SEED=N python3 -m pytest -s test/fault/test_cache_faults.py

repeats the faults that N names; by default they are others each time, and the test prints N.
"""

import os
import random

from driver import Thaw, was_killed
from faults import PASSING, Random
from trees import assert_same, clone_store, describe, remove, small_tree, write

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


# ------------------------------------------------------------------------------------- a saver that is killed

TARGETS = ("a", "b", "c")
ONE = "caches:\n  - {name: n, cache_key: [v1, {fallback_limit: true}, {checksum: lock}], target_paths: [a, b, c]}\n"


def test_a_saver_that_is_killed_anywhere_mixes_no_saves(work, interposer):
    """kill -9 before every call that changes something: who restores gets all targets of one save."""
    saver = machine(f"{work}/saver", work)
    fill(saver, "old")
    saver.ok("cache", "save")
    clone_store(f"{work}/store", f"{work}/before")
    fill(saver, "new")
    seen, number, killed = set(), 0, True
    while killed:
        number += 1
        remove(f"{work}/store")
        clone_store(f"{work}/before", f"{work}/store")
        process = saver.start("cache", "save", "--force",
                              env={"LD_PRELOAD": interposer, "INTERPOSE_KILL_AT": str(number)})
        out, err = process.communicate(timeout=60)
        killed = was_killed(process.returncode)
        assert killed or process.returncode == 0, (number, out, err)
        for lock in (b"1", b"another"):
            seen.add(restored(work, lock, number))
        if number % 5 == 0 or not killed:
            # The next save goes through, whatever the killed one left.
            (record,) = saver.ok("cache", "save", "--force")["caches"]
            assert record["state"] in ("saved", "unchanged"), (number, record)
            assert restored(work, b"1", number) == restored(work, b"another", number) == "new", number
    assert number > 20
    assert seen == {"old", "new"}


def test_a_first_saver_that_is_killed_anywhere_publishes_all_or_nothing(work, interposer):
    saver = machine(f"{work}/saver", work)
    fill(saver, "new")
    seen, number, killed = set(), 0, True
    while killed:
        number += 1
        if os.path.exists(f"{work}/store"):
            remove(f"{work}/store")
        process = saver.start("cache", "save", env={"LD_PRELOAD": interposer, "INTERPOSE_KILL_AT": str(number)})
        process.communicate(timeout=60)
        killed = was_killed(process.returncode)
        version, fallback = (restored(work, lock, number) for lock in (b"1", b"another"))
        # It is there already only if all of it is, the shorter key too: no later save would add that.
        (record,) = saver.ok("cache", "save")["caches"]
        seen.add((version, fallback, record["state"] == "exists"))
        assert restored(work, b"1", number) == restored(work, b"another", number) == "new", number
    assert seen == {("", "", False), ("new", "new", False), ("new", "new", True)}


def machine(root, work):
    one = Thaw(root)
    one.env = {name: value for name, value in one.env.items()
               if not name.startswith(("BUILDKITE", "GITHUB", "GITLAB", "CI_"))}
    one.env["THAW_STORE"] = f"{work}/store"
    write(f"{one.cwd}/.thaw/cache.yml", ONE.encode())
    write(f"{one.cwd}/lock", b"1")
    return one


def fill(one, version):
    for target in TARGETS:
        write(f"{one.cwd}/{target}/version", version.encode())


def restored(work, lock, number):
    """The version that a new machine gets, "" for a miss; all targets are of one."""
    reader = machine(f"{work}/reader", work)
    write(f"{reader.cwd}/lock", lock)
    (record,) = reader.ok("cache", "restore")["caches"]
    versions = set()
    for target in TARGETS:
        path = f"{reader.cwd}/{target}/version"
        with open(path, encoding="utf-8") if os.path.exists(path) else open(os.devnull, encoding="utf-8") as file:
            versions.add(file.read())
    remove(f"{work}/reader")
    assert len(versions) == 1, (number, record, versions)
    assert record["state"] == ("restored" if versions != {""} else "miss"), (number, record)
    return versions.pop()
