"""merge and sync while others are at work in the target, and where they fail half-way."""

import contextlib
import fcntl
import os
import re
import shutil

import pytest

import mounts
from driver import stages_in
from test_races import finish, wait_for
from trees import assert_same, describe, write

MODES = ["sync", "merge"]


def holds_what_is_there(thaw, work, key, target):
    """A save, believing the stat cache, saves what is on disk."""
    thaw.save(key, target, "--allow-shrink")
    shutil.rmtree(f"{work}/check", ignore_errors=True)
    thaw.restore(key, f"{work}/check", "--no-stat-cache")
    assert_same(target, f"{work}/check")


# ------------------------------------------------------------------------------------- others at work

@pytest.mark.parametrize("mode", MODES)
def test_a_file_written_while_sync_fetches(thaw, work, mode):
    """It had the right content when it was looked at: the snapshot's time is not put on another's bytes."""
    tree, target = f"{work}/tree", f"{work}/target"
    write(f"{tree}/config", b"value=1\n", mtime_ns=10**18)
    for i in range(3):
        write(f"{tree}/big{i}", os.urandom(24 << 20))
    thaw.save("k", tree)
    for attempt in range(3):
        shutil.rmtree(target, ignore_errors=True)
        write(f"{target}/config", b"value=1\n")
        process = thaw.start("restore", "k", target, "--mode", mode, "--threads", "1")
        wait_for(lambda: stages_in(target) or process.poll() is not None)
        with open(f"{target}/config", "r+b") as file:
            file.write(b"value=2\n")
        answer = finish(process)
        assert answer.code == 0, answer
        with open(f"{target}/config", "rb") as file:
            content = file.read()
        if os.stat(f"{target}/config").st_mtime_ns == 10**18:
            assert content == b"value=1\n", attempt
        holds_what_is_there(thaw, work, f"w{attempt}", target)
        thaw.restore("k", target, "--mode", "sync")
        assert_same(tree, target)


def test_two_syncs_of_one_target(thaw, work):
    """One after the other: what they remember is true, and the target is one of the two trees."""
    count, trees = 400, []
    for g in range(2):
        tree = f"{work}/tree{g}"
        for i in range(count):
            write(f"{tree}/{i}", os.urandom(1000), mtime_ns=10**18)
        os.utime(tree, ns=(10**18, 10**18))
        thaw.save(f"k{g}", tree)
        trees.append(describe(tree))
    target = f"{work}/target"
    for attempt in range(8):
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(thaw.cache, ignore_errors=True)
        os.makedirs(target)
        processes = [thaw.start("restore", f"k{g}", target, "--mode", "sync") for g in range(2)]
        answers = [finish(process) for process in processes]
        assert [answer.code for answer in answers] == [0, 0], answers
        assert describe(target) in trees, attempt
        holds_what_is_there(thaw, work, "w", target)
        for g in range(2):
            thaw.restore(f"k{g}", target, "--mode", "sync")
            assert_same(trees[g], target)


