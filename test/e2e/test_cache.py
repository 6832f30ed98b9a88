"""`thaw cache restore` and `save`: CI caches through the real binary."""

import os
import shutil
import socket

import pytest

from driver import Thaw, stages_in
from faults import Blackhole, on
from trees import assert_same, describe, remove, small_tree, write

FILE = """\
caches:
  - name: node
    cache_key: [v1, {agent: os}, {fallback_limit: true}, {checksum: package-lock.json}]
    target_paths: [node_modules, ~/.npm]
"""


class Machine(Thaw):
    """A machine of a CI: a home and a checkout of its own, the store shared."""

    def __init__(self, root, store, file=FILE):
        os.makedirs(root, exist_ok=True)
        super().__init__(root)
        self.env["THAW_STORE"] = self.store = store
        self.env = {name: value for name, value in self.env.items()
                    if not name.startswith(("BUILDKITE", "GITHUB", "GITLAB", "CI_"))}
        if file:
            self.file(file)

    def file(self, text, name=".thaw/cache.yml"):
        write(f"{self.cwd}/{name}", text.encode())

    def lock(self, text):
        write(f"{self.cwd}/package-lock.json", text.encode())

    def fill(self, seed=1):
        """What `npm ci` would do."""
        for path in (f"{self.cwd}/node_modules", f"{self.home}/.npm"):
            if os.path.exists(path):
                remove(path)
            small_tree(path, seed=seed, files=15)
            seed += 100

    def described(self):
        return {path: describe(path) for path in (f"{self.cwd}/node_modules", f"{self.home}/.npm")}

    def caches(self, what, *words, **kw):
        """The records, by name; exit code 0."""
        answer = self.ok("cache", what, *words, **kw)
        return {each["name"]: each for each in answer["caches"]}

    def one(self, what, *words, **kw):
        (record,) = self.caches(what, *words, **kw).values()
        return record


@pytest.fixture
def store(work):
    return f"{work}/store"


@pytest.fixture
def machine(work, store):
    machine = Machine(f"{work}/one", store)
    machine.lock("1")
    machine.fill()
    return machine


def another(work, store, name="two", file=FILE):
    machine = Machine(f"{work}/{name}", store, file)
    machine.lock("1")
    return machine


def same(one, other):
    for mine, theirs in zip(one.described().values(), other.described().values()):
        assert_same(mine, theirs)


def branch(name, **more):
    return {"BUILDKITE": "true", "BUILDKITE_BRANCH": name, "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
            "BUILDKITE_PULL_REQUEST": "false", "BUILDKITE_PIPELINE_SLUG": "shop", **more}


def pull_request(number, repository="https://host/acme/shop", base="main"):
    return branch("topic", BUILDKITE_PULL_REQUEST=str(number), BUILDKITE_PULL_REQUEST_BASE_BRANCH=base,
                  BUILDKITE_PULL_REQUEST_REPO=repository, BUILDKITE_REPO="https://host/acme/shop.git")


# ------------------------------------------------------------------------------------- one cache

@pytest.mark.asan
def test_what_one_machine_saves_another_restores(work, store, machine):
    assert machine.one("restore")["state"] == "miss"
    saved = machine.one("save")
    assert saved["state"] == "saved" and saved["new_bytes"] > 0 and saved["scope"] == "unscoped"
    other = another(work, store)
    restored = other.one("restore")
    assert (restored["state"], restored["hit"], restored["generation"]) == ("restored", "exact", 1)
    assert restored["restored"] == ["node_modules", "~/.npm"] and restored["key"] == saved["key"]
    same(machine, other)
    again = other.one("restore")
    assert (again["state"], again["fetched_bytes"]) == ("equal", 0)
    same(machine, other)


def test_what_is_there_already_is_left_alone_and_what_differs_is_not(work, store, machine):
    machine.caches("save")
    other = another(work, store)
    other.caches("restore")
    inode = os.stat(f"{other.cwd}/node_modules").st_ino
    write(f"{other.home}/.npm/extra", b"x")
    restored = other.one("restore")
    assert restored["state"] == "restored"
    assert os.stat(f"{other.cwd}/node_modules").st_ino == inode
    same(machine, other)
    # Only times differ: no content is fetched.
    os.utime(f"{other.cwd}/node_modules", (1, 1))
    assert other.one("restore")["fetched_bytes"] == 0
    same(machine, other)


