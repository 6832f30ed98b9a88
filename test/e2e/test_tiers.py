"""Tiers in front of a store: what they spare, and that nothing that happens to one makes a command fail or lie."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest

import mounts
from driver import Thaw, was_killed
from tiers import Stats, blocks, bytes_of, disk, with_tiers
from trees import assert_same, remove, small_tree, write

MIB = 1 << 20
NOBODY = 65534


@pytest.fixture
def content():
    return random.Random(9).randbytes(11 * MIB + 123)


@pytest.fixture
def tree(work, content):
    write(f"{work}/tree/large", content)
    return small_tree(f"{work}/tree", files=10)


@pytest.fixture
def saved(thaw, tree):
    return thaw.save("k", tree)


@pytest.fixture
def tier(work):
    return f"{work}/tier"


def read(thaw, *words, **kw):
    return thaw.ok("read", *words, json=False, **kw)


class PacksAside:
    """Meanwhile the store has no packs: who needs one fails."""

    def __init__(self, thaw):
        self.path = f"{thaw.store}/packs"

    def __enter__(self):
        os.rename(self.path, self.path + ".aside")

    def __exit__(self, *_):
        os.rename(self.path + ".aside", self.path)


# ---------------------------------------------------------------------------------------- what it spares

@pytest.mark.asan
def test_cold_then_warm(thaw, saved, tree, tier, content, work):
    words = with_tiers(thaw, disk(tier))
    cold = Stats(read(thaw, "k", "large", *words))
    assert cold.tier["misses"] == cold.tier["fills"] == len(blocks(tier)) > 0
    assert (cold.tier["dropped"], cold.tier["failed"], cold.tier["failures"]) == (0, 0, 0)
    assert json.load(open(f"{tier}/thaw-tier.json")) == {"kind": "thaw-tier", "format": 1}
    with PacksAside(thaw):
        answer = read(thaw, "k", "large", *words)
        warm = Stats(answer)
        assert answer.out == content
        assert (warm.tier["misses"], warm.tier["fills"]) == (0, 0) and warm.tier["hits"] > 0
        assert warm.store["gets"] < cold.store["gets"]
        thaw.ok("extract", "k", "large", f"{work}/out", *words)
        assert open(f"{work}/out", "rb").read() == content
        thaw.fails(1, "read", "k", "large", "--no-tiers", json=False)


def test_restore_through_a_tier(thaw, saved, tree, tier, work):
    words = with_tiers(thaw, disk(tier))
    cold = Stats(thaw.restore("k", f"{work}/cold", *words))
    assert_same(tree, f"{work}/cold")
    assert cold.tier["misses"] == cold.tier["fills"] > 0
    with PacksAside(thaw):
        warm = Stats(thaw.restore("k", f"{work}/warm", *words))
        assert_same(tree, f"{work}/warm")
    assert warm.tier["misses"] == 0 and warm.tier["hits"] > 0


@pytest.mark.asan
def test_save_through_a_tier(thaw, saved, tree, tier, work):
    """Writes go past it; what a save publishes is seen through it at once."""
    words = with_tiers(thaw, disk(tier))
    thaw.restore("k", f"{work}/one", *words)
    write(f"{tree}/new", b"new")
    assert thaw.save("k", tree, *words)["generation"] == 2
    assert thaw.save("k", tree, *words)["reason"] == "unchanged"
    thaw.restore("k", f"{work}/two", *words)
    assert_same(tree, f"{work}/two")
    thaw.ok("rm", "k@2", "--yes", *words)
    thaw.fails(3, "restore", "k@2", f"{work}/three", *words)
    assert thaw.ok("inspect", "k@1", *words)["generation"] == 1
    thaw.clean()


def test_verify_looks_at_the_store_itself(thaw, saved, tier, work):
    """Good blocks in a tier must not hide that the store is damaged."""
    words = with_tiers(thaw, disk(tier))
    thaw.restore("k", f"{work}/out", *words)
    kept = blocks(tier)
    assert kept
    assert thaw.ok("verify", *words)["faults"] == []
    assert blocks(tier) == kept, "and the tier keeps what it has"
    name = thaw.objects("packs")[0]
    with open(f"{thaw.store}/{name}", "r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    assert name in str(thaw.run("verify", *words)["faults"])
    assert blocks(tier) == kept


def test_a_generation_is_never_stale(thaw, tier, work):
    """Another process publishes: a warm tier does not hide it."""
    words = with_tiers(thaw, disk(tier))
    for number in range(1, 4):
        write(f"{work}/tree/file", b"%d" % number * 1000)
        thaw.save("k", f"{work}/tree", "--allow-shrink")
        assert read(thaw, "k", "file", *words).out == b"%d" % number * 1000


def test_no_tiers_and_explain(thaw, saved, tier, work):
    near, far = f"{work}/near", f"{work}/far"
    words = with_tiers(thaw, disk(near), disk(far))
    answer = read(thaw, "k", "copy", "--explain", *words)
    line, = [each for each in answer.err.decode().splitlines() if each.startswith("thaw: store: ")]
    places = [line.index(each) for each in (near, " over ", far, thaw.store)]
    assert places == sorted(places), line
    assert line.count(" over ") >= 2
    shutil.rmtree(near)
    shutil.rmtree(far)
    answer = read(thaw, "k", "copy", "--explain", "--no-tiers", *words)
    assert near.encode() not in answer.err and thaw.store.encode() in answer.err
    assert not os.path.exists(near) and not os.path.exists(far)
    assert Stats(answer).tiers == []
    # One object on standard output under --json, whatever is explained.
    assert thaw.ok("ls", "--explain", *words)["keys"]


def test_two_tiers(thaw, saved, content, work):
    near, far = f"{work}/near", f"{work}/far"
    words = with_tiers(thaw, disk(near, block_size="1MiB"), disk(far))
    cold = Stats(read(thaw, "k", "large", *words))
    assert len(blocks(near)) > len(blocks(far)) > 0
    assert all(each["fills"] == each["misses"] for each in cold.tiers)
    with PacksAside(thaw):
        warm = Stats(read(thaw, "k", "large", *words))
        assert (warm.tiers[0]["misses"], warm.tiers[1]["hits"]) == (0, 0)  # the nearer one answers alone
        shutil.rmtree(near)
        answer = read(thaw, "k", "large", *words)
        assert answer.out == content
        assert Stats(answer).tiers[1]["hits"] > 0 and Stats(answer).tiers[1]["misses"] == 0
        assert len(blocks(near)) > 0  # filled again, from the farther one
        shutil.rmtree(far)
        assert read(thaw, "k", "large", *words).out == content


@pytest.mark.parametrize("size", ["64KiB", "1MiB", "64MiB"])
def test_block_sizes(thaw, saved, tier, content, size):
    words = with_tiers(thaw, disk(tier, block_size=size))
    rng = random.Random(4)
    ranges = [(rng.randrange(len(content)), rng.randrange(1, 200_000)) for _ in range(4)] + [(0, len(content))]
    for packs in ("there", "aside"):
        for offset, length in ranges:
            length = min(length, len(content) - offset)
            if packs == "aside":
                with PacksAside(thaw):
                    out = read(thaw, "k", "large", "--offset", str(offset), "--length", str(length), *words).out
            else:
                out = read(thaw, "k", "large", "--offset", str(offset), "--length", str(length), *words).out
            assert out == content[offset:offset + length]
    full = {"64KiB": 64 << 10, "1MiB": MIB, "64MiB": 64 * MIB}[size]
    assert all(os.path.getsize(each) <= full + 12 * 1024 for each in blocks(tier))
    # Another size finds nothing of it, and does no harm.
    before = len(blocks(tier))
    other = Stats(read(thaw, "k", "large", *with_tiers(thaw, disk(tier, block_size="2MiB"))))
    assert other.tier["misses"] == len(blocks(tier)) - before > 0 and other.tier["corrupt"] == 0


def test_fill_off(thaw, saved, tier, content):
    words = with_tiers(thaw, disk(tier, fill="off"))
    answer = read(thaw, "k", "large", *words)
    assert answer.out == content
    assert Stats(answer).tier["fills"] == Stats(answer).tier["dropped"] == 0
    assert not os.path.exists(f"{tier}/blocks")
    read(thaw, "k", "large", *with_tiers(thaw, disk(tier)))  # somebody else fills it
    kept = {each: os.path.getmtime(each) for each in blocks(tier)}
    with PacksAside(thaw):
        assert read(thaw, "k", "large", *with_tiers(thaw, disk(tier, fill="off"))).out == content
    assert kept == {each: os.path.getmtime(each) for each in blocks(tier)}


def test_max_bytes(thaw, saved, tier, content):
    """A full tier takes no more, and what it has it gives."""
    words = with_tiers(thaw, disk(tier, block_size="1MiB", max_bytes="3MiB"))
    rounds = 0
    while rounds < 3 or stats["hits"] == 0 or bytes_of(tier) <= 2 * MIB:  # later processes count what is there
        assert rounds < 50, "the tier never fills"  # a busy machine may drop a block that it had room for
        answer = read(thaw, "k", "large", *words)
        assert answer.out == content
        stats = Stats(answer).tier
        assert stats["dropped"] > 0 and stats["failed"] == 0 and stats["failures"] == 0
        assert bytes_of(tier) <= 3 * MIB
        rounds += 1


# ------------------------------------------------------------------------------------------ raw objects

def test_raw_objects(thaw, tier, content):
    write(f"{thaw.store}/t/raw", content)
    words = with_tiers(thaw, disk(tier))
    assert read(thaw, "--object", "t/raw", *words).out == content
    warm = read(thaw, "--object", "t/raw", *words)
    assert warm.out == content
    assert Stats(warm).store["gets"] == 0 and Stats(warm).tier["misses"] == 0
    assert Stats(read(thaw, "--object", "t/raw", "--offset", "5000000", "--length", "4096", *words)).store["gets"] == 0
    # It changes: another version, other blocks. Then the old one comes back, as yet another one.
    other = bytes(reversed(content))
    write(f"{thaw.store}/t/new", other)
    os.replace(f"{thaw.store}/t/new", f"{thaw.store}/t/raw")
    answer = read(thaw, "--object", "t/raw", *words)
    assert answer.out == other and Stats(answer).tier["hits"] == 0
    write(f"{thaw.store}/t/raw", content[:-1])
    assert read(thaw, "--object", "t/raw", *words).out == content[:-1]
    status = os.stat(f"{thaw.store}/t/raw")
    with open(f"{thaw.store}/t/raw", "r+b") as file:  # in place, with the same size and time
        file.write(b"#")
    os.utime(f"{thaw.store}/t/raw", ns=(status.st_atime_ns, status.st_mtime_ns))
    same = read(thaw, "--object", "t/raw", *words).out == b"#" + content[1:-1]
    assert same, "an older version"
    os.unlink(f"{thaw.store}/t/raw")
    thaw.fails(3, "read", "--object", "t/raw", *words, json=False)


def test_versions_are_never_mixed(thaw, tier):
    """An object is replaced all the time: each answer is one version whole, or the beginning of one and an error."""
    versions = [bytes([65 + i]) * (9 * MIB + i) for i in range(3)]
    path = f"{thaw.store}/t/raw"
    write(path, versions[0])
    words = with_tiers(thaw, disk(tier, block_size="256KiB"))
    over = threading.Event()

    def replace():
        turn = 0
        while not over.is_set():
            turn = (turn + 1) % 3
            write(f"{thaw.store}/next", versions[turn])
            os.replace(f"{thaw.store}/next", path)
    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(12):
            answer = thaw.run("read", "--object", "t/raw", *words, json=False)
            assert answer.code in (0, 1, 4), answer
            if answer.code == 0:
                assert answer.out in versions
            else:
                assert any(each.startswith(answer.out) for each in versions)
                assert b"changed while it was read" in answer.err, answer.err
    finally:
        over.set()
        writer.join()
    answer = read(thaw, "--object", "t/raw", *words)
    assert answer.out in versions and Stats(answer).tier["corrupt"] == 0


# --------------------------------------------------------------------------------------- damaged blocks

def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x10]))


# Where docs/format.md, "Blocks of tiers", has its fields, and the data.
REGIONS = {
    "magic": 0, "header length": 8, "full length": 13, "data length": 16, "zero": 20, "number": 24, "object size": 32,
    "modified": 40, "name length": 48, "etag length": 50, "zero too": 53, "first sum": 56, "name": 56 + 8 * 16 + 3,
    "padding": 3000, "header's sum": 4096 - 1, "first byte": 4096, "a piece's end": 4096 + 65535,
    "a piece": 4096 + 65536, "last byte": -1}


@pytest.mark.asan
def test_flipped_bits(thaw, saved, tier, content):
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    read(thaw, "k", "large", *words)
    path = next(each for each in blocks(tier, "packs") if os.path.getsize(each) == 4096 + MIB)
    good = open(path, "rb").read()
    assert good.startswith(b"thawbk01") and good[REGIONS["name"]:].startswith(b"ks/")
    for region, at in REGIONS.items():
        flip(path, at % len(good))
        answer = read(thaw, "k", "large", *words)
        assert answer.out == content, region
        stats = Stats(answer).tier
        assert (stats["corrupt"], stats["misses"], stats["fills"]) == (1, 1, 1), (region, stats)
        assert open(path, "rb").read() == good, f"{region}: not mended"


@pytest.mark.parametrize("what, length", [
    *(("cut", each) for each in (0, 1, 15, 16, 4095, 4096, 4097, 4096 + 65536, -1)), ("padded", 1), ("padded", MIB)])
def test_other_lengths(thaw, saved, tier, content, what, length):
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    read(thaw, "k", "large", *words)
    path = blocks(tier, "packs")[1]
    good = open(path, "rb").read()
    with open(path, "wb") as file:
        file.write(good[:length] if what == "cut" else good + b"\0" * length)
    answer = read(thaw, "k", "large", *words)
    assert answer.out == content
    assert Stats(answer).tier["corrupt"] == 1, answer
    assert open(path, "rb").read() == good


def test_swapped_blocks(thaw, saved, tier, content):
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    read(thaw, "k", "large", *words)
    one, other = blocks(tier, "packs")[:2]
    os.rename(one, f"{tier}/aside")
    os.rename(other, one)
    os.rename(f"{tier}/aside", other)
    answer = read(thaw, "k", "large", *words)
    assert answer.out == content and Stats(answer).tier["corrupt"] == 2
    again = Stats(read(thaw, "k", "large", *words)).tier
    assert (again["corrupt"], again["misses"]) == (0, 0)


def test_a_block_of_another_version(thaw, tier):
    """Under the name of the new version's block lies one of the old version, of the same size."""
    old, new = b"o" * MIB, b"n" * MIB
    write(f"{thaw.store}/t/raw", old)
    words = with_tiers(thaw, disk(tier))
    read(thaw, "--object", "t/raw", *words)
    first, = blocks(tier)
    write(f"{thaw.store}/t/raw.new", new)
    os.replace(f"{thaw.store}/t/raw.new", f"{thaw.store}/t/raw")
    read(thaw, "--object", "t/raw", *words)
    second, = [each for each in blocks(tier) if each != first]
    shutil.copy(first, second)
    answer = read(thaw, "--object", "t/raw", *words)
    assert answer.out == new and Stats(answer).tier["corrupt"] == 1


