"""TLS in front of a test server: nginx on loopback, with certificates of a certificate authority made for the test.

    authority = Authority(folder)
    with TlsFront(folder, server.endpoint, authority.issue()) as front:
        ...                                   # front.endpoint is https://127.0.0.1:PORT; trust authority.certificate

A client must refuse the certificates of another Authority, those that are `expired`, and those for other `names`. Needs
the packages nginx-light and openssl.
"""

import collections
import datetime
import os
import shutil
import ssl
import tempfile

from daemons import LOOPBACK, Daemons, free_port

Certificate = collections.namedtuple("Certificate", "chain key")

AUTHORITY = """\
[ca]
default_ca = here
[here]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""

# One process, so that none is left when it is killed. Bodies pass in both directions as they come.
NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream server {{ server {upstream}; keepalive 64; }}
  server {{
    listen {address}:{port} ssl;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols {protocols};
    client_max_body_size 0;
    merge_slashes off;
    location / {{
      proxy_pass http://server;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_request_buffering off;
    }}
  }}
}}
"""


def nginx():
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")


def moment(days):
    """So many days from now, as openssl takes it."""
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return then.strftime("%Y%m%d%H%M%SZ")


class Authority:
    """A certificate authority of its own; `certificate` is the file to trust."""

    def __init__(self, folder, name="thaw test"):
        self.folder = os.path.join(os.path.abspath(folder), "ca-" + name.replace(" ", "-"))
        os.makedirs(self.folder)
        self.certificate = os.path.join(self.folder, "ca.pem")
        self._key = os.path.join(self.folder, "ca.key")
        self._openssl = Daemons(os.path.join(self.folder, "log"))
        self._issued = 0
        open(os.path.join(self.folder, "index.txt"), "wb").close()
        self._new_key(self._key)
        self._run("req", "-new", "-x509", "-key", self._key, "-out", self.certificate, "-days", "3650",
                  "-subj", f"/CN={name} authority", "-extensions", "root", config=self._config("DNS:unused"))

    def _run(self, command, *words, config):
        self._openssl.run("openssl", "openssl", command, "-config", config, *words)

    def _new_key(self, path):
        self._openssl.run("openssl", "openssl", "genpkey", "-quiet", "-algorithm", "EC",
                          "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)

    def _config(self, names):
        path = os.path.join(self.folder, "openssl.cnf")
        with open(path, "w", encoding="ascii") as file:
            file.write("[req]\ndistinguished_name = dn\n[dn]\n" + AUTHORITY.format(folder=self.folder, names=names))
        return path

    def issue(self, names=("IP:127.0.0.1", "DNS:localhost"), expired=False):
        """For virtual-host style add DNS:BUCKET.localhost: a wildcard so close to the root is good for nobody."""
        self._issued += 1
        stem = os.path.join(self.folder, f"server-{self._issued}")
        config = self._config(",".join(names))
        self._new_key(stem + ".key")
        self._run("req", "-new", "-key", stem + ".key", "-out", stem + ".csr", "-subj", "/CN=localhost", config=config)
        self._run("ca", "-batch", "-notext", "-in", stem + ".csr", "-out", stem + ".pem", "-extensions", "leaf",
                  "-cert", self.certificate, "-keyfile", self._key, "-startdate", moment(-30),
                  "-enddate", moment(-1 if expired else 365), config=config)
        return Certificate(stem + ".pem", stem + ".key")

    def context(self):
        """For Python's own clients."""
        return ssl.create_default_context(cafile=self.certificate)


class TlsFront:
    """nginx with one certificate; several may share a folder."""

    def __init__(self, folder, upstream, certificate, protocols="TLSv1.2 TLSv1.3"):
        self._parent, self._upstream = os.path.abspath(folder), upstream.removeprefix("http://").rstrip("/")
        self._certificate, self._protocols = certificate, protocols
        self._daemons = None
        self.port = None

    @property
    def endpoint(self):
        """The certificate is good for localhost as well: `endpoint.replace("127.0.0.1", "localhost")`."""
        return f"https://{LOOPBACK}:{self.port}"

    def pids(self):
        return self._daemons.pids()

    def __enter__(self):
        self.port = free_port()
        folder = tempfile.mkdtemp(prefix="nginx-", dir=self._parent)
        path = os.path.join(folder, "nginx.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(NGINX.format(
                folder=folder, upstream=self._upstream, address=LOOPBACK, port=self.port, protocols=self._protocols,
                chain=self._certificate.chain, key=self._certificate.key))
        self._daemons = Daemons(folder)
        try:
            self._daemons.start("nginx", nginx(), "-p", folder, "-e", f"{folder}/error.log", "-c", path)
            self._daemons.wait_until_listening("nginx", self.port)
        except BaseException:
            self._daemons.stop()
            raise
        return self

    def __exit__(self, *_):
        self._daemons.stop()
