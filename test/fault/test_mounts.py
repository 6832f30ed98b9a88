"""Mounts below a target: what is mounted is somebody else's, and no restore empties, moves or writes it."""

import contextlib
import os
import subprocess

import pytest

import mounts
from driver import Thaw, stages_in
from trees import assert_same, describe, small_tree, write

NOBODY = 65534
MODES = ["replace", "sync", "merge"]


@contextlib.contextmanager
def mounted(kind, work, path):
    """Something precious at `path`; a bind mount has the device number of what is around it."""
    source = f"{work}/volume"
    if kind == "file":
        write(source, b"precious")
        write(path, b"covered")
        with mounts.bind(source, path):
            yield source
        return
    if kind == "bind":
        os.makedirs(source)
        os.makedirs(path)
    with mounts.tmpfs(path) if kind == "tmpfs" else mounts.bind(source, path):
        write(f"{path}/precious/data", b"precious")
        write(f"{path}/more", b"more")
        os.chmod(f"{path}/precious", 0o500)
        yield path


def refused(thaw, target, mode, mount, *words, **kw):
    """Refused by name, and nothing is another than it was."""
    before = describe(os.path.dirname(target))
    answer = thaw.fails(4, "restore", "k", target, "--mode", mode, *words, **kw)
    assert answer["reason"] == "busy", answer
    assert mount in answer["message"] and "unmount" in answer["message"], answer
    assert_same(before, os.path.dirname(target))
    assert stages_in(target) == [] and stages_in(os.path.dirname(target)) == []


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "file"])
@pytest.mark.parametrize("place", ["a mount", "a\\040deep/er/mount"])
def test_replace_refuses_a_mount_below_its_target(thaw, work, as_root, kind, place):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    target = f"{work}/place/target"
    write(f"{target}/file", b"old")
    with mounted(kind, work, f"{target}/{place}"):
        refused(thaw, target, "replace", place)
    thaw.restore("k", target)
    assert_same(tree, target)


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "file"])
def test_a_mounted_target_with_a_mount_below_it(thaw, work, as_root, kind):
    """The one that is replaced child by child."""
    thaw.save("k", small_tree(f"{work}/tree"))
    os.makedirs(f"{work}/real")
    os.makedirs(f"{work}/place/target")
    with mounts.bind(f"{work}/real", f"{work}/place/target") as target:
        write(f"{target}/gone/file", b"old")
        with mounted(kind, work, f"{target}/gone/inner"):
            refused(thaw, target, "replace", "gone/inner")
            refused(thaw, target, "sync", "gone/inner")
        assert thaw.restore("k", target)["placement"] == "child_by_child"
        assert_same(f"{work}/tree", target)


def test_a_target_of_another_user(work, as_root):
    """Nobody may empty it, nor look for it everywhere."""
    os.chmod(work, 0o777)
    user = Thaw(f"{work}/u")
    tree = small_tree(f"{work}/u/tree")
    target = f"{work}/u/place/target"
    write(f"{target}/closed/file", b"old")
    with mounted("bind", work, f"{target}/closed/inner"):
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", f"{work}/u"], check=True)
        os.chmod(f"{target}/closed/inner", 0o000)
        me = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        user.save("k", tree, **me)
        refused(user, target, "replace", "closed/inner", **me)
        assert os.stat(f"{target}/closed/inner").st_mode & 0o777 == 0


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "file"])
@pytest.mark.parametrize("where", ["extra", "below an extra", "in the way", "below what is in the way"])
def test_in_place_removes_no_mount(thaw, work, as_root, kind, where):
    tree = small_tree(f"{work}/tree")
    write(f"{tree}/becomes", b"a file")
    os.makedirs(f"{tree}/becomes a folder")
    thaw.save("k", tree)
    target = f"{work}/place/target"
    # Sorted first, so that a restore which begins without looking removes something.
    write(f"{target}/0/file", b"extra")
    write(f"{target}/d0/s0/file0", b"edited")
    in_the_way = "becomes a folder" if kind == "file" else "becomes"
    place = {"extra": "mount", "below an extra": "x/y/mount", "in the way": in_the_way,
             "below what is in the way": "becomes/x/mount"}[where]
    with mounted(kind, work, f"{target}/{place}"):
        refused(thaw, target, "sync", place)
        if where in ("extra", "below an extra"):
            before = describe(f"{target}/{place.split('/')[0]}") if kind != "file" else None
            thaw.restore("k", target, "--mode", "merge")
            assert open(f"{target}/d0/s0/file0", "rb").read() == open(f"{tree}/d0/s0/file0", "rb").read()
            assert before is None or describe(f"{target}/{place.split('/')[0]}") == before
            assert thaw.restore("k", target, "--mode", "merge")["written"] == 0
        else:
            refused(thaw, target, "merge", place)
    thaw.restore("k", target, "--mode", "sync")
    assert_same(tree, target)