@pytest.mark.asan
@pytest.mark.parametrize("kind", ["folder", "full folder", "fifo", "link to itself", "dangling", "link to a block",
                                  "link to a device", "unreadable"])
def test_something_else_in_a_blocks_place(thaw, saved, tier, content, work, kind):
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    read(thaw, "k", "large", *words)
    kept = f"{work}/kept"
    for path in blocks(tier, "packs")[:4]:
        os.rename(path, kept)
        size = os.path.getsize(kept)
        if kind in ("folder", "full folder"):
            os.mkdir(path)
            if kind == "full folder":
                write(f"{path}/file", b"x")
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "unreadable":
            write(path, b"", 0)
        else:
            os.symlink({"link to itself": os.path.basename(path), "dangling": "nowhere",
                        "link to a block": kept, "link to a device": "/dev/zero"}[kind], path)
    for _ in range(2):
        assert read(thaw, "k", "large", *words).out == content
    assert os.path.getsize(kept) == size
    if kind == "full folder":
        assert open(f"{path}/file", "rb").read() == b"x"


def test_random_damage(thaw, saved, tier, tree, work):
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    rng = random.Random(seed)
    words = with_tiers(thaw, disk(tier, block_size="256KiB"))
    for _ in range(8):
        thaw.restore("k", f"{work}/out", *words)
        assert_same(tree, f"{work}/out")
        for path in rng.sample(blocks(tier), 5):
            size = os.path.getsize(path)
            harm = rng.randrange(4)
            if harm == 0:
                flip(path, rng.randrange(size))
            elif harm == 1:
                os.truncate(path, rng.randrange(size))
            elif harm == 2:
                os.unlink(path)
            else:
                shutil.copy(rng.choice([each for each in blocks(tier) if each != path]), path)
    thaw.restore("k", f"{work}/out", *words)
    assert_same(tree, f"{work}/out")


