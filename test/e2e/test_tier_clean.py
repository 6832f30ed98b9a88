"""`thaw tier stats|clean`, tiers that stay within max_bytes, and invalidation. docs/operations.md, "Cleaning tiers"."""

import os
import random
import sqlite3
import subprocess
import time

import pytest

import mounts
from tiers import Stats, blocks, bytes_of, disk, with_tiers
from trees import describe, assert_same, small_tree, write

MIB = 1 << 20
DAY = 24 * 3600


@pytest.fixture
def tier(work):
    return f"{work}/tier"


@pytest.fixture
def objects(thaw, work):
    """Ten raw objects of 1 MiB, b0/0 to b0/4 and b1/0 to b1/4, in a store."""
    thaw.save("k", small_tree(f"{work}/tree"))
    noise = random.Random(4)
    names = [f"b{build}/{number}" for build in range(2) for number in range(5)]
    for name in names:
        write(f"{thaw.store}/{name}", noise.randbytes(MIB))
    return names


def words_of(thaw, tier, **more):
    return with_tiers(thaw, disk(tier, block_size="1MiB", **more))


def read_all(thaw, names, words):
    for name in names:
        thaw.ok("read", "--object", name, *words, json=False)


def held(tier, name):
    return [each for each in blocks(tier) if f"/{name}/@/" in each]


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def clean(thaw, words, *more):
    return thaw.ok("tier", "clean", *more, *words)["tiers"][0]


def test_stats(thaw, objects, tier):
    words = words_of(thaw, tier, max_bytes="1GiB")
    read_all(thaw, objects, words)
    told = thaw.ok("tier", "stats", *words)["tiers"][0]
    assert (told["blocks"], told["index"]["blocks"]) == (10, 10)
    assert told["bytes"] == told["index"]["bytes"] == bytes_of(tier)
    assert b"10 blocks" in thaw.ok("tier", "stats", *words, json=False).out


def test_the_default_only_says(thaw, objects, tier):
    words = words_of(thaw, tier)
    read_all(thaw, objects, words)
    before = blocks(tier)
    answer = clean(thaw, words, "--max-bytes", "5MiB")
    assert answer["deleted"] >= 5 and blocks(tier) == before


def test_by_size_what_was_used_longest_ago_goes(thaw, objects, tier):
    words = words_of(thaw, tier)
    read_all(thaw, objects, words)
    read_all(thaw, objects[:3], words)  # a use: now these are the warm ones
    answer = clean(thaw, words, "--max-bytes", "5MiB", "--yes")
    assert answer["by"]["index"]["deleted"] == answer["deleted"] and not answer["blind"]
    assert bytes_of(tier) <= 5 * MIB
    assert all(held(tier, name) for name in objects[:3])
    assert not held(tier, objects[3])
    told = thaw.ok("tier", "stats", *words)["tiers"][0]
    assert told["bytes"] == told["index"]["bytes"]


def test_by_age(thaw, objects, tier):
    words = words_of(thaw, tier)
    read_all(thaw, objects, words)
    assert clean(thaw, words, "--older-than", "1h", "--yes")["deleted"] == 0
    answer = clean(thaw, words, "--older-than", "1ms", "--yes")
    assert answer["deleted"] == 10 and blocks(tier) == []


def test_what_the_index_has_never_seen(thaw, objects, tier):
    """With an index that works a block's own age tells that it was not used; a young one is learned of."""
    words = words_of(thaw, tier, index="off")
    read_all(thaw, objects, words)
    for name in objects[:4]:
        for each in held(tier, name):
            age(f"{tier}/{each}" if not os.path.isabs(each) else each, 30 * DAY)
    words = words_of(thaw, tier)
    answer = clean(thaw, words, "--older-than", "7d", "--yes")
    assert answer["by"]["listing"]["deleted"] == 4 and answer["adopted"] == 6
    assert clean(thaw, words, "--older-than", "7d", "--yes")["adopted"] == 0
    assert thaw.ok("tier", "stats", *words)["tiers"][0]["index"]["blocks"] == 6


def test_without_an_index_the_unknown_stays(thaw, objects, tier):
    words = words_of(thaw, tier, index="off")
    read_all(thaw, objects, words)
    for each in blocks(tier):
        age(each if os.path.isabs(each) else f"{tier}/{each}", 30 * DAY)
    answer = clean(thaw, words, "--older-than", "7d", "--yes")
    assert answer["deleted"] == 0 and answer["kept_unknown"] == 10 and not answer["blind"]
    answer = clean(thaw, words, "--max-bytes", "5MiB", "--yes")
    assert answer["blind"] and bytes_of(tier) <= 5 * MIB, "but a tier that is too large has to shrink"
    answer = clean(thaw, words, "--older-than", "7d", "--allow-blind", "--yes")
    assert answer["blind"] and blocks(tier) == []


