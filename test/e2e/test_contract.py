"""The command line as DESIGN.md, section 7, promises it: exit codes, one JSON object, precedence, words."""

import json
import os
import resource
import signal
import subprocess
import time

import pytest

import store_format as fmt
from trees import assert_same, describe, small_tree, write


@pytest.fixture
def tree(work):
    return small_tree(f"{work}/tree", files=8)


# ------------------------------------------------------------------------------------- exit codes

@pytest.mark.asan
@pytest.mark.parametrize("words", [
    [], ["nothing"], ["save"], ["save", "k"], ["save", "k", "a", "b"], ["save", "k@1", "a"], ["save", "", "a"],
    ["save", "k", ""], ["save", "k", "a", "--label", "x"], ["save", "k", "a", "--also", "b@1"],
    ["save", "k", "a", "--unchanged-by", "size"], ["save", "k", "a", "--base", "b@0"], ["restore", "k"],
    ["restore", "k", "a", "--mode", "move"], ["restore", "k@0", "a"], ["restore", "k@-1", "a"], ["restore", "k@", "a"],
    ["restore", "k@1x", "a"], ["restore", "k@18446744073709551616", "a"], ["restore", "k", "a", "--fallback", "b@1"],
    ["restore", "k", ""], ["ls", "a", "b"], ["inspect"], ["diff", "a"], ["diff", "a", "b", "c"], ["rm"],
    ["verify", "a", "b"], ["verify", "a//b"], ["ls", "--threads", "many"], ["ls", "--threads", "0"], ["ls", "--timeout", "soon"],
    ["ls", "--timeout", "-1s"], ["ls", "--store"], ["ls", "--store", ""], ["ls", "--store", "ftp://x/y"],
    ["ls", "--store", "file://host/x"], ["--unknown", "ls"], ["ls", "--unknown"], ["completion", "fish"],
    ["ls", "--config", "/does/not/exist.toml"], ["ls", "--config-json", "/does/not/exist.json"],
    ["ls", "--config-json", "fd:99"], ["ls", "--threads", ""], ["save", "k", "a", "--exclude", ""], ["save", "k", "a", "--exclude", "["],
    ["save", "k", "a", "--exclude", "a/[b/c]"], ["save", "k", "a", "--exclude", "../x"], ["save", "k", "a", "--exclude", "."],
    ["ls", "--store", "s3://bucket?region=a&region=b"], ["save", "k", "a", "--image", ""], ["save", "k", "a", "--exclude", "/"], ["--store=", "ls"],
    ["ls", "--store", "a", "--store", "b"], ["--store", "a", "ls", "--store", "a"], ["ls", "--timeout", "1s", "--timeout", "2s"],
    ["restore", "k", "a", "--mode", "sync", "--mode", "merge"], ["restore", "k", "a", "--", "--advisory"], ["ls", "--timeout", "1ns"]])
def test_wrong_usage(thaw, words):
    answer = thaw.fails(2, *words)
    assert answer["reason"] == "invalid"
    assert set(answer.object) >= {"ok", "ms", "reason", "message"}
    # Also under advice, and for people.
    assert thaw.fails(2, "--advisory", *words)["reason"] == "invalid"
    plain = thaw.fails(2, *words, json=False)
    assert plain.out == b"" and plain.err.startswith(b"thaw: ")
    assert not os.path.exists(thaw.store)


@pytest.mark.parametrize("words, said", [
    (["restore", "k", "o", "--", "--json"], 'one word too many: "--json"'), (["save", "--", "k", "d", "--json"], 'one word too many: "--json"'),
    (["--store=", "ls"], "--store= has no value"), (["ls", "--store", "a", "--store", "b"], "--store is given more than once"),
    (["restore", "k", "o", "--mode", "sync", "--mode", "merge"], "--mode is given more than once"), (["ls", "--timeout", "1ns"], "ms, s, m, h and d"),
    (["save", "k", "a", "--exclude", "["], "--exclude: pattern"), (["ls", "--threads", ""], "--threads: the value is empty"),
    (["ls", "--store", ""], "--store: the value is empty"), (["--", "lss"], 'did you mean "ls"')])
def test_wrong_usage_is_explained(thaw, words, said):
    assert said in thaw.fails(2, *words)["message"]
    plain = thaw.fails(2, *words, json=False)  # nothing behind `--` is an option
    assert plain.out == b"" and said.encode() in plain.err


@pytest.mark.parametrize("key", ["/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "@", "a@b/c", "a\\b", "a\nb", "a\tb", "a\x7fb",
                                 "a\u0085b", "s" * 201, "/".join(["s" * 100] * 6), b"\xff\xfe", ""])
