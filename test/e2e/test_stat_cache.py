"""The stat cache: an unchanged tree is not read again, and no change is ever missed."""

import mmap
import os
import random
import shutil
import time

import pytest

from trees import assert_same, replace_file, small_tree, words, write


def files_of(root):
    return sorted(os.path.join(f, n) for f, _, names in os.walk(root) for n in names
                  if not os.path.islink(os.path.join(f, n)))


def settled(thaw, key, tree):
    """Saves until the cache knows every file: the first save may be within the clock's tick."""
    deadline = time.monotonic() + 20
    while True:
        answer = thaw.save(key, tree)
        if answer["files_read"] == 0 and answer.get("reason") == "unchanged":
            return answer
        assert time.monotonic() < deadline, answer


def restored(thaw, work, key):
    target = f"{work}/check"
    shutil.rmtree(target, ignore_errors=True)
    thaw.restore(key, target, "--no-stat-cache")
    return target


def test_second_save_reads_nothing(thaw, work):
    tree = small_tree(f"{work}/tree")
    first = thaw.save("k", tree)
    assert first["files_read"] == 41
    again = settled(thaw, "k", tree)
    assert (again["generation"], again["new_bytes"], again["files_read"]) == (1, 0, 0)
    assert again["snapshot"] == first["snapshot"]
    # Under another key it is the same tree: nothing to read, nothing new to store with it as base.
    other = thaw.save("other", tree, "--base", "k")
    assert (other["generation"], other["files_read"], other["new_bytes"]) == (1, 0, 0)


