"""docs/format.md in Python, written from that page alone: reads entries and manifests, and forges them."""

import hashlib
import json
import os
import struct
import subprocess

U32 = "<u4"
COLUMNS = ["parents", "name_lengths", "names", "modes", "owner_indices", "mtimes_ns", "owners", "links", "xattr_refs",
           "targets", "devices", "xattr_sets", "file_contents", "content_digests", "content_sizes", "content_extents",
           "extent_file_offsets", "extent_chunks", "extent_chunk_offsets", "extent_lengths", "chunk_digests",
           "chunk_packs", "chunk_offsets", "chunk_stored", "chunk_sizes", "chunk_codecs", "chunk_kinds"]
FORMATS = {"parents": "I", "name_lengths": "B", "names": "B", "modes": "H", "owner_indices": "H", "mtimes_ns": "q",
           "owners": "II", "links": "II", "xattr_refs": "II", "devices": "III", "file_contents": "I",
           "content_digests": "32s", "content_sizes": "Q", "content_extents": "I", "extent_file_offsets": "Q",
           "extent_chunks": "I", "extent_chunk_offsets": "I", "extent_lengths": "I", "chunk_digests": "32s",
           "chunk_packs": "I", "chunk_offsets": "I", "chunk_stored": "I", "chunk_sizes": "I", "chunk_codecs": "B",
           "chunk_kinds": "B"}


def inverted(generation):
    return "%016x" % (2**64 - 1 - generation)


def sealed(magic, record, attachment=b""):
    text = json.dumps(record, separators=(",", ":")).encode()
    body = magic + struct.pack("<II", len(text), len(attachment)) + text + attachment
    return body + hashlib.sha256(body).digest()


def unsealed(data):
    """(JSON object, attachment); checks the seal."""
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]
    text, attached = struct.unpack_from("<II", data, 8)
    assert 16 + text + attached + 32 == len(data)
    return json.loads(data[16:16 + text]), data[16 + text:16 + text + attached]


def entry_path(store, key, generation):
    return os.path.join(store, "keys", key, "@", inverted(generation))


# ------------------------------------------------------------------------------------------ zstd

def raw_zstd(content):
    """One frame of raw blocks: zstd that needs no compressor."""
    out = bytearray(struct.pack("<IBQ", 0xFD2FB528, 0xE0, len(content)))
    step = 1 << 17
    pieces = [content[i:i + step] for i in range(0, len(content), step)] or [b""]
    for i, piece in enumerate(pieces):
        out += struct.pack("<I", len(piece) << 3 | (i == len(pieces) - 1))[:3] + piece
    return bytes(out)