# ----------------------------------------------------------------------------------------- awkward places

def test_a_tier_that_vanishes_while_it_is_used(thaw, saved, tier, content, work):
    words = with_tiers(thaw, disk(tier, block_size="256KiB"))
    over = threading.Event()

    def vanish():
        while not over.is_set():
            remove(tier)
    remover = threading.Thread(target=vanish)
    remover.start()
    try:
        for _ in range(8):
            assert read(thaw, "k", "large", *words).out == content
            thaw.ok("extract", "k", "large", f"{work}/out", *words)
            assert open(f"{work}/out", "rb").read() == content
    finally:
        over.set()
        remover.join()
    read(thaw, "k", "large", *words)
    with PacksAside(thaw):
        assert read(thaw, "k", "large", *words).out == content


@pytest.mark.parametrize("stays", [("index.sqlite",), ("claims", "index.sqlite"), ("claims",), ("blocks", "index.sqlite"),
                                   (".tmp", "index.sqlite", "index.sqlite-wal", "index.sqlite-shm")])
def test_what_a_removal_left_is_still_a_tier(thaw, saved, tier, content, stays):
    """A process that was at work while somebody removed the tier leaves some of its files, and no marker."""
    words = with_tiers(thaw, disk(tier, block_size="256KiB"))
    read(thaw, "k", "large", *words)
    for name in set(os.listdir(tier)) - set(stays):
        remove(f"{tier}/{name}")
    for name in stays:
        if not os.path.exists(f"{tier}/{name}"):
            write(f"{tier}/{name}", b"")
    stats = Stats(read(thaw, "k", "large", *words)).tier
    assert (stats["failed"], stats["dropped"]) == (0, 0)
    with PacksAside(thaw):
        assert read(thaw, "k", "large", *words).out == content
    assert "blocks" in stays or os.path.exists(f"{tier}/thaw-tier.json"), "the first fill makes it one again"


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_something_else_in_the_markers_place(thaw, saved, tier, kind):
    """It is looked at before signals and time limits are: nothing there may make thaw wait."""
    words = with_tiers(thaw, disk(tier))
    read(thaw, "k", "large", *words)
    marker = f"{tier}/thaw-tier.json"
    os.unlink(marker)
    {"fifo": os.mkfifo, "folder": os.mkdir, "device": lambda path: os.symlink("/dev/zero", path)}[kind](marker)
    answer = thaw.fails(2, "read", "k", "large", *words, json=False, timeout=20)
    assert b"thaw-tier.json is no regular file" in answer.err and answer.out == b""