def test_one_changed_file_is_the_one_that_is_read(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    settled(thaw, "k", tree)
    replace_file(f"{tree}/copy", b"changed")
    answer = thaw.save("k", tree)
    assert (answer["generation"], answer["files_read"]) == (2, 1)
    assert_same(tree, restored(thaw, work, "k"))


@pytest.mark.asan
def test_same_size_and_mtime_is_noticed(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    settled(thaw, "k", tree)
    path = f"{tree}/copy"
    status = os.stat(path)
    content = bytearray(open(path, "rb").read() or b"x")
    content[0] ^= 1
    with open(path, "r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat(path).st_mtime_ns == status.st_mtime_ns
    answer = thaw.save("k", tree)
    assert answer["generation"] == 2
    assert_same(tree, restored(thaw, work, "k"))


def test_attributes_alone_are_noticed(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    settled(thaw, "k", tree)
    os.chmod(f"{tree}/copy", 0o600)
    assert thaw.save("k", tree)["generation"] == 2
    settled(thaw, "k", tree)
    os.setxattr(f"{tree}/copy", "user.a", b"1")
    assert thaw.save("k", tree)["generation"] == 3
    settled(thaw, "k", tree)
    os.setxattr(f"{tree}/copy", "user.a", b"2")
    assert thaw.save("k", tree)["generation"] == 4
    assert_same(tree, restored(thaw, work, "k"))
    settled(thaw, "k", tree)
    os.setxattr(f"{tree}/d0", "user.a", b"of a folder")
    assert thaw.save("k", tree)["generation"] == 5
    assert_same(tree, restored(thaw, work, "k"))


def test_rewrites_within_the_clock_tick(thaw, work):
    """Write, save, at once rewrite with equal size: the second save must see it, whenever it was."""
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    rng = random.Random(seed)
    path = f"{work}/tree/file"
    write(path, b"0000")
    thaw.save("k", f"{work}/tree")
    for i in range(50):
        with open(path, "r+b") as file:
            file.write(b"%04d" % (2 * i))
        for _ in range(rng.randrange(0, 300)):  # random timing, without a sleep
            os.stat(path)
        thaw.save("k", f"{work}/tree")
        with open(path, "r+b") as file:
            file.write(b"%04d" % (2 * i + 1))
        first = thaw.save("k", f"{work}/tree")
        assert first.get("reason") != "unchanged", i
        if i % 10 == 0:
            assert_same(f"{work}/tree", restored(thaw, work, "k"))


def test_a_writer_during_the_save_is_not_trusted(thaw, work):
    """A file that is open for writing is read again next time."""
    tree = small_tree(f"{work}/tree")
    path = f"{tree}/held"
    write(path, b"before")
    with open(path, "r+b", buffering=0) as held:
        thaw.save("k", tree)
        deadline = time.monotonic() + 20
        while True:  # all but that one become known
            answer = thaw.save("k", tree)
            assert answer["files_read"] >= 1, answer
            if answer["files_read"] == 1:
                break
            assert time.monotonic() < deadline
        held.write(b"behind")
    assert thaw.save("k", tree)["generation"] == 2
    assert_same(tree, restored(thaw, work, "k"))


@pytest.mark.parametrize("writes_before", [0, 1])
def test_writes_through_a_mapping_are_seen(thaw, work, writes_before):
    """Stores through a shared mapping after the first change neither mtime nor ctime."""
    tree = f"{work}/tree"
    path = f"{tree}/mapped"
    write(path, b"0" * 8192)
    write(f"{tree}/other", b"other")
    thaw.save("k", tree)
    settled(thaw, "k", tree)
    generation = 1
    with open(path, "r+b") as file:
        mapping = mmap.mmap(file.fileno(), 8192)
    try:
        if writes_before:
            mapping[0] = ord("1")  # makes the page dirty: later stores fault no more
        for i in range(6):
            answer = thaw.save("k", tree)
            generation = answer["generation"]
            mapping[100 + i] = ord("x")
            answer = thaw.save("k", tree)
            assert answer["generation"] == generation + 1, (i, answer)
            assert_same(tree, restored(thaw, work, "k"))
    finally:
        mapping.close()


@pytest.mark.asan
@pytest.mark.parametrize("damage", ["removed", "garbage", "truncated", "empty", "flipped", "folder", "swapped"])
def test_a_broken_cache_is_only_slow(thaw, work, damage):
    tree, other = small_tree(f"{work}/tree"), small_tree(f"{work}/other", seed=3)
    for key, path in (("k", tree), ("o", other)):
        thaw.save(key, path)
        settled(thaw, key, path)
    files = files_of(thaw.cache)
    assert len(files) >= 2
    rng = random.Random(7)
    contents = [open(path, "rb").read() for path in files]
    for i, path in enumerate(files):
        if damage == "removed":
            os.unlink(path)
        elif damage == "folder":
            os.unlink(path)
            os.mkdir(path)
        elif damage == "flipped":
            for k in range(0, len(contents[i]), 97):
                broken = bytearray(contents[i])
                broken[k] ^= 1 << rng.randrange(8)
                with open(path, "wb") as file:
                    file.write(broken)
                if k % (97 * 12) == 0:
                    assert thaw.save("k", tree)["reason"] == "unchanged"
        else:
            data = {"garbage": rng.randbytes(5000), "truncated": contents[i][:-7], "empty": b"",
                    "swapped": contents[1 - i] if len(contents) == 2 else contents[-i]}[damage]
            with open(path, "wb") as file:
                file.write(data)
    answer = thaw.save("k", tree)
    assert answer["reason"] == "unchanged"
    assert answer["files_read"] > 0 or damage == "flipped"  # there the saves in between mended it
    replace_file(f"{tree}/copy", b"changed")
    assert thaw.save("k", tree)["generation"] == 2
    assert_same(tree, restored(thaw, work, "k"))


@pytest.mark.parametrize("mode", ["replace", "sync"])
def test_restore_fills_it_for_hard_links_too(thaw, work, mode):
    write(f"{work}/tree/a", b"a")
    os.link(f"{work}/tree/a", f"{work}/tree/b")
    thaw.save("k", f"{work}/tree")
    os.mkdir(f"{work}/out")
    thaw.restore("k", f"{work}/out", "--mode", mode)
    answer = thaw.save("k", f"{work}/out")
    assert (answer["files_read"], answer["reason"]) == (0, "unchanged")


def test_restore_fills_it(thaw, work):
    tree = small_tree(f"{work}/tree")
    os.unlink(f"{tree}/d2/hard")
    thaw.save("k", tree)
    shutil.rmtree(thaw.cache)
    for mode in ("replace", "sync"):
        target = f"{work}/{mode}"
        os.mkdir(target)
        thaw.restore("k", target, "--mode", mode)
        answer = thaw.save("k", target)
        assert (answer["files_read"], answer["reason"]) == (0, "unchanged"), mode
        with open(f"{target}/copy", "r+b") as file:
            file.write(b"#")
        assert thaw.save("x", target)["files_read"] >= 1
        assert_same(target, restored(thaw, work, "x"))


def test_without_it(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree, "--no-stat-cache")
    again = thaw.save("k", tree, "--no-stat-cache")
    assert (again["files_read"], again["reason"]) == (41, "unchanged")
    thaw.restore("k", f"{work}/out", "--no-stat-cache")
    assert not os.path.exists(thaw.cache) or files_of(thaw.cache) == []


def test_other_trees_at_the_same_path(thaw, work):
    """The cache goes by path; what lies there may be another tree altogether."""
    one, two = small_tree(f"{work}/one", seed=1), small_tree(f"{work}/two", seed=2)
    thaw.save("k", one)
    settled(thaw, "k", one)
    os.rename(one, f"{work}/aside")
    os.rename(two, one)
    thaw.save("k", one)
    assert_same(one, restored(thaw, work, "k"))
    os.rename(one, two)
    os.rename(f"{work}/aside", one)
    thaw.save("k", one)
    assert_same(one, restored(thaw, work, "k"))


def test_the_store_lost_what_the_cache_knows(thaw, work):
    """Known files that no base holds are read and stored again."""
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    settled(thaw, "k", tree)
    shutil.rmtree(thaw.store)
    answer = thaw.save("k", tree)
    assert (answer["generation"], answer["files_read"]) == (1, 41)
    assert_same(tree, restored(thaw, work, "k"))
    thaw.ok("rm", "k", "--yes")
    assert thaw.save("k", tree)["generation"] == 2
    assert_same(tree, restored(thaw, work, "k"))