def test_entries_whose_blocks_are_gone(thaw, objects, tier):
    words = words_of(thaw, tier)
    read_all(thaw, objects, words)
    for name in objects[:5]:
        for each in held(tier, name):
            os.unlink(each if os.path.isabs(each) else f"{tier}/{each}")
    assert clean(thaw, words, "--yes")["forgotten"] == 5
    told = thaw.ok("tier", "stats", *words)["tiers"][0]
    assert told["blocks"] == told["index"]["blocks"] == 5


def test_sums_that_somebody_changed(thaw, objects, tier):
    words = words_of(thaw, tier, max_bytes="20MiB")
    read_all(thaw, objects[:5], words)
    database = sqlite3.connect(f"{tier}/index.sqlite")
    database.execute("UPDATE groups SET bytes = bytes + 1000000000")
    database.execute("UPDATE objects SET bytes = bytes + 1000000000")
    database.commit()
    database.close()
    assert thaw.ok("tier", "stats", *words)["tiers"][0]["index"]["bytes"] > 10**9
    answer = clean(thaw, words, "--yes")
    assert answer["mended"] and answer["deleted"] == 0
    again = clean(thaw, words, "--yes")
    assert not again["mended"] and not again["errors"]
    read_all(thaw, objects[5:], words)
    told = thaw.ok("tier", "stats", *words)["tiers"][0]
    assert told["index"]["bytes"] == told["bytes"] and told["blocks"] >= 5


def test_max_deletions(thaw, objects, tier):
    words = words_of(thaw, tier)
    read_all(thaw, objects, words)
    answer = clean(thaw, words, "--older-than", "1ms", "--max-deletions", "3", "--yes")
    assert answer["deleted"] == 3 and answer["capped"] and len(blocks(tier)) == 7


def test_nothing_outside_is_touched(thaw, work, objects, tier):
    words = words_of(thaw, tier)
    read_all(thaw, objects, words)
    strange = ["lost+found/x", "notes.txt", "blocks/mine", "blocks/0123456789abcdef/odd", "other/blocks/a/@/once-1024/0"]
    for name in strange:
        write(f"{tier}/{name}", b"mine")
        age(f"{tier}/{name}", 90 * DAY)
    os.symlink(f"{work}/tree", f"{tier}/blocks/link")
    answer = clean(thaw, words, "--older-than", "1ms", "--max-bytes", "1MiB", "--allow-blind", "--yes")
    assert answer["deleted"] == 10
    assert all(os.path.exists(f"{tier}/{name}") for name in strange)
    assert os.listdir(f"{work}/tree")


def test_a_place_that_is_no_tier_is_refused(thaw, work, objects):
    write(f"{work}/mine/blocks/file", b"mine")
    thaw.fails(2, "tier", "clean", "--older-than", "1ms", "--yes", *words_of(thaw, f"{work}/mine"))
    os.makedirs(f"{work}/empty")
    answer = thaw.fails(1, "tier", "clean", "--older-than", "1ms", "--yes", *words_of(thaw, f"{work}/empty"))
    assert "is no tier" in answer["message"]
    assert os.listdir(f"{work}/empty") == []


def test_min_free(thaw, work, objects, as_root):
    with mounts.tmpfs(f"{work}/small", "size=20m") as small:
        words = words_of(thaw, f"{small}/tier")
        read_all(thaw, objects, words)
        assert clean(thaw, words, "--min-free", "10%", "--yes")["deleted"] == 0
        answer = clean(thaw, words, "--min-free", "75%", "--yes")
        room = os.statvfs(small)
        assert room.f_bavail / room.f_blocks >= 0.75 and answer["deleted"] >= 4


@pytest.mark.parametrize("words,said", [
    (["clean", "--min-free", "15"], "--min-free"), (["clean", "--older-than", "7"], "--older-than"),
    (["clean", "--yes", "--dry-run"], "exclude each other"), (["wash"], "WHAT"), ([], "WHAT")])
def test_wrong_usage(thaw, tier, words, said):
    assert said in thaw.fails(2, "tier", *words, *words_of(thaw, tier))["message"]


def test_without_tiers(thaw):
    assert "no [[tier]]" in thaw.fails(2, "tier", "stats")["message"]


