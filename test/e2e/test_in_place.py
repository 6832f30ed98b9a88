"""merge and sync: an existing tree is changed in place, only where it differs, and never outside."""

import os
import random
import shutil
import socket
import subprocess

import pytest

from driver import Thaw
from trees import assert_same, describe, replace_file, small_tree, words, write


def inodes(root):
    return {os.path.relpath(os.path.join(folder, name), root): os.lstat(os.path.join(folder, name)).st_ino
            for folder, dirs, files in os.walk(root) for name in dirs + files}


def set_times(path, ns):
    os.utime(path, ns=(ns, ns), follow_symlinks=False)


@pytest.mark.asan
def test_sync_touches_only_what_differs(thaw, work):
    tree = small_tree(f"{work}/tree", files=60)
    thaw.save("k", tree)
    target = f"{work}/target"
    thaw.restore("k", target)
    before = inodes(target)
    answer = thaw.restore("k", target, "--mode", "sync")
    assert (answer["written"], answer["removed"], answer["fetched_bytes"]) == (0, 0, 0)
    assert inodes(target) == before

    write(f"{target}/d0/s0/file0", b"edited")
    os.unlink(f"{target}/d1/s0/file6")
    write(f"{target}/extra/deep/file", b"x")
    os.chmod(f"{target}/d2/s2/file2", 0o600)
    set_times(f"{target}/d3/s0/file3", 12345)
    answer = thaw.restore("k", target, "--mode", "sync")
    assert_same(tree, target)
    assert answer["removed"] == 1
    assert answer["placement"] == "in_place"
    after = inodes(target)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"d0/s0/file0", "d1/s0/file6"}, changed
    assert 0 < answer["fetched_bytes"] <= answer["stored_bytes"]


def test_sync_notices_content_behind_equal_times(thaw, work):
    """Without a stat cache that knows better, size and mtime are no proof."""
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    target = f"{work}/target"
    thaw.restore("k", target)
    path = f"{target}/d0/s0/file5"
    path = next(os.path.join(f, n) for f, _, names in os.walk(target) for n in names
                if os.path.getsize(os.path.join(f, n)) > 100 and not os.path.islink(os.path.join(f, n)))
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.write(b"#")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    thaw.restore("k", target, "--mode", "sync")
    assert_same(tree, target)
    shutil.rmtree(thaw.cache)
    with open(path, "r+b") as file:
        file.write(b"#")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    thaw.restore("k", target, "--mode", "sync")
    assert_same(tree, target)


