"""A small S3 client for the tests' own use: an opinion on what lies in a bucket that does not come from thaw.

`Client` signs by Signature Version 4 and speaks path style. Its verbs raise `S3Error` unless the server answers 2xx;
`request` answers whatever the server said, and can be told to sign wrongly. Nothing is tried twice. One connection, so
one thread.
"""

import collections
import datetime
import hashlib
import hmac
import http.client
import json
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

EMPTY = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
# A server closes an idle connection at a time of its choosing (RGW: 65 s); a request must not meet that.
MAX_IDLE_S = 20

Keys = collections.namedtuple("Keys", "access secret token", defaults=[None])
Object = collections.namedtuple("Object", "key size etag modified")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def xml(self):
        return parse_xml(self.body)

    @property
    def code(self):
        """The error's name in S3's words, or None."""
        try:
            return self.xml.findtext("Code")
        except ElementTree.ParseError:
            return None

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:2000]!r}"


class S3Error(Exception):
    def __init__(self, what, answer):
        super().__init__(f"{what}: {answer!r}")
        self.answer, self.status, self.code = answer, answer.status, answer.code


def parse_xml(data):
    """The root element, all names without their namespace."""
    root = ElementTree.fromstring(data)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def quoted(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-._~")


def amz_date(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def signed_headers(keys, method, path, query, headers, payload_hash, region, seconds, service="s3"):
    """`headers` (Host among them) and what Signature Version 4 adds. `path` is quoted, `query` is a list of pairs."""
    date = amz_date(seconds)
    out = {**headers, "x-amz-date": date, "x-amz-content-sha256": payload_hash}
    if keys.token:
        out["x-amz-security-token"] = keys.token
    lower = {name.lower(): " ".join(str(value).split()) for name, value in out.items()}
    names = sorted(name for name in lower if name.startswith("x-amz-") or name in ("host", "range", "content-md5"))
    canonical = "\n".join([
        method, path, "&".join(sorted(f"{quoted(name)}={quoted(value)}" for name, value in query)),
        *(f"{name}:{lower[name]}" for name in names), "", ";".join(names), payload_hash])
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + keys.secret.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    out["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope},"
                            f"SignedHeaders={';'.join(names)},Signature={signature}")
    return out


class Client:
    def __init__(self, endpoint, keys, bucket=None, region="us-east-1", tls=None, timeout=60):
        """`keys` None makes anonymous requests; `tls` is an ssl.SSLContext for an https endpoint."""
        parts = urllib.parse.urlsplit(endpoint)
        self.keys, self.bucket, self.region = keys, bucket, region
        self._host, self._used = parts.netloc, 0.0
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(parts.netloc, context=tls, timeout=timeout)
        else:
            self._connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)

    def close(self):
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def request(self, method, path="/", query=None, headers=None, body=b"", *, keys=None, region=None,
                payload_hash=None, seconds=None, service="s3"):
        """`path` as bytes or text, not yet quoted. The named arguments replace what would be signed with."""
        path, pairs = quoted(path, "/"), list((query or {}).items())
        headers = {"Host": self._host, **(headers or {})}
        keys = keys or self.keys
        if keys:
            headers = signed_headers(
                keys, method, path, pairs, headers, payload_hash or hashlib.sha256(body).hexdigest(),
                region or self.region, time.time() if seconds is None else seconds, service)
        target = path + ("?" + "&".join(f"{quoted(k)}={quoted(v)}" for k, v in pairs) if pairs else "")
        if time.monotonic() - self._used > MAX_IDLE_S:
            self._connection.close()
        try:
            self._connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                self._connection.putheader(name, value)
            if body or method in ("PUT", "POST"):
                self._connection.putheader("Content-Length", str(len(body)))
            self._connection.endheaders(body or None)
            response = self._connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except BaseException:
            self._connection.close()
            raise
        self._used = time.monotonic()
        return answer

    def _done(self, method, path, *words, **kw):
        answer = self.request(method, path, *words, **kw)
        if answer.status // 100 != 2:
            raise S3Error(f"{method} {path!r}", answer)
        return answer

    def _path(self, key=None, bucket=None):
        folder = "/" + (bucket or self.bucket)
        if key is None:
            return folder
        return folder.encode() + b"/" + key if isinstance(key, bytes) else f"{folder}/{key}"

    # Objects. A key is text, or bytes where it is no UTF-8.
    def put(self, key, body, headers=None, **kw):
        return self._done("PUT", self._path(key), None, headers, body, **kw)

    def get(self, key, first=None, last=None):
        """The bytes, or those from `first` to `last`, both included."""
        headers = {} if first is None else {"Range": f"bytes={first}-{'' if last is None else last}"}
        return self._done("GET", self._path(key), None, headers).body

    def head(self, key):
        """The headers, or None where there is no such object."""
        answer = self.request("HEAD", self._path(key))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise S3Error(f"HEAD {key!r}", answer)
        return answer.headers

    def delete(self, key):
        self._done("DELETE", self._path(key))

    def list(self, prefix="", **query):
        """Every object below `prefix`, in the server's order; `query` has - as _: start_after, max_keys."""
        query = {name.replace("_", "-"): str(value) for name, value in query.items()}
        query.update({"list-type": "2", "prefix": prefix, "encoding-type": "url"})
        found = []
        while True:
            root = self._done("GET", self._path(), query).xml
            for each in root.iter("Contents"):
                found.append(Object(
                    urllib.parse.unquote_plus(each.findtext("Key"), errors="surrogateescape"),
                    int(each.findtext("Size")), each.findtext("ETag"), each.findtext("LastModified")))
            if root.findtext("IsTruncated") != "true":
                return found
            query["continuation-token"] = root.findtext("NextContinuationToken")

    def keys_below(self, prefix=""):
        return [each.key for each in self.list(prefix)]

    # Buckets.
    def create_bucket(self, bucket):
        self._done("PUT", self._path(bucket=bucket))

    def set_policy(self, bucket, policy):
        self._done("PUT", self._path(bucket=bucket), {"policy": ""}, None, json.dumps(policy).encode())

    def uploads(self, bucket=None):
        """Keys of multipart uploads that nobody finished."""
        root = self._done("GET", self._path(bucket=bucket), {"uploads": ""}).xml
        return [each.findtext("Key") for each in root.iter("Upload")]