def test_a_shorter_key_is_the_fallback(work, store, machine):
    machine.caches("save")
    other = another(work, store)
    other.lock("2")
    restored = other.one("restore")
    assert (restored["state"], restored["hit"]) == ("restored", "fallback")
    same(machine, other)
    other.fill(seed=7)
    assert other.one("save")["state"] == "saved"
    third = another(work, store, "three")
    third.lock("3")
    assert third.one("restore")["hit"] == "fallback"
    same(third, other)
    third.lock("1")
    assert third.one("restore")["hit"] == "exact"
    same(third, machine)


def test_what_a_save_skips(work, store, machine):
    machine.caches("save")
    before = machine.objects()
    there = machine.one("save")
    assert (there["state"], there["new_bytes"]) == ("exists", 0)
    machine.fill(seed=9)
    assert machine.one("save")["state"] == "exists"
    assert machine.objects() == before
    assert machine.one("save", "--force")["state"] == "saved"
    assert machine.one("save", "--force")["state"] == "unchanged"
    machine.lock("2")
    remove(f"{machine.home}/.npm")
    missing = machine.one("save")
    assert missing["state"] == "empty" and "~/.npm" in missing["message"]
    os.makedirs(f"{machine.home}/.npm/only/folders")
    # One of them has content: the other is a part of what was there.
    assert machine.one("save")["state"] == "saved"
    machine.lock("3")
    remove(f"{machine.cwd}/node_modules")
    os.mkdir(f"{machine.cwd}/node_modules")
    assert machine.one("save")["state"] == "empty"


def test_a_small_tree_after_a_large_one_is_no_refusal(machine):
    machine.caches("save")
    machine.lock("2")
    machine.fill()
    shutil.rmtree(f"{machine.cwd}/node_modules")
    write(f"{machine.cwd}/node_modules/one", b"x")
    assert machine.one("save")["state"] == "saved"


HOME_CACHE = "caches:\n  - {name: home, cache_key: [v1], target_paths: [~/.cache]}\n"


def stat_files(machine):
    return [name for _, _, names in os.walk(f"{machine.root}/cache") for name in names if name.endswith(".stat")]


def test_a_target_that_no_restore_could_replace_is_not_saved(work, machine):
    """`~/.cache` where thaw's own cache directory is, and the store in a target."""
    machine.env["XDG_CACHE_HOME"] = f"{machine.home}/.cache"
    machine.env["THAW_STORE"] = f"{machine.cwd}/vendor/store"
    write(f"{machine.home}/.cache/tool/x", b"x")
    write(f"{machine.cwd}/vendor/x", b"x")
    write(f"{machine.cwd}/deps/x", b"x")
    machine.file("caches:\n" + "".join(
        f"  - {{name: {name}, cache_key: [v1], target_paths: [{path}]}}\n"
        for name, path in (("home", "~/.cache"), ("store", "vendor"), ("own", "deps"))))
    saved = machine.caches("save")
    assert {name: each["state"] for name, each in saved.items()} == {
        "home": "failed", "store": "failed", "own": "saved"}, saved
    assert "thaw's cache directory" in saved["home"]["message"] and "the store" in saved["store"]["message"]
    assert not any("--" in each.get("message", "") for each in saved.values()), saved
    restored = machine.caches("restore")
    assert {name: each["state"] for name, each in restored.items()} == {
        "home": "miss", "store": "miss", "own": "equal"}, restored
    assert machine.run("cache", "save", "--strict").code == 1
    # Another machine's cache directory is elsewhere.
    other = Machine(f"{work}/two", machine.env["THAW_STORE"], HOME_CACHE)
    write(f"{other.home}/.cache/tool/x", b"x")
    assert other.one("save")["state"] == "saved"
    machine.file(HOME_CACHE)
    refused = machine.one("restore")
    assert refused["state"] == "failed" and "thaw's cache directory" in refused["message"], refused
    assert "--" not in refused["message"], refused


