"""thaw golden: trees kept ready on one machine."""

import json
import os
import shutil

import socket
import subprocess
import sys

import mounts
import pytest

from driver import stages_in
from goldens import root_of, settled
from trees import assert_same, describe, rsync_differences, small_tree, write


def rich_tree(root):
    """One of everything that a copy may lose."""
    write(f"{root}/file", b"content" * 1000)
    write(f"{root}/empty", b"")
    write(f"{root}/deep/er/tool", b"#!/bin/sh\n", mode=0o755)
    write(f"{root}/read-only/inside", b"x", mode=0o400)
    os.link(f"{root}/file", f"{root}/deep/linked")
    os.link(f"{root}/file", f"{root}/deep/er/linked too")
    os.symlink("file", f"{root}/link")
    os.symlink("nowhere/at all", f"{root}/dangling")
    os.link(f"{root}/link", f"{root}/deep/link of link", follow_symlinks=False)
    os.mkfifo(f"{root}/fifo", 0o640)
    os.mkdir(f"{root}/nothing in it")
    write(f"{root}/\xffname\n".encode("latin-1"), b"any bytes")
    with open(f"{root}/sparse", "wb") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"island" * 1000)
    try:
        os.setxattr(f"{root}/file", "user.note", b"\0\1\2")
        os.setxattr(f"{root}/deep", "user.note", b"of a folder")
    except OSError:
        pass
    subprocess.run(["setfacl", "-m", "u:12345:rx", f"{root}/deep/er/tool"], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["setfacl", "-d", "-m", "u:12345:rx", f"{root}/deep/er"], check=False, stderr=subprocess.DEVNULL)
    if os.geteuid() == 0:
        os.chown(f"{root}/empty", 1234, 5678)
    os.chmod(f"{root}/read-only", 0o555)
    for place in ("read-only", "deep/er", "deep", "link", "file", "nothing in it", ""):
        os.utime(f"{root}/{place}", ns=(0, 1_234_567_890_123_456_789), follow_symlinks=False)
    return root


def promote(thaw, tree, *words):
    return thaw.ok("golden", "promote", "g", tree, *words)


def test_a_clone_equals_its_golden(thaw, work):
    tree = rich_tree(f"{work}/tree")
    before = describe(tree)
    answer = promote(thaw, tree, "--source", "session 1", "--label", "branch=main")
    assert answer["generation"] == 1 and answer["transfer"] == "moved" and answer["previous"] == 0
    assert not os.path.exists(tree)
    clone = thaw.ok("golden", "clone", "g", f"{work}/made/parents/clone")
    assert clone["method"] in ("copy", "reflink") and clone["generation"] == 1
    assert_same(before, f"{work}/made/parents/clone")
    golden = f"{root_of(thaw)}/g/1/tree"
    assert rsync_differences(golden, f"{work}/made/parents/clone") == ""
    status = os.stat(f"{work}/made/parents/clone/sparse")
    assert status.st_blocks * 512 < status.st_size
    said = json.load(open(f"{root_of(thaw)}/g/1/golden.json"))
    assert said["source"] == "session 1" and said["labels"] == {"branch": "main"} and said["files"] == answer["files"]
    assert stages_in(f"{work}/made/parents") == []
    settled(thaw)


