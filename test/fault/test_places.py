"""Targets and stores in awkward places: full, read-only, inside one another, protected, mounted, layered."""

import contextlib
import os
import shutil
import stat
import subprocess
import threading

import pytest

import mounts
from driver import Thaw, stages_in
from trees import assert_same, describe, small_tree, write

NOBODY = 65534


def without_root_time(nodes):
    nodes[b""].pop("mtime")
    return nodes


# ------------------------------------------------------------------------------------- full, read-only

def big_tree(root, mib=6):
    for i in range(mib * 4):
        write(f"{root}/f{i}", os.urandom(256 << 10))
    return root


def test_full_disk_during_save(thaw, work, as_root):
    tree = big_tree(f"{work}/tree", 8)
    with mounts.tmpfs(f"{work}/full", "size=5m") as full:
        store = f"{full}/store"
        small = small_tree(f"{work}/small", files=4)
        thaw.save("k", small, "--store", store)
        before = describe(f"{store}/packs")
        answer = thaw.fails(4, "save", "k", tree, "--store", store, "--allow-shrink")
        assert answer["reason"] == "exhausted", answer
        assert [key["generation"] for key in thaw.ok("ls", "--store", store)["keys"]] == [1]
        assert thaw.ok("verify", "--store", store)["faults"] == []
        # The room is not lost to half objects.
        assert os.listdir(f"{store}/.tmp") == [] if os.path.isdir(f"{store}/.tmp") else True
        assert not os.path.isdir(f"{store}/leases") or os.listdir(f"{store}/leases") == []
        assert set(before) <= set(describe(f"{store}/packs"))
        thaw.restore("k", f"{work}/out", "--store", store)
        assert_same(small, f"{work}/out")


@pytest.mark.parametrize("mode", ["replace", "sync", "merge"])
def test_full_disk_during_restore(thaw, work, as_root, mode):
    thaw.save("k", big_tree(f"{work}/tree", 8))
    with mounts.tmpfs(f"{work}/full", "size=5m") as full:
        target = f"{full}/target"
        write(f"{target}/old", b"o" * (1 << 20))
        before = without_root_time(describe(target))
        answer = thaw.fails(4, "restore", "k", target, "--mode", mode)
        assert answer["reason"] == "exhausted", answer
        assert_same(before, without_root_time(describe(target)))
        assert os.listdir(full) == ["target"]
        assert stages_in(target) == []
        answer = thaw.fails(4, "restore", "k", f"{full}/fresh/place")
        assert not os.path.exists(f"{full}/fresh/place")


def test_no_inodes_left_during_restore(thaw, work, as_root):
    thaw.save("k", small_tree(f"{work}/tree", files=200))
    with mounts.tmpfs(f"{work}/full", "size=50m,nr_inodes=100") as full:
        write(f"{full}/target/old", b"old")
        answer = thaw.fails(4, "restore", "k", f"{full}/target")
        assert answer["reason"] == "exhausted", answer
        assert os.listdir(full) == ["target"] and os.listdir(f"{full}/target") == ["old"]


def test_read_only_target(thaw, work, as_root):
    thaw.save("k", small_tree(f"{work}/tree"))
    write(f"{work}/ro/target/old", b"old")
    before = describe(f"{work}/ro")
    with mounts.read_only(f"{work}/ro") as place:
        for mode in ("replace", "sync", "merge"):
            for target in ("target", "fresh", "fresh/deeper"):
                answer = thaw.fails(1, "restore", "k", f"{place}/{target}", "--mode", mode)
                assert answer["reason"] == "denied", answer
        assert_same(before, place)


def test_read_only_mount_as_target(thaw, work, as_root):
    thaw.save("k", small_tree(f"{work}/tree"))
    write(f"{work}/ro/old", b"old")
    before = describe(f"{work}/ro")
    with mounts.read_only(f"{work}/ro") as place:
        for mode in ("merge", "sync", "replace"):
            answer = thaw.fails(1, "restore", "k", place, "--mode", mode)
            assert_same(before, place)
            assert answer["reason"] == "denied", answer