def test_a_target_that_is_a_file(work, store):
    file = """\
caches:
  - {name: f, cache_key: [v1], target_paths: [out/state.db, more]}
"""
    machine = Machine(f"{work}/one", store, file)
    write(f"{machine.cwd}/out/state.db", b"x" * 5000)
    write(f"{machine.cwd}/out/other", b"not this")
    write(f"{machine.cwd}/more/a", b"a")
    os.chmod(f"{machine.cwd}/out/state.db", 0o640)
    os.utime(f"{machine.cwd}/out/state.db", (1_000_000, 1_000_000))
    assert machine.one("save")["state"] == "saved"
    other = Machine(f"{work}/two", store, file)
    assert other.one("restore")["state"] == "restored"
    # That of the folder; the file's stage is gone, and nobody would look for what is kept of it.
    assert len(stat_files(other)) == 1
    with open(f"{other.cwd}/out/state.db", "rb") as restored:
        assert restored.read() == b"x" * 5000
    status = os.stat(f"{other.cwd}/out/state.db")
    assert (status.st_mode & 0o777, status.st_mtime) == (0o640, 1_000_000)
    assert os.listdir(f"{other.cwd}/out") == ["state.db"]
    write(f"{other.cwd}/out/state.db", b"older")
    assert other.one("restore")["state"] == "restored"
    assert os.path.getsize(f"{other.cwd}/out/state.db") == 5000
    # What is a directory here is no file, and stays.
    os.remove(f"{other.cwd}/out/state.db")
    write(f"{other.cwd}/out/state.db/mine", b"mine")
    assert other.one("restore")["state"] == "failed"
    assert os.listdir(f"{other.cwd}/out/state.db") == ["mine"]


def test_without_a_file(work, store):
    machine = Machine(f"{work}/one", store, file=None)
    machine.lock("1")
    machine.fill()
    words = ["--name", "node", "--key", "v1", "--key", "{agent: os}", "--key", "{fallback_limit: true}",
             "--key", "{checksum: package-lock.json}", "--path", "node_modules", "--path", "~/.npm"]
    saved = machine.one("save", *words)
    # The same cache as that of the file.
    other = another(work, store)
    assert other.one("restore")["key"] == saved["key"]
    same(machine, other)


# ------------------------------------------------------------------------------------------ the file

def test_a_wrong_file_is_wrong_usage(work, store, machine):
    def message(text, *words):
        machine.file(text)
        return machine.fails(2, "cache", "restore", *words)["message"]

    assert ".thaw/cache.yml:2:11: " in message("caches:\n  - name: a-b\n")
    assert ".thaw/cache.yml:1:" in message("caches: [")
    assert "node_modules" in message(FILE.replace("~/.npm", "./node_modules"))
    assert '"other"' in message(FILE, "other")
    machine.file(FILE, ".buildkite/cache.yml")
    both = message(FILE)
    assert ".thaw/cache.yml" in both and ".buildkite/cache.yml" in both
    machine.ok("cache", "restore", "--file", ".buildkite/cache.yml")
    os.remove(f"{machine.cwd}/.thaw/cache.yml")
    machine.ok("cache", "restore")
    os.remove(f"{machine.cwd}/.buildkite/cache.yml")
    assert ".thaw/cache.yml" in machine.fails(2, "cache", "restore")["message"]
    machine.fails(2, "cache", "restore", "--file", "nowhere.yml")
    machine.fails(2, "cache", "restore", "--name", "x", "--key", "[1]", "--path", "a")
    machine.fails(2, "cache", "restore", "--name", "x", "--key", "1", "--path", "~")
    machine.fails(2, "cache", "restore", "--write", "sometimes")
    machine.fails(2, "cache", "restore", "--force")
    machine.fails(2, "cache", "restore", "--concurrency", "0")
    machine.fails(2, "cache", "keep")


def test_targets_that_overlap_by_a_link_fail_alone(machine):
    machine.file(FILE + "  - {name: twice, cache_key: [v1], target_paths: [other, link/x]}\n")
    os.symlink("node_modules", f"{machine.cwd}/link")
    for what, state in (("save", "saved"), ("restore", "equal")):
        records = machine.caches(what)
        assert records["node"]["state"] == state
        assert records["twice"]["state"] == "failed"
        assert '"link/x" of cache "twice" overlaps "node_modules" of cache "node"' in records["twice"]["message"]


