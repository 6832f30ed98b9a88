"""Where AWS hands out credentials, as small servers on loopback that hold a client to the real protocols.

    with MetadataService() as imds:
        run(AWS_EC2_METADATA_SERVICE_ENDPOINT=imds.endpoint)
        assert imds.requests("GET", "/latest/meta-data/iam/security-credentials/test-role")

Each gives `service.keys`, for `service.lifetime_s`; both may be set at any time, and a new lifetime makes new answers
only. `service.fail(...)` answers something else. To hang, cut or slow one down, put a FaultProxy in front of it.
"""

import collections
import contextlib
import datetime
import http.server
import json
import os
import re
import secrets
import threading
import time
import urllib.parse

from xml.sax.saxutils import escape

from s3_client import Keys

Asked = collections.namedtuple("Asked", "method path query headers body status")
JSON, XML, TEXT = "application/json", "text/xml", "text/plain"
DEFAULT_KEYS = Keys("ASIATESTTEMPORARY001", "temporary/secret+key/0123456789abcdefgh", "session/token+with=signs==")


class Answer(Exception):
    """What a service says; raised, so that it can be said from anywhere."""

    def __init__(self, status, content_type, body, **headers):
        super().__init__(status)
        self.status, self.content_type = status, content_type
        self.body = body.encode() if isinstance(body, str) else body
        self.headers = {name.replace("_", "-"): str(value) for name, value in headers.items()}