@pytest.mark.parametrize("mode", ["sync", "merge"])
@pytest.mark.parametrize("kind", ["bind", "tmpfs", "file"])
def test_in_place_writes_into_no_mount(thaw, work, as_root, mode, kind):
    """A rename into a mount answers EXDEV, and one onto a mount EBUSY, when half of the rest is done."""
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    target = f"{work}/place/target"
    write(f"{target}/d0/s0/file0", b"edited")
    place = "d4/s1/file4" if kind == "file" else "d4"
    with mounted(kind, work, f"{target}/{place}"):
        refused(thaw, target, mode, place)


@pytest.mark.parametrize("mode", ["sync", "merge"])
def test_a_mount_that_is_equal_already(thaw, work, as_root, mode):
    """Saved with what is mounted in it, and only the rest has changed since."""
    tree = small_tree(f"{work}/tree")
    with mounted("bind", work, f"{tree}/mount"):
        thaw.save("k", tree)
        before = describe(tree)
        write(f"{tree}/d0/s0/file0", b"edited")
        thaw.restore("k", tree, "--mode", mode)
        assert_same(before, tree)
        # A hard link cannot lead out of it.
        write(f"{tree}/mount/new", b"new")
        os.makedirs(f"{work}/linked/mount")
        write(f"{work}/linked/mount/new", b"new")
        os.link(f"{work}/linked/mount/new", f"{work}/linked/outside")
        subprocess.run(["cp", "-a", f"{work}/linked/mount/new", f"{tree}/mount/new"], check=True)
        subprocess.run(["touch", "-r", f"{work}/linked/mount", f"{tree}/mount"], check=True)
        thaw.save("k", f"{work}/linked", "--allow-shrink")
        refused(thaw, tree, "merge", "mount")


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "file"])
@pytest.mark.parametrize("mode", MODES)
def test_an_abandoned_stage_with_a_mount_in_it(thaw, work, as_root, kind, mode):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    target = f"{work}/place/target"
    write(f"{target}/old", b"old")
    place = os.path.dirname(target) if mode == "replace" else target
    stage = f"{place}/.thaw-stage-{'5' * 32}"
    write(f"{stage}/tree/file", b"left")
    with mounted(kind, work, f"{stage}/tree/mount") as precious:
        before = describe(precious) if kind != "file" else open(precious, "rb").read()
        answer = thaw.run("restore", "k", target, "--mode", mode)
        after = describe(precious) if kind != "file" else open(precious, "rb").read()
        assert after == before
        assert answer.code == 0 and stages_in(place) == [os.path.basename(stage)], answer
        assert b"stays" in answer.err
    thaw.restore("k", target, "--mode", mode)
    assert stages_in(place) == []
    assert open(f"{target}/copy", "rb").read() == open(f"{tree}/copy", "rb").read()


def test_a_stage_that_is_a_mount(thaw, work, as_root):
    thaw.save("k", small_tree(f"{work}/tree"))
    stage = f"{work}/place/.thaw-stage-{'7' * 32}"
    with mounted("bind", work, stage):
        before = describe(stage)
        thaw.restore("k", f"{work}/place/target")
        assert_same(before, stage)