def test_targets_that_overlap_by_their_names_are_wrong_usage(machine):
    for more, at in (("node_modules/.cache", "5:50"), ("~/.npm", "5:50"), (f"{machine.home}/.NPM/x", "5:50"),
                     ("../cwd/node_modules", "5:50"), (machine.cwd, "5:50")):
        machine.file(FILE + f"  - {{name: more, cache_key: [v1], target_paths: [{more}]}}\n")
        # Also where names choose the other one.
        for words in ((), ("node",)):
            message = machine.fails(2, "cache", "restore", *words)["message"]
            assert f".thaw/cache.yml:{at}: " in message and '"more"' in message, message
            assert more == machine.cwd or "(.thaw/cache.yml:4:" in message, message
    machine.fails(2, "cache", "save", "--name", "x", "--key", "1", "--path", "a", "--path", "A/b")


def test_patterns_that_cannot_be_meant_are_wrong_usage(machine):
    many = "{a,b}" * 20
    for pattern in ("[a", "*/../x", many, "{a,}"):
        machine.file(f"caches:\n  - name: x\n    cache_key: [v1, {{checksum: '{pattern}'}}]\n    target_paths: [t]\n")
        message = machine.fails(2, "cache", "save")["message"]
        assert ".thaw/cache.yml:3:32: " in message, message
        machine.fails(2, "cache", "save", "--name", "x", "--key", f"{{checksum: '{pattern}'}}", "--path", "t")


def test_a_link_stays_and_what_it_leads_to_is_the_target(work, store, machine):
    for one in (machine, another(work, store)):
        os.makedirs(f"{one.root}/volume")
        if os.path.exists(f"{one.cwd}/node_modules"):
            os.rename(f"{one.cwd}/node_modules", f"{one.root}/volume/modules")
        else:
            os.mkdir(f"{one.root}/volume/modules")
        os.symlink(f"{one.root}/volume/modules", f"{one.cwd}/node_modules")
    assert machine.one("save")["state"] == "saved"
    other = another(work, store)
    assert [other.one("restore")["state"] for _ in range(2)] == ["restored", "equal"]
    assert os.readlink(f"{other.cwd}/node_modules") == f"{other.root}/volume/modules"
    assert_same(describe(f"{machine.root}/volume/modules"), f"{other.root}/volume/modules")
    # A machine without the link gets a folder.
    third = another(work, store, "three")
    assert third.one("restore")["hit"] == "exact"
    assert not os.path.islink(f"{third.cwd}/node_modules")
    # One that leads nowhere leads to no place for a tree, and holds nothing.
    os.remove(f"{other.cwd}/node_modules")
    os.symlink("nowhere", f"{other.cwd}/node_modules")
    record = other.one("restore")
    assert record["state"] == "failed" and "leads nowhere" in record["message"]
    assert os.readlink(f"{other.cwd}/node_modules") == "nowhere"
    other.lock("2")
    assert other.one("save")["state"] == "empty"


def test_a_file_behind_a_link(work, store):
    file = "caches:\n  - {name: f, cache_key: [v1], target_paths: [db]}\n"
    machine = Machine(f"{work}/one", store, file)
    write(f"{machine.root}/real.db", b"content")
    os.symlink(f"{machine.root}/real.db", f"{machine.cwd}/db")
    assert machine.one("save")["state"] == "saved"
    for name, link in (("two", False), ("three", True)):
        other = Machine(f"{work}/{name}", store, file)
        if link:
            write(f"{other.root}/its.db", b"old")
            os.symlink(f"{other.root}/its.db", f"{other.cwd}/db")
        assert other.one("restore")["state"] == "restored"
        assert os.path.islink(f"{other.cwd}/db") == link
        with open(f"{other.cwd}/db", "rb") as restored:
            assert restored.read() == b"content"


def test_what_is_no_file_is_not_waited_for(machine):
    fifo = f"{machine.root}/fifo"
    os.mkfifo(fifo)
    assert "not a regular file" in machine.fails(2, "cache", "restore", "--file", fifo)["message"]
    machine.fails(2, "cache", "restore", "--file", "/dev/null")
    machine.ok("cache", "restore", "--summary", fifo)
    # With a reader it could be opened.
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    answer = machine.ok("cache", "restore", "--summary", fifo)
    assert b"not a regular file" in answer.err and os.read(reader, 1) == b""
    os.close(reader)
    env = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF_NAME": "7/merge",
           "GITHUB_REPOSITORY": "acme/shop", "GITHUB_EVENT_PATH": fifo}
    assert machine.one("save", env=env)["state"] == "read_only"