def test_a_full_disk(thaw, saved, content, work, as_root):
    with mounts.tmpfs(f"{work}/full", "size=3m") as full:
        words = with_tiers(thaw, disk(f"{full}/tier", block_size="1MiB"))
        for _ in range(2):
            answer = read(thaw, "k", "large", *words)
            assert answer.out == content
            assert Stats(answer).tier["failed"] + Stats(answer).tier["dropped"] > 0
        assert Stats(answer).tier["corrupt"] == 0
        # No half blocks take the room.
        assert not os.path.isdir(f"{full}/tier/.tmp") or os.listdir(f"{full}/tier/.tmp") == []
        assert blocks(f"{full}/tier")
        with open(f"{full}/fill", "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b"x" * 4096)
        assert read(thaw, "k", "large", *words).out == content
        assert read(thaw, "k", "large", *with_tiers(thaw, disk(f"{full}/other"))).out == content


def test_a_read_only_tier(thaw, saved, content, tree, tier, work, as_root):
    words = with_tiers(thaw, disk(tier, block_size="1MiB"))
    read(thaw, "k", "large", *words)
    gone = blocks(tier, "packs")[2]
    os.unlink(gone)
    with mounts.read_only(tier):
        answer = read(thaw, "k", "large", *words)
        assert answer.out == content
        stats = Stats(answer).tier
        assert stats["hits"] > 0 and stats["misses"] >= 1 and stats["fills"] == 0
        thaw.restore("k", f"{work}/out", *words)
        assert_same(tree, f"{work}/out")
    os.mkdir(f"{work}/empty")
    with mounts.read_only(f"{work}/empty"):
        assert read(thaw, "k", "large", *with_tiers(thaw, disk(f"{work}/empty"))).out == content
        assert read(thaw, "k", "large", *with_tiers(thaw, disk(f"{work}/empty/below"))).out == content


def test_a_tier_of_somebody_else(thaw, work, content, tier, as_root):
    """Without the right to look into it there is no tier, and a warning."""
    os.chmod(work, 0o755)
    user = Thaw(f"{work}/u")
    write(f"{work}/tree/large", content)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", f"{work}/u", f"{work}/tree"], check=True)
    me = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    user.save("k", f"{work}/tree", **me)
    os.mkdir(tier, 0o700)
    answer = read(user, "k", "large", *with_tiers(user, disk(tier)), **me)
    assert answer.out == content and tier.encode() in answer.err, answer.err
    os.chmod(tier, 0o755)  # it may be looked at, not written
    answer = read(user, "k", "large", *with_tiers(user, disk(tier)), **me)
    assert answer.out == content
    assert os.listdir(tier) == []
    user.ok("extract", "k", "large", f"{work}/u/out", *with_tiers(user, disk(tier)), "--advisory", "--store",
            user.store, **me)
    assert open(f"{work}/u/out", "rb").read() == content


# ------------------------------------------------------------------------------------------------ refused

def refused(thaw, words, *said, command=("ls",)):
    for advisory in ([], ["--advisory", "--store", thaw.store]):
        answer = thaw.fails(2, *command, *words, *advisory)
        assert all(each in answer["message"] for each in said), answer


def test_a_foreign_folder(thaw, saved, work):
    foreign = f"{work}/foreign"
    write(f"{foreign}/photo.jpg", b"mine")
    refused(thaw, with_tiers(thaw, disk(foreign)), foreign, "photo.jpg")
    write(f"{foreign}2/thaw-tier.json", b'{"kind":"thaw-tier","format":2}\n')
    refused(thaw, with_tiers(thaw, disk(f"{foreign}2")), "2")
    write(f"{foreign}3/thaw-tier.json", b"{}")
    refused(thaw, with_tiers(thaw, disk(f"{foreign}3")), f"{foreign}3")
    write(f"{foreign}4", b"a file")
    refused(thaw, with_tiers(thaw, disk(f"{foreign}4")), f"{foreign}4")
    assert os.listdir(foreign) == ["photo.jpg"]
    assert read(thaw, "k", "copy", "--no-tiers", *with_tiers(thaw, disk(foreign))).code == 0


def test_an_empty_marker(thaw, saved, tier, content, work):
    """What a loss of power leaves of it, for tiers are not synced: the tier is one all the same."""
    words = with_tiers(thaw, disk(tier))
    read(thaw, "k", "large", *words)
    open(f"{tier}/thaw-tier.json", "wb").close()
    with PacksAside(thaw):
        assert read(thaw, "k", "large", *words).out == content
    os.unlink(blocks(tier, "packs")[0])
    read(thaw, "k", "large", *words)
    assert json.load(open(f"{tier}/thaw-tier.json"))["kind"] == "thaw-tier"
    # In a folder of other things it is no sign of a tier.
    write(f"{work}/foreign/photo.jpg", b"mine")
    write(f"{work}/foreign/thaw-tier.json", b"")
    refused(thaw, with_tiers(thaw, disk(f"{work}/foreign")), "foreign")
    assert sorted(os.listdir(f"{work}/foreign")) == ["photo.jpg", "thaw-tier.json"]


def test_places_that_meet(thaw, saved, work):
    tier = f"{work}/tier"
    os.makedirs(tier)
    os.symlink("tier", f"{work}/link")
    for other in (tier, f"{tier}/", f"{tier}/below", f"{work}/./tier", f"{work}/link", f"{work}/link/below",
                  f"{work}/x/../tier"):
        refused(thaw, with_tiers(thaw, disk(tier), disk(other)), "in the place of another")
        refused(thaw, with_tiers(thaw, disk(other), disk(tier)), "in the place of another")
    # A name that only begins alike is another place.
    thaw.ok("ls", *with_tiers(thaw, disk(tier), disk(f"{tier}2")))
    for place in (thaw.store, f"{thaw.store}/packs", f"{thaw.store}/tier", os.path.dirname(thaw.store)):
        assert thaw.fails(2, "ls", *with_tiers(thaw, disk(place)))["message"]
    assert not os.path.exists(f"{thaw.store}/tier") and not os.path.exists(f"{tier}/below")
    thaw.clean()


BAD = {
    "no kind": ('path = "/x"', "needs a kind"),
    "kind": ('kind = "tape"\npath = "/x"', '"disk" or "bucket"'),
    "kind's type": ("kind = 1", "kind"),
    "no path": ('kind = "disk"', "needs a path"),
    "relative": ('kind = "disk"\npath = "x"', "absolute"),
    "both": ('kind = "disk"\npath = "/x"\nurl = "s3://b/p"', "no url"),
    "no url": ('kind = "bucket"', "needs a url"),
    "bad url": ('kind = "bucket"\nurl = "http://b/p"', ""),
    "file url": ('kind = "bucket"\nurl = "file:///x"', "s3://"),
    "block size": ('kind = "disk"\npath = "/x"\nblock_size = "3MiB"', "power of two"),
    "small block": ('kind = "disk"\npath = "/x"\nblock_size = "32KiB"', "64KiB"),
    "large block": ('kind = "disk"\npath = "/x"\nblock_size = "128MiB"', "64MiB"),
    "max_bytes": ('kind = "disk"\npath = "/x"\nmax_bytes = "lots"', "max_bytes"),
    "nothing": ('kind = "disk"\npath = "/x"\nmax_bytes = "0"', "max_bytes"),
    "negative": ('kind = "disk"\npath = "/x"\nmax_bytes = -1', "max_bytes"),
    "fill": ('kind = "disk"\npath = "/x"\nfill = "sync"', '"async" or "off"'),
    "index": ('kind = "disk"\npath = "/x"\nindex = "on"', "redis://"),
    "index's place": ('kind = "disk"\npath = "/x"\nindex = "redis://h"', "prefix"),
    "index of a bucket": ('kind = "bucket"\nurl = "s3://b/p"\nindex = "sqlite"', "sqlite"),
    "unknown": ('kind = "disk"\npath = "/x"\nblock_bytes = "4MiB"', "no tier has such a setting"),
}


@pytest.mark.asan
@pytest.mark.parametrize("case", BAD)
def test_bad_settings(thaw, case):
    settings, said = BAD[case]
    path = f"{thaw.config_home}/thaw/thaw.toml"
    write(path, f"# a comment\n[[tier]]\n{settings}\n".encode())
    answer = thaw.fails(2, "ls")
    assert said in answer["message"], answer
    assert f"{path}:" in answer["message"], answer
    line = answer["message"].split(f"{path}:")[1].split(":")[0]
    assert line.isdigit() and 2 <= int(line) <= 3 + settings.count("\n"), answer


def test_settings_in_toml(thaw, saved, tier, content):
    write(f"{thaw.config_home}/thaw/thaw.toml",
          f'[[tier]]\nkind = "disk"\npath = "{tier}"\nblock_size = "1MiB"\nmax_bytes = "1GiB"\n'.encode())
    assert read(thaw, "k", "large").out == content
    with PacksAside(thaw):
        assert read(thaw, "k", "large").out == content
    assert len(blocks(tier)) >= 11
    # One table is no list.
    write(f"{thaw.config_home}/thaw/thaw.toml", f'[tier]\nkind = "disk"\npath = "{tier}"\n'.encode())
    assert "[[tier]]" in thaw.fails(2, "ls")["message"]


# ------------------------------------------------------------------------------- processes at the same time

def test_many_processes_on_one_cold_tier(thaw, saved, tier, content, work):
    """They claim what they fetch: without claims there were as many fetches as processes."""
    words, many = with_tiers(thaw, disk(tier, block_size="1MiB")), 8
    outs = [open(f"{work}/out{i}", "wb") for i in range(many)]
    processes = [thaw.start("read", "k", "large", *words, json=False, stdout=each) for each in outs]
    misses = 0
    for process, out in zip(processes, outs):
        _, err = process.communicate(timeout=120)
        out.close()
        assert process.returncode == 0, err
        assert open(out.name, "rb").read() == content
        answer = type("Answer", (), {"err": err})
        misses += Stats(answer).tier["misses"]
        assert Stats(answer).tier["corrupt"] == 0
    count = len(blocks(tier))
    assert count <= misses < 3 * count, "claims keep them from fetching the same"
    with PacksAside(thaw):
        assert read(thaw, "k", "large", *words).out == content


def test_killed_at_every_step_of_its_fills(thaw, saved, tier, content, work, interposer):
    """The next process finds whole blocks or none."""
    words, killed, number = with_tiers(thaw, disk(tier)), True, 0
    while killed:
        number += 1
        remove(tier)
        process = thaw.start("read", "k", "large", *words, json=False,
                             env={"LD_PRELOAD": interposer, "INTERPOSE_KILL_AT": str(number)})
        out, err = process.communicate(timeout=60)
        killed = was_killed(process.returncode)
        assert killed or process.returncode == 0, err
        assert content.startswith(out)
        answer = read(thaw, "k", "large", *words)
        assert answer.out == content and Stats(answer).tier["corrupt"] == 0, number
        stats = Stats(answer).tier
        assert (stats["dropped"], stats["failed"]) == (0, 0), (number, answer)
        with PacksAside(thaw):
            assert read(thaw, "k", "large", *words).out == content
    assert number > 5


def test_killed_while_others_wait(thaw, saved, tier, content, work):
    """The kernel ends the claims of a dead process: nobody waits for it."""
    words = with_tiers(thaw, disk(tier, block_size="256KiB"))
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(4):
        remove(tier)
        first = thaw.start("read", "k", "large", *words, json=False, stdout=subprocess.DEVNULL)
        wait_for(lambda: len(blocks(tier)) >= rng.randrange(1, 5) or first.poll() is not None)
        second = thaw.start("read", "k", "large", *words, json=False)
        first.kill()
        out, err = second.communicate(timeout=60)
        first.communicate()
        assert (second.returncode, out) == (0, content), err


def test_claims_that_outlast_a_time_limit(thaw, saved, tier, content):
    """Somebody who was stopped holds every claim: the wait for it leaves time for the store."""
    write(f"{thaw.store}/t/raw", content)
    words = with_tiers(thaw, disk(tier))
    os.mkdir(tier)
    with open(f"{tier}/claims", "wb") as claims:
        fcntl.lockf(claims, fcntl.LOCK_EX)
        for what in (["k", "large"], ["--object", "t/raw"]):
            assert read(thaw, *what, *words, "--timeout", "2s").out == content


def wait_for(condition, timeout=30):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_during_fills(thaw, saved, tier, content, work, number):
    words = with_tiers(thaw, disk(tier, block_size="64KiB"))
    process = thaw.start("extract", "k", "large", f"{work}/out", *words)
    wait_for(lambda: blocks(tier) or process.poll() is not None)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    answer = json.loads(out)
    assert process.returncode in (0, 1), err
    assert answer["ok"] or answer["reason"] == "cancelled", answer
    assert os.path.exists(f"{work}/out") is answer["ok"]
    answer = read(thaw, "k", "large", *words)
    assert answer.out == content and Stats(answer).tier["corrupt"] == 0