def test_read_only_store(thaw, work, as_root):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    with mounts.read_only(thaw.store):
        # Readers need no write permission.
        thaw.restore("k", f"{work}/out")
        assert_same(tree, f"{work}/out")
        thaw.clean()
        thaw.ok("ls")
        thaw.ok("inspect", "k")
        assert thaw.save("k", tree)["reason"] == "unchanged"
        write(f"{tree}/new", b"new")
        for words in (["save", "k", tree], ["rm", "k", "--yes"]):
            assert thaw.fails(1, *words)["reason"] == "denied"
        answer = thaw.fails(1, "doctor")
        assert answer["reason"] == "denied", answer
        hint = next(check["hint"] for check in answer["checks"] if check["name"] == "put")
        assert "read-only" in hint and "s3:" not in str(answer.object), answer


def test_read_only_source_and_no_cache(thaw, work, as_root):
    tree = small_tree(f"{work}/tree")
    before = describe(tree)
    with mounts.read_only(tree):
        thaw.save("k", tree)
    os.makedirs(os.path.dirname(thaw.cache), exist_ok=True)
    shutil.rmtree(thaw.cache, ignore_errors=True)
    write(thaw.cache, b"a file where the cache should be")
    assert thaw.save("k", tree)["reason"] == "unchanged"
    thaw.restore("k", f"{work}/out")
    assert_same(before, f"{work}/out")


def test_unwritable_parent_as_a_plain_user(work, as_root):
    """The target is the user's, its parent is not: child by child, from a stage inside the target."""
    os.chmod(work, 0o755)
    os.mkdir(f"{work}/u")
    os.chown(f"{work}/u", NOBODY, NOBODY)
    user = Thaw(f"{work}/u")
    for folder in (user.home, user.cwd):
        os.chown(folder, NOBODY, NOBODY)
    me = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    tree = small_tree(f"{work}/u/tree")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", tree], check=True)
    user.save("k", tree, **me)
    target = f"{work}/parent/target"
    write(f"{target}/old/file", b"old")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", target], check=True)
    answer = user.restore("k", target, **me)
    assert answer["placement"] == "child_by_child"
    assert_same(tree, target)
    assert os.listdir(f"{work}/parent") == ["target"]
    # A new name cannot be made there at all.
    assert user.fails(1, "restore", "k", f"{work}/parent/other", **me)["reason"] == "denied"
    # Nor can a tree be replaced that belongs to somebody else.
    write(f"{work}/foreign/file", b"foreign")
    before = describe(f"{work}/foreign")
    for mode in ("replace", "sync", "merge"):
        assert user.fails(1, "restore", "k", f"{work}/foreign", "--mode", mode, **me)["reason"] == "denied"
        assert_same(before, f"{work}/foreign")


def test_unreadable_source_as_a_plain_user(work, as_root):
    os.chmod(work, 0o777)
    user = Thaw(f"{work}/u")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", f"{work}/u"], check=True)
    me = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    write(f"{work}/tree/ok", b"ok")
    write(f"{work}/tree/secret", b"secret", mode=0o600)
    answer = user.fails(1, "save", "k", f"{work}/tree", **me)
    assert answer["reason"] == "denied" and "secret" in answer["message"], answer
    os.unlink(f"{work}/tree/secret")
    os.makedirs(f"{work}/tree/closed")
    os.chmod(f"{work}/tree/closed", 0o700)
    answer = user.fails(1, "save", "k", f"{work}/tree", **me)
    assert answer["reason"] == "denied" and "closed" in answer["message"], answer
    assert user.ok("ls", **me)["keys"] == []


# ------------------------------------------------------------------------------------- mounts and layers

# A bind mount of the same filesystem, as container volumes are, has its parent's st_dev.
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_target_is_a_mount_point(thaw, work, as_root, kind):
    tree = small_tree(f"{work}/tree")
    os.chmod(tree, 0o711)
    thaw.save("k", tree)
    if kind == "tmpfs":
        mounted = mounts.tmpfs(f"{work}/mount")
    else:
        os.makedirs(f"{work}/mount")
        os.makedirs(f"{work}/real")
        mounted = mounts.bind(f"{work}/real", f"{work}/mount")
    with mounted as target:
        write(f"{target}/old/file", b"old")
        write(f"{target}/d0", b"a file where a folder comes")
        write(f"{target}/copy/x", b"a folder where a file comes")
        inode = os.stat(target).st_ino
        answer = thaw.restore("k", target)
        assert answer["placement"] == "child_by_child"
        assert os.stat(target).st_ino == inode
        assert_same(tree, target)
        write(f"{tree}/more", b"more")
        thaw.save("k", tree)
        assert thaw.restore("k", target, "--mode", "sync")["placement"] == "in_place"
        assert_same(tree, target)
    assert stages_in(work) == []