def test_what_caches_put_in_place_changes_no_key(work, store, machine):
    """A restore of both, one at a time, and then a save: each has the key that it was saved under."""
    file = """\
caches:
  - {name: all, cache_key: [v1, {checksum: "**/*.txt"}], target_paths: [own]}
  - {name: beside, cache_key: [v1, {checksum: "**/*.txt"}], target_paths: [vendor, deep/file.txt]}
"""
    machine.file(file)
    for name in ("a.txt", "own/b.txt", "vendor/c.txt", "deep/file.txt"):
        write(f"{machine.cwd}/{name}", name.encode())
    saved = machine.caches("save")
    assert {each["state"] for each in saved.values()} == {"saved"}, saved
    job = Machine(f"{work}/two", store, file)
    write(f"{job.cwd}/a.txt", b"a.txt")
    write(f"{job.cwd}/.thaw-stage-x/tree/d.txt", b"d")
    for name in ("all", "beside"):
        assert job.one("restore", name)["hit"] == "exact"
    assert {each["state"] for each in job.caches("save").values()} == {"exists"}
    write(f"{job.cwd}/b.txt", b"counts")
    assert {each["state"] for each in job.caches("save").values()} == {"saved"}


def test_nothing_to_hash_fails_alone_and_names_the_pattern(machine):
    machine.file(FILE + '  - {name: rust, cache_key: [{checksum: "no*/Cargo.lock"}], target_paths: [target]}\n')
    records = machine.caches("restore")
    assert records["node"]["state"] == "miss"
    assert records["rust"]["state"] == "failed" and '"no*/Cargo.lock"' in records["rust"]["message"]


def test_names_choose(machine):
    machine.file(FILE + "  - {preset: cargo}\n  - {preset: npm, name: tools, target_paths: [tools]}\n")
    assert sorted(machine.caches("restore", "node", "tools", "node")) == ["node", "tools"]


# ---------------------------------------------------------------------------------- scopes, and who may write

def test_a_pull_request_reads_main_and_never_writes_it(work, store, machine):
    machine.caches("save", env=branch("main"))
    job = another(work, store)
    restored = job.one("restore", env=pull_request(7))
    assert (restored["hit"], restored["scope"]) == ("exact", "branch.main")
    assert job.one("save", env=pull_request(7))["state"] == "exists"
    job.lock("evil")
    job.fill(seed=66)
    saved = job.one("save", env=pull_request(7))
    assert (saved["state"], saved["scope"]) == ("saved", "pr.7")
    for who, scope in ((branch("main"), "branch.main"), (pull_request(8), "branch.main"),
                       (branch("other"), "branch.main"), (pull_request(7), "pr.7")):
        reader = another(work, store, f"reader-{len(os.listdir(work))}")
        reader.lock("evil")
        restored = reader.one("restore", env=who)
        assert restored["scope"] == scope
        assert restored["hit"] == ("exact" if scope == "pr.7" else "fallback")
        same(reader, job if scope == "pr.7" else machine)


def test_an_exact_hit_of_the_base_beats_an_older_one_of_the_branch(work, store, machine):
    machine.caches("save", env=branch("main"))
    job = another(work, store)
    job.lock("2")
    job.fill(seed=5)
    job.caches("save", env=branch("topic"))
    job.lock("1")
    restored = job.one("restore", env=branch("topic"))
    assert (restored["hit"], restored["scope"]) == ("exact", "branch.main")


def test_a_branch_shares_what_main_stored(work, store, machine):
    first = machine.one("save", env=branch("main"))
    job = another(work, store)
    job.caches("restore", env=branch("topic"))
    job.lock("2")
    write(f"{job.cwd}/node_modules/new", b"some new bytes")
    saved = job.one("save", env=branch("topic"))
    assert saved["state"] == "saved" and saved["new_bytes"] < first["new_bytes"] / 4