def test_key_grammar_refuses(thaw, tree, key):
    for words in (["save", key, tree], ["restore", key, "out"], ["inspect", key], ["rm", key, "--yes"],
                  ["save", "k", tree, "--also", key]):
        assert thaw.fails(2, *words)["reason"] == "invalid"
    assert thaw.objects() == []


@pytest.mark.parametrize("key", ["a", "a/b/c", "ünï/çødé", "with space", "a.b", "...", "-", "_", "save", "s" * 200, "a:b", "%2e%2e", "~"])
def test_key_grammar_accepts(thaw, tree, work, key):
    assert thaw.ok("save", "--", key, tree)["key"] == key
    assert [each["key"] for each in thaw.ok("ls")["keys"]] == [key]
    thaw.ok("restore", "--", f"{key}@1", f"{work}/out")
    assert_same(tree, f"{work}/out")


def test_save_and_restore_results(thaw, work, tree):
    saved = thaw.save("site/shop", tree, "--label", "commit=4f2a", "--label", "empty=", "--label", "x=a=b")
    assert set(saved.object) >= {"ok", "ms", "key", "generation", "snapshot", "content", "files", "dirs", "bytes",
                                 "stored_bytes", "new_bytes", "requests"}
    assert (saved["key"], saved["generation"]) == ("site/shop", 1)
    assert saved["new_bytes"] == saved["stored_bytes"] > 0
    again = thaw.save("site/shop", tree)
    assert (again["ok"], again["reason"], again["generation"], again["new_bytes"]) == (True, "unchanged", 1, 0)
    got = thaw.restore("site/shop", f"{work}/out")
    assert set(got.object) >= {"ok", "ms", "key", "generation", "hit", "snapshot", "content", "files", "dirs", "bytes",
                               "stored_bytes", "fetched_bytes", "requests"}
    for name in ("snapshot", "content", "files", "dirs", "bytes"):
        assert got[name] == saved[name], name
    assert (got["hit"], got["generation"]) == ("exact", 1)
    shown = thaw.ok("inspect", "site/shop")
    assert shown["labels"] == {"commit": "4f2a", "empty": "", "x": "a=b"}
    assert shown["generations"] == [1]
    for name in ("snapshot", "content", "files", "dirs", "bytes", "stored_bytes"):
        assert shown[name] == saved[name], name
    plain = thaw.ok("inspect", "site/shop", json=False)
    assert b"commit=4f2a" in plain.out


def test_warm_restore_asks_little(thaw, work, tree):
    """One LIST, one entry, at most one manifest, then data; and the marker."""
    thaw.save("k", tree)
    assert thaw.restore("k", f"{work}/out")["requests"] <= 5
    answer = thaw.ok("restore", "k", f"{work}/out2", "--stats")
    assert b"stats:" in answer.err


def test_misses(thaw, work, tree):
    for words in (["restore", "none", f"{work}/out"], ["inspect", "none"], ["rm", "none"], ["rm", "none", "--yes"],
                  ["diff", "none", "none"], ["verify", "none"]):
        answer = thaw.fails(3, *words)  # also where there is no store yet
        assert answer["reason"] == "miss"
        assert not os.path.exists(thaw.store), words
    thaw.save("k", tree)
    for words in (["restore", "none", f"{work}/out"], ["restore", "k@2", f"{work}/out"], ["inspect", "k@2"],
                  ["diff", "k", "k@2"], ["diff", "none", "k"], ["rm", "k@2", "--yes"], ["verify", "k@9"],
                  ["restore", "k/sub", f"{work}/out"], ["save", "x", tree, "--base", "none"]):
        answer = thaw.fails(3, *words)
        assert answer["reason"] == "miss", answer
    assert thaw.fails(3, "restore", "none", f"{work}/out", "--fallback", "neither")["hit"] == "miss"
    assert not os.path.exists(f"{work}/out")
    # A source that is not there is a failure, no miss.
    answer = thaw.run("save", "k", f"{work}/missing")
    assert answer.code in (1, 2) and "missing" in answer["message"], answer


def test_fallbacks_are_exact_and_in_turn(thaw, work, tree):
    thaw.save("ci/main", tree)
    write(f"{tree}/branch", b"branch")
    thaw.save("ci/old", tree)
    answer = thaw.restore("ci/branch", f"{work}/out", "--fallback", "ci", "--fallback", "ci/main", "--fallback", "ci/old")
    assert (answer["hit"], answer["key"], answer["generation"]) == ("fallback", "ci/main", 1)
    assert not os.path.exists(f"{work}/out/branch")
    answer = thaw.restore("ci/old", f"{work}/out", "--fallback", "ci/main")
    assert (answer["hit"], answer["key"]) == ("exact", "ci/old")
    answer = thaw.restore("ci/old@7", f"{work}/out", "--fallback", "ci/main")
    assert (answer["hit"], answer["key"]) == ("fallback", "ci/main")


