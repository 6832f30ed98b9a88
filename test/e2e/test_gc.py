"""`thaw gc`: what nothing needs goes in two steps, what anything may need stays. docs/gc.md."""

import json
import os
import time

import pytest

from driver import was_killed
from store_format import entry_path, sealed, unsealed
from trees import assert_same, clone_store, describe, remove, replace_file, small_tree, write

DAY = 24 * 3600
AT_ONCE = ("gc", "--yes", "--grace", "1ms")  # less than a second: no grace at all


def age(path, seconds):
    """As if it had been put so long ago: the store's time is its filesystem's."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def age_all(thaw, seconds, *kinds):
    for kind in kinds or ("packs", "manifests", "keys", "condemned", "leases", "used"):
        for name in thaw.objects(kind):
            age(f"{thaw.store}/{name}", seconds)


def packs(thaw):
    return thaw.objects("packs")


@pytest.fixture
def two(thaw, work):
    """A key of two generations without anything in common."""
    one, two = f"{work}/one", f"{work}/two"
    for seed, tree in enumerate((one, two)):
        small_tree(tree, seed=seed)
        write(f"{tree}/large", os.urandom(3 << 20))
        thaw.save("k", tree, "--allow-shrink")
    return one, two


def test_the_default_only_says(thaw, two):
    thaw.ok("rm", "k@1", "--yes")
    age_all(thaw, 2 * DAY)
    before = thaw.objects()
    answer = thaw.ok("gc")
    assert answer["executed"] is False
    assert answer["condemn"]["objects"] >= 1 and answer["condemned"]["objects"] == 0
    assert answer["delete"]["objects"] == 0
    assert thaw.objects() == before
    text = thaw.run("gc", json=False)
    assert b"--yes does it" in text.err + text.out


def test_what_was_removed_goes_after_the_grace_period(thaw, work, two):
    whole = packs(thaw)
    kept = describe(two[1])
    thaw.ok("rm", "k@1", "--yes")
    age_all(thaw, 2 * DAY)
    first = thaw.ok("gc", "--yes")
    assert first["condemned"]["objects"] >= 1 and first["deleted"]["objects"] == 0
    assert packs(thaw) == whole, "condemned, not deleted"
    second = thaw.ok("gc", "--yes")
    assert second["waiting"] == first["condemned"] and second["deleted"]["objects"] == 0
    age_all(thaw, 2 * DAY, "condemned")
    third = thaw.ok("gc", "--yes")
    assert third["deleted"] == first["condemned"]
    assert thaw.objects("condemned") == []
    assert set(packs(thaw)) < set(whole)
    thaw.restore("k", f"{work}/out")
    assert_same(kept, f"{work}/out")
    thaw.clean()
    idle = thaw.ok("gc", "--yes")
    assert [idle[each]["objects"] for each in ("deleted", "condemned", "waiting")] == [0, 0, 0]


def test_what_a_later_generation_shares_stays(thaw, work):
    tree = small_tree(f"{work}/tree")
    write(f"{tree}/large", os.urandom(2 << 20))
    thaw.save("k", tree)
    write(f"{tree}/more", os.urandom(1 << 20))
    thaw.save("k", tree)
    thaw.ok("rm", "k@1", "--yes")
    for _ in range(3):
        age_all(thaw, 2 * DAY)
        thaw.ok("gc", "--yes")
    assert len(packs(thaw)) == 2
    thaw.restore("k", f"{work}/out")
    assert_same(describe(tree), f"{work}/out")
    thaw.clean()


def test_young_objects_stay(thaw, two):
    """What a killed save left is garbage a day later, not before."""
    name = "packs/ab/ab" + "0" * 30
    write(f"{thaw.store}/{name}", b"x" * 1000)
    assert thaw.ok("gc", "--yes")["young"]["objects"] == 1
    age(f"{thaw.store}/{name}", 2 * DAY)
    assert thaw.ok("gc", "--yes")["condemned"]["objects"] == 1


def lease(thaw, *, manifests=(), packs=(), ttl=3600, since=0, name="1" * 32):
    record = {"holder": "test/1", "nonce": "0" * 32, "created_ns": 0, "since_ns": since, "ttl_s": ttl,
              "manifests": list(manifests), "packs": list(packs)}
    path = f"{thaw.store}/leases/{name}"
    write(path, sealed(b"thawle01", record))
    return path


def test_a_lease_protects_its_bases_and_what_is_younger(thaw, two):
    thaw.ok("rm", "k@1", "--yes")
    age_all(thaw, 2 * DAY)
    needed = [each.split("/")[-1] for each in packs(thaw)]
    path = lease(thaw, packs=needed)
    answer = thaw.ok("gc", "--yes")
    assert answer["leases"] == 1 and answer["leased"]["objects"] >= 1 and answer["condemned"]["objects"] == 0
    # One that is long since out of time is removed, and protects nothing.
    age(path, 2 * DAY)
    answer = thaw.ok("gc", "--yes")
    assert answer["expired_leases"] == 1 and answer["condemned"]["objects"] >= 1
    assert thaw.objects("leases") == []
    # A saver that began before these packs were put, whatever its lease names.
    age_all(thaw, 2 * DAY, "packs", "condemned")
    lease(thaw, since=int((time.time() - 3 * DAY) * 1e9))
    assert thaw.ok("gc", "--yes")["deleted"]["objects"] == 0


def test_a_lease_that_cannot_be_read_stops_it_for_a_day(thaw, two):
    thaw.ok("rm", "k@1", "--yes")
    age_all(thaw, 2 * DAY)
    write(f"{thaw.store}/leases/{'2' * 32}", b"rubbish")
    answer = thaw.fails(1, "gc", "--yes")
    assert "leases/" in answer["message"] and answer["reason"] == "corrupt"
    age(f"{thaw.store}/leases/{'2' * 32}", 2 * DAY)
    assert thaw.ok("gc", "--yes")["expired_leases"] == 1


def test_times_of_other_centuries(thaw, two):
    """What the clocks of a filesystem say may be anything: far ahead is young, not old."""
    thaw.ok("rm", "k@1", "--yes")
    age_all(thaw, 2 * DAY)
    count = len(packs(thaw))
    thaw.ok("gc", "--yes")
    age_all(thaw, 2 * DAY, "condemned")
    junk = f"{thaw.store}/leases/{'2' * 32}"
    write(junk, b"rubbish")
    for year in (2250, 2500, 9999):
        os.utime(junk, ((year - 1970) * 365 * DAY,) * 2)
        answer = thaw.fails(1, "gc", "--yes")
        assert answer["reason"] == "corrupt" and len(packs(thaw)) == count, year
    os.utime(junk, (-500 * 365 * DAY,) * 2)
    assert thaw.ok("gc", "--yes")["deleted"]["objects"] >= 1


def test_an_entry_that_cannot_be_read_stops_it(thaw, two):
    age_all(thaw, 2 * DAY)
    before = packs(thaw)
    path = entry_path(thaw.store, "k", 1)
    with open(path, "rb") as file:
        good = file.read()
    replace_file(path, good[:-1] + b"x")
    answer = thaw.fails(1, *AT_ONCE)
    assert "k@1" in answer["message"] and "thaw rm k@1" in answer["message"]
    assert packs(thaw) == before
    thaw.ok("rm", "k@1", "--yes")
    thaw.ok(*AT_ONCE)


def test_what_is_not_thaws_is_reported_and_left(thaw, work, two):
    strange = ["readme.txt", "packs/zz", "packs/ab/cd", "manifests/x", "keys/k/odd", "leases/y", "templates/a/memfile",
               "condemnedly", "used/k/x", "zebra"]
    for name in strange:
        write(f"{thaw.store}/{name}", b"mine")
        age(f"{thaw.store}/{name}", 90 * DAY)
    thaw.ok("rm", "k", "--yes")
    for _ in range(3):
        age_all(thaw, 2 * DAY, "packs", "manifests", "keys", "condemned")
        answer = thaw.ok("gc", "--yes")
    assert answer["unknown"]["objects"] == len(strange), answer
    assert set(answer["unknown"]["examples"]) <= set(strange)
    left = thaw.objects()
    assert [each for each in left if each in strange] == sorted(strange)
    assert not [each for each in left if each.startswith("packs/") and each not in strange]


def test_tombstones_go_when_no_saver_can_want_their_number(thaw, work, two):
    thaw.ok("rm", "k", "--yes")
    age_all(thaw, 30 * DAY)
    thaw.ok("gc", "--yes")
    assert len(thaw.objects("keys")) == 1, "the highest number's stays"
    assert thaw.save("k", two[0])["generation"] == 3


def test_retention(thaw, work):
    tree = small_tree(f"{work}/tree")
    for number in range(6):
        write(f"{tree}/n", b"%d" % number)
        thaw.save("site/a", tree, *(["--label", "pin=yes"] if number == 1 else []))
        thaw.save("other", tree)
    rules = {"retention": [{"prefix": "site", "keep_last": 2, "keep_label": "pin"}]}
    config = f"{work}/rules.json"
    write(config, json.dumps(rules).encode())
    plan = thaw.ok("gc", "--config-json", config)
    assert [each["generation"] for each in plan["retire"]] == [4, 3, 1]
    assert {each["why"] for each in plan["retire"]} == {"surplus"}
    done = thaw.ok("gc", "--yes", "--config-json", config)
    assert done["retired"] == 3
    assert thaw.ok("inspect", "site/a")["generations"] == [6, 5, 2]
    assert thaw.ok("inspect", "other")["generations"] == [6, 5, 4, 3, 2, 1]


def test_retention_keeps_what_is_used(thaw, work):
    tree = small_tree(f"{work}/tree")
    for key in ("used", "unused"):
        thaw.save(key, tree)
        path = entry_path(thaw.store, key, 1)
        with open(path, "rb") as file:
            record, attached = unsealed(file.read())
        record["created_ns"] -= 60 * DAY * 10**9
        replace_file(path, sealed(b"thawen01", record, attached))
        age(path, 60 * DAY)
    thaw.restore("used", f"{work}/out")
    assert thaw.objects("used") == ["used/used/@"]
    noted = os.stat(f"{thaw.store}/used/used/@").st_mtime_ns
    thaw.restore("used", f"{work}/out")
    assert os.stat(f"{thaw.store}/used/used/@").st_mtime_ns == noted, "once in some hours"
    config = f"{work}/rules.json"
    write(config, json.dumps({"retention": [{"prefix": "", "ttl": "14d"}]}).encode())
    done = thaw.ok("gc", "--yes", "--config-json", config)
    assert [(each["key"], each["why"]) for each in done["retire"]] == [("unused", "unused")]
    assert thaw.run("restore", "unused", f"{work}/out2").code == 3
    thaw.restore("used", f"{work}/out")


def test_a_fresh_generation_needs_no_note(thaw, work):
    thaw.save("k", small_tree(f"{work}/tree"))
    thaw.restore("k", f"{work}/out")
    assert thaw.objects("used") == []


def test_who_may_not_write_restores_all_the_same(thaw, work, as_root):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    path = entry_path(thaw.store, "k", 1)
    with open(path, "rb") as file:
        record, attached = unsealed(file.read())
    record["created_ns"] = 5
    replace_file(path, sealed(b"thawen01", record, attached))
    write(f"{thaw.store}/used", b"a file, where a folder should be")
    assert thaw.restore("k", f"{work}/out").err == b""
    assert_same(describe(tree), f"{work}/out")


def test_an_empty_or_absent_store(thaw):
    assert thaw.ok("gc")["generations"] == 0
    assert thaw.ok("gc", "--yes")["generations"] == 0
    assert not os.path.exists(thaw.store)


@pytest.mark.parametrize("words,said", [
    (["--yes", "--dry-run"], "exclude each other"), (["--grace", "24"], "--grace"), (["k"], "one word too many")])
def test_wrong_usage(thaw, words, said):
    assert said in thaw.fails(2, "gc", *words)["message"]


@pytest.mark.asan
def test_killed_at_every_step(thaw, work, two, interposer):
    """What is needed stays, and the next run finishes."""
    kept = describe(two[1])
    thaw.ok("rm", "k@1", "--yes")
    age_all(thaw, 2 * DAY)
    thaw.ok("gc", "--yes")
    age_all(thaw, 2 * DAY)
    write(f"{thaw.store}/packs/cd/cd{'0' * 30}", b"more garbage")
    age_all(thaw, 2 * DAY, "packs/cd")
    clone_store(thaw.store, f"{work}/before")
    number, killed = 0, True
    while killed:
        number += 1
        remove(thaw.store)
        clone_store(f"{work}/before", thaw.store)
        env = {"LD_PRELOAD": interposer, "INTERPOSE_KILL_AT": str(number)}
        process = thaw.start("gc", "--yes", "--threads", "1", env=env)
        process.communicate()
        killed = was_killed(process.returncode)
        thaw.clean()
        if number % 5 and killed:
            continue
        for _ in range(3):  # a killed run leaves its claim, and then what it named is condemned anew
            age_all(thaw, 2 * DAY, "condemned", "sweeping", "probe")
            thaw.ok("gc", "--yes")
        assert len(packs(thaw)) == 1, number
        assert thaw.objects("condemned") == thaw.objects("sweeping") == thaw.objects("probe") == []
        thaw.restore("k", f"{work}/out")
        assert_same(kept, f"{work}/out")
        remove(f"{work}/out")
    assert number > 5


def test_in_a_bucket(s3, work):
    one, two = f"{work}/one", f"{work}/two"
    for seed, tree in enumerate((one, two)):
        small_tree(tree, seed=seed)
        write(f"{tree}/large", os.urandom(2 << 20))
        s3.save("k", tree, "--allow-shrink")
    s3.ok("rm", "k@1", "--yes")
    before = len(s3.objects("packs/"))
    deleted = 0
    for _ in range(100):  # the server tells whole seconds
        deleted += s3.ok(*AT_ONCE)["deleted"]["objects"]
        if deleted and s3.objects("condemned/") == []:
            break
        time.sleep(0.1)
    assert deleted >= 1 and len(s3.objects("packs/")) < before
    s3.ok("verify")
    s3.restore("k", f"{work}/out")
    assert_same(describe(two), f"{work}/out")