def test_who_may_write(work, store, machine):
    fork = pull_request(7, "https://host/mallory/shop")
    record = machine.one("save", env=fork)
    assert record["state"] == "read_only" and "fork" in record["message"]
    unknown = machine.one("save", env=pull_request(7, ""))
    assert unknown["state"] == "read_only" and "not known" in unknown["message"]
    # No rule lets a fork write.
    assert machine.one("save", "--write", "always", env=fork)["state"] == "read_only"
    assert machine.one("save", "--agent", "fork=false", env=fork)["state"] == "read_only"
    assert machine.one("save", "--write", "never")["state"] == "read_only"
    rule = machine.config_home + "/thaw/thaw.toml"
    write(rule, b'[cache]\nwrite = "branches: [main, release/*]"\n')
    assert machine.one("save", env=branch("topic"))["state"] == "read_only"
    assert machine.one("save", env=pull_request(7))["state"] == "read_only"
    assert not os.path.exists(store)
    assert machine.one("save", env=branch("release/1"))["state"] == "saved"
    assert machine.one("save", "--write", "always", env=branch("topic"))["state"] == "saved"
    assert machine.one("restore", env=fork)["state"] == "miss"
    # Quotes would be a part of the name, and match nothing.
    machine.fails(2, "cache", "save", "--write", 'branches: ["main"]')
    write(rule, b'[cache]\nwrite = "branches: main"\n')
    machine.fails(2, "cache", "save")


def test_facts_that_no_ci_says(work, store, machine):
    words = ["--agent", "branch=main", "--agent", "project=acme/shop", "--agent", "default=main"]
    assert machine.one("save", *words)["scope"] == "branch.main"
    job = another(work, store)
    words = ["--agent", "pr=9", "--agent", "base=main", "--agent", "project=acme/shop"]
    restored = job.one("restore", *words)
    assert restored["scope"] == "branch.main" and restored["key"].startswith("ci/acme=2Fshop/branch.main/node/")
    assert job.one("restore", "--agent", "branch=main")["state"] == "miss"  # another project
    assert job.one("save", "--agent", "fork=true")["state"] == "read_only"


# ------------------------------------------------------------------------------------------ fails open

def damage(store):
    """One bit of each pack."""
    count = 0
    for folder, _, files in os.walk(f"{store}/packs"):
        for name in files:
            path = os.path.join(folder, name)
            os.chmod(path, 0o644)
            with open(path, "r+b") as file:
                file.seek(100)
                byte = file.read(1)
                file.seek(100)
                file.write(bytes([byte[0] ^ 1]))
            count += 1
    assert count


def test_what_is_corrupt_is_retired_and_the_next_save_replaces_it(work, store, machine):
    machine.caches("save", env=branch("main"))
    damage(store)
    job = another(work, store)
    job.fill(seed=3)
    before = job.described()
    record = job.one("restore", env=branch("main"))
    assert (record["state"], record["reason"]) == ("failed", "corrupt")
    assert len(record["retired"]) == 2  # the exact key's and the shorter one's
    for path, described in before.items():
        assert_same(described, path)
    assert stages_in(job.cwd) == []
    assert job.one("restore", env=branch("main"))["state"] == "miss"
    assert job.one("save", env=branch("main"))["state"] == "saved"
    other = another(work, store, "three")
    assert other.one("restore", env=branch("main"))["hit"] == "exact"
    same(other, job)


def test_a_damaged_marker_is_no_entrys_fault(work, store, machine):
    machine.caches("save", env=branch("main"))
    with open(f"{store}/thaw.json", "rb") as file:
        marker = file.read()
    write(f"{store}/thaw.json", b"garbage")
    job = another(work, store)
    record = job.one("restore", env=branch("main"))
    assert record["state"] == "failed" and not record.get("retired"), record
    write(f"{store}/thaw.json", marker)
    assert job.one("restore", env=branch("main"))["hit"] == "exact"


def test_an_older_generation_is_the_fallback_of_a_corrupt_one(work, store, machine):
    machine.caches("save")
    good = set(machine.objects("packs"))
    newer = another(work, store)
    newer.lock("2")
    newer.fill(seed=50)
    newer.caches("save")
    for name in set(machine.objects("packs")) - good:
        os.remove(f"{store}/{name}")
    job = another(work, store, "three")
    job.lock("2")
    record = job.one("restore")
    assert (record["state"], record["hit"]) == ("restored", "fallback")
    assert record["retired"]
    same(job, machine)