def test_also_and_base(thaw, work, tree):
    write(f"{tree}/large", os.urandom(200_000))
    answer = thaw.save("a", tree, "--also", "b", "--also", "c/d", "--also", "b", "--also", "a")
    assert answer["also"] == [{"key": "b", "generation": 1}, {"key": "c/d", "generation": 1}]
    assert len({thaw.ok("inspect", key)["snapshot"] for key in ("a", "b", "c/d")}) == 1
    assert len(thaw.objects("packs")) == 1
    again = thaw.save("a", tree, "--also", "b", "--also", "new")
    assert again["also"] == [{"key": "b", "generation": 1}, {"key": "new", "generation": 1}]
    assert again["generation"] == 1 and again["new_bytes"] == 0
    based = thaw.save("other", tree, "--base", "b@1")
    assert based["new_bytes"] == 0
    assert thaw.save("third", tree)["new_bytes"] > 0
    thaw.ok("rm", "a", "--yes")
    thaw.restore("new", f"{work}/out")
    assert_same(tree, f"{work}/out")


def test_unchanged_by_content(thaw, tree):
    thaw.save("k", tree)
    os.utime(f"{tree}/copy", ns=(5, 5))
    if os.geteuid() == 0:
        os.chown(f"{tree}/copy", 5, 5)
    answer = thaw.save("k", tree, "--unchanged-by", "content")
    assert (answer["reason"], answer["generation"]) == ("unchanged", 1)
    assert thaw.save("k", tree)["generation"] == 2
    os.chmod(f"{tree}/copy", 0o640)
    assert thaw.save("k", tree, "--unchanged-by", "content")["generation"] == 3


def test_exclude(thaw, work):
    names = ["a.o", "b.c", "sub/a.o", "sub/deep/x.o", "build/out", "sub/build/out", "sub/build/keep", ".git/config",
             "x/.git/config", "[ab]", "q1", "q2", "q11", "a/b/c/d"]
    for name in names:
        write(f"{work}/tree/{name}", name.encode())

    def left(*globs):
        words = [word for glob in globs for word in ("--exclude", glob)]
        key = f"k{left.count}"
        left.count += 1
        thaw.save(key, f"{work}/tree", *words)
        thaw.restore(key, f"{work}/out")
        return {os.path.relpath(os.path.join(f, n), f"{work}/out") for f, _, ns in os.walk(f"{work}/out") for n in ns}

    left.count = 0
    everything = set(names)
    assert left() == everything
    assert left("*.o") == {n for n in names if not n.endswith(".o")}
    assert left(".git") == {n for n in names if ".git" not in n}
    assert left("/build") == everything - {"build/out"}
    assert left("build") == {n for n in names if "build/" not in n}
    assert left("sub/*.o") == everything - {"sub/a.o"}
    assert left("sub/**/*.o") == everything - {"sub/a.o", "sub/deep/x.o"}
    assert left("**/build/out") == everything - {"build/out", "sub/build/out"}
    assert left("q?") == everything - {"q1", "q2"}
    assert left("q[0-9]", "[[]ab]") == everything - {"q1", "q2", "[ab]"}
    assert left("a/b") == everything - {"a/b/c/d"}
    assert left("./build") == left("/build") == left(".//build/") == everything - {"build/out"}
    assert left("nothing", "*.zip") == everything


def test_ls_covers_whole_segments(thaw, tree):
    for key in ("build1", "build10", "build1/a", "other/build1", "build"):
        thaw.save(key, tree)

    def keys(*words):
        return [each["key"] for each in thaw.ok("ls", *words)["keys"]]

    assert set(keys()) == {"build1", "build10", "build1/a", "other/build1", "build"}
    assert keys("build1") == ["build1", "build1/a"]
    assert keys("build1/") == ["build1", "build1/a"]
    assert keys("build") == ["build"]
    assert keys("other") == ["other/build1"]
    assert keys("none") == []
    assert b"build10@1" in thaw.ok("ls", json=False).out
    thaw.ok("rm", "build1", "--yes")
    assert keys("build1") == ["build1/a"]


def test_ls_lists_damage_per_key(thaw, tree):
    for key in ("good", "huge", "broken", "last"):
        thaw.save(key, tree)
    os.truncate(fmt.entry_path(thaw.store, "huge", 1), 1 << 45)
    with open(fmt.entry_path(thaw.store, "broken", 1), "ab") as file:
        file.write(b"x")
    answer = thaw.ok("ls")
    listed = {each["key"]: "fault" in each for each in answer["keys"]}
    assert listed == {"good": False, "huge": True, "broken": True, "last": False}