def bomb_zstd(size):
    """A frame of `size` zeros in run-length blocks, 4 bytes for each 128 KiB."""
    out = bytearray(struct.pack("<IBQ", 0xFD2FB528, 0xE0, size))
    step = 1 << 17
    count = -(-size // step)
    for i in range(count):
        length = min(step, size - i * step)
        out += struct.pack("<I", length << 3 | 1 << 1 | (i == count - 1))[:3] + b"\0"
    return bytes(out)


def unzstd(data):
    return subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout


# ------------------------------------------------------------------------------------------ manifest

class Manifest:
    """The packs of the head, and the columns of the body, each a list of numbers or tuples."""

    def __init__(self, data=None):
        self.packs = []
        self.columns = {name: [] for name in COLUMNS}
        if data is not None:
            self._read(data)

    def __getitem__(self, name):
        return self.columns[name]

    def __setitem__(self, name, values):
        self.columns[name] = values

    def _read(self, data):
        assert data[:8] == b"thawmf01"
        count, zero, length, stored = struct.unpack_from("<IIQQ", data, 8)
        assert zero == 0
        self.packs = [struct.unpack_from("<16sQQ", data, 32 + 32 * i) for i in range(count)]
        head = 32 + 32 * count
        assert hashlib.sha256(data[:head]).digest() == data[head:head + 32]
        assert len(data) == head + 32 + stored
        body = unzstd(data[head + 32:])
        assert len(body) == length
        root = struct.unpack_from("<I", body, 0)[0]
        for i, name in enumerate(COLUMNS):
            at = _field(body, root, i)
            if at is None:
                continue
            at += struct.unpack_from("<I", body, at)[0]
            n = struct.unpack_from("<I", body, at)[0]
            if name in FORMATS:
                shape = "<" + FORMATS[name]
                size = struct.calcsize(shape)
                values = [struct.unpack_from(shape, body, at + 4 + size * k) for k in range(n)]
                self.columns[name] = [v[0] if len(v) == 1 else v for v in values]
            elif name == "targets":
                self.columns[name] = [_bytes(body, at + 4 + 4 * k) for k in range(n)]
            else:
                self.columns[name] = [_xattr_set(body, at + 4 + 4 * k) for k in range(n)]

    def names(self):
        joined, out, at = bytes(self["names"]), [], 0
        for length in self["name_lengths"]:
            out.append(joined[at:at + length])
            at += length
        return out

    def set_names(self, names):
        self["names"] = list(b"".join(names))
        self["name_lengths"] = [len(name) for name in names]

    def paths(self):
        names, out = self.names(), []
        for i, parent in enumerate(self["parents"]):
            out.append(b"" if i == 0 else (out[parent] + b"/" if out[parent] else b"") + names[i])
        return out

    def node(self, path):
        return self.paths().index(path)

    def content_of(self, path):
        """Index of the content of a regular file."""
        links = {node for node, _ in self["links"]}
        files = [i for i, mode in enumerate(self["modes"]) if mode >> 12 == 8 and i not in links]
        return self["file_contents"][files.index(self.node(path))]

    def body(self):
        return _build(self.columns)

    def encode(self, body=None, stored=None, length=None):
        body = self.body() if body is None else body
        stored = raw_zstd(body) if stored is None else stored
        head = b"thawmf01" + struct.pack("<IIQQ", len(self.packs), 0, len(body) if length is None else length, len(stored))
        head += b"".join(struct.pack("<16sQQ", *pack) for pack in self.packs)
        return head + hashlib.sha256(head).digest() + stored

    def ids(self):
        """(snapshot id, content id) as docs/format.md defines them."""
        paths_links = dict(self["links"])
        xattrs = dict(self["xattr_refs"])
        devices = {node: (major, minor) for node, major, minor in self["devices"]}
        targets, files = iter(self["targets"]), iter(self["file_contents"])
        digests = []
        for kind in (b"thaw snapshot v1\n", b"thaw content v1\n"):
            digests.append(hashlib.sha256(kind))
        for i, (parent, name, mode) in enumerate(zip(self["parents"], self.names(), self["modes"])):
            front = struct.pack("<IB", parent, len(name)) + name + struct.pack("<H", mode)
            times = struct.pack("<IIq", *self["owners"][self["owner_indices"][i]], self["mtimes_ns"][i])
            kind = mode >> 12
            if i in paths_links:
                payload = struct.pack("<BI", 4, paths_links[i])
            elif kind == 8:
                content = next(files)
                payload = struct.pack("<BQ", 1, self["content_sizes"][content]) + self["content_digests"][content]
            elif kind == 10:
                target = next(targets)
                payload = struct.pack("<BI", 2, len(target)) + target
            elif kind in (2, 6):
                payload = struct.pack("<BII", 3, *devices[i])
            else:
                payload = b"\0"
            own = self["xattr_sets"][xattrs[i]] if i in xattrs else []
            payload += struct.pack("<I", len(own))
            for name, value in own:
                payload += struct.pack("<I", len(name)) + name + struct.pack("<I", len(value)) + value
            digests[0].update(front + times + payload)
            digests[1].update(front + payload)
        return tuple(digest.hexdigest() for digest in digests)


def _field(body, table, index):
    vtable = table - struct.unpack_from("<i", body, table)[0]
    if 4 + 2 * index >= struct.unpack_from("<H", body, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", body, vtable + 4 + 2 * index)[0]
    return table + offset if offset else None


def _bytes(body, at):
    at += struct.unpack_from("<I", body, at)[0]
    size = struct.unpack_from("<I", body, at)[0]
    return body[at + 4:at + 4 + size]


def _xattr_set(body, at):
    table = at + struct.unpack_from("<I", body, at)[0]
    vector = _field(body, table, 0)
    vector += struct.unpack_from("<I", body, vector)[0]
    out = []
    for k in range(struct.unpack_from("<I", body, vector)[0]):
        xattr = vector + 4 + 4 * k
        xattr += struct.unpack_from("<I", body, xattr)[0]
        value = _field(body, xattr, 1)
        out.append((_bytes(body, _field(body, xattr, 0)), _bytes(body, value) if value is not None else b""))
    return out


class _Writer:
    """Front to back: references lead to what is written later, as FlatBuffers asks."""

    def __init__(self):
        self.out = bytearray()

    def align(self, size, after=0):
        while (len(self.out) + after) % size:
            self.out.append(0)

    def table(self, fields):
        """Writes a table of references; answers where each has to be filled in."""
        self.align(4)
        vtable = len(self.out)
        size = 4 + 2 * len(fields)
        pad = -size % 4
        self.out += struct.pack("<HH", size, 4 + 4 * len(fields))
        for i in range(len(fields)):
            self.out += struct.pack("<H", 4 + 4 * i)
        self.out += b"\0" * pad
        table = len(self.out)
        self.out += struct.pack("<i", table - vtable)
        places = [table + 4 + 4 * i for i in range(len(fields))]
        self.out += b"\0" * 4 * len(fields)
        return table, places

    def refer(self, place, to):
        struct.pack_into("<I", self.out, place, to - place)

    def vector(self, place, count, data, alignment=4):
        self.align(max(alignment, 4), after=4)
        self.refer(place, len(self.out))
        self.out += struct.pack("<I", count) + data

    def references(self, place, count):
        self.align(4)
        self.refer(place, len(self.out))
        self.out += struct.pack("<I", count)
        places = [len(self.out) + 4 * i for i in range(count)]
        self.out += b"\0" * 4 * count
        return places

    def text(self, place, value):
        self.vector(place, len(value), value + b"\0")


def _build(columns):
    w = _Writer()
    w.out += b"\0" * 8
    table, places = w.table(COLUMNS)
    w.refer(0, table)
    for place, name in zip(places, COLUMNS):
        values = columns[name]
        if name in FORMATS:
            shape = "<" + FORMATS[name]
            data = b"".join(struct.pack(shape, *(v if isinstance(v, tuple) else (v,))) for v in values)
            w.vector(place, len(values), data, 8 if FORMATS[name] in "Qq" else 4)
        elif name == "targets":
            for at, value in zip(w.references(place, len(values)), values):
                w.text(at, value)
        else:
            for at, pairs in zip(w.references(place, len(values)), values):
                inner, (field,) = w.table(["xattrs"])
                w.refer(at, inner)
                for spot, (key, value) in zip(w.references(field, len(pairs)), pairs):
                    xattr, (key_at, value_at) = w.table(["name", "value"])
                    w.refer(spot, xattr)
                    w.text(key_at, key)
                    w.vector(value_at, len(value), value)
    return bytes(w.out)


# ------------------------------------------------------------------------------------------ store

def read_snapshot(store, key, generation):
    """(entry, manifest, the manifest's bytes)."""
    with open(entry_path(store, key, generation), "rb") as file:
        entry, attached = unsealed(file.read())
    if "manifest" in entry:
        with open(os.path.join(store, "manifests", entry["manifest"]["id"]), "rb") as file:
            attached = file.read()
        assert hashlib.sha256(attached).hexdigest() == entry["manifest"]["sha256"]
    return entry, Manifest(attached), attached


def forge(store, key, generation, data, change=None, ids=None):
    """Makes `data` the manifest of an existing generation, with a sound entry."""
    path = entry_path(store, key, generation)
    with open(path, "rb") as file:
        entry, _ = unsealed(file.read())
    if ids is not None:
        entry["snapshot"], entry["content"] = ids
    entry.pop("manifest", None)
    attachment = data
    if len(data) > 32 * 1024:
        name = os.urandom(16).hex()
        os.makedirs(os.path.join(store, "manifests"), exist_ok=True)
        with open(os.path.join(store, "manifests", name), "wb") as file:
            file.write(data)
        entry["manifest"] = {"id": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        attachment = b""
    if change is not None:
        change(entry)
    with open(path, "wb") as file:
        file.write(sealed(b"thawen01", entry, attachment))


def read_pack(data):
    """[(digest, stored bytes, content length, codec, kind)] of a pack; checks its footer."""
    assert data[:8] == b"thawpk01" and data[-8:] == b"thawpkf1"
    count, zero = struct.unpack_from("<II", data, len(data) - 48)
    assert zero == 0 and count >= 1
    begin = len(data) - 48 - 48 * count
    assert hashlib.sha256(data[begin:len(data) - 40]).digest() == data[len(data) - 40:len(data) - 8]
    frames, at = [], 8
    for i in range(count):
        digest, stored, length, codec, kind, zeros = struct.unpack_from("<32sIIBB6s", data, begin + 48 * i)
        assert zeros == bytes(6)
        frames.append((digest, data[at:at + stored], length, codec, kind))
        at += stored
    assert at == begin
    return frames