def stamp(seconds):
    """The UTC time so many seconds from now, as all three write it."""
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Service:
    def __init__(self, keys=DEFAULT_KEYS, lifetime_s=3600, address=("127.0.0.1", 0)):
        self.keys, self.lifetime_s, self._address = keys, lifetime_s, address
        self._log, self._failures, self._lock = [], collections.deque(), threading.Lock()
        self._server = self._thread = None

    @property
    def endpoint(self):
        return "http://{}:{}".format(*self._server.server_address)

    def requests(self, method=None, path=None):
        """What it was asked so far: list of Asked, with header names in lower case."""
        with self._lock:
            return [each for each in self._log if (method or each.method) == each.method
                    and (path is None or each.path == path)]

    def given(self):
        """How often it handed out credentials."""
        return sum(each.status == 200 and self.is_grant(each) for each in self.requests())

    def fail(self, status=500, body="", content_type=TEXT, times=1, **headers):
        """The next requests get this in place of an answer."""
        self._failures.extend([Answer(status, content_type, body, **headers)] * times)

    def __enter__(self):
        self._server = Server(self._address, self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name=type(self).__name__, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(service):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                parts = urllib.parse.urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                asked = Asked(self.command, parts.path, parts.query, headers, body, None)
                try:
                    with service._lock:
                        failure = service._failures.popleft() if service._failures else None
                    if failure:
                        raise failure
                    service.answer(asked)
                    raise Answer(404, TEXT, "")
                except Answer as answer:
                    with service._lock:
                        service._log.append(asked._replace(status=answer.status))
                    self.send_response(answer.status)
                    for name, value in {"Content-Type": answer.content_type, **answer.headers,
                                        "Content-Length": len(answer.body)}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    with contextlib.suppress(OSError):
                        self.wfile.write(answer.body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

            def log_message(self, *_):
                pass
        return Handler

    # For each service.
    def answer(self, asked):
        """Raises an Answer, or returns where there is nothing at this path."""
        raise NotImplementedError

    def is_grant(self, asked):
        raise NotImplementedError


# ----------------------------------------------------------------------------------------------- STS

class TokenService(Service):
    """STS's AssumeRoleWithWebIdentity: environment AWS_ENDPOINT_URL_STS=endpoint, AWS_ROLE_ARN=role,
    AWS_ROLE_SESSION_NAME and AWS_WEB_IDENTITY_TOKEN_FILE=token_file. Only the token that `rotate` wrote last is
    taken."""

    def __init__(self, folder, role="arn:aws:iam::123456789012:role/test-role", **kw):
        super().__init__(**kw)
        self.role = role
        self.token_file = os.path.join(folder, "web-identity-token")
        self.token = None
        self.rotate()

    def rotate(self):
        """As Kubernetes does: the file is replaced, the token before is no longer good."""
        with open(self.token_file + ".new", "w", encoding="ascii") as file:
            file.write(f"eyJhbGciOiJub25lIn0.{secrets.token_urlsafe(300)}.sig+/=")
        os.replace(self.token_file + ".new", self.token_file)
        with open(self.token_file, encoding="ascii") as file:
            self.token = file.read()

    def is_grant(self, asked):
        return True

    def error(self, status, code, message):
        kind = "Sender" if status < 500 else "Receiver"
        raise Answer(status, XML, '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
                     f"<Type>{kind}</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
                     f"<RequestId>{secrets.token_hex(8)}</RequestId></ErrorResponse>")

    def answer(self, asked):
        if asked.path != "/" or asked.method != "POST":
            self.error(404 if asked.path != "/" else 405, "InvalidAction", f"{asked.method} {asked.path}")
        kind = asked.headers.get("content-type", "").partition(";")[0].strip()
        if kind != "application/x-www-form-urlencoded":
            self.error(400, "SerializationException", f"a form is what is asked for, not {kind!r}")
        try:
            form = dict(urllib.parse.parse_qsl(
                asked.body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=20))
        except ValueError as fault:
            self.error(400, "MalformedQueryString", str(fault))
        if form.get("Version") != "2011-06-15" or form.get("Action") != "AssumeRoleWithWebIdentity":
            self.error(400, "InvalidAction", f"{form.get('Action')} of {form.get('Version')}")
        if "authorization" in asked.headers:
            self.error(400, "IncompleteSignature", "this call is not signed")
        duration = form.get("DurationSeconds", "3600")
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", form.get("RoleSessionName", ""), re.ASCII):
            self.error(400, "ValidationError", f"roleSessionName: {form.get('RoleSessionName')!r}")
        if not duration.isdigit() or not 900 <= int(duration) <= 43_200:
            self.error(400, "ValidationError", f"durationSeconds: {duration!r}")
        if form.get("RoleArn") != self.role:
            self.error(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        if form.get("WebIdentityToken") != self.token:
            was_one = form.get("WebIdentityToken", "").startswith("eyJ")
            self.error(400, "ExpiredTokenException" if was_one else "InvalidIdentityToken", "Token expired, or not one")
        account, _, name = self.role.removeprefix("arn:aws:iam::").partition(":role/")
        session = form["RoleSessionName"]
        raise Answer(200, XML, f"""\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>system:serviceaccount:default:test</SubjectFromWebIdentityToken>
    <Audience>sts.amazonaws.com</Audience>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::{account}:assumed-role/{name}/{session}</Arn>
      <AssumedRoleId>AROATESTTESTTESTTEST1:{session}</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <AccessKeyId>{escape(self.keys.access)}</AccessKeyId>
      <SecretAccessKey>{escape(self.keys.secret)}</SecretAccessKey>
      <SessionToken>{escape(self.keys.token or "")}</SessionToken>
      <Expiration>{stamp(self.lifetime_s)}</Expiration>
    </Credentials>
    <Provider>https://oidc.example.org</Provider>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>{secrets.token_hex(8)}</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>
""")


# ------------------------------------------------------------------------------------------ containers

class ContainerService(Service):
    """What ECS and EKS Pod Identity offer: environment AWS_CONTAINER_CREDENTIALS_FULL_URI=uri, and
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=token_file (or AWS_CONTAINER_AUTHORIZATION_TOKEN=token). Without a folder no
    token is asked for. Errors are plain text, as EKS's agent has them. The relative URI's address, 169.254.170.2, has to
    be some interface's: see ecs_machine.py."""

    def __init__(self, folder=None, path="/v1/credentials", **kw):
        super().__init__(**kw)
        self.path, self.token, self.token_file = path, None, None
        if folder:
            self.token_file = os.path.join(folder, "container-token")
            self.rotate()

    @property
    def uri(self):
        return self.endpoint + self.path

    def rotate(self):
        token = secrets.token_urlsafe(200)
        with open(self.token_file + ".new", "w", encoding="ascii") as file:
            file.write(token)
        os.replace(self.token_file + ".new", self.token_file)
        self.token = token

    def is_grant(self, asked):
        return True

    def answer(self, asked):
        if asked.path != self.path:
            return
        if asked.method != "GET":
            raise Answer(405, JSON, json.dumps({"code": "MethodNotAllowed", "message": asked.method}))
        given = asked.headers.get("authorization")
        if self.token and not given:
            raise Answer(400, TEXT, "Service account token cannot be empty")
        if given != self.token:
            raise Answer(400, TEXT, "Service account token failed basic claim validations: token is expired")
        raise Answer(200, JSON, json.dumps({
            "AccessKeyId": self.keys.access, "SecretAccessKey": self.keys.secret, "Token": self.keys.token,
            "Expiration": stamp(self.lifetime_s), "AccountId": "123456789012"}))


# ------------------------------------------------------------------------------------ instance metadata

class MetadataService(Service):
    """IMDSv2: environment AWS_EC2_METADATA_SERVICE_ENDPOINT=endpoint. Without a session token nothing is said. `role`
    None: an instance without one. `session_limit_s` makes sessions end before the time that was asked for."""

    TOKEN = "/latest/api/token"
    ROLES = "/latest/meta-data/iam/security-credentials/"
    TTL = "x-aws-ec2-metadata-token-ttl-seconds"

    def __init__(self, role="test-role", region="us-east-1", session_limit_s=21_600, **kw):
        super().__init__(**kw)
        self.role, self.region, self.session_limit_s = role, region, session_limit_s
        self._sessions = {}

    def end_sessions(self):
        """Every session token that is out is no longer good."""
        self._sessions.clear()

    def is_grant(self, asked):
        return asked.path.startswith(self.ROLES) and asked.path != self.ROLES

    def answer(self, asked):
        if asked.path == self.TOKEN:
            self._open_session(asked)
        ends = self._sessions.get(asked.headers.get("x-aws-ec2-metadata-token"), 0)
        if time.monotonic() >= ends:
            raise Answer(401, "text/html", "<html><body>401 - Unauthorized</body></html>")
        if asked.method != "GET":
            raise Answer(405, TEXT, "", Allow="GET")
        if asked.path in (self.ROLES, self.ROLES.rstrip("/")) and self.role:
            raise Answer(200, TEXT, self.role)
        if asked.path == self.ROLES + str(self.role) and self.role:
            raise Answer(200, TEXT, json.dumps({
                "Code": "Success", "LastUpdated": stamp(0), "Type": "AWS-HMAC", "AccessKeyId": self.keys.access,
                "SecretAccessKey": self.keys.secret, "Token": self.keys.token,
                "Expiration": stamp(self.lifetime_s)}, indent=2))
        if asked.path == "/latest/meta-data/placement/region":
            raise Answer(200, TEXT, self.region)

    def _open_session(self, asked):
        if asked.method != "PUT":
            raise Answer(405, TEXT, "", Allow="PUT, OPTIONS")
        if "x-forwarded-for" in asked.headers:
            raise Answer(403, TEXT, "")
        seconds = asked.headers.get(self.TTL, "")
        if not seconds.isdigit() or not 1 <= int(seconds) <= 21_600:
            raise Answer(400, TEXT, "")
        token = secrets.token_urlsafe(40) + "=="
        self._sessions[token] = time.monotonic() + min(int(seconds), self.session_limit_s)
        raise Answer(200, TEXT, token, **{self.TTL: seconds})