def test_the_highest_number(thaw, tree):
    thaw.save("k", tree)
    last = (1 << 64) - 1
    os.rename(fmt.entry_path(thaw.store, "k", 1), fmt.entry_path(thaw.store, "k", last))
    answer = thaw.fails(4, "save", "k", tree)
    assert answer["reason"] == "exhausted" and str(last) in answer["message"], answer


def test_a_file_too_large_to_be_saved(thaw, work, tree):
    with open(f"{tree}/sparse", "wb") as file:
        os.truncate(file.fileno(), 1 << 50)
    answer = thaw.fails(4, "save", "k", tree)
    assert answer["reason"] == "exhausted" and "sparse" in answer["message"] and "TiB" in answer["message"], answer
    assert answer["ms"] < 5000 and thaw.objects() == []


def test_labels_of_an_unchanged_tree(thaw, tree):
    thaw.save("k", tree, "--label", "commit=1")
    answer = thaw.save("k", tree, "--label", "commit=2")
    assert answer["reason"] == "unchanged" and "labels" in answer["hint"]
    assert b"labels" in thaw.ok("save", "k", tree, "--label", "commit=2", json=False).err
    assert "hint" not in thaw.save("k", tree, "--label", "commit=1").object
    assert "hint" not in thaw.save("k", tree).object


def test_diff(thaw, work, tree):
    thaw.save("k", tree)
    write(f"{tree}/added", b"new")
    os.unlink(f"{tree}/soft")
    write(f"{tree}/copy", b"other")
    os.chmod(f"{tree}/d0/s0/file0", 0o700)
    os.rmdir(f"{tree}/empty")
    write(f"{tree}/empty", b"a file")
    thaw.save("k", tree)
    answer = thaw.ok("diff", "k@1", "k")
    found = {each["path"]: each["change"] for each in answer["differences"]}
    assert {found.pop(p) for p in ("added",)} == {"added"}
    assert found.pop("soft") == "removed"
    assert found.pop("copy") == "content"
    assert found.pop("d0/s0/file0") == "metadata"
    assert found.pop("empty") == "type"
    assert set(found) <= {"", "."}, found  # the root's time
    assert answer["differs"] is True
    assert thaw.run("diff", "k@1", "k", "--exit-code").code == 1
    assert thaw.run("diff", "k@1", "k", "--exit-code", "--advisory", "--store", thaw.store).code == 1
    assert thaw.run("diff", "k", "k@2", "--exit-code").code == 0
    assert thaw.ok("diff", "k", "k")["differs"] is False
    back = {each["path"]: each["change"] for each in thaw.ok("diff", "k", "k@1")["differences"]}
    assert (back["added"], back["soft"]) == ("removed", "added")
    assert b"+ added" in thaw.ok("diff", "k@1", "k", json=False).out


def test_rm(thaw, work, tree):
    for i in range(4):
        write(f"{tree}/n", b"%d" % i)
        thaw.save("k", tree)
    plan = thaw.ok("rm", "k@2")
    assert (plan["removed"], plan["generations"]) == (False, [2])
    assert thaw.ok("inspect", "k")["generations"] == [4, 3, 2, 1]
    done = thaw.ok("rm", "k@2", "--yes")
    assert (done["removed"], done["generations"]) == (True, [2])
    thaw.fails(3, "rm", "k@2", "--yes")
    thaw.fails(3, "restore", "k@2", f"{work}/out")
    assert thaw.ok("inspect", "k")["generations"] == [4, 3, 1]
    # The newest goes: the one before is the newest, and its number is never used again.
    thaw.ok("rm", "k@4", "--yes")
    assert thaw.restore("k", f"{work}/out")["generation"] == 3
    assert open(f"{work}/out/n").read() == "2"
    assert thaw.save("k", tree)["generation"] == 5
    assert thaw.ok("rm", "k")["generations"] == [5, 3, 1]
    assert thaw.ok("rm", "k", "--yes")["generations"] == [5, 3, 1]
    assert thaw.ok("ls")["keys"] == []
    thaw.fails(3, "restore", "k", f"{work}/out")
    assert thaw.save("k", tree)["generation"] == 6
    thaw.clean()


def test_completion_help_version(thaw):
    for shell in ("bash", "zsh"):
        script = thaw.ok("completion", shell, json=False).out
        assert b"restore" in script and b"--exclude" in script
        assert thaw.ok("completion", shell)["script"].encode() == script
    assert subprocess.run(["bash", "-n"], input=thaw.ok("completion", "bash", json=False).out, check=False).returncode == 0
    for words in (["--help"], ["save", "--help"], ["restore", "-h"]):
        assert b"Examples" in thaw.ok(*words, json=False).out or words == ["--help"]
        assert thaw.ok(*words)["help"]
    assert thaw.ok("--version")["version"]