@pytest.mark.parametrize("mode", ["replace", "sync", "merge"])
def test_overlayfs_lower_layer(thaw, work, as_root, mode):
    """Every rename of a folder from a lower layer answers EXDEV: the normal case in a container."""
    tree = small_tree(f"{work}/tree")
    write(f"{tree}/becomes", b"a file")
    thaw.save("k", tree)
    lower = f"{work}/lower"
    write(f"{lower}/place/target/d0/s0/file0", b"old")
    write(f"{lower}/place/target/becomes/folder/file", b"old")
    write(f"{lower}/place/target/empty", b"becomes a folder")
    write(f"{lower}/place/target/gone/file", b"old")
    os.symlink("gone", f"{lower}/place/target/soft")
    with mounts.tmpfs(f"{work}/layers") as layers:
        with mounts.overlay(f"{work}/merged", lower, f"{layers}/upper", f"{layers}/work") as merged:
            target = f"{merged}/place/target"
            answer = thaw.restore("k", target, "--mode", mode)
            assert answer["placement"] == ("child_by_child" if mode == "replace" else "in_place")
            found = describe(target)
            if mode == "merge":
                assert open(f"{target}/gone/file").read() == "old"
                shutil.rmtree(f"{target}/gone")
                found = describe(target)
                found[b""]["mtime"] = os.stat(tree).st_mtime_ns
            assert_same(describe(tree), found)
            assert os.listdir(f"{merged}/place") == ["target"]
            assert stages_in(target) == []
            # A second time, now that it lies in the upper layer, over a changed tree.
            write(f"{tree}/d0/new", b"new")
            thaw.save("k", tree)
            thaw.restore("k", target, "--mode", mode)
            assert_same(tree, target)
            # And to a place that did not exist.
            thaw.restore("k", f"{merged}/place/fresh/one")
            assert_same(tree, f"{merged}/place/fresh/one")


# ------------------------------------------------------------------------------------- inside one another

