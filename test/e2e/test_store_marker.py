"""A store that is not there, and one whose marker somebody removed."""

import os
import shutil

import pytest

from trees import assert_same, small_tree, write


def test_no_store_is_not_a_sound_one(thaw):
    answer = thaw.fails(1, "verify")
    assert answer["faults"] == [{"object": "thaw.json", "what": "there is no store here"}], answer
    listed = thaw.ok("ls")
    assert listed["keys"] == [] and b"no store" in listed.err
    assert not os.path.exists(thaw.store)
    assert thaw.fails(3, "verify", "k")["reason"] == "miss"


@pytest.mark.parametrize("path", ["/dev/null/x", "/dev/null/x/y"])
def test_a_store_below_a_file_is_an_error(thaw, path):
    for words in (["ls"], ["verify"], ["restore", "k", "out"]):
        answer = thaw.fails(2, *words, "--store", path)
        assert path in answer["message"], answer


def test_a_store_without_its_marker(thaw, work):
    tree = small_tree(f"{work}/tree")
    write(f"{tree}/large", os.urandom(200_000))
    thaw.save("k", tree)
    marker = f"{thaw.store}/thaw.json"
    kept = open(marker, "rb").read()
    os.unlink(marker)
    answer = thaw.fails(1, "verify")
    assert [fault["object"] for fault in answer["faults"]] == ["thaw.json"], answer
    assert answer["snapshots"] == 1
    # Readers go on: each entry says its own format.
    restored = thaw.restore("k", f"{work}/out")
    assert b"thaw.json" in restored.err
    assert_same(tree, f"{work}/out")
    assert [each["key"] for each in thaw.ok("ls")["keys"]] == ["k"]
    assert thaw.fails(3, "restore", "none", f"{work}/none")["reason"] == "miss"
    assert not os.path.exists(marker)
    # A save makes it anew, and shares what is there.
    unchanged = thaw.save("k", tree)
    assert unchanged["reason"] == "unchanged" and b"thaw.json" in unchanged.err
    assert open(marker, "rb").read() == kept
    os.unlink(marker)
    write(f"{tree}/new", b"new")
    answer = thaw.save("k", tree)
    assert answer["generation"] == 2 and answer["new_bytes"] < 100_000, answer
    assert open(marker, "rb").read() == kept
    thaw.clean()


def test_packs_alone_show_that_a_marker_is_missing(thaw, work):
    thaw.save("k", small_tree(f"{work}/tree"))
    os.unlink(f"{thaw.store}/thaw.json")
    shutil.rmtree(f"{thaw.store}/keys")
    assert "marker" not in thaw.fails(1, "verify")["message"]
    assert thaw.fails(1, "verify")["faults"][0]["what"].startswith("is missing")