# ------------------------------------------------------------------------------------- advisory

@pytest.mark.asan
def test_advisory(thaw, work, tree):
    named = ["--store", thaw.store]
    # No store named: nothing is done, and it is said.
    for words in (["save", "k", tree], ["restore", "k", f"{work}/out"]):
        answer = thaw.run("--advisory", *words)
        assert (answer.code, answer["ok"], answer["reason"]) == (0, False, "disabled"), answer
        answer = thaw.run(*words, env={"THAW_ADVISORY": "1"})
        assert (answer.code, answer["reason"]) == (0, "disabled"), answer
        assert answer.err.count(b"warning") == answer.err.count(b"\n") == 1 and b"THAW_STORE" in answer.err, answer
    assert not os.path.exists(os.path.dirname(thaw.store))
    # Miss, refusal, failure: all 0, all said.
    answer = thaw.run("--advisory", "restore", "k", f"{work}/out", *named)
    assert (answer.code, answer["reason"], answer["ok"]) == (0, "miss", False)
    assert thaw.run("--advisory", "save", "k", tree, *named)["generation"] == 1
    os.mkdir(f"{work}/empty")
    answer = thaw.run("--advisory", "save", "k", f"{work}/empty", *named)
    assert (answer.code, answer["reason"], answer["ok"]) == (0, "empty", False)
    with open(fmt.entry_path(thaw.store, "k", 1), "ab") as file:
        file.write(b"x")
    answer = thaw.run("--advisory", "restore", "k", f"{work}/out", *named)
    assert (answer.code, answer["reason"]) == (0, "corrupt")
    assert b"advisory" in answer.err
    with open(f"{thaw.store}/thaw.json", "w") as file:
        file.write('{"kind":"thaw-store","format":9}\n')
    answer = thaw.run("--advisory", "restore", "k", f"{work}/out", *named)
    assert (answer.code, answer["ok"]) == (0, False)


def test_advisory_counts_a_store_named_anywhere(thaw, work, tree):
    config = f"{work}/c.toml"
    write(config, f'store = "{work}/s"\nadvisory = true\n'.encode())
    assert thaw.run("save", "k", tree, env={"THAW_ADVISORY": "1", "THAW_STORE": f"{work}/s"})["generation"] == 1
    assert thaw.run("save", "k", tree, "--config", config)["reason"] == "unchanged"
    assert thaw.run("restore", "none", "x", env={"THAW_CONFIG": config}).code == 0


# ------------------------------------------------------------------------------------- where things lie

def test_precedence(thaw, work, tree):
    """Flag over JSON over environment over file over the default."""
    places = {name: f"{work}/by {name}" for name in ("flag", "json", "env", "file", "own")}
    for name, place in places.items():
        thaw.ok("save", f"in/{name}", tree, "--store", place)
    write(f"{work}/own.json", json.dumps({"store": places["json"]}).encode())
    write(f"{thaw.config_home}/thaw/thaw.toml", f'store = "{places["own"]}"\n'.encode())
    write(f"{work}/named.toml", f'store = "{places["file"]}"\n'.encode())

    def found(*words, **env):
        return [each["key"] for each in thaw.ok("ls", *words, env=env)["keys"]]

    assert found() == ["in/own"]
    assert found("--config", f"{work}/named.toml") == ["in/file"]
    assert found(THAW_CONFIG=f"{work}/named.toml") == ["in/file"]
    assert found("--config", f"{work}/named.toml", THAW_STORE=places["env"]) == ["in/env"]
    assert found("--config-json", f"{work}/own.json", THAW_STORE=places["env"]) == ["in/json"]
    assert found("--config-json", f"{work}/own.json", "--store", places["flag"], THAW_STORE=places["env"]) == ["in/flag"]
    assert found("--store", f"file://{places['flag'].replace(' ', '%20')}") == ["in/flag"]


def test_config_json_from_a_descriptor(thaw, work, tree):
    read_end, write_end = os.pipe()
    os.write(write_end, json.dumps({"store": f"{work}/by fd"}).encode())
    os.close(write_end)
    thaw.ok("save", "k", tree, "--config-json", f"fd:{read_end}", pass_fds=[read_end])
    os.close(read_end)
    assert os.path.exists(f"{work}/by fd/thaw.json")


@pytest.mark.parametrize("text", ['{"store": "a", "store": "b"}', '{"s3": {"ca_file": "x"}, "s3.ca_file": "y"}'])
def test_json_names_are_given_once(thaw, work, text):
    write(f"{work}/config.json", text.encode())
    assert "more than once" in thaw.fails(2, "ls", "--config-json", f"{work}/config.json")["message"]