def test_a_corrupt_second_target_is_retired_with_the_record_that_leads_to_it(work, store, machine):
    machine.caches("save")
    good = set(machine.objects("packs"))
    newer = another(work, store)
    newer.lock("2")
    newer.fill(seed=50)
    # The first target is a folder that is there already, so the new packs are the second one's.
    remove(f"{newer.cwd}/node_modules")
    shutil.copytree(f"{machine.cwd}/node_modules", f"{newer.cwd}/node_modules", symlinks=True)
    newer.caches("save")
    for name in set(machine.objects("packs")) - good:
        os.remove(f"{store}/{name}")
    job = another(work, store, "three")
    job.lock("2")
    record = job.one("restore")
    assert (record["state"], record["hit"]) == ("restored", "fallback"), record
    assert [name.rsplit("/", 1)[1] for name in record["retired"]] == ["1@1", "0@1"]
    same(job, machine)
    job.fill(seed=60)
    assert job.one("save")["state"] == "saved"
    last = another(work, store, "four")
    last.lock("2")
    assert last.one("restore")["hit"] == "exact"
    same(last, job)


def test_what_was_in_place_before_a_target_was_found_corrupt_stays(work, store, machine):
    machine.caches("save")
    whole = machine.objects("packs")
    machine.fill(seed=70)
    shutil.rmtree(f"{machine.cwd}/node_modules")
    write(f"{machine.cwd}/node_modules/file", b"the first target's")
    machine.lock("2")
    machine.file(FILE.replace("{fallback_limit: true}, ", ""))
    machine.caches("save")
    # Which packs are whose: the first target's is of a few bytes.
    mine = sorted(set(machine.objects("packs")) - set(whole), key=lambda name: os.path.getsize(f"{store}/{name}"))
    for name in mine[1:]:
        os.remove(f"{store}/{name}")
    job = another(work, store, file=FILE.replace("{fallback_limit: true}, ", ""))
    job.lock("2")
    record = job.one("restore")
    assert (record["state"], record["reason"], record["restored"]) == ("failed", "corrupt", ["node_modules"]), record
    assert_same(describe(f"{machine.cwd}/node_modules"), f"{job.cwd}/node_modules")
    assert not os.path.exists(f"{job.home}/.npm")


def test_what_retention_collects_makes_a_miss_and_no_mix(work, store, machine):
    first = machine.one("save")
    machine.fill(seed=30)
    machine.one("save", "--force")
    rules = f"{work}/rules.json"
    write(rules, b'{"retention": [{"prefix": "ci", "keep_last": 1}]}')
    # The newest record goes, and the one before leads to what the rule gives up.
    machine.ok("rm", first["key"] + "@2", "--yes")
    assert machine.ok("gc", "--yes", "--config-json", rules)["retired"] >= 1
    job = another(work, store)
    record = job.one("restore")
    assert (record["state"], record["hit"]) == ("restored", "fallback"), record
    same(job, machine)
    (shorter,) = {each["key"] for each in machine.ok("ls", "ci")["keys"] if each["key"].endswith("/0")} - {first["key"]}
    machine.ok("rm", shorter + "@2", "--yes")
    lost = another(work, store, "three")
    assert lost.one("restore")["state"] == "miss"
    assert not os.path.exists(f"{lost.cwd}/node_modules")
    assert machine.one("save")["state"] == "saved"
    assert lost.one("restore")["hit"] == "exact"
    same(lost, machine)


def test_nobody_retires_what_he_may_not_write(work, store, machine):
    machine.caches("save", env=branch("main"))
    damage(store)
    entries = machine.objects("keys")
    for who in (pull_request(7), pull_request(7, "https://host/mallory/shop"), branch("topic")):
        record = another(work, store).one("restore", env=who)
        assert (record["state"], record["retired"]) == ("failed", [])
    assert another(work, store).one("restore", "--write", "never", env=branch("main"))["retired"] == []
    assert machine.objects("keys") == entries


def test_strict(work, store, machine):
    assert machine.fails(3, "cache", "restore", "--strict")["reason"] == "miss"
    machine.caches("save")
    machine.ok("cache", "restore", "--strict")
    machine.ok("cache", "save", "--strict")
    # Strict counts for more than advisory.
    machine.lock("2")
    remove(f"{machine.home}/.npm")
    assert machine.fails(4, "cache", "save", "--strict", "--advisory")["reason"] == "empty"
    machine.lock("1")
    damage(store)
    remove(f"{machine.cwd}/node_modules")
    assert machine.fails(1, "cache", "restore", "--strict")["reason"] == "corrupt"


def test_without_a_named_store_nothing_is_done(machine):
    del machine.env["THAW_STORE"]
    for what in ("restore", "save"):
        answer = machine.ok("cache", what)
        assert answer["reason"] == "disabled"
        machine.fails(2, "cache", what, "--strict")
    assert not os.path.exists(f"{machine.root}/data")


