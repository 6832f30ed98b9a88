"""What lies in a store is what docs/format.md says: read here by a program that was written from that page."""

import hashlib
import json
import os
import random
import shutil
import stat
import struct

import pytest

import store_format as fmt
from trees import describe, small_tree, write

pytestmark = pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd program")
LEAF = 1 << 16
SPAN = 512 * LEAF


def span_digest(span):
    leaves = [hashlib.sha256(span[i:i + LEAF]).digest() for i in range(0, len(span), LEAF)]
    return leaves[0] if len(leaves) == 1 else hashlib.sha256(b"".join(leaves)).digest()


def file_digest(content):
    if len(content) <= LEAF:
        return hashlib.sha256(content).digest()
    spans = b"".join(span_digest(content[i:i + SPAN]) for i in range(0, len(content), SPAN))
    return hashlib.sha256(b"thaw file v1\n" + struct.pack("<Q", len(content)) + spans).digest()


def extents_of(manifest, content):
    first = sum(manifest["content_extents"][:content])
    for i in range(first, first + manifest["content_extents"][content]):
        yield (manifest["extent_file_offsets"][i], manifest["extent_chunks"][i], manifest["extent_chunk_offsets"][i],
               manifest["extent_lengths"][i])


def read_chunks(store, manifest):
    packs = []
    for name, size, live in manifest.packs:
        with open(os.path.join(store, "packs", name.hex()[:2], name.hex()), "rb") as file:
            data = file.read()
        assert len(data) == size
        fmt.read_pack(data)
        packs.append(data)
    live = [0] * len(packs)
    chunks = []
    for pack, at, stored, size, codec in zip(*(manifest[c] for c in (
            "chunk_packs", "chunk_offsets", "chunk_stored", "chunk_sizes", "chunk_codecs"))):
        frame = packs[pack][at:at + stored]
        live[pack] += stored
        chunks.append(fmt.unzstd(frame) if codec == 1 else frame)
        assert len(chunks[-1]) == size
    assert live == [pack[2] for pack in manifest.packs]
    return chunks


def test_a_reader_written_from_the_page_gets_the_tree(thaw, work):
    tree = small_tree(f"{work}/tree", seed=9)
    rng = random.Random(2)
    write(f"{tree}/large", rng.randbytes(5 * LEAF + 77))
    os.mkfifo(f"{tree}/fifo")
    os.setxattr(f"{tree}/large", "user.x", b"1\0")
    saved = thaw.save("k/ey", tree, "--label", "a=b")
    with open(f"{thaw.store}/thaw.json", "rb") as file:
        assert file.read() == b'{"kind":"thaw-store","format":1}\n'
    entry, manifest, _ = fmt.read_snapshot(thaw.store, "k/ey", 1)
    assert (entry["type"], entry["key"], entry["generation"], entry["labels"]) == ("entry", "k/ey", 1, {"a": "b"})
    assert manifest.ids() == (entry["snapshot"], entry["content"]) == (saved["snapshot"], saved["content"])
    assert entry["stored_bytes"] == sum(pack[2] for pack in manifest.packs) == saved["stored_bytes"]

    chunks = read_chunks(thaw.store, manifest)
    for digest, kind, content in zip(manifest["chunk_digests"], manifest["chunk_kinds"], chunks):
        if kind == 0:
            assert file_digest(content) == digest
    expected = describe(tree)
    paths = manifest.paths()
    assert set(paths) == set(expected)
    assert paths == sorted(paths, key=lambda path: path.split(b"/") if path else [])
    links = dict(manifest["links"])
    for i, path in enumerate(paths):
        node = expected[path]
        assert manifest["modes"][i] == node["mode"]
        assert manifest["mtimes_ns"][i] == node["mtime"]
        assert manifest["owners"][manifest["owner_indices"][i]] == node["owner"]
        if i in links:
            assert node["link"] == paths[links[i]]
        elif stat.S_ISREG(node["mode"]):
            content = manifest.content_of(path)
            data = bytearray(manifest["content_sizes"][content])
            for at, chunk, offset, length in extents_of(manifest, content):
                data[at:at + length] = chunks[chunk][offset:offset + length]
            assert hashlib.sha256(data).hexdigest() == node["content"], path
            assert manifest["content_digests"][content] == file_digest(bytes(data)), path
    assert manifest["xattr_sets"] == [[(b"user.x", b"1\0")]]
    # Nothing else lies there.
    kinds = {name.split("/")[0] for name in thaw.objects()}
    assert kinds == {"thaw.json", "packs", "keys"}