def test_target_inside_the_saved_source(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    before = describe(tree)
    thaw.restore("k", f"{tree}/inner/copy")
    assert_same(before, f"{tree}/inner/copy")
    found = {name: node for name, node in describe(tree).items() if not name.startswith(b"inner")}
    found[b""]["mtime"] = before[b""]["mtime"]
    assert_same(before, found)
    # And the other way round: an old generation over the folder that holds the restored copy.
    thaw.restore("k", tree)
    assert_same(before, tree)


@pytest.mark.asan
def test_store_inside_the_source_is_skipped(thaw, work):
    tree = small_tree(f"{work}/tree")
    store = f"{tree}/d0/.thaw store"
    answer = thaw.save("k", tree, "--store", store)
    assert answer["skipped"] == [] or answer["skipped"] == [store]
    write(f"{tree}/more", b"more")
    answer = thaw.save("k", tree, "--store", store)
    assert answer["skipped"] == [store], answer
    answer = thaw.ok("save", "k", tree, "--store", store, json=False)
    assert store.encode() in answer.out, answer
    assert b"unchanged" in answer.out
    thaw.restore("k", f"{work}/out", "--store", store)
    assert not os.path.exists(f"{work}/out/d0/.thaw store")
    assert os.path.exists(f"{work}/out/d0/s0/file0")
    # A restore over it would take the store away under our feet.
    for mode in ("replace", "sync"):
        answer = thaw.fails(2, "restore", "k", tree, "--store", store, "--mode", mode)
        assert answer["reason"] == "invalid" and "store" in answer["message"]
    assert os.path.exists(f"{store}/thaw.json")


def test_the_embedded_store_and_cache_are_skipped(thaw, work):
    """Saving one's home, as people do."""
    tree = small_tree(f"{work}/home/project")
    env = {"XDG_DATA_HOME": f"{work}/home/.local/share", "XDG_CACHE_HOME": f"{work}/home/.cache"}
    thaw.save("home", f"{work}/home", env=env)
    again = thaw.save("home", f"{work}/home", env=env)
    third = thaw.save("home", f"{work}/home", env=env)
    assert third["reason"] == "unchanged", (again, third)
    assert sorted(os.path.basename(each) for each in third["skipped"]) == ["store", "thaw"]
    thaw.restore("home", f"{work}/out", env=env)
    assert_same(tree, f"{work}/out/project")
    assert not os.path.exists(f"{work}/out/.local/share/thaw/store")


# ------------------------------------------------------------------------------------- protected

@pytest.mark.asan
def test_protected_targets(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    thaw.save("k", tree)
    write(f"{thaw.home}/mine", b"mine")
    write(f"{thaw.cwd}/here/deeper/mine", b"mine")
    os.symlink(thaw.home, f"{work}/to home")
    cwd = f"{thaw.cwd}/here/deeper"
    before = describe(work)
    targets = ["/", thaw.home, thaw.home + "/", thaw.home + "/.", f"{work}/to home", ".", "..", "../..", cwd,
               thaw.cwd, work, os.path.dirname(thaw.store), "./", "../deeper"]
    for target in targets:
        for mode in ("replace", "sync"):
            answer = thaw.fails(2, "restore", "k", target, "--mode", mode, cwd=cwd)
            assert answer["reason"] == "invalid", answer
            assert "--mode merge" in answer["message"] + answer.get("hint", ""), answer
    # The store and what is in it, whatever the mode.
    for target in (thaw.store, f"{thaw.store}/packs/new", f"{thaw.store}/new"):
        for mode in ("replace", "sync", "merge"):
            answer = thaw.fails(2, "restore", "k", target, "--mode", mode, cwd=cwd)
            assert answer["reason"] == "invalid" and "the store" in answer["message"], answer
    assert_same(before, work)
    # What is below them is fair, and so is merging.
    thaw.restore("k", f"{thaw.home}/sub", cwd=cwd)
    thaw.restore("k", "sub", cwd=cwd)
    assert_same(tree, f"{cwd}/sub")
    thaw.restore("k", ".", "--mode", "merge", cwd=cwd)
    assert os.path.exists(f"{cwd}/mine") and os.path.exists(f"{cwd}/d0/s0/file0")


def test_targets_that_are_no_folder(thaw, work):
    thaw.save("k", small_tree(f"{work}/tree", files=3))
    write(f"{work}/file", b"a file")
    os.symlink("nowhere", f"{work}/dangling")
    os.symlink("loop", f"{work}/loop")
    os.mkfifo(f"{work}/fifo")
    for mode in ("replace", "sync", "merge"):
        for target in ("file", "dangling", "fifo"):
            assert thaw.fails(2, "restore", "k", f"{work}/{target}", "--mode", mode)["reason"] == "invalid"
        for target in ("loop", "n" * 300):
            assert thaw.run("restore", "k", f"{work}/{target}", "--mode", mode).code in (1, 2)
    assert open(f"{work}/file").read() == "a file"
    assert stages_in(work) == []


def test_a_target_where_nothing_can_be_made(thaw, work):
    """The machine is not as it should be: no miss, and no wrong usage, so that --advisory goes on."""
    thaw.save("k", small_tree(f"{work}/tree", files=3))
    write(f"{work}/file", b"a file")
    for target in (f"{work}/file/below", f"{work}/file/far/below", "/proc/none", "/proc/none/below", "/proc/self/new"):
        for mode in ("replace", "sync", "merge"):
            answer = thaw.fails(1, "restore", "k", target, "--mode", mode)
            assert answer["reason"] == "denied", answer
            advisory = thaw.run("restore", "k", target, "--mode", mode, "--advisory", "--store", thaw.store)
            assert advisory.code == 0 and advisory["reason"] == "denied", advisory
    # What is protected stays a matter of usage.
    answer = thaw.fails(2, "restore", "k", thaw.home, "--advisory", "--store", thaw.store)
    assert answer["reason"] == "invalid", answer


def test_sources_that_are_no_folder(thaw, work):
    write(f"{work}/file", b"a file")
    for source, code in ((f"{work}/file", 2), (f"{work}/missing", 1)):
        answer = thaw.run("save", "k", source)
        assert answer.code in (code, 1, 2), answer
        assert answer.code != 3
    assert thaw.objects() == []


# ------------------------------------------------------------------------------------- how it is placed

def test_a_reader_never_sees_the_target_missing(thaw, work):
    """Fifty swaps between two trees, with a reader that never waits."""
    one, two = small_tree(f"{work}/one", seed=1, files=20), small_tree(f"{work}/two", seed=2, files=20)
    for tree, version in ((one, b"1"), (two, b"2")):
        write(f"{tree}/marker", version)
        write(f"{tree}/sub/marker", version)
    thaw.save("one", one)
    thaw.save("two", two)
    target = f"{work}/place/target"
    thaw.restore("one", target)
    done, seen, bad = threading.Event(), set(), []

    def read():
        while not done.is_set():
            try:
                folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
                seen.add(open(f"{target}/marker", "rb").read())
            except OSError as fault:
                bad.append(repr(fault))
                continue
            # Through one descriptor: one tree, never a mix.
            try:
                both = []
                for name in ("marker", "sub/marker"):
                    fd = os.open(name, os.O_RDONLY, dir_fd=folder)
                    both.append(os.read(fd, 9))
                    os.close(fd)
                if len(set(both)) != 1:
                    bad.append(both)
            except FileNotFoundError:
                pass  # the old tree, which is being removed
            finally:
                os.close(folder)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for i in range(25):
            assert thaw.restore("two" if i % 2 == 0 else "one", target)["placement"] == "swapped"
    finally:
        done.set()
        reader.join()
    assert not bad, bad[:5]
    assert seen == {b"1", b"2"}
    assert_same(two, target)


def test_replace_over_a_bigger_tree(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    target = f"{work}/place/target"
    small_tree(target, seed=99, files=300)
    os.makedirs(f"{target}/closed/deep")
    write(f"{target}/closed/deep/file", b"", mode=0)
    os.chmod(f"{target}/closed/deep", 0)
    os.chmod(f"{target}/closed", 0o500)
    os.chmod(target, 0o700)
    assert thaw.restore("k", target)["placement"] == "swapped"
    assert_same(tree, target)
    assert os.listdir(f"{work}/place") == ["target"]


def test_target_is_a_link_to_a_folder(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    write(f"{work}/real/place/old", b"old")
    os.symlink("real/place", f"{work}/link")
    for mode in ("replace", "sync"):
        thaw.restore("k", f"{work}/link", "--mode", mode)
        assert os.readlink(f"{work}/link") == "real/place"
        assert_same(tree, f"{work}/real/place")
    assert os.listdir(f"{work}/real") == ["place"]


def test_relative_targets_and_missing_parents(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", "../tree")
    thaw.restore("k", "made/on/the/way", cwd=thaw.cwd)
    assert_same(tree, f"{thaw.cwd}/made/on/the/way")
    thaw.ok("restore", "--", "k", "-dash", cwd=thaw.cwd)
    assert_same(tree, f"{thaw.cwd}/-dash")
    answer = thaw.fails(3, "restore", "none", f"{work}/never/made")
    assert answer["hit"] == "miss"
    assert not os.path.exists(f"{work}/never")


def test_special_permissions_of_the_place_do_not_leak_in(thaw, work, as_root):
    """A set-group-id parent or a default ACL on it changes nothing of what is restored."""
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    os.mkdir(f"{work}/place")
    os.chown(f"{work}/place", 0, 77)
    os.chmod(f"{work}/place", 0o2775)
    done = subprocess.run(["setfacl", "-d", "-m", "u:99:rwx,m:rwx", f"{work}/place"], check=False)
    assert done.returncode == 0
    previous = os.umask(0o077)
    try:
        thaw.restore("k", f"{work}/place/target")
        assert_same(tree, f"{work}/place/target")
        os.mkdir(f"{work}/place/sync")
        thaw.restore("k", f"{work}/place/sync", "--mode", "sync")
        assert_same(tree, f"{work}/place/sync")
    finally:
        os.umask(previous)