def type_zoo(root, kinds):
    """Names x0, x1, …, each of the kind that `kinds` says."""
    os.makedirs(root, exist_ok=True)
    for i, kind in enumerate(kinds):
        path = f"{root}/x{i}"
        if kind == "file":
            write(path, b"file %d" % i)
        elif kind == "folder":
            write(f"{path}/inside/deep", b"deep")
        elif kind == "empty":
            os.mkdir(path)
        elif kind == "link":
            os.symlink("x0", path)
        elif kind == "outward":
            os.symlink(os.path.dirname(root), path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "sparse":
            with open(path, "wb") as file:
                file.truncate(3 << 20)
    return root


def test_every_change_of_type(thaw, work):
    kinds = ["file", "folder", "empty", "link", "outward", "fifo", "sparse", "nothing"]
    pairs = [(one, other) for one in kinds for other in kinds]
    tree = type_zoo(f"{work}/a/tree", [new for _, new in pairs])
    thaw.save("k", tree)
    for mode in ("sync", "merge", "replace"):
        target = type_zoo(f"{work}/{mode}/target", [old for old, _ in pairs])
        write(f"{work}/{mode}/inside/deep", b"outside the target")
        outside = describe(f"{work}/{mode}/inside")
        thaw.restore("k", target, "--mode", mode)
        if mode == "merge":
            for i, (_, new) in enumerate(pairs):
                path = f"{target}/x{i}"
                if new == "nothing" and os.path.lexists(path):
                    shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
                elif new == "empty" and os.path.lexists(f"{path}/inside"):
                    shutil.rmtree(f"{path}/inside")
            found, expected = describe(target, times=False), describe(tree, times=False)
        else:
            found, expected = describe(target), describe(tree)
        assert_same(expected, found)
        assert_same(outside, f"{work}/{mode}/inside")


def test_hard_links_change(thaw, work):
    def linked(root, groups):
        os.makedirs(f"{root}/sub")
        for group in groups:
            write(f"{root}/{group[0]}", group[0].encode() * 30, mtime_ns=10**18)
            for name in group[1:]:
                os.link(f"{root}/{group[0]}", f"{root}/{name}")
        set_times(f"{root}/sub", 10**18)
        set_times(root, 10**18)
        return root

    shapes = [
        [["a", "b", "c"], ["d"]],
        [["a"], ["b", "d"], ["c"]],
        [["a", "sub/x", "d"], ["b", "sub/y"], ["c", "sub/z"]],
        [["a"], ["b"], ["c"], ["d"]],
        [["d", "c", "b", "a"]],
    ]
    for i, shape in enumerate(shapes):
        thaw.save(f"k{i}", linked(f"{work}/tree{i}", shape))
    for i in range(len(shapes)):
        for j in range(len(shapes)):
            target = f"{work}/target{i}{j}"
            thaw.restore(f"k{i}", target)
            thaw.restore(f"k{j}", target, "--mode", "sync")
            assert_same(f"{work}/tree{j}", target)
            # And back, with the stat cache of the way there.
            thaw.restore(f"k{i}", target, "--mode", "sync")
            assert_same(f"{work}/tree{i}", target)


def test_links_between_files_that_should_be_apart(thaw, work):
    """Equal content, one inode in the target, two in the snapshot."""
    write(f"{work}/tree/a", b"same", mtime_ns=10**18)
    write(f"{work}/tree/b", b"same", mtime_ns=10**18)
    thaw.save("k", f"{work}/tree")
    os.makedirs(f"{work}/target")
    write(f"{work}/target/a", b"same", mtime_ns=10**18)
    os.link(f"{work}/target/a", f"{work}/target/b")
    write(f"{work}/elsewhere", b"x")
    thaw.restore("k", f"{work}/target", "--mode", "sync")
    assert_same(f"{work}/tree", f"{work}/target")
    # A hard link to outside is not written through.
    os.link(f"{work}/target/a", f"{work}/outside")
    write(f"{work}/tree/a", b"else", mtime_ns=10**18)
    thaw.save("k", f"{work}/tree")
    for mode in ("sync", "merge"):
        thaw.restore("k", f"{work}/target", "--mode", mode)
        assert open(f"{work}/outside").read() == "same"
        assert open(f"{work}/target/a").read() == "else"


@pytest.mark.parametrize("mode", ["sync", "merge", "replace"])
def test_links_to_outside_are_not_followed(thaw, work, mode):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    outside = small_tree(f"{work}/outside", seed=5)
    before = describe(outside)
    target = f"{work}/target"
    thaw.restore("k", target)
    for name in ("d0", "empty", "copy"):
        path = f"{target}/{name}"
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    os.symlink(outside, f"{target}/d0")
    os.symlink(outside, f"{target}/empty")
    os.symlink(f"{outside}/copy", f"{target}/copy")
    thaw.restore("k", target, "--mode", mode)
    assert_same(before, outside)
    assert_same(tree, target)


@pytest.mark.parametrize("mode", ["sync", "merge", "replace"])
def test_sockets_in_the_target(thaw, work, mode):
    """No snapshot holds them; a restore meets them like anything else."""
    tree = f"{work}/tree"
    write(f"{tree}/a file", b"file")
    write(f"{tree}/folder/inside", b"inside")
    os.symlink("x", f"{tree}/link")
    write(f"{tree}/sub/file", b"file")
    thaw.save("k", tree)
    target = f"{work}/target"
    os.makedirs(f"{target}/sub")
    for name in ("a file", "folder", "link", "extra", "sub/extra"):
        with socket.socket(socket.AF_UNIX) as held:
            held.bind(f"{target}/{name}")
    answer = thaw.restore("k", target, "--mode", mode)
    assert answer["removed"] == (2 if mode == "sync" else 0), answer
    left = [name for name in ("extra", "sub/extra") if os.path.lexists(f"{target}/{name}")]
    assert left == (["extra", "sub/extra"] if mode == "merge" else [])
    assert_same(tree, target)
    again = thaw.restore("k", target, "--mode", mode)
    assert mode == "replace" or (again["written"], again["removed"]) == (0, 0)


def test_a_refused_restore_puts_an_old_time_back(thaw, work):
    """Before 1970, and not on a full second."""
    thaw.save("k", small_tree(f"{work}/tree"))
    for pack in thaw.objects("packs"):
        os.unlink(f"{thaw.store}/{pack}")
    write(f"{work}/target/old", b"old")
    set_times(f"{work}/target", -1_500_000_001)
    before = describe(f"{work}/target")
    thaw.fails(1, "restore", "k", f"{work}/target", "--mode", "sync")
    assert_same(before, f"{work}/target")


def test_merge_keeps_extras(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    target = f"{work}/target"
    write(f"{target}/mine", b"mine")
    write(f"{target}/d0/mine", b"mine too")
    write(f"{target}/d0/s0/file0", b"is written over")
    answer = thaw.restore("k", target, "--mode", "merge")
    assert answer["removed"] == 0
    assert open(f"{target}/mine").read() == "mine"
    assert open(f"{target}/d0/mine").read() == "mine too"
    found = {name: node for name, node in describe(target).items() if not name.endswith(b"mine")}
    assert_same(tree, found)
    assert thaw.restore("k", target, "--mode", "merge")["written"] == 0


def test_in_place_into_nothing(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    for mode in ("merge", "sync"):
        thaw.restore("k", f"{work}/{mode}/not/there", "--mode", mode)
        assert_same(tree, f"{work}/{mode}/not/there")


def test_sync_and_attributes(thaw, work):
    tree = f"{work}/tree"
    for name in ("a", "b", "c"):
        write(f"{tree}/{name}", name.encode())
    os.mkdir(f"{tree}/d")
    os.setxattr(f"{tree}/a", "user.one", b"1")
    os.setxattr(f"{tree}/b", "user.two", b"2")
    os.setxattr(f"{tree}/d", "user.dir", b"3")
    thaw.save("k", tree)
    target = f"{work}/target"
    thaw.restore("k", target)
    before = inodes(target)
    os.removexattr(f"{target}/a", "user.one")
    os.setxattr(f"{target}/b", "user.two", b"other")
    os.setxattr(f"{target}/c", "user.extra", b"")
    os.removexattr(f"{target}/d", "user.dir")
    os.chmod(f"{target}/d", 0o700)
    os.chmod(target, 0o700)
    if os.geteuid() == 0:
        os.chown(f"{target}/c", 5, 6)
    thaw.restore("k", target, "--mode", "sync")
    assert_same(tree, target)
    assert inodes(target) == before


def test_sync_over_folders_without_permissions(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    target = f"{work}/target"
    thaw.restore("k", target)
    write(f"{target}/closed/file", b"x")
    closed = 0 if os.geteuid() == 0 else 0o500  # what one cannot list one cannot compare
    for name, mode in (("closed", closed), ("d1", 0o500), ("empty", closed)):
        os.chmod(f"{target}/{name}", mode)
    replace = f"{tree}/d1/s1/file1"
    replace_file(replace, words(random.Random(1), 500))
    thaw.save("k", tree)
    thaw.restore("k", target, "--mode", "sync")
    assert_same(tree, target)


@pytest.mark.parametrize("root_mode", [0o755, 0o555], ids=["root 755", "root 555"])
@pytest.mark.parametrize("mode", ["replace", "sync", "merge"])
def test_read_only_folders_of_a_plain_user(work, mode, root_mode):
    """A Go module cache: folders 0555, files 0444, and nobody is root."""
    nobody = 65534
    os.chmod(work, 0o777)
    me = {}
    user = Thaw(f"{work}/u")
    one, two = f"{work}/u/one", f"{work}/u/two"
    for tree, text in ((one, b"old"), (two, b"new")):
        write(f"{tree}/mod@v1/go.mod", text, mode=0o444)
        write(f"{tree}/mod@v1/only {text.decode()}", text, mode=0o444)
        write(f"{tree}/mod@v1/sub/same", b"same", mode=0o444)
        write(f"{tree}/{text.decode()}/deep/file", text, mode=0o444)
    if os.geteuid() == 0:
        me = {"user": nobody, "group": nobody, "extra_groups": []}
        subprocess.run(["chown", "-R", f"{nobody}:{nobody}", f"{work}/u"], check=True)
    for tree in (one, two):
        subprocess.run(["find", tree, "-type", "d", "-exec", "chmod", "0555", "{}", "+"], check=True)
        os.chmod(tree, root_mode)
    user.save("one", one, **me)
    user.save("two", two, **me)
    target = f"{work}/u/place/target"
    user.restore("one", target, **me)
    assert_same(one, target)
    answer = user.run("restore", "two", target, "--mode", mode, **me)
    if answer.code != 0:  # then at least it is the old one, whole
        assert_same(one, target)
    assert answer.code == 0, answer
    if mode != "merge":
        assert_same(two, target)
    else:
        assert open(f"{target}/mod@v1/go.mod").read() == "new"
        assert os.path.exists(f"{target}/mod@v1/only old") and os.path.exists(f"{target}/new/deep/file")
    assert os.listdir(f"{work}/u/place") == ["target"]


def test_times_at_the_ends_of_what_can_be_held(thaw, work):
    """Here, for this module's files lie in memory: few filesystems on disk hold such times."""
    least, most = -(1 << 63), (1 << 63) - 1
    times = [least + 1, least, least - 1, least - 10**9, -9_223_372_036 * 10**9, -9_223_372_036 * 10**9 + 5,
             -1_500_000_001, -1, 9_223_372_036 * 10**9, most - 1, most, most + 1, most + 10**9]
    for i, ns in enumerate(times):
        write(f"{work}/tree/f{i}", b"")
        set_times(f"{work}/tree/f{i}", ns)
        if os.stat(f"{work}/tree/f{i}").st_mtime_ns != ns:
            pytest.skip("this filesystem does not know such times")
    thaw.save("t", f"{work}/tree")
    thaw.restore("t", f"{work}/out")
    found = [os.stat(f"{work}/out/f{i}").st_mtime_ns for i in range(len(times))]
    assert found == [min(max(ns, least), most) for ns in times]
    # And to compare with what is there is to see no difference.
    assert thaw.restore("t", f"{work}/tree", "--mode", "sync")["written"] == 0


@pytest.mark.slow
def test_random_trees_into_one_another(thaw, work):
    """Any tree becomes any other, and the second sync finds nothing to do."""
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    rng = random.Random(seed)

    def make(root):
        folders = [root]
        os.makedirs(root)
        for i in range(60):
            path = f"{rng.choice(folders)}/{rng.choice('abcdefgh')}"
            if os.path.lexists(path):
                continue
            kind = rng.randrange(6)
            if kind <= 1:
                os.mkdir(path)
                folders.append(path)
            elif kind == 2:
                os.symlink(rng.choice(["a", "b/c", "..", root]), path)
            elif kind == 3 and (files := [os.path.join(f, n) for f, _, ns in os.walk(root) for n in ns]):
                os.link(rng.choice(files), path, follow_symlinks=False)
            else:
                write(path, rng.choice([b"", b"same", words(rng, rng.randrange(4000))]), mode=rng.choice([0o644, 0o755, 0o400]))
        for folder, dirs, files in os.walk(root):
            for name in dirs + files + ["."]:
                set_times(os.path.join(folder, name), rng.choice([10**18, 10**18 + 1, 15 * 10**17]))
        return root

    trees = [make(f"{work}/tree{i}") for i in range(6)]
    for i, tree in enumerate(trees):
        thaw.save(f"k{i}", tree, "--allow-empty")
    target = f"{work}/target"
    thaw.restore("k0", target)
    for step in range(25):
        i = rng.randrange(len(trees))
        thaw.restore(f"k{i}", target, "--mode", "sync")
        assert_same(trees[i], target)
        again = thaw.restore(f"k{i}", target, "--mode", "sync")
        assert (again["written"], again["removed"]) == (0, 0), step