def test_a_socket_is_cloned(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{tree}/s.sock")
    promote(thaw, tree)
    thaw.ok("golden", "clone", "g", f"{work}/clone")
    assert rsync_differences(f"{root_of(thaw)}/g/1/tree", f"{work}/clone") == ""


def test_a_clone_is_private(thaw, work):
    promote(thaw, small_tree(f"{work}/tree", files=3))
    before = describe(f"{root_of(thaw)}/g/1/tree")
    thaw.ok("golden", "clone", "g", f"{work}/clone")
    for folder, _, files in os.walk(f"{work}/clone"):
        for each in files:
            with open(f"{folder}/{each}", "ab") as file:
                file.write(b"mine")
    assert_same(before, f"{root_of(thaw)}/g/1/tree")


def test_unchanged_and_refusals_of_a_target(thaw, work):
    promote(thaw, small_tree(f"{work}/tree", files=3))
    target = f"{work}/clone"
    os.mkdir(target)
    thaw.ok("golden", "clone", "g", target)
    write(f"{target}/mine", b"kept")
    assert thaw.ok("golden", "clone", "g", target)["reason"] == "unchanged"
    assert os.path.exists(f"{target}/mine")
    # The next generation does not go over a clone of this one.
    promote(thaw, small_tree(f"{work}/tree", files=4))
    assert thaw.fails(4, "golden", "clone", "g", target)["reason"] == "exists"
    assert thaw.ok("golden", "clone", "g@1", target)["reason"] == "unchanged"
    # What has the name by now is no clone.
    shutil.rmtree(target)
    write(f"{target}/other", b"")
    assert thaw.fails(4, "golden", "clone", "g@1", target)["reason"] == "exists"
    assert thaw.fails(3, "golden", "unclone", target)["reason"] == "miss"
    assert os.listdir(target) == ["other"]
    write(f"{work}/file", b"")
    thaw.fails(2, "golden", "clone", "g", f"{work}/file")
    settled(thaw)


def test_bad_words(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    before = describe(tree)
    for name in ("", "../g", "a/b", ".", "..", ".hidden", "-x", "a b", "g@1", "x" * 129, "caf\u00e9"):
        thaw.fails(2, "golden", "promote", "--", name, tree)
    for ref in ("g@", "g@0", "g@-1", "g@01", "g@1@2", "@1", "g@99999999999999999999"):
        thaw.fails(2, "golden", "clone", ref, f"{work}/out")
    promote(thaw, small_tree(f"{work}/other", files=3))
    root = root_of(thaw)
    for target in (root, f"{root}/new", f"{root}/g/1/tree/x", os.path.dirname(root), f"{root}/../golden/z"):
        thaw.fails(2, "golden", "clone", "g", target)
        thaw.fails(2, "golden", "promote", "h", target) if os.path.isdir(target) else None
    thaw.fails(2, "golden", "promote", "h", thaw.home)
    thaw.fails(2, "golden", "promote", "h", "/")
    thaw.fails(1, "golden", "promote", "h", f"{work}/missing")
    thaw.fails(2, "golden", "promote", "h", tree, "--stamp", "../x")
    thaw.fails(2, "golden", "promote", "h", tree, "--stamp", "/etc/x")
    thaw.fails(2, "golden", "promote", "h", tree, "--scrub", "[")
    thaw.fails(2, "golden", "promote", "h", tree, "--overlay")
    thaw.fails(2, "golden", "clone", "g", f"{work}/out", "--yes")
    thaw.fails(2, "golden", "promote", "h")
    thaw.fails(2, "golden", "nonsense")
    thaw.fails(3, "golden", "clone", "g@7", f"{work}/out")
    for word in ("show", "rollback", "rm"):
        thaw.fails(3, "golden", word, "nope")
    assert not os.path.exists(f"{work}/out")
    assert_same(before, tree)


def test_policy(thaw, work):
    os.makedirs(f"{work}/empty/folders/only")
    assert thaw.fails(4, "golden", "promote", "g", f"{work}/empty")["reason"] == "empty"
    assert os.path.isdir(f"{work}/empty/folders/only")
    write(f"{work}/big/file", b"x" * 100_000)
    promote(thaw, f"{work}/big")
    write(f"{work}/small/file", b"x" * 100)
    assert thaw.fails(4, "golden", "promote", "g", f"{work}/small")["reason"] == "shrunken"
    assert os.path.exists(f"{work}/small/file")
    assert promote(thaw, f"{work}/small", "--allow-shrink")["generation"] == 2
    assert promote(thaw, f"{work}/empty", "--allow-empty", "--allow-shrink")["generation"] == 3
    settled(thaw)


def test_if_generation(thaw, work):
    trees = [small_tree(f"{work}/{i}", files=3) for i in range(3)]
    assert thaw.fails(4, "golden", "promote", "g", trees[0], "--if-generation", "1")["reason"] == "exists"
    promote(thaw, trees[0], "--if-generation", "0")
    promote(thaw, trees[1], "--if-generation", "1")
    assert thaw.fails(4, "golden", "promote", "g", trees[2], "--if-generation", "1")["reason"] == "exists"
    assert os.path.isdir(trees[2])
    settled(thaw)


def test_a_file_that_is_open_for_writing(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    program = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program, f"{tree}/log"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        answer = thaw.fails(4, "golden", "promote", "g", tree)
        assert answer["reason"] == "busy"
        assert f"{tree}/log" in answer["message"] and f"pid {writer.pid}" in answer["message"]
        writer.stdin.close()
        writer.wait()
    promote(thaw, tree)


def test_quiesce_sees_a_change(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    # A writer that never has anything open for long: it makes and removes folders.
    program = ("import os, sys\nprint('go', flush=True)\n"
               "while True:\n os.mkdir(sys.argv[1])\n os.rmdir(sys.argv[1])\n")
    with subprocess.Popen([sys.executable, "-c", program, f"{tree}/flicker"], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        try:
            answer = thaw.fails(4, "golden", "promote", "g", tree, "--quiesce", "300ms")
        finally:
            writer.kill()
    assert answer["reason"] == "busy" and "changed within 300 ms" in answer["message"]
    os.rmdir(f"{tree}/flicker") if os.path.isdir(f"{tree}/flicker") else None
    promote(thaw, tree, "--quiesce", "50ms")


def test_scrub(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    write(f"{tree}/run/app.pid", b"1")
    write(f"{tree}/secrets/deep/token", b"1")
    write(f"{tree}/keep/token", b"1")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{tree}/run/app.sock")
    answer = promote(thaw, tree, "--scrub", "*.pid", "--scrub", "*.sock", "--scrub", "/secrets")
    assert answer["scrubbed"] == 3
    thaw.ok("golden", "clone", "g", f"{work}/clone")
    assert os.listdir(f"{work}/clone/run") == [] and os.path.exists(f"{work}/clone/keep/token")
    assert not os.path.exists(f"{work}/clone/secrets")


def test_success_file(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    mark = f"{tree}/.done"
    words = ("golden", "promote", "g", tree, "--success-file", mark)
    assert thaw.fails(4, *words)["reason"] == "unfinished"
    write(mark, b"")
    os.utime(mark, (1000, 1000))
    assert thaw.fails(4, *words, "--started-at", "1000.5")["reason"] == "unfinished"
    assert os.path.exists(mark)
    answer = thaw.ok(*words, "--started-at", "999.5")
    assert not os.path.exists(f"{root_of(thaw)}/g/1/tree/.done")
    assert thaw.ok("golden", "clone", "g", f"{work}/clone")["files"] == answer["files"]


def test_a_success_file_that_cannot_be_removed(thaw, work, as_root):
    tree = small_tree(f"{work}/tree", files=3)
    write(f"{work}/marks/done", b"")
    with mounts.read_only(f"{work}/marks"):
        answer = thaw.fails(4, "golden", "promote", "g", tree, "--success-file", f"{work}/marks/done")
    assert answer["reason"] == "unfinished" and "Read-only" in answer["message"]
    assert os.path.isdir(tree)
    settled(thaw)


def test_stamp(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    os.mkdir(f"{tree}/etc")
    write(f"{work}/outside", b"mine")
    promote(thaw, tree, "--stamp", "etc/golden.json")
    thaw.ok("golden", "clone", "g", f"{work}/clone")
    assert json.load(open(f"{work}/clone/etc/golden.json"))["generation"] == 1
    second = small_tree(f"{work}/second", files=3)
    os.symlink(work, f"{second}/etc")
    thaw.run("golden", "promote", "g", second, "--stamp", "etc/outside")
    assert open(f"{work}/outside").read() == "mine"
    assert not os.path.exists(f"{root_of(thaw)}/g/2")


def test_rollback_rm_and_numbers(thaw, work):
    for number in (1, 2, 3):
        assert promote(thaw, small_tree(f"{work}/tree", files=3 + number))["generation"] == number
    assert thaw.ok("golden", "rollback", "g")["generation"] == 2
    assert thaw.ok("golden", "rollback", "g@2")["reason"] == "unchanged"
    assert thaw.ok("golden", "rollback", "g@3")["previous"] == 2
    assert thaw.ok("golden", "rollback", "g@1")["generation"] == 1
    thaw.fails(3, "golden", "rollback", "g")
    thaw.ok("golden", "clone", "g", f"{work}/clone")
    assert_same(describe(f"{root_of(thaw)}/g/1/tree"), f"{work}/clone")
    assert promote(thaw, small_tree(f"{work}/tree", files=9))["generation"] == 4
    assert thaw.fails(4, "golden", "rm", "g@4", "--yes")["reason"] == "busy"
    assert thaw.ok("golden", "rm", "g@2")["removed"] is False
    assert os.path.isdir(f"{root_of(thaw)}/g/2")
    thaw.ok("golden", "rm", "g@2", "--yes")
    thaw.fails(3, "golden", "clone", "g@2", f"{work}/two")
    assert [each["generation"] for each in thaw.ok("golden", "show", "g")["generations"]] == [4, 3, 1]
    assert thaw.ok("golden", "rm", "g", "--yes")["generations"] == [4, 3, 1]
    assert thaw.ok("golden", "ls")["goldens"] == []
    thaw.fails(3, "golden", "clone", "g", f"{work}/none")
    assert promote(thaw, small_tree(f"{work}/tree", files=3))["generation"] == 5
    settled(thaw)


def test_gc(thaw, work):
    for number in range(1, 6):
        promote(thaw, small_tree(f"{work}/tree", files=3))
    thaw.ok("golden", "rollback", "g@1")
    plan = thaw.ok("golden", "gc", "--keep-last", "2")
    assert [each["generation"] for each in plan["generations"]] == [3, 2] and plan["executed"] is False
    assert thaw.ok("golden", "show", "g")["generations"][-1]["generation"] == 1
    thaw.ok("golden", "gc", "--keep-last", "2", "--yes")
    assert [each["generation"] for each in thaw.ok("golden", "show", "g")["generations"]] == [5, 4, 1]
    # True last use: a clone is one, a folder's time is none.
    os.utime(f"{root_of(thaw)}/g/4/used", (1000, 1000))
    os.utime(f"{root_of(thaw)}/g/5", (1000, 1000))
    assert [each["generation"] for each in thaw.ok("golden", "gc", "--unused", "7d")["generations"]] == [4]
    thaw.ok("golden", "clone", "g@4", f"{work}/clone")
    assert thaw.ok("golden", "gc", "--unused", "7d")["generations"] == []
    os.utime(f"{root_of(thaw)}/g/5/used", (1000, 1000))
    full = thaw.ok("golden", "gc", "--min-free", "100%", "--yes")
    assert [(each["generation"], each["why"]) for each in full["generations"]] == [(5, "min_free"), (4, "min_free")]
    assert [each["generation"] for each in thaw.ok("golden", "show", "g")["generations"]] == [1]
    settled(thaw)


def test_admission(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    assert thaw.fails(4, "golden", "promote", "g", tree, "--min-free", "100%")["reason"] == "exhausted"
    promote(thaw, tree)
    assert thaw.fails(4, "golden", "clone", "g", f"{work}/new/clone", "--min-free", "100%")["reason"] == "exhausted"
    assert not os.path.exists(f"{work}/new")


def test_another_filesystem_is_copied_and_said(thaw, work, as_root):
    with mounts.tmpfs(f"{work}/other") as other:
        tree = rich_tree(f"{other}/tree")
        before = describe(tree)
        answer = promote(thaw, tree)
        assert answer["transfer"] == "copied" and "another filesystem" in answer["why_copied"]
        assert_same(before, tree)
        thaw.ok("golden", "clone", "g", f"{other}/clone")
        assert rsync_differences(f"{root_of(thaw)}/g/1/tree", f"{other}/clone") == ""
        assert rsync_differences(tree, f"{other}/clone") == ""
        write(f"{tree}/.done", b"")
        write(f"{tree}/a.pid", b"")
        again = promote(thaw, tree, "--success-file", f"{tree}/.done", "--scrub", "*.pid")
        assert again["files"] == answer["files"] and not os.path.exists(f"{tree}/.done")
        assert os.path.exists(f"{tree}/a.pid")
        thaw.ok("golden", "clone", "g", f"{work}/clone")
        # A mount point cannot be moved; what is mounted inside is refused.
        write(f"{other}/file", b"")
        thaw.fails(4, "golden", "clone", "g", other)


def test_something_mounted_inside_is_refused(thaw, work, as_root):
    tree = small_tree(f"{work}/tree", files=3)
    with mounts.tmpfs(f"{tree}/mounted"):
        assert thaw.fails(4, "golden", "promote", "g", tree)["reason"] == "busy"
    promote(thaw, tree)
    thaw.ok("golden", "clone", "g", f"{work}/clone")
    with mounts.tmpfs(f"{work}/clone/mounted") as inside:
        write(f"{inside}/precious", b"")
        assert thaw.fails(4, "golden", "unclone", f"{work}/clone")["reason"] == "busy"
        assert os.path.exists(f"{inside}/precious")
    thaw.ok("golden", "unclone", f"{work}/clone")
    assert not os.path.exists(f"{work}/clone")
    settled(thaw)


def overlay(thaw, target, ref="g"):
    answer = thaw.ok("golden", "clone", ref, target, "--overlay")
    if answer["method"] != "overlay":
        pytest.skip(f"no overlay here: {answer['fallback']}")
    return answer


def test_overlay(thaw, work, as_root):
    promote(thaw, rich_tree(f"{work}/tree"))
    golden = f"{root_of(thaw)}/g/1/tree"
    before = describe(golden)
    target = f"{work}/clone"
    overlay(thaw, target)
    try:
        assert rsync_differences(golden, target) == ""
        assert thaw.ok("golden", "clone", "g", target, "--overlay")["reason"] == "unchanged"
        write(f"{target}/file", b"changed")
        os.unlink(f"{target}/empty")
        assert_same(before, golden)
        promote(thaw, small_tree(f"{work}/tree", files=3), "--allow-shrink")
        for words in (("rm", "g@1", "--yes"), ("rm", "g", "--yes")):
            answer = thaw.fails(4, "golden", *words)
            assert answer["reason"] == "busy" and target in answer["message"]
        assert thaw.ok("golden", "gc", "--keep-last", "0", "--yes")["generations"] == []
        with subprocess.Popen(["sleep", "1000"], cwd=target) as inside:
            try:
                assert thaw.fails(4, "golden", "unclone", target)["reason"] == "busy"
            finally:
                inside.kill()
        # Unmounted by somebody else, or after a restart, it still needs its generation.
        subprocess.run(["umount", target], check=True)
        assert thaw.fails(4, "golden", "rm", "g@1", "--yes")["reason"] == "busy"
    finally:
        thaw.run("golden", "unclone", target)
    assert not os.path.exists(target)
    assert os.listdir(f"{root_of(thaw)}/g/overlays") == []
    thaw.ok("golden", "rm", "g@1", "--yes")
    settled(thaw)


def test_overlay_falls_back(thaw, work, as_root):
    promote(thaw, small_tree(f"{work}/tree", files=3))
    os.rename(root_of(thaw), f"{work}/a,b")
    answer = thaw.ok("golden", "clone", "g", f"{work}/clone", "--overlay", env={"THAW_GOLDEN_ROOT": f"{work}/a,b"})
    assert answer["method"] in ("copy", "reflink") and "overlay mounts cannot take" in answer["fallback"]
    assert_same(describe(f"{work}/a,b/g/1/tree"), f"{work}/clone")
    assert os.listdir(f"{work}/a,b/g/overlays") == []


def test_a_golden_that_somebody_changed_is_not_cloned(thaw, work):
    promote(thaw, small_tree(f"{work}/tree", files=3))
    write(f"{root_of(thaw)}/g/1/tree/more", b"")
    assert thaw.fails(1, "golden", "clone", "g", f"{work}/made/clone")["reason"] == "corrupt"
    assert not os.path.exists(f"{work}/made")
    settled(thaw)


def test_stopped_clones_leave_nothing(thaw, work):
    promote(thaw, small_tree(f"{work}/tree", files=300))
    thaw.fails(1, "--timeout", "1ms", "golden", "clone", "g", f"{work}/made/clone")
    thaw.ok("golden", "ls")
    assert not os.path.exists(f"{work}/made/clone")
    settled(thaw)


def test_files_of_later_formats_are_refused(thaw, work):
    promote(thaw, small_tree(f"{work}/tree", files=3))
    place = f"{root_of(thaw)}/g"
    write(f"{place}/current.json", b'{"format": 2, "current": 1, "last": 1}')
    thaw.fails(2, "golden", "clone", "g", f"{work}/clone")
    write(f"{place}/current.json", b'{"format": 1, "current": 3, "last": 1}')
    assert thaw.fails(1, "golden", "clone", "g", f"{work}/clone")["reason"] == "corrupt"


def test_an_overlay_is_mounted_again(thaw, work, as_root):
    """After a restart its writes are there, and the same command brings them back."""
    promote(thaw, small_tree(f"{work}/tree", files=3))
    target = f"{work}/clone"
    overlay(thaw, target)
    try:
        write(f"{target}/mine", b"kept")
        promote(thaw, small_tree(f"{work}/tree", files=4))
        subprocess.run(["umount", target], check=True)
        # Another generation, or a copy, would lose what was written.
        for words in (("g", target, "--overlay"), ("g@1", target)):
            answer = thaw.fails(4, "golden", "clone", *words)
            assert answer["reason"] == "exists" and "g@1" in answer["message"]
        answer = thaw.ok("golden", "clone", "g@1", target, "--overlay")
        assert answer["remounted"] is True and answer["method"] == "overlay"
        assert open(f"{target}/mine", "rb").read() == b"kept"
        assert thaw.ok("golden", "clone", "g@1", target, "--overlay")["reason"] == "unchanged"
        # Nor is it mounted over what somebody put there meanwhile.
        subprocess.run(["umount", target], check=True)
        write(f"{target}/theirs", b"")
        assert thaw.fails(4, "golden", "clone", "g@1", target, "--overlay")["reason"] == "exists"
        os.unlink(f"{target}/theirs")
        os.rmdir(target)
        assert thaw.ok("golden", "clone", "g@1", target, "--overlay")["remounted"] is True
        assert os.path.exists(f"{target}/mine")
    finally:
        thaw.run("golden", "unclone", target)
    assert not os.path.exists(target)
    settled(thaw)


def test_reflinks(thaw, work, as_root):
    with mounts.in_a_file("xfs", f"{work}/xfs", 320) as place:
        env = {"THAW_GOLDEN_ROOT": f"{place}/golden"}
        tree = rich_tree(f"{place}/tree")
        write(f"{tree}/big", os.urandom(1 << 20))
        before = describe(tree)
        thaw.ok("golden", "promote", "g", tree, env=env)
        answer = thaw.ok("golden", "clone", "g", f"{place}/clone", env=env)
        assert answer["method"] == "reflink" and answer["copied"] == 0 and answer["reflinked"] > 0
        assert_same(before, f"{place}/clone")
        assert rsync_differences(f"{place}/golden/g/1/tree", f"{place}/clone") == ""
        # Across filesystems there is nothing to share.
        other = thaw.ok("golden", "clone", "g", f"{work}/elsewhere", env=env)
        assert other["method"] == "copy"
        assert_same(before, f"{work}/elsewhere")


@pytest.fixture
def btrfs(work, as_root):
    with mounts.in_a_file("btrfs", f"{work}/btrfs", 320) as place:
        yield place


def subvolume(path):
    subprocess.run(["btrfs", "-q", "subvolume", "create", path], check=True)
    return path


def is_subvolume(path):
    return os.stat(path).st_ino == 256


def test_snapshots(thaw, work, btrfs):
    env = {"THAW_GOLDEN_ROOT": f"{btrfs}/golden"}
    golden = f"{btrfs}/golden/g"
    tree = rich_tree(f"{btrfs}/tree")
    before = describe(tree)
    # A plain folder cannot become a subvolume; it shares its blocks with one.
    answer = thaw.ok("golden", "promote", "g", tree, "--stamp", ".golden.json", env=env)
    assert answer["transfer"] == "copied" and "plain folder" in answer["why_copied"]
    assert is_subvolume(f"{golden}/1/tree")
    answer = thaw.ok("golden", "clone", "g", f"{btrfs}/clone", env=env)
    assert answer["method"] == "snapshot" and is_subvolume(f"{btrfs}/clone")
    assert rsync_differences(f"{golden}/1/tree", f"{btrfs}/clone") == ""
    assert json.load(open(f"{btrfs}/clone/.golden.json"))["generation"] == 1
    assert thaw.ok("golden", "clone", "g", f"{btrfs}/clone", env=env)["reason"] == "unchanged"
    # The clone is private and writable, the golden neither.
    write(f"{btrfs}/clone/file", b"mine")
    with pytest.raises(OSError):
        write(f"{golden}/1/tree/file", b"mine")
    # A subvolume is moved whole.
    moved = rich_tree(subvolume(f"{btrfs}/moved"))
    before = describe(moved)
    answer = thaw.ok("golden", "promote", "g", moved, env=env)
    assert answer["transfer"] == "moved" and not os.path.exists(moved)
    os.mkdir(f"{btrfs}/empty")
    assert thaw.ok("golden", "clone", "g", f"{btrfs}/empty", env=env)["method"] == "snapshot"
    assert_same(before, f"{btrfs}/empty")
    # A removed clone and a new one of the same generation are not the same.
    thaw.ok("golden", "unclone", f"{btrfs}/empty", env=env)
    assert not os.path.exists(f"{btrfs}/empty")
    subprocess.run(["btrfs", "-q", "subvolume", "snapshot", f"{golden}/2/tree", f"{btrfs}/empty"], check=True)
    thaw.fails(3, "golden", "unclone", f"{btrfs}/empty", env=env)
    # Across filesystems it is copied.
    assert thaw.ok("golden", "clone", "g", f"{work}/elsewhere", env=env)["method"] == "copy"
    assert_same(before, f"{work}/elsewhere")
    # A snapshot needs its generation no more than a copy does.
    thaw.ok("golden", "rm", "g@1", "--yes", env=env)
    assert os.path.exists(f"{btrfs}/clone/empty")
    for clone in (f"{btrfs}/clone", f"{work}/elsewhere"):
        thaw.ok("golden", "unclone", clone, env=env)
    thaw.ok("golden", "rm", "g", "--yes", env=env)
    assert sorted(os.listdir(golden)) == ["clones", "current.json", "lock", "overlays"]
    assert os.listdir(f"{golden}/clones") == []


def test_subvolumes_inside(thaw, btrfs):
    env = {"THAW_GOLDEN_ROOT": f"{btrfs}/golden"}
    tree = small_tree(subvolume(f"{btrfs}/tree"), files=3)
    subvolume(f"{tree}/inner")
    write(f"{tree}/inner/precious", b"")
    answer = thaw.fails(4, "golden", "promote", "g", tree, env=env)
    assert answer["reason"] == "busy" and "inner" in answer["message"]
    os.unlink(f"{tree}/inner/precious")
    os.rmdir(f"{tree}/inner")
    thaw.ok("golden", "promote", "g", tree, env=env)
    thaw.ok("golden", "clone", "g", f"{btrfs}/clone", env=env)
    subvolume(f"{btrfs}/clone/inner")
    write(f"{btrfs}/clone/inner/precious", b"")
    before = describe(f"{btrfs}/clone")
    assert thaw.fails(4, "golden", "unclone", f"{btrfs}/clone", env=env)["reason"] == "busy"
    assert_same(before, f"{btrfs}/clone")


def test_subvolumes_are_fetched_and_built(thaw, btrfs):
    env = {"THAW_GOLDEN_ROOT": f"{btrfs}/golden"}
    promote(thaw, small_tree(f"{btrfs}/tree"), "--publish", "golden/g")
    answer = thaw.ok("golden", "clone", "g", f"{btrfs}/clone", env=env)
    assert answer["fetched"] is True and answer["method"] == "snapshot"
    assert rsync_differences(f"{root_of(thaw)}/g/1/tree", f"{btrfs}/clone") == ""
    thaw.ok("golden", "build", "b", "--", "sh", "-c", "echo made > file", env=env)
    assert thaw.ok("golden", "clone", "b", f"{btrfs}/built", env=env)["method"] == "snapshot"
    for name in ("g", "b"):
        assert sorted(os.listdir(f"{btrfs}/golden/{name}/1")) == ["golden.json", "lock", "tree", "used"]
    thaw.fails(1, "golden", "build", "b", "--", "sh", "-c", "echo made > file; exit 1", env=env)
    assert not [each for each in os.listdir(f"{btrfs}/golden/b") if each.startswith(".")]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
def test_snapshots_of_a_plain_user(thaw, work, btrfs):
    """Who is not root may not remove subvolumes in one step."""
    home = f"{btrfs}/home"
    os.mkdir(home)
    os.chown(home, 12345, 12345)
    env = {"THAW_GOLDEN_ROOT": f"{home}/golden", "XDG_CACHE_HOME": f"{home}/cache", "XDG_DATA_HOME": f"{home}/data"}
    user = {"env": env, "cwd": home, "user": 12345, "group": 12345, "extra_groups": []}
    thaw.ok("golden", "build", "g", "--", "sh", "-c", "mkdir sub; echo made > sub/file; chmod 500 sub", **user)
    assert thaw.ok("golden", "clone", "g", f"{home}/clone", **user)["method"] == "snapshot"
    thaw.ok("golden", "unclone", f"{home}/clone", **user)
    assert not os.path.exists(f"{home}/clone")
    thaw.ok("golden", "rm", "g", "--yes", **user)
    assert not [each for each in os.listdir(f"{home}/golden/g") if each.startswith(".") or each.isdigit()]


def test_what_else_is_mounted_stays(thaw, work, as_root):
    """An overlay is unmounted where it is the clone's, and nothing else is."""
    promote(thaw, small_tree(f"{work}/tree", files=3))
    target = f"{work}/clone"
    overlay(thaw, target)
    try:
        with mounts.tmpfs(target) as over:
            write(f"{over}/treasure", b"")
            assert thaw.fails(4, "golden", "unclone", target)["reason"] == "busy"
            assert os.path.exists(f"{over}/treasure")
        os.mkdir(f"{work}/volume")
        with mounts.bind(target, f"{work}/volume"):
            answer = thaw.fails(4, "golden", "unclone", target)
            assert answer["reason"] == "busy" and f"{work}/volume" in answer["message"]
            write(f"{work}/volume/mine", b"")
        # In another mount namespace nobody sees it, and it is there.
        script = "echo; read line"
        with subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as namespace:
            namespace.stdout.readline()
            subprocess.run(["umount", target], check=True)
            assert thaw.fails(4, "golden", "clone", "g", target, "--overlay")["reason"] == "busy"
            assert thaw.fails(4, "golden", "unclone", target)["reason"] == "busy"
            namespace.communicate(b"\n")
    finally:
        thaw.run("golden", "unclone", target)
    assert mounts_below(work) == [] and not os.path.exists(target)
    settled(thaw)


def mounts_below(work):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return [line for line in table if f" {work}/" in line]


def test_an_overlay_keeps_hard_links(thaw, work, as_root):
    tree = small_tree(f"{work}/tree", files=3)
    write(f"{tree}/one", b"first\n")
    os.link(f"{tree}/one", f"{tree}/two")
    promote(thaw, tree)
    overlay(thaw, f"{work}/clone")
    try:
        with open(f"{work}/clone/one", "ab") as file:
            file.write(b"second\n")
        assert open(f"{work}/clone/two", "rb").read() == b"first\nsecond\n"
    finally:
        thaw.ok("golden", "unclone", f"{work}/clone")


def test_an_overlay_of_what_overlays_made(thaw, work, as_root):
    tree = small_tree(f"{work}/tree", files=3)
    os.mknod(f"{tree}/whiteout", 0o600 | 0o020000, os.makedev(0, 0))
    promote(thaw, tree)
    answer = thaw.ok("golden", "clone", "g", f"{work}/clone", "--overlay")
    assert answer["method"] == "copy" and "marks of an overlayfs" in answer["fallback"]
    assert os.path.lexists(f"{work}/clone/whiteout")


def test_an_overlay_whose_target_is_gone(thaw, work, as_root):
    promote(thaw, small_tree(f"{work}/tree", files=3))
    target = f"{work}/clone"
    for instead in (lambda: None, lambda: os.symlink(work, target)):
        overlay(thaw, target)
        subprocess.run(["umount", target], check=True)
        os.rmdir(target)
        instead()
        thaw.ok("golden", "unclone", target)
        if os.path.islink(target):
            os.unlink(target)
    thaw.ok("golden", "rm", "g", "--yes")
    settled(thaw)


def test_the_damage_of_one_golden_is_not_anothers(thaw, work):
    promote(thaw, small_tree(f"{work}/tree", files=3))
    thaw.ok("golden", "promote", "torn", small_tree(f"{work}/tree", files=3))
    thaw.ok("golden", "clone", "g", f"{work}/clone")
    write(f"{root_of(thaw)}/torn/current.json", b"")
    write(f"{root_of(thaw)}/g/clones/{'0' * 32}.json", b"{}")
    answer = thaw.fails(1, "golden", "ls")
    assert [each["name"] for each in answer["goldens"]] == ["g"] and "torn" in answer["message"]
    assert thaw.ok("golden", "clone", "g", f"{work}/clone")["reason"] == "unchanged"
    thaw.ok("golden", "unclone", f"{work}/clone")
    promote(thaw, small_tree(f"{work}/tree", files=4))
    thaw.ok("golden", "rm", "g@1", "--yes")
    # What that record needs nobody knows, where it has an overlay.
    os.makedirs(f"{root_of(thaw)}/g/overlays/{'0' * 32}/upper")
    assert thaw.fails(1, "golden", "rm", "g", "--yes")["reason"] == "corrupt"


def test_a_lower_layer_is_copied(thaw, work, as_root):
    """A folder from a lower layer of an overlayfs cannot be renamed: the normal case in a container."""
    small_tree(f"{work}/low/tree", files=3)
    with mounts.overlay(f"{work}/over", f"{work}/low", f"{work}/up", f"{work}/workdir") as over:
        before = describe(f"{over}/tree")
        env = {"THAW_GOLDEN_ROOT": f"{over}/golden"}
        answer = thaw.ok("golden", "promote", "g", f"{over}/tree", "--success-file", success(f"{over}/ok"), env=env)
        assert answer["transfer"] == "copied" and "cannot be moved" in answer["why_copied"]
        assert_same(before, f"{over}/golden/g/1/tree")
        assert not [each for each in os.listdir(f"{over}/golden/g") if each.startswith(".")]


def success(path):
    write(path, b"")
    return path


def test_names_outside_are_counted(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    write(f"{tree}/file", b"")
    os.link(f"{tree}/file", f"{tree}/inside")
    assert promote(thaw, tree)["linked_outside"] == 0
    tree = small_tree(f"{work}/tree", files=3)
    write(f"{tree}/file", b"")
    os.link(f"{tree}/file", f"{work}/outside")
    assert promote(thaw, tree, "--allow-shrink")["linked_outside"] == 1


def test_places_that_are_not_taken(thaw, work):
    promote(thaw, small_tree(f"{work}/tree", files=3))
    thaw.fails(2, "golden", "clone", "g", thaw.home)
    thaw.fails(2, "golden", "clone", "g", thaw.cwd)
    thaw.fails(2, "golden", "promote", "g", small_tree(f"{work}/tree"), "--if-generation", "-1")
    thaw.fails(2, "golden", "gc", "--keep-last", "-1")
    place = f"{root_of(thaw)}/g/1/golden.json"
    thaw.fails(2, "golden", "promote", "g", f"{work}/tree", "--success-file", place)
    assert os.path.exists(place)
    # Exit code 3 says that a golden is missing, and nothing else.
    write(f"{work}/plain", b"")
    assert thaw.run("golden", "clone", "g", f"{work}/plain/clone").code in (1, 2)
    thaw.ok("golden", "clone", "g", f"{work}/clone")
    promote(thaw, f"{work}/tree")
    answer = thaw.fails(4, "golden", "clone", "g", f"{work}/clone")
    assert "is a clone of g@1" in answer["message"]


def test_a_build_with_subvolumes_leaves_nothing(thaw, btrfs):
    env = {"THAW_GOLDEN_ROOT": f"{btrfs}/golden"}
    script = "btrfs -q subvolume create nested; btrfs -q subvolume create nested/deeper; echo x > nested/deeper/f"
    assert thaw.fails(4, "golden", "build", "g", "--", "sh", "-c", script, env=env)["reason"] == "busy"
    assert not [each for each in os.listdir(f"{btrfs}/golden/g") if each.startswith(".")]