@pytest.mark.parametrize("text", ["stor = 'x'", "store = 5", "[policy]\nshrink_below = 2", "not toml at all [", "[limits]\nthreads = 0",
                                  "timeout = 'soon'", "[unknown]\nx = 1", "store = ''"])
def test_bad_configuration(thaw, work, text):
    write(f"{work}/bad.toml", text.encode())
    answer = thaw.fails(2, "ls", "--config", f"{work}/bad.toml", "--store", f"{work}/s")
    assert answer["reason"] == "invalid" and "bad.toml" in answer["message"], answer
    assert thaw.fails(2, "ls", "--config", f"{work}/bad.toml", "--advisory", "--store", f"{work}/s")["reason"] == "invalid"


def test_state_lies_where_xdg_says(thaw, work, tree):
    thaw.save("k", tree)
    assert os.path.exists(f"{work}/data/thaw/store/thaw.json")
    assert os.listdir(f"{work}/cache") == ["thaw"]
    bare = {"XDG_DATA_HOME": "", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
    thaw.ok("save", "k", tree, env=bare)
    assert os.path.exists(f"{thaw.home}/.local/share/thaw/store/thaw.json")
    assert os.path.exists(f"{thaw.home}/.cache/thaw")
    assert os.listdir(thaw.home) in ([".local", ".cache"], [".cache", ".local"])


def test_timeout(thaw, work):
    for i in range(24):
        write(f"{work}/tree/f{i}", os.urandom(1 << 20))
    answer = thaw.fails(1, "save", "k", f"{work}/tree", "--timeout", "1ms")
    assert answer["reason"] == "timeout", answer
    assert answer["ms"] < 2000
    thaw.save("k", f"{work}/tree", "--timeout", "5m")
    write(f"{work}/place/target/old", b"old")
    answer = thaw.fails(1, "restore", "k", f"{work}/place/target", "--timeout", "1ms")
    assert answer["reason"] == "timeout", answer
    assert os.listdir(f"{work}/place/target") == ["old"]
    assert os.listdir(f"{work}/place") == ["target"]
    answer = thaw.run("--advisory", "restore", "k", f"{work}/place/target", "--timeout", "1ms", "--store", thaw.store)
    assert (answer.code, answer["reason"]) == (0, "timeout")


@pytest.mark.parametrize("words, code", [(["ls"], 1), (["ls", "--advisory"], 0), (["restore", "none", "x"], 1)])
@pytest.mark.parametrize("json_too", [True, False])
def test_a_result_that_nobody_takes(thaw, tree, words, code, json_too):
    """A full pipe: the time limit bounds the writing too."""
    thaw.save("k", tree)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    process = thaw.start(*words, "--timeout", "1s", "--store", thaw.store, stdout=writer, json=json_too)
    os.close(writer)
    _, err = process.communicate(timeout=60)
    os.close(reader)
    if words[0] == "ls" or json_too:
        assert process.returncode == code and b"time limit" in err, (process.returncode, err)
    else:  # nothing is written for a miss
        assert process.returncode == 3


def test_a_limit_on_file_sizes(thaw, work):
    """SIGXFSZ would end it without a word."""
    write(f"{work}/tree/large", os.urandom(6 << 20))

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    answer = thaw.fails(4, "save", "k", f"{work}/tree", preexec_fn=limited)
    assert answer["reason"] == "exhausted", answer
    thaw.save("k", f"{work}/tree")
    for mode in ("replace", "sync"):
        os.makedirs(f"{work}/out", exist_ok=True)
        answer = thaw.fails(4, "restore", "k", f"{work}/out", "--mode", mode, preexec_fn=limited)
        assert answer["reason"] == "exhausted" and os.listdir(f"{work}/out") == [], answer


def test_hints_fit(thaw, work, tree):
    thaw.save("k", tree)
    assert "thaw ls" in thaw.fails(3, "extract", "none", "copy", f"{work}/out")["hint"]
    answer = thaw.fails(3, "extract", "k", "missing", f"{work}/out")
    assert "missing" in answer["message"] and "hint" not in answer.object
    for words in (["read", "k", "missing"], ["read", "--object", "missing"]):
        plain = thaw.fails(3, *words, json=False)
        assert b"missing" in plain.err and b"hint" not in plain.err


def test_output_that_cannot_be_written(thaw, tree):
    with open("/dev/full", "wb") as full:
        process = thaw.start("save", "k", tree, stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and b"standard output" in err
    assert thaw.ok("inspect", "k")["generation"] == 1


    advised = ["--advisory", "--store", thaw.store]
    with open("/dev/full", "wb") as full:
        assert thaw.start("save", "k", tree, *advised, stdout=full).wait(60) == 0
        assert thaw.start("save", "k", *advised, stdout=full).wait(60) == 2


@pytest.mark.asan
@pytest.mark.parametrize("where", ["full", "pipe", "read only"])
def test_errors_that_cannot_be_written(thaw, work, tree, where):
    """What cannot be said changes no exit code."""
    thaw.save("k", tree)
    if where == "pipe":
        reader, fd = os.pipe()
        os.close(reader)
    else:
        fd = os.open("/dev/full" if where == "full" else "/dev/null", os.O_WRONLY if where == "full" else os.O_RDONLY)
    for words, code in ((["nonsense"], 2), (["restore", "none", f"{work}/out"], 3), (["save", "k", f"{work}/missing"], 1),
                        (["ls", "--stats", "-vv"], 0), (["save", "k", tree, "--label", "a=b"], 0), (["restore", "none", "x", "--advisory"], 0)):
        for json_too in (True, False):
            assert thaw.start(*words, stderr=fd, json=json_too).wait(60) == code, words
    os.close(fd)


def waits_for_input(process):
    """Until it has nothing to do but wait, for its configuration."""
    time.sleep(0.5)
    assert process.poll() is None, process.communicate()


@pytest.mark.parametrize("source", ["fifo", "fifo by json", "fifo with a writer", "descriptor", "default"])
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, "timeout", "advisory timeout"])
def test_configuration_that_never_comes(thaw, work, source, end):
    fifo = f"{thaw.config_home}/thaw/thaw.toml" if source == "default" else f"{work}/fifo"
    os.makedirs(os.path.dirname(fifo), exist_ok=True)
    os.mkfifo(fifo)
    reader, writer = os.pipe()
    words = {"descriptor": ["--config-json", f"fd:{reader}"], "fifo by json": ["--config-json", fifo],
             "default": []}.get(source, ["--config", fifo])
    held = os.open(fifo, os.O_RDWR) if source == "fifo with a writer" else None
    if not isinstance(end, signal.Signals):
        words += ["--timeout", "300ms"] + (["--advisory"] if end.startswith("advisory") else [])
    began = time.monotonic()
    process = thaw.start("ls", *words, pass_fds=[reader])
    if isinstance(end, signal.Signals):
        waits_for_input(process)
        process.send_signal(end)
    out, err = process.communicate(timeout=20)
    took = time.monotonic() - began
    answer = json.loads(out)
    assert process.returncode == (0 if end == "advisory timeout" else 1), (out, err)
    assert answer["reason"] == ("cancelled" if isinstance(end, signal.Signals) else "timeout"), answer
    assert took < 3 and err, (took, err)
    for fd in (reader, writer, held):
        if fd is not None:
            os.close(fd)


