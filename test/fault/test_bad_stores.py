"""Stores that are damaged or hostile: a clear error or exactly the right tree; never a crash, never wrong bytes."""

import concurrent.futures
import hashlib
import os
import shutil
import struct

import pytest

import store_format as fmt
from driver import Thaw, stages_in
from trees import assert_same, clone_store, describe, difference, small_tree, write


def tiny_tree(root):
    write(f"{root}/a", b"some bytes that say something")
    write(f"{root}/d/b", b"\x00\x01binary" * 9)
    os.symlink("a", f"{root}/l")
    return root


def without_times(nodes, *names):
    """The folder that a stage was made and removed in has another time."""
    for name in names:
        nodes[name].pop("mtime")
    return nodes


def check_flips(args):
    """One worker's part: every `stride`-th byte of each object, in a store and a target of its own."""
    source, new, kinds, work, begin, stride, mask = args
    os.makedirs(work)
    thaw = Thaw(work)
    shutil.copytree(source, thaw.store)
    target = f"{work}/target"
    write(f"{target}/old", b"old tree", mtime_ns=10**18)
    os.utime(target, ns=(10**18, 10**18))
    before = describe(target)
    bad, number = [], begin
    sizes = [(name, os.path.getsize(f"{thaw.store}/{name}")) for name in thaw.objects()
             if name.startswith(kinds)]
    places = [(name, at) for name, size in sizes for at in range(size)]
    for name, at in places[begin::stride]:
        path = f"{thaw.store}/{name}"
        with open(path, "r+b") as file:
            file.seek(at)
            good = file.read(1)
            file.seek(at)
            file.write(bytes([good[0] ^ mask]))
        try:
            answer = thaw.run("restore", "k", target, "--no-stat-cache", "--threads", "1")
            found = describe(target)
            if answer.code == 0:
                if difference(new, found):
                    bad.append((name, at, "restored something else", difference(new, found)))
                shutil.rmtree(target)
                write(f"{target}/old", b"old tree", mtime_ns=10**18)
                os.utime(target, ns=(10**18, 10**18))
            else:
                if not answer["message"]:
                    bad.append((name, at, "no message", answer.out))
                if difference(before, found):
                    bad.append((name, at, "the target changed", difference(before, found)))
            if stages_in(work):
                bad.append((name, at, "a stage was left", stages_in(work)))
            if not name.startswith("thaw.json"):
                checked = thaw.run("verify", "--threads", "1")
                # Some bits of a zstd stream mean nothing: then the bytes are right, and nobody can tell.
                meant_nothing = name.startswith("packs/") and answer.code == 0
                if not meant_nothing and (checked.code != 1 or not checked["faults"]):
                    bad.append((name, at, "verify is content", checked.out))
        except AssertionError as fault:
            bad.append((name, at, "crash", str(fault)))
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(good)
    if thaw.ok("verify")["faults"]:
        bad.append("not as it was")
    return len(places), bad


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["manifest inside", "manifest of its own"])
def test_every_byte_flipped(thaw, work, kind):
    tree = tiny_tree(f"{work}/tree")
    thaw.save("k", tree, "--threads", "1")
    if kind == "manifest of its own":
        if shutil.which("zstd") is None:
            pytest.skip("needs the zstd program")
        # As a saver of a large tree would have it, without the large tree.
        _, _, data = fmt.read_snapshot(thaw.store, "k", 1)
        name = "ab" * 16
        write(f"{thaw.store}/manifests/{name}", data)
        path = fmt.entry_path(thaw.store, "k", 1)
        entry, _ = fmt.unsealed(open(path, "rb").read())
        entry["manifest"] = {"id": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        with open(path, "wb") as file:
            file.write(fmt.sealed(b"thawen01", entry))
    thaw.clean()
    new = describe(tree)
    # All bits of a byte at once, or the lowest: text stays text then.
    mask = 0xFF if kind == "manifest inside" else 0x01
    kinds = ("thaw.json", "packs", "keys") if kind == "manifest inside" else ("manifests", "keys")
    jobs = [(thaw.store, new, kinds, f"{work}/part{i}", i, 2, mask) for i in range(2)]
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        for count, bad in pool.map(check_flips, jobs):
            assert count > 600
            assert not bad, bad[:5]


@pytest.fixture
def victim(thaw, work):
    """A store with one snapshot, an old tree as target, and a check that nothing came of a restore."""
    tree = small_tree(f"{work}/tree", files=12)
    thaw.save("k", tree)
    target = f"{work}/place/target"
    write(f"{target}/old/file", b"old tree")
    before = without_times(describe(f"{work}/place"), b"")

    def refuse(code=1, *words):
        for mode in ("replace", "sync", "merge"):
            answer = thaw.fails(code, "restore", "k", target, "--mode", mode, *words)
            assert_same(before, without_times(describe(f"{work}/place"), b""))
        answer = thaw.fails(code, "restore", "k", f"{work}/fresh/one", *words)
        assert not os.path.lexists(f"{work}/fresh/one")
        assert not os.path.isdir(f"{work}/fresh") or os.listdir(f"{work}/fresh") == []
        return answer

    refuse.tree, refuse.target = tree, target
    return refuse


@pytest.mark.asan
def test_truncated_pack(thaw, victim):
    [name] = thaw.objects("packs")
    path = f"{thaw.store}/{name}"
    data = open(path, "rb").read()
    frames_end = len(data) - 48 - 48 * len(fmt.read_pack(data))
    for size in (0, 1, 7, 8, 9, 100, frames_end // 2, frames_end - 1):
        with open(path, "wb") as file:
            file.write(data[:size])
        answer = victim()
        assert answer["reason"] == "corrupt" and os.path.basename(name) in answer["message"], answer
        assert thaw.fails(1, "verify")["faults"][0]["object"] == name
    # The footer is for repair: a restore does not read it, verify does.
    with open(path, "wb") as file:
        file.write(data[:-1])
    assert thaw.fails(1, "verify")["faults"][0]["object"] == name
    with open(path, "wb") as file:
        file.write(data + b"more")
    assert thaw.fails(1, "verify")["faults"][0]["object"] == name


def test_missing_pack(thaw, victim):
    [name] = thaw.objects("packs")
    os.unlink(f"{thaw.store}/{name}")
    answer = victim()
    assert answer["reason"] == "corrupt" and os.path.basename(name) in answer["message"], answer
    assert [fault["object"] for fault in thaw.fails(1, "verify")["faults"]] == [name]


@pytest.mark.parametrize("mode", ["replace", "sync", "merge"])
def test_a_failed_restore_leaves_even_the_time_of_the_target(thaw, work, victim, mode):
    os.unlink(f"{thaw.store}/{thaw.objects('packs')[0]}")
    before = describe(victim.target)
    thaw.fails(1, "restore", "k", victim.target, "--mode", mode)
    assert_same(before, victim.target)


def test_missing_and_foreign_manifest(thaw, work, victim):
    for i in range(900):
        write(f"{victim.tree}/{hashlib.sha512(b'%d' % i).hexdigest()}", b"")
    thaw.save("k", victim.tree)
    [name] = thaw.objects("manifests")
    data = open(f"{thaw.store}/{name}", "rb").read()
    os.unlink(f"{thaw.store}/{name}")
    answer = victim()
    assert answer["reason"] == "corrupt" and os.path.basename(name) in answer["message"], answer
    assert [fault["object"] for fault in thaw.fails(1, "verify")["faults"]] == [name]
    write(f"{thaw.store}/{name}", data[:-1])
    assert victim()["reason"] == "corrupt"
    # A later save neither fails nor builds on it.
    write(f"{victim.tree}/more", b"more")
    assert thaw.save("k", victim.tree)["generation"] == 3
    thaw.restore("k", f"{work}/out")
    assert_same(victim.tree, f"{work}/out")


def test_broken_newest_entry_is_no_dead_end(thaw, work, victim):
    path = fmt.entry_path(thaw.store, "k", 1)
    data = open(path, "rb").read()
    with open(path, "wb") as file:
        file.write(data[:-1] + b"\0")
    assert victim()["reason"] == "corrupt"
    assert thaw.ok("ls")["keys"][0]["fault"]
    assert thaw.save("k", victim.tree)["generation"] == 2
    thaw.restore("k", f"{work}/out")
    thaw.ok("rm", "k@1", "--yes")
    thaw.clean()


# ------------------------------------------------------------------------------- hostile manifests

HOSTILE = {}


def hostile(function):
    HOSTILE[function.__name__] = function
    return function


def renamed(manifest, old, new):
    """Gives the node at path `old` another name; the order of siblings is not mended."""
    names = manifest.names()
    names[manifest.node(old)] = new
    manifest.set_names(names)


@hostile
def name_dot_dot(m): renamed(m, b"a", b"..")
@hostile
def name_dot(m): renamed(m, b"a", b".")
@hostile
def name_empty(m): renamed(m, b"a", b"")
@hostile
def name_absolute(m): renamed(m, b"a", b"/evil")
@hostile
def name_climbs(m): renamed(m, b"a", b"../evil")
@hostile
def name_with_slash(m): renamed(m, b"a", b"a/b")
@hostile
def name_with_nul(m): renamed(m, b"a", b"a\0b")
@hostile
def name_twice(m): renamed(m, b"b", b"a")
@hostile
def folder_dot_dot(m): renamed(m, b"d", b"..")
@hostile
def out_of_order(m): renamed(m, b"a", b"zz")
@hostile
def root_with_name(m): m.set_names([b"x"] + m.names()[1:])


@hostile
def file_below_symlink(m):
    # "l" is a link to /; the last node goes below it.
    link = m.node(b"l")
    last = len(m["parents"]) - 1
    m["targets"] = [b"/"]
    m["parents"][last] = link


@hostile
def file_below_file(m): m["parents"][m.node(b"b")] = m.node(b"a")
@hostile
def own_parent(m): m["parents"][m.node(b"d")] = m.node(b"d")
@hostile
def parent_out_of_range(m): m["parents"][m.node(b"d")] = 2**32 - 2
@hostile
def root_is_a_file(m): m["modes"][0] = 0o100644
@hostile
def unknown_type(m): m["modes"][m.node(b"a")] = 0o150644
@hostile
def socket_type(m): m["modes"][m.node(b"l")] = 0o140644


@hostile
def link_to_itself(m): m["links"] = [(m.node(b"b"), m.node(b"b"))]; del m["file_contents"][0]
@hostile
def link_cycle(m): m["links"] = [(m.node(b"a"), m.node(b"b")), (m.node(b"b"), m.node(b"a"))]; m["file_contents"] = m["file_contents"][2:]
@hostile
def link_to_folder(m): m["links"] = [(m.node(b"l"), m.node(b"d"))]; m["targets"] = []
@hostile
def link_out_of_range(m): m["links"] = [(m.node(b"b"), 2**31)]; del m["file_contents"][0]
@hostile
def links_descend(m): m["links"] = [(m.node(b"l"), 1), (m.node(b"b"), 1)]


@hostile
def symlink_target_empty(m): m["targets"] = [b""]
@hostile
def symlink_target_nul(m): m["targets"] = [b"a\0b"]
@hostile
def symlink_target_huge(m): m["targets"] = [b"t" * 4096]
@hostile
def symlink_target_missing(m): m["targets"] = []


@hostile
def extent_beyond_file(m): m["extent_file_offsets"][0] += 1
@hostile
def extent_beyond_chunk(m): m["extent_chunk_offsets"][-1] += 1 << 20
@hostile
def extent_wraps(m): m["extent_chunk_offsets"][0] = 2**32 - 1
@hostile
def extent_empty(m): m["extent_lengths"][0] = 0
@hostile
def extent_of_no_chunk(m): m["extent_chunks"][0] = 4000
@hostile
def extents_overlap(m):
    content = m.content_of(b"large")
    first = sum(m["content_extents"][:content])
    assert m["content_extents"][content] > 1
    m["extent_file_offsets"][first + 1] = m["extent_file_offsets"][first]
@hostile
def extents_descend(m):
    content = m.content_of(b"large")
    first = sum(m["content_extents"][:content])
    for column in ("extent_file_offsets", "extent_chunks", "extent_chunk_offsets", "extent_lengths"):
        m[column][first], m[column][first + 1] = m[column][first + 1], m[column][first]
@hostile
def extent_columns_disagree(m): m["extent_lengths"].append(5)
@hostile
def more_extents_than_there_are(m): m["content_extents"][-1] += 1


@hostile
def file_beyond_cap(m): m["content_sizes"][m.content_of(b"large")] = 2**62 + 1
@hostile
def file_of_all_bits(m): m["content_sizes"][m.content_of(b"large")] = 2**64 - 1
@hostile
def content_out_of_range(m): m["file_contents"][0] = 2**32 - 1
@hostile
def content_missing(m): m["file_contents"].pop()


@hostile
def chunk_beyond_pack(m): m["chunk_offsets"][0] = 2**31
@hostile
def chunk_in_no_pack(m): m["chunk_packs"][0] = 9
@hostile
def chunk_beyond_cap(m): m["chunk_sizes"][0] = 2**31
@hostile
def chunk_empty(m): m["chunk_sizes"][0] = 0
@hostile
def chunk_codec(m): m["chunk_codecs"][0] = 7
@hostile
def chunk_kind(m): m["chunk_kinds"][0] = 7
@hostile
def pack_of_no_size(m): m.packs[0] = (m.packs[0][0], 0, m.packs[0][2])
@hostile
def pack_counts_wrong(m): m.packs[0] = (m.packs[0][0], m.packs[0][1], m.packs[0][2] + 1)


@hostile
def no_nodes(m):
    for column in m.columns:
        m[column] = []
@hostile
def columns_disagree(m): m["modes"].append(0o100644)
@hostile
def owner_out_of_range(m): m["owner_indices"][1] = 60_000
@hostile
def names_left_over(m): m["names"] += list(b"left")
@hostile
def xattrs_out_of_range(m): m["xattr_refs"] = [(1, 5)]
@hostile
def xattrs_empty_set(m): m["xattr_sets"] = [[]]; m["xattr_refs"] = [(1, 0)]
@hostile
def xattrs_twice(m): m["xattr_sets"] = [[(b"user.a", b""), (b"user.a", b"")]]; m["xattr_refs"] = [(1, 0)]
@hostile
def xattr_without_name(m): m["xattr_sets"] = [[(b"", b"x")]]; m["xattr_refs"] = [(1, 0)]
@hostile
def too_deep(m):
    # d/c becomes a folder with 1,100 more inside one another.
    first = m.node(b"l")  # names after it would follow its folders: "large" sorts behind
    names = m.names()
    names[first:first] = [b"e"] + [b"x"] * 1100
    m.set_names(names)
    m["parents"][first:first] = [0] + list(range(first, first + 1100))
    m["modes"][first:first] = [0o40755] * 1101
    for column in ("owner_indices", "mtimes_ns"):
        m[column][first:first] = [0] * 1101


@pytest.fixture(scope="module")
def hostile_store(tmp_path_factory):
    """A sound store to forge from: a, b, d/, d/c, l -> a, large (of several chunks)."""
    if shutil.which("zstd") is None:
        pytest.skip("needs the zstd program")
    work = str(tmp_path_factory.mktemp("hostile"))
    thaw = Thaw(work)
    tree = f"{work}/tree"
    write(f"{tree}/a", b"the file a")
    write(f"{tree}/b", b"the file b")
    write(f"{tree}/d/c", b"c")
    write(f"{tree}/large", os.urandom(5 << 20))
    os.symlink("a", f"{tree}/l")
    thaw.save("k", tree)
    return thaw.store, fmt.read_snapshot(thaw.store, "k", 1)[1].encode()


def refused_everywhere(thaw, work, data, ids=None):
    """Restores what `data` describes in every mode: exit 1, target as before, nothing outside it."""
    arena = f"{work}/arena"
    target = f"{arena}/place/target"
    for each in ("target/old/file", "target/a", "b", "evil"):
        write(f"{arena}/place/{each}", b"old")
    os.makedirs(f"{arena}/outside")
    before = without_times(describe(arena), b"place")
    fmt.forge(thaw.store, "k", 1, data, ids=ids)
    for words in (["restore", "k", target], ["restore", "k", f"{arena}/place/fresh"],
                  ["restore", "k", target, "--mode", "merge"], ["restore", "k", target, "--mode", "sync"]):
        answer = thaw.fails(1, *words)
        assert answer["reason"] == "corrupt", answer
        assert_same(before, without_times(describe(arena), b"place"))
    assert thaw.fails(1, "verify")["faults"]
    for words in (["inspect", "k"], ["diff", "k", "k"]):
        assert thaw.run(*words).code in (0, 1)
    return answer


@pytest.mark.asan
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_manifest(thaw, work, hostile_store, name):
    shutil.copytree(hostile_store[0], thaw.store)
    manifest = fmt.Manifest(hostile_store[1])
    # Reference: the same way round, unchanged, it restores.
    HOSTILE[name](manifest)
    try:
        ids = manifest.ids()  # of what it says, so that only the rules can stop it
    except (IndexError, KeyError, StopIteration, struct.error):
        ids = None
    answer = refused_everywhere(thaw, work, manifest.encode(), ids)
    assert "holds another tree" not in answer["message"] or ids is None, answer


def test_forged_manifests_are_read_when_sound(thaw, work, hostile_store):
    shutil.copytree(hostile_store[0], thaw.store)
    manifest = fmt.Manifest(hostile_store[1])
    fmt.forge(thaw.store, "k", 1, manifest.encode(), ids=manifest.ids())
    thaw.restore("k", f"{work}/out")
    thaw.clean()


@pytest.mark.asan
def test_hostile_wrappings(thaw, work, hostile_store):
    shutil.copytree(hostile_store[0], thaw.store)
    manifest = fmt.Manifest(hostile_store[1])
    body = manifest.body()
    cases = {
        "body cut": manifest.encode(body=body[:-8]),
        "length too long": manifest.encode(length=len(body) + 1),
        "length too short": manifest.encode(length=len(body) - 1),
        "length of all bits": manifest.encode(length=2**64 - 1),
        "no zstd": manifest.encode(stored=b"no zstd at all"),
        "bomb": manifest.encode(stored=fmt.bomb_zstd(2000 << 20), length=2000 << 20),
        "bomb that lies": manifest.encode(stored=fmt.bomb_zstd(2000 << 20), length=len(body)),
        "more after it": manifest.encode(stored=fmt.raw_zstd(body) + b"more"),
        "skippable frame": manifest.encode(stored=struct.pack("<II", 0x184D2A50, 4) + b"skip" + fmt.raw_zstd(body)),
        "garbage body": manifest.encode(body=os.urandom(500)),
        "root offset beyond": manifest.encode(body=struct.pack("<I", 2**31 - 1) + body[4:]),
        "packs beyond": manifest.encode()[:8] + struct.pack("<I", 2**32 - 1) + manifest.encode()[12:],
        "other magic": b"thawmf99" + manifest.encode()[8:],
        "empty": b"",
    }
    for name, data in cases.items():
        print(name)
        shutil.rmtree(f"{work}/arena", ignore_errors=True)
        refused_everywhere(thaw, work, data)


@pytest.mark.asan
def test_hostile_entries(thaw, work, victim):
    changes = {
        "other type": lambda e: e.update(type="tombstone?"),
        "other key": lambda e: e.update(key="other"),
        "other generation": lambda e: e.update(generation=7),
        "generation as text": lambda e: e.update(generation="1"),
        "snapshot short": lambda e: e.update(snapshot="ab"),
        "another snapshot": lambda e: e.update(snapshot="ab" * 32),
        "another content": lambda e: e.update(content="ab" * 32),
        "manifest climbs": lambda e: e.update(manifest={"id": "../../etc/passwd", "size": 1, "sha256": "ab" * 32}),
        "both manifests": lambda e: e.update(manifest={"id": "ab" * 16, "size": 1, "sha256": "ab" * 32}),
        "negative": lambda e: e.update(bytes=-1),
        "huge": lambda e: e.update(files=2**70),
        "labels of numbers": lambda e: e.update(labels={"a": 1}),
        "no nonce": lambda e: e.pop("nonce"),
    }
    path = fmt.entry_path(thaw.store, "k", 1)
    sound = open(path, "rb").read()
    entry, attached = fmt.unsealed(sound)
    for name, change in changes.items():
        print(name)
        copy = {**entry, "labels": dict(entry["labels"])}
        change(copy)
        with open(path, "wb") as file:
            file.write(fmt.sealed(b"thawen01", copy, attached))
        assert victim()["reason"] == "corrupt"
        assert thaw.fails(1, "verify")["faults"]
    for name, data in {"deep": b"[" * 100_000, "empty": b"", "null": b"null", "text": b"{", "bits": b"\xff\xfe"}.items():
        print(name)
        body = b"thawen01" + struct.pack("<II", len(data), len(attached)) + data + attached
        with open(path, "wb") as file:
            file.write(body + hashlib.sha256(body).digest())
        assert victim()["reason"] == "corrupt"


@pytest.mark.asan
def test_frames_that_are_no_frames(thaw, work, hostile_store):
    """The place of a chunk leads to a bomb, to another frame, to a frame cut off."""
    for name, forge in {
        "bomb": lambda m, pack: fmt.bomb_zstd(1 << 30),
        "zeros": lambda m, pack: bytes(len(pack)),
        "random": lambda m, pack: os.urandom(len(pack)),
    }.items():
        print(name)
        shutil.rmtree(thaw.store, ignore_errors=True)
        shutil.rmtree(f"{work}/arena", ignore_errors=True)
        shutil.copytree(hostile_store[0], thaw.store)
        manifest = fmt.Manifest(hostile_store[1])
        [name] = thaw.objects("packs")
        path = f"{thaw.store}/{name}"
        size = os.path.getsize(path)
        data = forge(manifest, open(path, "rb").read())
        with open(path, "wb") as file:
            file.write((b"thawpk01" + data)[:size].ljust(size, b"\0"))
        # Every chunk lies there now, as zstd.
        manifest["chunk_codecs"] = [1] * len(manifest["chunk_codecs"])
        manifest["chunk_stored"] = [min(s, c - 1) for s, c in zip(manifest["chunk_stored"], manifest["chunk_sizes"])]
        live = sum(manifest["chunk_stored"])
        manifest.packs = [(manifest.packs[0][0], size, live)]
        refused_everywhere(thaw, work, manifest.encode(), manifest.ids())