@contextlib.contextmanager
def locked(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@pytest.mark.parametrize("mode", MODES)
def test_a_second_restore_waits_and_says_why(thaw, work, mode):
    tree, target = f"{work}/tree", f"{work}/target"
    write(f"{tree}/a", b"new")
    thaw.save("k", tree)
    write(f"{target}/a", b"old")
    before = describe(target)
    with locked(target):
        answer = thaw.fails(4, "restore", "k", target, "--mode", mode, "--timeout", "300ms")
        assert answer["reason"] == "busy" and "another restore" in answer["message"], answer
        assert (answer["placement"], answer["applied"]) == ("in_place", False), answer
        assert_same(before, target)
        process = thaw.start("restore", "k", target, "--mode", mode)
        # It looks for the lock again and again: the directory is open.
        wait_for(lambda: process.poll() is not None or has_open(process.pid, target))
        assert process.poll() is None
    assert finish(process).code == 0
    assert_same(tree, target)


def has_open(pid, path):
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == path:
                    return True
    return False


def test_replacing_child_by_child_waits_too(thaw, work, as_root):
    tree = f"{work}/tree"
    write(f"{tree}/a", b"new")
    thaw.save("k", tree)
    with mounts.tmpfs(f"{work}/mount") as target:
        write(f"{target}/a", b"old")
        os.utime(target, ns=(10**18, 10**18))
        before = describe(target)
        with locked(target):
            answer = thaw.fails(4, "restore", "k", target, "--timeout", "300ms")
            assert answer["reason"] == "busy" and "another restore" in answer["message"], answer
            assert answer["applied"] is False
            assert_same(before, target)
        assert thaw.restore("k", target)["placement"] == "child_by_child"
        assert_same(tree, target)


# ------------------------------------------------------------------------------------- half-way

@pytest.mark.parametrize("mode", MODES)
def test_no_room_for_a_folder_in_a_file_s_place(thaw, work, as_root, mode):
    """What is new is made first: there is no moment without the name."""
    write(f"{work}/tree/x/1/2/3/4/5/6/7/8/9/file", b"deep")
    thaw.save("k", f"{work}/tree")
    with mounts.tmpfs(f"{work}/full", "size=8m,nr_inodes=12") as full:
        target = f"{full}/target"
        write(f"{target}/x", b"old")
        before = describe(target)
        answer = thaw.fails(4, "restore", "k", target, "--mode", mode)
        assert answer["reason"] == "exhausted" and "/x" in answer["message"], answer
        assert (answer["placement"], answer["applied"]) == ("in_place", False), answer
        assert_same(before, target)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("was", ["file", "folder"])
def test_a_name_whose_replacement_fails(thaw, work, interposer, was, mode, times):
    """The file stands in the folder's place, or the folder in the file's: never nothing."""
    tree, target = f"{work}/tree", f"{work}/target"
    for root, text, x in ((tree, b"new", "folder" if was == "file" else "file"), (target, b"old", was)):
        for name in ("a", "z"):
            write(f"{root}/{name}", text)
        write(f"{root}/x/inside" if x == "folder" else f"{root}/x", text)
    write(f"{target}/extra", b"extra")
    thaw.save("k", tree)
    old = describe(f"{target}/x") if was == "folder" else b"old"
    words = ["restore", "k", target, "--mode", mode]
    env = {"LD_PRELOAD": interposer, "INTERPOSE_FAIL_RENAME": "x", "INTERPOSE_FAIL_RENAME_TIMES": str(times)}
    if times == 1:  # names cannot be exchanged: one steps aside
        thaw.ok(*words, env=env)
    else:
        answer = thaw.fails(4, *words, env=env)
        assert answer["reason"] == "exhausted" and f"{target}/x" in answer["message"], answer
        assert (answer["placement"], answer["applied"]) == ("in_place", True), answer
        assert "again" in answer["hint"]
        assert (describe(f"{target}/x") if was == "folder" else open(f"{target}/x", "rb").read()) == old
        assert os.path.exists(f"{target}/extra")  # what is not in the snapshot goes last
        assert stages_in(target) == []
        thaw.ok(*words)
    if mode == "merge":
        os.unlink(f"{target}/extra")
        os.utime(target, ns=(0, os.stat(tree).st_mtime_ns))
    assert_same(tree, target)


@pytest.mark.parametrize("mode", MODES)
def test_a_full_disk_names_the_file(thaw, work, as_root, mode):
    for i in range(20):
        write(f"{work}/tree/folder/name{i}", os.urandom(300_000))
    thaw.save("k", f"{work}/tree")
    with mounts.tmpfs(f"{work}/full", "size=3m") as full:
        os.makedirs(f"{full}/target")
        answer = thaw.fails(4, "restore", "k", f"{full}/target", "--mode", mode)
        assert re.search(r"folder/name\d+", answer["message"]), answer
        assert not re.search(r"(open|write|create) \d+:", answer["message"]), answer


@pytest.mark.parametrize("mode", ["replace", *MODES])
def test_parents_that_were_made_go_again(thaw, work, mode):
    write(f"{work}/tree/file", os.urandom(100_000))
    thaw.save("k", f"{work}/tree")
    for pack in thaw.objects("packs"):
        os.unlink(f"{thaw.store}/{pack}")
    os.makedirs(f"{work}/was/there")
    thaw.fails(1, "restore", "k", f"{work}/was/there/a/b//c/target/", "--mode", mode)
    assert os.listdir(f"{work}/was/there") == []
    thaw.fails(1, "restore", "k", "relative/a/target", "--mode", mode)
    assert os.listdir(thaw.cwd) == []


def test_a_failed_replacement_puts_the_time_back(thaw, work, as_root):
    write(f"{work}/tree/file", os.urandom(100_000))
    thaw.save("k", f"{work}/tree")
    for pack in thaw.objects("packs"):
        os.unlink(f"{thaw.store}/{pack}")
    with mounts.tmpfs(f"{work}/mount") as target:
        write(f"{target}/old", b"old")
        os.utime(target, ns=(10**18, 10**18))
        before = describe(target)
        answer = thaw.fails(1, "restore", "k", target)
        assert answer["applied"] is False
        assert_same(before, target)