def test_configuration_through_a_fifo(thaw, work, tree):
    os.mkfifo(f"{work}/fifo")
    process = thaw.start("save", "k", tree, "--config", f"{work}/fifo")
    with open(f"{work}/fifo", "w") as file:
        file.write(f'store = "{work}/by')
        file.flush()
        time.sleep(0.2)
        file.write(' fifo"\n')
    assert process.wait(60) == 0
    assert os.path.exists(f"{work}/by fifo/thaw.json")


@pytest.mark.slow
def test_configuration_is_not_awaited_for_ever(thaw, work):
    os.mkfifo(f"{work}/fifo")
    answer = thaw.fails(1, "ls", "--config", f"{work}/fifo")
    assert answer["reason"] == "timeout" and 9000 < answer["ms"] < 13000, answer


def test_closed_descriptors(thaw, work, tree):
    """With 0, 1 and 2 closed nothing that thaw says ends up in a file."""
    command = 'exec "$0" "$@" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", command, os.environ["THAW"], "save", "k", tree], env=thaw.env, cwd=thaw.cwd, check=False)
    assert done.returncode in (0, 1)
    thaw.clean()
    done = subprocess.run(["sh", "-c", command, os.environ["THAW"], "restore", "k", f"{work}/out", "-vv"], env=thaw.env,
                          cwd=thaw.cwd, check=False)
    assert_same(tree, f"{work}/out")


# ------------------------------------------------------------------------------------- policy

def test_empty_trees(thaw, work, tree):
    os.makedirs(f"{work}/empty/with/folders")
    answer = thaw.fails(4, "save", "new", f"{work}/empty")
    assert answer["reason"] == "empty" and "--allow-empty" in answer["hint"]
    assert thaw.objects("packs") == thaw.objects("keys") == []
    assert thaw.save("new", f"{work}/empty", "--allow-empty")["generation"] == 1
    thaw.restore("new", f"{work}/out")
    assert_same(f"{work}/empty", f"{work}/out")
    thaw.save("k", tree)
    before = thaw.objects("packs")
    for _ in range(8):  # an empty one is never accepted by itself
        assert thaw.fails(4, "save", "k", f"{work}/empty")["reason"] == "empty"
    assert thaw.objects("packs") == before
    assert thaw.ok("inspect", "k")["generations"] == [1]


