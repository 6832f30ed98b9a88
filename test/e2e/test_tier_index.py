"""The index of a tier: it knows what the tier holds, and nothing that happens to it makes a command fail or wait."""

import contextlib
import os
import random
import sqlite3

import pytest

import mounts
from daemons import LOOPBACK, Daemons, free_port
from tiers import Stats, blocks, disk, with_tiers
from trees import remove, write

MIB = 1 << 20
SECRET = "open-sesame"


@pytest.fixture
def content():
    return random.Random(9).randbytes(5 * MIB + 123)


@pytest.fixture
def saved(thaw, work, content):
    write(f"{work}/tree/large", content)
    return thaw.save("k", f"{work}/tree")


@pytest.fixture
def tier(work):
    return f"{work}/tier"


@pytest.fixture
def redis(work):
    """The port of a server that wants a password."""
    port = free_port()
    daemons = Daemons(f"{work}/redis")
    os.makedirs(f"{work}/redis", exist_ok=True)
    daemons.start("redis", "redis-server", "--bind", LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no",
                  "--dir", f"{work}/redis", "--requirepass", SECRET)
    daemons.wait_until_listening("redis", port)
    yield port, daemons
    daemons.stop()


def read(thaw, *words):
    return thaw.ok("read", "k", "large", *words, json=False)


@contextlib.contextmanager
def opened(tier):
    database = sqlite3.connect(f"{tier}/index.sqlite")
    yield database
    database.close()


def known(tier):
    """What the index knows: a block's name to (last use, bytes)."""
    with opened(tier) as database:
        return {name.decode(): (use, size) for name, use, size in database.execute("SELECT name, use, bytes FROM blocks")}


def assert_true(tier):
    """The index knows the blocks that are there with the sizes that they have, and its sums are theirs."""
    there = {os.path.relpath(each, tier): os.path.getsize(each) for each in blocks(tier)}
    assert {name: size for name, (_, size) in known(tier).items()} == there
    with opened(tier) as database:
        for table in ("objects", "groups"):
            sums = {name.decode(): (size, count) for name, size, count in database.execute(
                f"SELECT name, bytes, blocks FROM {table}")}
            for name, sum_of in sums.items():
                below = [size for block, size in there.items() if not name or block.startswith(name + "/")]
                assert sum_of == (sum(below), len(below)), (table, name)
        assert "" in sums


@pytest.mark.asan
def test_knows_what_the_tier_holds(thaw, saved, tier, content):
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    cold = Stats(read(thaw, *words))
    assert cold.index["notes"] >= cold.tier["fills"] > 0
    assert (cold.index["dropped"], cold.index["failures"], cold.index["rebuilt"]) == (0, 0, 0)
    assert_true(tier)
    before = known(tier)
    warm = Stats(read(thaw, *words))
    assert warm.tier["hits"] > 0 and warm.index["notes"] > 0
    after = known(tier)
    assert after.keys() == before.keys()
    assert all(after[name][0] >= before[name][0] for name in before)
    assert any(after[name][0] > before[name][0] for name in before)
    assert_true(tier)


def test_a_damaged_block_goes_and_comes(thaw, saved, tier, content):
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    read(thaw, *words)
    os.truncate(blocks(tier, "packs")[1], 100)
    answer = read(thaw, *words)
    assert answer.out == content and Stats(answer).tier["corrupt"] == 1
    assert_true(tier)


@pytest.mark.asan
@pytest.mark.parametrize("harm", ["garbage", "cut", "empty", "foreign", "gone", "folder"])
def test_a_damaged_index(thaw, saved, tier, content, harm):
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    read(thaw, *words)
    path = f"{tier}/index.sqlite"
    with opened(tier) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if harm == "cut":
        os.truncate(path, os.path.getsize(path) - 5000)
    elif harm != "foreign":
        os.unlink(path)
    if harm == "garbage":
        write(path, b"garbage" * 1000)
    elif harm == "empty":
        write(path, b"")
    elif harm == "folder":
        os.mkdir(path)
    elif harm == "foreign":
        with opened(tier) as database:
            database.execute("PRAGMA application_id = 7")
    for _ in range(2):
        answer = read(thaw, *words)
        assert answer.out == content
        assert Stats(answer).tier["misses"] == 0
    if harm == "folder":
        assert Stats(answer).index["failures"] > 0
    else:
        assert len(known(tier)) > 0
        assert Stats(answer).index["failures"] == 0