@pytest.mark.parametrize("index", ["sqlite", "off"])
def test_a_bound_is_kept_while_it_is_filled(thaw, objects, tier, index):
    """Room is made for what is read now; nothing fails."""
    words = words_of(thaw, tier, max_bytes="4MiB", index=index)
    for _ in range(3):
        for name in objects:
            with open(f"{thaw.store}/{name}", "rb") as file:
                answer = thaw.ok("read", "--object", name, *words, "--stats", json=False)
                assert answer.out == file.read()
            assert bytes_of(tier) <= 4 * MIB
    assert len(blocks(tier)) == 3, "the header of a block takes some of it"


def test_many_processes_keep_the_bound(thaw, objects, tier):
    words = words_of(thaw, tier, max_bytes="5MiB")
    rng = random.Random(7)
    for _ in range(6):
        names = [rng.choice(objects) for _ in range(16)]
        readers = [thaw.start("read", "--object", name, *words, json=False) for name in names]
        while any(each.poll() is None for each in readers):
            assert bytes_of(tier) <= 5 * MIB * 1.05
            for each in readers:
                try:
                    out, err = each.communicate(timeout=0.01)
                except (subprocess.TimeoutExpired, ValueError):
                    continue
        for name, each in zip(names, readers):
            assert each.returncode == 0
    assert bytes_of(tier) <= 5 * MIB


# ------------------------------------------------------------------------------------ invalidation

def test_rm_drops_what_tiers_keep(thaw, work, tier):
    tree = small_tree(f"{work}/tree")
    words = with_tiers(thaw, disk(tier))
    thaw.save("k", tree)
    thaw.restore("k", f"{work}/out", *words)
    assert blocks(tier)
    answer = thaw.ok("rm", "k", "--yes", *words)
    assert answer["tiers"][0]["ok"] and answer["tiers"][0]["blocks"] >= 1
    assert blocks(tier) == []


def test_what_other_generations_share_stays_in_the_tier(thaw, work, tier):
    tree = small_tree(f"{work}/tree")
    words = with_tiers(thaw, disk(tier))
    thaw.save("k", tree)
    write(f"{tree}/more", os.urandom(MIB))
    thaw.save("k", tree)
    thaw.restore("k@1", f"{work}/one", *words)
    thaw.restore("k", f"{work}/two", *words)
    before = blocks(tier)
    thaw.ok("rm", "k@1", "--yes", *words)
    assert blocks(tier) == before
    thaw.restore("k", f"{work}/three", *words)
    assert_same(describe(tree), f"{work}/three")


def test_invalidate(thaw, work, tier):
    tree = small_tree(f"{work}/tree")
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    for key in ("build1", "build1/a", "build10", "other"):
        write(f"{tree}/which", key.encode())
        thaw.save(key, tree)
        thaw.restore(key, f"{work}/out", *words)
    raw = {name: os.urandom(1000) for name in ("build1/rootfs", "build10/rootfs", "build1.img")}
    for name, content in raw.items():
        write(f"{thaw.store}/{name}", content)
        thaw.ok("read", "--object", name, *words, json=False)
    plan = thaw.ok("invalidate", "build1", *words)
    assert [each["key"] for each in plan["keys"]] == ["build1", "build1/a"] and plan["removed"] is False
    done = thaw.ok("invalidate", "build1/", "--yes", *words)
    assert done["retired"] == 2 and done["tiers"][0]["blocks"] >= 1
    assert [each["key"] for each in thaw.ok("ls")["keys"]] == ["build10", "other"]
    assert not held(tier, "build1/rootfs")
    assert held(tier, "build10/rootfs") and held(tier, "build1.img")
    assert os.path.exists(f"{thaw.store}/build1/rootfs"), "raw objects are not thaw's"
    thaw.restore("build10", f"{work}/ten", *words)
    thaw.clean()


def test_a_tier_that_fails_does_not_stop_the_others(thaw, work, tier):
    tree = small_tree(f"{work}/tree")
    words = with_tiers(thaw, disk(tier), {"kind": "bucket", "url": "s3://bucket/p?endpoint=http://127.0.0.1:9&anonymous=true"})
    thaw.save("k", tree)
    thaw.restore("k", f"{work}/out", *words)
    assert blocks(tier)
    answer = thaw.fails(1, "invalidate", "k", "--yes", *words, timeout=120)
    assert [each["ok"] for each in answer["tiers"]] == [True, False]
    assert blocks(tier) == [] and thaw.run("inspect", "k").code == 3


@pytest.mark.parametrize("prefix", ["", "/", "a//b", "a@1", "*"])
def test_prefixes_are_no_patterns(thaw, work, prefix):
    thaw.save("k", small_tree(f"{work}/tree"))
    answer = thaw.run("invalidate", prefix, "--yes")
    assert answer.code == (0 if prefix == "*" else 2)
    thaw.ok("inspect", "k")