def test_a_manifest_written_from_the_page_is_read(thaw, work):
    tree = small_tree(f"{work}/tree", seed=10)
    os.setxattr(f"{tree}/copy", "user.x", b"abc")
    thaw.save("k", tree)
    _, manifest, _ = fmt.read_snapshot(thaw.store, "k", 1)
    ids = manifest.ids()
    fmt.forge(thaw.store, "k", 1, manifest.encode(), ids=ids)
    thaw.clean()
    thaw.restore("k", f"{work}/out")
    assert describe(tree) == describe(f"{work}/out")


def test_tombstones_and_refusals(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("k", tree)
    os.makedirs(f"{work}/empty")
    thaw.fails(4, "save", "k", f"{work}/empty")
    assert thaw.objects("keys/k/@refused") == [], "an empty tree is never accepted, so nobody counts"
    write(f"{work}/little/file", b"x")
    thaw.fails(4, "save", "k", f"{work}/little")
    [refusal] = thaw.objects("keys/k/@refused")
    assert os.path.basename(refusal).startswith(fmt.inverted(1) + "-")
    record, attached = fmt.unsealed(open(f"{thaw.store}/{refusal}", "rb").read())
    assert (record["key"], record["newest"], record["reason"], attached) == ("k", 1, "shrunken", b"")
    thaw.ok("rm", "k@1", "--yes")
    record, attached = fmt.unsealed(open(fmt.entry_path(thaw.store, "k", 1), "rb").read())
    assert (record["type"], record["key"], record["generation"], attached) == ("tombstone", "k", 1, b"")


def test_an_entry_that_was_moved_is_noticed(thaw, work):
    tree = small_tree(f"{work}/tree")
    thaw.save("a", tree)
    os.makedirs(f"{thaw.store}/keys/b/@")
    shutil.copy(fmt.entry_path(thaw.store, "a", 1), fmt.entry_path(thaw.store, "b", 1))
    shutil.copy(fmt.entry_path(thaw.store, "a", 1), fmt.entry_path(thaw.store, "a", 2))
    for ref in ("b", "b@1", "a", "a@2"):
        answer = thaw.fails(1, "restore", ref, f"{work}/out")
        assert answer["reason"] == "corrupt", answer
    thaw.restore("a@1", f"{work}/out")


@pytest.mark.asan
@pytest.mark.parametrize("marker", [
    {"kind": "thaw-store", "format": 2}, {"kind": "thaw-store", "format": 0}, {"kind": "other", "format": 1},
    {"kind": "thaw-store"}, {"kind": "thaw-store", "format": "1"}, {"kind": "thaw-store", "format": -1},
    {"kind": "thaw-store", "format": 2**70}, [], "garbage", ""])
def test_unknown_store_version(thaw, work, marker):
    tree = small_tree(f"{work}/tree", files=3)
    thaw.save("k", tree)
    text = marker if isinstance(marker, str) else json.dumps(marker)
    with open(f"{thaw.store}/thaw.json", "w") as file:
        file.write(text)
    before = thaw.objects()
    for words in (["restore", "k", f"{work}/out"], ["save", "k", tree], ["ls"], ["verify"], ["inspect", "k"],
                  ["rm", "k", "--yes"], ["diff", "k", "k"]):
        answer = thaw.run(*words)
        assert answer.code in (1, 2), answer
        if marker == {"kind": "thaw-store", "format": 2}:
            assert "2" in answer["message"] and "1" in answer["message"], answer
    assert thaw.objects() == before
    assert not os.path.exists(f"{work}/out")