@pytest.mark.parametrize("leads_to", ["text", "database", "nothing"])
def test_a_link_in_the_indexs_place(thaw, saved, tier, content, work, leads_to):
    """What it leads to is not ours to empty, or to make."""
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    read(thaw, *words)
    remove(f"{tier}/index.sqlite")
    other = f"{work}/other"
    if leads_to == "text":
        write(other, b"somebody's own")
    elif leads_to == "database":
        with contextlib.closing(sqlite3.connect(other)) as database:
            database.execute("CREATE TABLE own (value)")
            database.commit()
    before = open(other, "rb").read() if leads_to != "nothing" else None
    os.symlink(other, f"{tier}/index.sqlite")
    for more in ({}, {"max_bytes": "4MiB"}):
        answer = read(thaw, *with_tiers(thaw, disk(tier, block_size="1MiB", **more)))
        assert answer.out == content and Stats(answer).tier["hits"] > 0
    thaw.run("tier", "clean", "--max-bytes", "1MiB", "--yes", *words[:2])
    assert os.path.exists(other) is (before is not None)
    assert before is None or open(other, "rb").read() == before
    assert [each for each in os.listdir(work) if each.startswith("other-")] == []


def test_off(thaw, saved, tier, content):
    words = with_tiers(thaw, disk(tier, index="off"))
    for _ in range(2):
        answer = read(thaw, "--explain", *words)
        assert answer.out == content and Stats(answer).indexes == []
        assert b"sqlite" not in answer.err
    assert not [name for name in os.listdir(tier) if name.startswith("index")]


def test_explain_names_it(thaw, saved, tier):
    answer = read(thaw, "--explain", *with_tiers(thaw, disk(tier)))
    assert f"disk({tier}) with sqlite({tier}/index.sqlite) over " in answer.err.decode()


def test_where_it_may_not_be_written(thaw, saved, tier, content, as_root):
    """It is off, which is counted and no more: no warning at each start."""
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    read(thaw, *words)
    with mounts.read_only(tier):
        answer = read(thaw, *words)
        assert answer.out == content
        stats = Stats(answer)
        assert stats.tier["misses"] == 0 and stats.index["dropped"] > 0 and stats.index["notes"] == 0
        assert b"warning" not in answer.err
    assert_true(tier)


def test_a_full_disk(thaw, saved, content, work, as_root):
    with mounts.tmpfs(f"{work}/full", "size=8m") as full:
        words = with_tiers(thaw, disk(f"{full}/tier", block_size="1MiB"))
        read(thaw, *words)
        with open(f"{full}/fill", "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b"x" * 4096)
        answer = read(thaw, *words)
        assert answer.out == content and Stats(answer).tier["misses"] == 0
        os.unlink(f"{full}/fill")
        assert read(thaw, *words).out == content
        assert_true(f"{full}/tier")


def test_many_processes(thaw, saved, tier, content, work):
    words = with_tiers(thaw, disk(tier, block_size="64KiB"))
    for _ in range(2):
        outs = [open(f"{work}/out{i}", "wb") for i in range(6)]
        processes = [thaw.start("read", "k", "large", *words, json=False, stdout=each) for each in outs]
        for process, out in zip(processes, outs):
            _, err = process.communicate(timeout=120)
            out.close()
            assert process.returncode == 0, err
            assert open(out.name, "rb").read() == content
            assert Stats(type("Answer", (), {"err": err})).index["failures"] == 0
    assert_true(tier)


# ------------------------------------------------------------------------------------------------ Redis

def test_in_redis(thaw, saved, tier, content, redis):
    port, daemons = redis
    url = f"redis://:{SECRET}@{LOOPBACK}:{port}/0?prefix=e2e"
    words = with_tiers(thaw, disk(tier, index=url, block_size="1MiB"))
    for _ in range(2):
        answer = read(thaw, "--explain", *words)
        assert answer.out == content
        stats = Stats(answer)
        assert stats.index["notes"] > 0 and stats.index["dropped"] == 0
        assert f"with redis({LOOPBACK}:{port}/0) under {{e2e}} over " in answer.err.decode()
        assert SECRET not in answer.err.decode()
    assert not os.path.exists(f"{tier}/index.sqlite")
    daemons.stop()
    for more in ([], ["--verbose", "--verbose"]):
        answer = read(thaw, *more, *words)
        assert answer.out == content
        stats = Stats(answer)
        assert stats.tier["misses"] == 0 and stats.index["notes"] == 0 and stats.index["dropped"] > 0
        assert SECRET not in answer.err.decode()


def test_a_wrong_password(thaw, saved, tier, content, redis):
    words = with_tiers(thaw, disk(tier, index=f"redis://:wrong-{SECRET}@{LOOPBACK}:{redis[0]}?prefix=e2e"))
    answer = read(thaw, *words)
    assert answer.out == content
    assert Stats(answer).index["failures"] == 1 and Stats(answer).index["notes"] == 0
    assert SECRET not in answer.err.decode()
