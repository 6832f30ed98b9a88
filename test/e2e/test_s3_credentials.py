"""Where credentials come from, end to end: each source of the chain against a server that takes nothing but a session of
its own making. No secret is in anything that thaw says."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.parse

import pytest

import ecs_machine
from aws_services import ContainerService, MetadataService, TokenService
from bucket import BucketThaw, key_variables
from fault_proxy import FaultProxy
from faults import Blackhole, Error, Script, on
from s3_client import Keys
from trees import assert_same, small_tree, write

WRONG = Keys("AKIAWRONGWRONGWRONG1", "wrong/secret+wrong/secret/wrong/secret00", "wrong+token/wrong==")
LIST = "list-type=2"


@pytest.fixture(scope="module")
def session(own_rgw):
    """An endpoint and temporary keys that it takes."""
    return own_rgw.session()


@pytest.fixture
def cloud(work, own_rgw, session):
    """thaw without any credentials, at an endpoint that wants the session's."""
    thaw = BucketThaw(work, own_rgw)
    for name in [each for each in thaw.env if each.startswith("AWS_")]:
        del thaw.env[name]
    thaw.env["AWS_EC2_METADATA_DISABLED"] = "true"
    thaw.use(session[0])
    thaw.run = quiet_about(thaw.run, session[1], WRONG)
    yield thaw
    thaw.close()


@pytest.fixture
def tree(work):
    return small_tree(f"{work}/tree", files=10)


def quiet_about(run, *keys):
    """Runs as verbosely as can be, and looks for the secrets in all that is said."""
    def checked(*words, **kw):
        answer = run(*words, "-vv", **kw)
        said = answer.out + answer.err
        for each in keys:
            for secret in filter(None, (each.secret, each.token)):
                for form in (secret, urllib.parse.quote(secret, safe=""), json.dumps(secret)[1:-1]):
                    assert form.encode() not in said, answer
        assert b"Signature=" not in said and b"AWS4" not in said, answer
        return answer
    return checked


def works(thaw, tree, env=None):
    thaw.save("k", tree, env=env)
    thaw.restore("k", f"{thaw.root}/out", env=env)
    assert_same(tree, f"{thaw.root}/out")


def source_of(thaw, env=None):
    finding = thaw.run("doctor", env=env)["checks"][0]
    assert finding["name"] == "credentials"
    return finding["verdict"], finding["detail"]


def profiles(thaw, credentials, config=None):
    os.makedirs(f"{thaw.home}/.aws", exist_ok=True)
    for name, text in (("credentials", credentials), ("config", config)):
        if text is not None:
            with open(f"{thaw.home}/.aws/{name}", "w", encoding="ascii") as file:
                file.write(text)


def profile(name, keys):
    token = f"aws_session_token = {keys.token}\n" if keys.token else ""
    return f"[{name}]\naws_access_key_id = {keys.access}\naws_secret_access_key={keys.secret}\n{token}\n"


