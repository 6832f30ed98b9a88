"""thaw on a bucket of a real S3 server, through a fault proxy where a test wants one."""

import contextlib
import json
import os
import urllib.parse

from driver import Thaw
from fault_proxy import FaultProxy
from faults import Script

# Waits of a few milliseconds where users have seconds: what is tested is what happens, not how long it takes.
QUICK = {
    "retry": {"base": "10ms", "cap": "50ms"},
    "s3": {"stall_timeout": "500ms", "connect_timeout": "500ms"},
}
PROXY_VARIABLES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


def key_variables(keys):
    out = {"AWS_ACCESS_KEY_ID": keys.access, "AWS_SECRET_ACCESS_KEY": keys.secret}
    if keys.token:
        out["AWS_SESSION_TOKEN"] = keys.token
    return out


class BucketThaw(Thaw):
    """Every command uses the bucket, unless its words or `env` name another store. No variable of the machine's own
    credentials or proxies counts."""

    def __init__(self, root, server, bucket=None, keys=None):
        super().__init__(root)
        self.server = server
        self.bucket = bucket or server.create_bucket()
        self.prefix = "st/ore"
        self.env = {name: value for name, value in self.env.items()
                    if not name.startswith("AWS_") and name.lower() not in PROXY_VARIABLES}
        self.env.update(key_variables(keys or server.keys["main"]), AWS_EC2_METADATA_DISABLED="true")
        self.client = server.client(self.bucket)
        self.use()

    def url(self, endpoint=None, bucket=None, prefix=None, **parameters):
        """A store's URL; a parameter that is None is left out."""
        parameters = {"endpoint": endpoint or self.server.endpoint, "region": self.server.region, **parameters}
        query = urllib.parse.urlencode({k: v for k, v in parameters.items() if v is not None}, safe=":/[]")
        prefix = self.prefix if prefix is None else prefix
        return f"s3://{bucket or self.bucket}/{prefix}?{query}"

    def use(self, endpoint=None, **kw):
        self.env["THAW_STORE"] = self.url(endpoint, **kw)

    @contextlib.contextmanager
    def through(self, *steps, schedule=None, **kw):
        """A FaultProxy before the server; commands go through it meanwhile."""
        before = self.env["THAW_STORE"]
        with FaultProxy(self.server.endpoint, schedule or Script(*steps), **kw) as proxy:
            self.use(proxy.endpoint)
            try:
                yield proxy
            finally:
                self.env["THAW_STORE"] = before

    def config(self, settings):
        """The words that make these settings count."""
        path = os.path.join(self.root, "settings.json")
        with open(path + ".new", "w", encoding="ascii") as file:
            json.dump(settings, file)
        os.replace(path + ".new", path)
        return ["--config-json", path]

    def quick(self, **sections):
        return self.config({name: {**QUICK.get(name, {}), **sections.get(name, {})} for name in {*QUICK, *sections}})

    def objects(self, kind=""):
        """Names of the store's objects, below `kind`."""
        below = self.prefix + "/" if self.prefix else ""
        return sorted(each.removeprefix(below) for each in self.client.keys_below(below + kind))

    def close(self):
        self.client.close()


def packs(proxy, method):
    return proxy.log(method, "/packs/")


def ask_server(server, request, content, drop=()):
    """What the server itself answers to a request that the proxy holds, signed anew, without the headers in `drop`:
    for Instead."""
    signed = ("host", "authorization", "content-length", "connection", "expect", "transfer-encoding", "x-amz-date",
              "x-amz-content-sha256", "x-amz-security-token", *drop)
    headers = {name: value for name, value in request.headers.items() if name not in signed}
    query = dict(urllib.parse.parse_qsl(request.query, keep_blank_values=True))
    with server.client() as client:
        answer = client.request(request.method, request.path.encode("utf-8", "surrogateescape"), query, headers,
                                content)
    kept = [(name, value) for name, value in answer.headers.items()
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date")]
    return answer.status, kept, answer.body
