"""A generation that cannot be restored is stored anew by the next save."""

import os
import random
import shutil

import pytest

from trees import assert_same, small_tree, write


@pytest.fixture
def tree(work):
    tree = small_tree(f"{work}/tree")
    write(f"{tree}/large", random.Random(1).randbytes(300_000))
    return tree


def flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 3)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def warm(thaw, tree):
    """Until the stat cache knows every file: then an unchanged save reads none."""
    for _ in range(50):
        if thaw.save("k", tree)["files_read"] == 0:
            return
    raise AssertionError("the stat cache never knows all")


def check_healed(thaw, work, tree, answer):
    assert (answer["generation"], answer.get("reason")) == (2, None), answer
    assert answer["new_bytes"] == answer["stored_bytes"] > 0
    assert b"k@1 is broken" in answer.err
    assert thaw.restore("k", f"{work}/healed")["generation"] == 2
    assert_same(tree, f"{work}/healed")
    again = thaw.save("k", tree)
    assert (again["reason"], again["generation"]) == ("unchanged", 2)
    assert b"broken" not in again.err


@pytest.mark.asan
@pytest.mark.parametrize("known", ["stat cache", "fresh cache", "no stat cache"])
@pytest.mark.parametrize("damage", ["removed", "cut", "empty"])
def test_a_missing_pack_is_stored_anew(thaw, work, tree, known, damage):
    thaw.save("k", tree)
    warm(thaw, tree)
    for pack in thaw.objects("packs"):
        path = f"{thaw.store}/{pack}"
        os.chmod(path, 0o644)
        if damage == "removed":
            os.unlink(path)
        else:
            os.truncate(path, 0 if damage == "empty" else os.path.getsize(path) - 1)
    if known == "fresh cache":
        shutil.rmtree(thaw.cache)
    words = ["--no-stat-cache"] if known == "no stat cache" else []
    check_healed(thaw, work, tree, thaw.save("k", tree, *words))


@pytest.mark.parametrize("meet", ["restore", "merge", "verify"])
@pytest.mark.parametrize("words", [[], ["--no-stat-cache"]])
def test_a_flipped_pack_is_stored_anew_once_met(thaw, work, tree, meet, words):
    thaw.save("k", tree)
    warm(thaw, tree)
    packs = thaw.objects("packs")
    for pack in packs:
        flip(f"{thaw.store}/{pack}")
    assert thaw.save("k", tree, *words)["reason"] == "unchanged"  # nobody knows yet
    if meet == "verify":
        thaw.fails(1, "verify", "k", *words)
    else:
        os.makedirs(f"{work}/out")
        assert thaw.fails(1, "restore", "k", f"{work}/out", "--mode", meet if meet == "merge" else "replace",
                          *words)["reason"] == "corrupt"
    assert set(os.listdir(f"{thaw.cache}/damaged")) <= {os.path.basename(pack) for pack in packs}
    assert os.listdir(f"{thaw.cache}/damaged")
    check_healed(thaw, work, tree, thaw.save("k", tree, *words))


def test_a_broken_base_is_no_base(thaw, work, tree):
    thaw.save("k", tree)
    for pack in thaw.objects("packs"):
        os.unlink(f"{thaw.store}/{pack}")
    write(f"{tree}/more", b"more")
    answer = thaw.save("k", tree)
    assert answer["new_bytes"] == answer["stored_bytes"] > 300_000
    # As an explicit base, and under a further key, likewise.
    answer = thaw.save("other", tree, "--base", "k@1", "--also", "k")
    assert answer["new_bytes"] == 0 and answer["also"] == [{"key": "k", "generation": 2}]
    thaw.restore("other", f"{work}/out")
    assert_same(tree, f"{work}/out")


@pytest.mark.parametrize("damage", ["removed", "cut", "flipped"])
def test_a_broken_manifest_is_stored_anew(thaw, work, damage):
    for i in range(2500):
        write(f"{work}/tree/{i % 50}/{i}-{random.Random(i).randbytes(20).hex()}", b"%d" % i)
    tree = f"{work}/tree"
    thaw.save("k", tree)
    warm(thaw, tree)
    (manifest,) = thaw.objects("manifests")
    path = f"{thaw.store}/{manifest}"
    if damage == "flipped":
        flip(path)
        thaw.fails(1, "restore", "k", f"{work}/out")
    elif damage == "removed":
        os.unlink(path)
    else:
        os.truncate(path, os.path.getsize(path) - 1)
    check_healed(thaw, work, tree, thaw.save("k", tree))


def test_damage_is_forgotten(thaw, work, tree):
    thaw.save("k", tree)
    (pack,) = {os.path.basename(each) for each in thaw.objects("packs")}
    note = f"{thaw.cache}/damaged/{pack}"
    old = f"{thaw.cache}/damaged/{'0' * 32}"
    for each in (note, old, f"{thaw.cache}/damaged/foreign"):
        write(each, b"")
        os.utime(each, (0, 0))
    assert thaw.save("k", tree)["reason"] == "unchanged"
    assert os.listdir(f"{thaw.cache}/damaged") == ["foreign"]
    write(note, b"")
    assert thaw.save("k", tree)["generation"] == 2


def test_a_sound_store_leaves_no_notes(thaw, work, tree):
    thaw.save("k", tree)
    thaw.clean()
    assert not os.path.exists(f"{thaw.cache}/damaged")


def test_an_unchanged_save_asks_little(thaw, work, tree):
    thaw.save("k", tree)
    warm(thaw, tree)
    packs = len(thaw.objects("packs"))
    # The marker, LIST and entry, the manifest's head (here in the entry), each pack, the refusals.
    assert thaw.save("k", tree)["requests"] <= 3 + packs + 1
