"""Tar archives made by hand, block by block: what no tar program would write."""

import io
import tarfile

BLOCK = 512
END = bytes(2 * BLOCK)


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def _number(value, width):
    """Octal; base-256 where that does not fit, or for a number below zero."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return bytes([0x80 if value >= 0 else 0xff]) + (value % 256 ** (width - 1)).to_bytes(width - 1, "big")


def header(name, kind=b"0", size=0, link=b"", mode=0o644, mtime=1_600_000_000, magic=b"ustar\x0000", uid=0, gid=0,
           device=(0, 0), prefix=b"", checksum=None):
    block = b"".join((
        name[:100].ljust(100, b"\0"), _number(mode, 8), _number(uid, 8), _number(gid, 8), _number(size, 12),
        _number(mtime, 12), b" " * 8, kind, link[:100].ljust(100, b"\0"), magic, b"".ljust(32, b"\0"),
        b"".ljust(32, b"\0"), _number(device[0], 8), _number(device[1], 8), prefix.ljust(155, b"\0"))).ljust(BLOCK, b"\0")
    total = sum(block) if checksum is None else checksum
    return block[:148] + b"%06o\0 " % total + block[156:]


def file(name, data=b"", **kw):
    return header(name, size=len(data), **kw) + padded(data)


def folder(name, **kw):
    return header(name, kind=b"5", mode=kw.pop("mode", 0o755), **kw)


def symlink(name, target, mode=0o777):
    return header(name, kind=b"2", link=target, mode=mode)


def hard_link(name, target):
    return header(name, kind=b"1", link=target)


def record(key, value):
    """A record of a pax header."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def raw_pax(data, kind=b"x", size=None):
    """A pax header whose records are what somebody likes."""
    return header(b"PaxHeader", kind=kind, size=len(data) if size is None else size) + padded(data)


def pax(*records, kind=b"x"):
    return raw_pax(b"".join(record(key, value) for key, value in records), kind)


def attribute(name, value):
    """The pax header of the entry that follows."""
    return pax((b"SCHILY.xattr." + name, value))


def gnu_long(name, kind=b"L"):
    data = name + b"\0"
    return header(b"././@LongLink", kind=kind, size=len(data), magic=b"ustar  \0") + padded(data)


def archive(*entries):
    return b"".join(entries) + END


def python_tar(entries, **kw):
    """By Python's tarfile: [(TarInfo, data)]."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **kw) as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()