@contextlib.contextmanager
def source(kind, thaw, keys, folder):
    """A source that gives these keys: the variables that name it, and its service, where there is one."""
    if kind == "environment":
        yield key_variables(keys), None
    elif kind == "profile":
        profiles(thaw, profile("default", keys))
        yield {}, None
    elif kind == "web_identity":
        with TokenService(folder, keys=keys) as sts:
            yield {"AWS_ENDPOINT_URL_STS": sts.endpoint, "AWS_ROLE_ARN": sts.role, "AWS_ROLE_SESSION_NAME": "test",
                   "AWS_WEB_IDENTITY_TOKEN_FILE": sts.token_file}, sts
    elif kind == "container":
        with ContainerService(folder, keys=keys) as container:
            yield {"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.uri,
                   "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": container.token_file}, container
    else:
        with MetadataService(keys=keys) as imds:
            yield {"AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint, "AWS_EC2_METADATA_DISABLED": "false"}, imds


CHAIN = ["environment", "profile", "web_identity", "container", "instance"]
SERVICES = CHAIN[2:]
SAYS = {"environment": "environment", "profile": "profile", "web_identity": "web identity",
        "container": "container", "instance": "instance"}


# ----------------------------------------------------------------------------------------- the sources

@pytest.mark.parametrize("kind", CHAIN)
def test_each_source(cloud, session, tree, work, kind):
    with source(kind, cloud, session[1], work) as (env, service):
        works(cloud, tree, env)
        assert service is None or service.given() == 2, "once for each command"
        verdict, detail = source_of(cloud, env)
        assert verdict == "good" and SAYS[kind] in detail.lower() and session[1].access in detail


@pytest.mark.parametrize("first", range(len(CHAIN) - 1))
def test_the_order(cloud, session, work, first):
    """The first source that has keys is the one; those after it are not even asked."""
    with contextlib.ExitStack() as stack:
        env, services = {}, []
        for kind in CHAIN[first:]:
            folder = f"{work}/{kind}"
            os.mkdir(folder)
            more, service = stack.enter_context(source(kind, cloud, session[1] if kind == CHAIN[first] else WRONG, folder))
            env.update(more)
            services.append(service)
        cloud.ok("ls", env=env)
        assert SAYS[CHAIN[first]] in source_of(cloud, env)[1].lower()
        assert all(each is None or not each.requests() for each in services[1:])


def test_profiles(cloud, session, tree):
    keys = session[1]
    profiles(cloud, profile("default", WRONG) + profile("ci", keys))
    assert cloud.fails(1, "ls")["reason"] in ("denied", "invalid")
    works(cloud, tree, {"AWS_PROFILE": "ci"})
    cloud.ok("ls", env={"AWS_DEFAULT_PROFILE": "ci"})
    # By the URL, which then counts more than keys in the environment do.
    cloud.env["THAW_STORE"] = cloud.url(session[0], profile="ci")
    cloud.ok("ls")
    cloud.ok("ls", env=key_variables(WRONG))
    # Files elsewhere; in the configuration file a profile's section has its word before the name.
    os.rename(f"{cloud.home}/.aws", f"{cloud.root}/aws")
    cloud.use(session[0])
    cloud.ok("ls", env={"AWS_SHARED_CREDENTIALS_FILE": f"{cloud.root}/aws/credentials", "AWS_PROFILE": "ci"})
    with open(f"{cloud.root}/aws/config2", "w", encoding="ascii") as file:
        file.write(profile("profile other", keys))
    cloud.ok("ls", env={"AWS_CONFIG_FILE": f"{cloud.root}/aws/config2", "AWS_PROFILE": "other"})
    answer = cloud.fails(1, "ls", env={"AWS_PROFILE": "missing"})
    assert "missing" in answer["message"], answer


def test_keys_in_the_settings(cloud, session, tree):
    """Then nothing else is asked."""
    keys = session[1]
    words = cloud.config({"s3": {"access_key_id": keys.access, "secret_access_key": keys.secret, "session_token": keys.token}})
    with MetadataService(keys=WRONG) as imds:
        cloud.ok("ls", *words, env={**key_variables(WRONG), "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint})
        assert not imds.requests()
    answer = cloud.fails(2, "ls", *cloud.config({"s3": {"secret_access_key": [keys.secret]}}))
    assert "secret_access_key" in answer["message"], answer


def test_no_credentials_anywhere(cloud):
    answer = cloud.fails(1, "ls")
    assert answer["reason"] == "denied"
    for place in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        assert place in answer["message"], answer
    verdict, detail = source_of(cloud)
    assert verdict == "bad" and detail


@pytest.mark.parametrize("env", [
    {"AWS_ACCESS_KEY_ID": "only-half"},
    {"AWS_WEB_IDENTITY_TOKEN_FILE": "/does/not/exist", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/r"},
    {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/credentials"},
    {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "no-slash"}], ids=lambda env: next(iter(env)))
def test_sources_that_are_set_up_wrongly(cloud, session, env):
    """The chain ends there and says so, instead of going on with another identity."""
    with MetadataService(keys=session[1]) as imds:
        answer = cloud.run("ls", env={**env, "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint,
                                      "AWS_EC2_METADATA_DISABLED": "false"})
        assert answer.code == 1 and answer["reason"] in ("invalid", "denied", "unavailable"), answer
        assert not imds.given(), answer


@pytest.mark.parametrize("kind", SERVICES)
def test_services_that_fail(cloud, session, tree, work, kind):
    """A server's error is tried again; a refusal is not."""
    with source(kind, cloud, session[1], work) as (env, service):
        service.fail(500, "oops", times=2)
        cloud.ok("ls", *cloud.quick(), env=env)
        before = len(service.requests())
        service.fail(403, "no", times=100)
        answer = cloud.fails(1, "ls", *cloud.quick(), env=env)
        assert answer["reason"] == "denied", answer
        assert len(service.requests()) == before + 1


def test_the_relative_uri_of_a_container(cloud, session, tree, work, as_root, monkeypatch):
    """Its address is one of ECS's own, so thaw gets a network of its own."""
    port, settings = urllib.parse.urlsplit(session[0]).port, f"{work}/machine.json"
    with open(settings, "w", encoding="utf-8") as file:
        json.dump({"port": port, "way_out": f"{work}/way-out", "keys": list(session[1]), "path": "/v2/credentials/of-task",
                   "log": f"{work}/given"}, file)
    if subprocess.run(["unshare", "-n", "ip", "link", "set", "lo", "up"], check=False).returncode:
        pytest.skip("no networks of our own here")
    script = f"{work}/in-ecs"
    with open(script, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nexec unshare -n {sys.executable} {ecs_machine.__file__} {settings} {os.environ['THAW']} \"$@\"\n")
    os.chmod(script, 0o755)
    monkeypatch.setenv("THAW", script)
    way_out = socket.socket(socket.AF_UNIX)
    way_out.bind(f"{work}/way-out")
    with ecs_machine.Relay(way_out, ("127.0.0.1", port)):
        works(cloud, tree, {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/of-task"})
        with open(f"{work}/given", encoding="ascii") as file:
            assert file.read() == "1\n1\n"
        # Who knows the path gets the keys: it is as good as a secret.
        answer = cloud.fails(1, "ls", env={"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/of-somebody-else"})
        assert b"of-somebody-else" not in answer.out + answer.err


# ------------------------------------------------------------------------------------------ refreshing

@contextlib.contextmanager
def before_the_server(cloud, session, *steps):
    with FaultProxy(session[0], Script(*steps)) as proxy:
        cloud.use(proxy.endpoint)
        yield proxy


@pytest.mark.parametrize("code", ["ExpiredToken", "TokenRefreshRequired"])
@pytest.mark.parametrize("kind", SERVICES)
def test_an_expired_token_is_refreshed_once(cloud, session, tree, work, kind, code):
    with source(kind, cloud, session[1], work) as (env, service), \
            before_the_server(cloud, session, on("PUT", "/packs/", Error(code, 400))) as proxy:
        cloud.save("k", tree, env=env)
        assert service.given() == 2
        assert [each.status for each in proxy.log("PUT", "/packs/")] == [400, 200]


@pytest.mark.parametrize("kind", ["environment", "container"])
def test_a_token_that_stays_expired(cloud, session, tree, work, kind):
    with source(kind, cloud, session[1], work) as (env, service), \
            before_the_server(cloud, session, on(None, "", Error("ExpiredToken"), times=None)) as proxy:
        answer = cloud.fails(1, "restore", "k", f"{work}/out", env=env)
        assert "ExpiredToken" in answer["message"], answer
        assert len(proxy.log()) == 2
        assert service is None or service.given() == 2


def test_the_container_token_is_read_again(cloud, session, tree, work):
    """The file is another one by the time that the credentials are refreshed."""
    with source("container", cloud, session[1], work) as (env, service):
        def rotate(_):
            service.rotate()
            return True
        with before_the_server(cloud, session, on("PUT", "/packs/", Error("ExpiredToken"), when=rotate)):
            cloud.save("k", tree, env=env)
        grants = [each for each in service.requests() if each.status == 200]
        assert len(grants) == 2 and grants[0].headers["authorization"] != grants[1].headers["authorization"]


def test_the_web_identity_token_is_read_again(cloud, session, tree, work):
    with source("web_identity", cloud, session[1], work) as (env, service):
        def rotate(_):
            service.rotate()
            return True
        with before_the_server(cloud, session, on("PUT", "/packs/", Error("ExpiredToken"), when=rotate)):
            cloud.save("k", tree, env=env)
        assert service.given() == 2


def test_an_instance_session_that_ends(cloud, session, tree, work):
    with source("instance", cloud, session[1], work) as (env, service):
        def end(_):
            service.end_sessions()
            return True
        with before_the_server(cloud, session, on("PUT", "/packs/", Error("ExpiredToken"), when=end)):
            cloud.save("k", tree, env=env)
        assert service.given() == 2


def test_credentials_that_are_always_about_to_expire(cloud, session, tree, work):
    """A service that gives keys of two minutes is not asked before every request."""
    with source("container", cloud, session[1], work) as (env, service):
        service.lifetime_s = 120
        answer = cloud.save("k", tree, env=env)
        print(f"asked {service.given()} times in {answer['requests']} requests")
        assert service.given() <= 2


def test_threads_share_one_refresh(cloud, session, tree, work):
    for i in range(6):
        write(f"{work}/large/f{i}", os.urandom(9 << 20))
    with source("container", cloud, session[1], work) as (env, service):
        cloud.save("k", f"{work}/large", env=env)
        cloud.restore("k", f"{work}/out", "--threads", "8", env=env)
        assert service.given() == 2


# --------------------------------------------------------------------------------------------- secrets

SECRET = "s3cr3t/of+the/url"


@pytest.mark.parametrize("url", [
    f"s3://AKIAXXXX:{SECRET}@bucket/prefix", f"s3://{SECRET.replace('/', '')}@bucket", f"s3://bucket/p?secret_access_key={SECRET}",
    f"s3://bucket/p?access_key=AKIAXXXX&secret_key={SECRET}", f"s3://bucket/p?session_token={SECRET}",
    f"s3://bucket/p?AWS_SECRET_ACCESS_KEY={SECRET}", f"s3://bucket/p?password={SECRET}",
    f"s3://bucket/p?endpoint=https://user:{SECRET.replace('/', '')}@host", f"gs://AKIAXXXX:{SECRET}@bucket/prefix"])
@pytest.mark.parametrize("place", ["flag", "environment", "file"])
def test_urls_with_secrets_are_refused(cloud, tree, url, place):
    """And what they hold is not repeated."""
    words, env = ["save", "k", tree], {}
    if place == "flag":
        words += ["--store", url]
    elif place == "environment":
        env["THAW_STORE"] = url
    else:
        words += cloud.config({"store": url})
        del cloud.env["THAW_STORE"]
    for json_too in (True, False):
        answer = cloud.run(*words, env=env, json=json_too)
        assert answer.code == 2, answer
        for part in (SECRET, SECRET.replace("/", ""), SECRET[:6]):
            assert part.encode() not in answer.out + answer.err, answer


@pytest.mark.parametrize("parameter, nearest", [
    ("regoin=x", "region"), ("end-point=x", "endpoint"), ("adressing=path", "addressing"), ("ca-file=x", "ca_file")])
def test_unknown_parameters(cloud, parameter, nearest):
    answer = cloud.fails(2, "ls", "--store", f"s3://bucket/p?{parameter}")
    assert f"\"{nearest}\"" in answer["message"] or f"{nearest}?" in answer["message"], answer


def test_a_running_process_shows_no_secret(cloud, session, tree, work):
    """Neither in its command line nor in a file of its own making; it has no children."""
    keys = session[1]
    path = cloud.config({"s3": {"access_key_id": keys.access, "secret_access_key": keys.secret, "session_token": keys.token}})[1]
    with before_the_server(cloud, session, on("PUT", "/packs/", Blackhole())) as proxy, open(path, "rb") as settings:
        process = cloud.start("save", "k", tree, "-vv", "--config-json", f"fd:{settings.fileno()}",
                              pass_fds=[settings.fileno()])
        proxy.wait_for(lambda log: any("/packs/" in each.path for each in log))
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            shown = file.read()
        with open(f"/proc/{process.pid}/environ", "rb") as file:
            shown += file.read()
        with open(f"/proc/{process.pid}/task/{process.pid}/children", "rb") as file:
            assert file.read() == b""
        process.terminate()
        out, err = process.communicate(timeout=20)
    for said in (shown, out, err):
        assert keys.secret.encode() not in said and keys.token.encode() not in said
    for folder, _, files in os.walk(work):
        for name in files:
            if os.path.join(folder, name) != path:
                with open(os.path.join(folder, name), "rb") as file:
                    assert keys.secret.encode() not in file.read(), name
    for name in cloud.objects():
        assert keys.secret.encode() not in cloud.client.get(f"{cloud.prefix}/{name}")


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied"])
def test_a_server_that_repeats_what_it_was_sent(cloud, session, tree, code):
    """Some errors hold the string that was signed, the token in it."""
    body = (f"<Error><Code>{code}</Code><Message>The request signature we calculated does not match</Message><AWSAccessKeyId>"
            f"{session[1].access}</AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256</StringToSign><CanonicalRequest>"
            f"x-amz-security-token:{session[1].token}</CanonicalRequest></Error>").encode()
    with before_the_server(cloud, session, on(None, "", Error(code, body=body), times=None)):
        answer = cloud.fails(1, "ls", env=key_variables(session[1]))
        assert code in answer["message"]