def test_an_outage_fails_no_job(machine, s3):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        s3.use(f"http://127.0.0.1:{port}")
        env = {**s3.env, "HOME": machine.home}
        words = s3.quick(retry={"attempts": 2})
        for what in ("restore", "save"):
            record = machine.one(what, *words, env=env)
            assert (record["state"], record["reason"]) == ("failed", "unavailable")
        machine.fails(1, "cache", "restore", "--strict", *words, env=env)


def test_a_deadline_fails_no_job(machine, s3):
    before = machine.described()
    with s3.through(on("GET", "", Blackhole(), times=None)):
        env = {**s3.env, "HOME": machine.home}
        record = machine.one("restore", "--timeout", "1s", *s3.quick(s3={"stall_timeout": "60s"}), env=env)
        assert (record["state"], record["reason"]) == ("failed", "timeout")
    for path, described in before.items():
        assert_same(described, path)


def test_an_exact_hit_that_is_there_costs_two_requests_and_one_for_each_further_target(machine, s3):
    env = {**s3.env, "HOME": machine.home}
    for file, requests in ((FILE, 3), (FILE.replace(", ~/.npm", ""), 2)):
        machine.file(file)
        machine.ok("cache", "save", env=env)
        answer = machine.ok("cache", "restore", env=env)
        assert answer["caches"][0]["state"] == "equal" and answer["requests"] == requests


# ---------------------------------------------------------------------------------------- several, and what is told

def many(count):
    key = "[v1, {checksum: package-lock.json}]"
    return "caches:\n" + "".join(
        f"  - {{name: c{i}, cache_key: {key}, target_paths: [t{i}]}}\n" for i in range(count))


@pytest.mark.asan
def test_each_cache_is_alone_in_its_success(machine):
    machine.file(many(12))
    for i in range(12):
        if i != 3:
            small_tree(f"{machine.cwd}/t{i}", seed=i, files=4)
    records = machine.caches("save", "--concurrency", "5")
    assert [each for each, record in records.items() if record["state"] != "saved"] == ["c3"]
    trees = {i: describe(f"{machine.cwd}/t{i}") for i in range(12) if i != 3}
    for i in trees:
        remove(f"{machine.cwd}/t{i}")
    write(f"{machine.cwd}/t5", b"a file in the way")
    records = machine.caches("restore", "--concurrency", "5")
    assert {each: record["state"] for each, record in records.items() if record["state"] != "restored"} == \
        {"c3": "miss", "c5": "failed"}
    for i, tree in trees.items():
        if i != 5:
            assert_same(tree, f"{machine.cwd}/t{i}")


def test_what_people_are_told(machine):
    machine.caches("save")
    words = ["cache", "restore"]
    machine.file(FILE + "  - {name: none, cache_key: [x], target_paths: [y]}\n")
    summary = f"{machine.root}/summary.md"
    answer = machine.ok(*words, json=False, env={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": summary,
                                                 "GITHUB_REF_NAME": "", "GITHUB_EVENT_NAME": "push"})
    text = answer.out.decode()
    assert text.startswith("restored 1 of 2 caches in ")
    assert "exact, in place already" in text and "miss" in text
    lines = answer.err.decode()
    assert "thaw: cache node: exact" in lines and "thaw: cache none: miss" in lines
    with open(summary, encoding="utf-8") as file:
        markdown = file.read()
    assert markdown.startswith("### Caches: restored 1 of 2 caches"), markdown
    assert "| node | exact, in place already |" in markdown
    machine.ok(*words, "--summary", f"{machine.root}/own.md")
    assert os.path.getsize(f"{machine.root}/own.md") > 100
    # Also where nobody says that it is GitHub's.
    machine.ok(*words, env={"GITHUB_STEP_SUMMARY": f"{machine.root}/third.md"})
    assert os.path.getsize(f"{machine.root}/third.md") > 100
    # What cannot be written is no failure.
    machine.ok(*words, "--summary", f"{machine.root}/no/where.md")
    quiet = machine.ok(*words, "--quiet", json=False)
    assert quiet.err == b""


def test_a_checkout_may_be_a_symbolic_link(work, store, machine):
    machine.caches("save")
    other = another(work, store)
    os.symlink(other.cwd, f"{work}/link")
    other.ok("cache", "restore", cwd=f"{work}/link")
    same(machine, other)