def test_shrunken_trees(thaw, work):
    write(f"{work}/tree/large", os.urandom(100_000))
    write(f"{work}/tree/small", os.urandom(40_000))
    thaw.save("k", f"{work}/tree")
    os.unlink(f"{work}/tree/large")
    before = thaw.objects("packs")
    answer = thaw.fails(4, "save", "k", f"{work}/tree")
    assert answer["reason"] == "shrunken" and "--allow-shrink" in answer["hint"]
    assert answer["new_bytes"] == 0
    assert thaw.objects("packs") == before
    assert thaw.ok("inspect", "k")["generations"] == [1]
    # Under a key that has nothing yet it is no shrinking; with a smaller threshold neither.
    thaw.save("other", f"{work}/tree")
    write(f"{work}/c.toml", b"[policy]\nshrink_below = 0.2\n")
    assert thaw.save("k", f"{work}/tree", "--config", f"{work}/c.toml")["generation"] == 2
    write(f"{work}/tree/small", b"tiny")
    thaw.fails(4, "save", "k", f"{work}/tree", "--config", f"{work}/c.toml")
    assert thaw.save("k", f"{work}/tree", "--allow-shrink")["generation"] == 3


def test_an_also_key_is_protected_too(thaw, work):
    write(f"{work}/big/file", os.urandom(100_000))
    write(f"{work}/small/file", os.urandom(1_000))
    thaw.save("precious", f"{work}/big")
    assert thaw.fails(4, "save", "k", f"{work}/small", "--also", "precious")["reason"] == "shrunken"
    assert thaw.fails(3, "inspect", "k")
    assert thaw.ok("inspect", "precious")["generations"] == [1]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_shrunken_is_accepted_after_refusals(thaw, work, count):
    write(f"{work}/c.toml", f"[policy]\naccept_after_refusals = {count}\n".encode())
    config = ["--config", f"{work}/c.toml"]
    write(f"{work}/tree/file", os.urandom(100_000))
    thaw.save("k", f"{work}/tree")
    write(f"{work}/tree/file", os.urandom(1_000))
    for _ in range(count or 7):
        assert thaw.fails(4, "save", "k", f"{work}/tree", *config)["reason"] == "shrunken"
    if count == 0:
        return
    assert thaw.save("k", f"{work}/tree", *config)["generation"] == 2
    assert thaw.objects("keys/k/@refused") == []
    # The count starts anew with the new generation.
    write(f"{work}/tree/file", b"x")
    assert thaw.fails(4, "save", "k", f"{work}/tree", *config)["reason"] == "shrunken"


def test_a_good_save_in_between_ends_the_count(thaw, work):
    write(f"{work}/c.toml", b"[policy]\naccept_after_refusals = 2\n")
    config = ["--config", f"{work}/c.toml"]
    write(f"{work}/good/file", os.urandom(100_000))
    write(f"{work}/bad/file", b"x")
    thaw.save("k", f"{work}/good", *config)
    thaw.fails(4, "save", "k", f"{work}/bad", *config)
    write(f"{work}/good/more", b"more")
    thaw.save("k", f"{work}/good", *config)
    for _ in range(2):
        thaw.fails(4, "save", "k", f"{work}/bad", *config)
    assert thaw.save("k", f"{work}/bad", *config)["generation"] == 3


@pytest.mark.parametrize("cache", [[], ["--no-stat-cache"]])
def test_an_unchanged_save_in_between_ends_the_count(thaw, work, cache):
    write(f"{work}/c.toml", b"[policy]\naccept_after_refusals = 2\n")
    config = ["--config", f"{work}/c.toml", *cache]
    write(f"{work}/good/file", os.urandom(100_000))
    write(f"{work}/bad/file", b"x")
    thaw.save("k", f"{work}/good", *config)
    for _ in range(3):
        for _ in range(2):
            thaw.fails(4, "save", "k", f"{work}/bad", *config)
        assert len(thaw.objects("keys/k/@refused")) == 2
        assert thaw.save("k", f"{work}/good", *config)["reason"] == "unchanged"
        assert thaw.objects("keys/k/@refused") == []
    for _ in range(2):
        thaw.fails(4, "save", "k", f"{work}/bad", *config)
    assert thaw.save("k", f"{work}/bad", *config)["generation"] == 2
