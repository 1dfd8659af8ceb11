"""Redis: ours for trying out, or the operator's; and the secrets."""

from __future__ import annotations

import asyncio
import base64
import re
import subprocess
from pathlib import Path

import redis
from celery import Celery

from feedback.connection import connect, connect_async
from tests.conftest import free_port, redis_binary
from tests.helm.chart import Chart
from tests.redis_over_tls import over_tls, wait_for

TLS = "?ssl_ca_certs=/etc/hone/redis-ca/ca.crt"


def secret(chart: Chart, **values: object) -> dict[str, str]:
    (found,) = chart.render(values).all("Secret")
    return {name: base64.b64decode(data).decode() for name, data in found["data"].items()}


def test_ours_writes_every_command_to_its_disk_before_it_answers(chart: Chart) -> None:
    lines = secret(chart)["redis.conf"].splitlines()
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(lines)
    spec = chart.render().one("StatefulSet", "redis")["spec"]
    assert spec["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_ours_starts_with_that_file_and_asks_for_the_password(chart: Chart, tmp_path: Path) -> None:
    """A real server, from the file the chart makes; only port and folder are this test's."""
    values = secret(chart)
    port = free_port()
    conf = re.sub("^port .*$", f"port {port}", values["redis.conf"], flags=re.MULTILINE)
    conf = conf.replace("dir /data", f"dir {tmp_path}").replace("bind * -::*", "bind 127.0.0.1")
    (tmp_path / "redis.conf").write_text(conf)
    server = subprocess.Popen(
        [redis_binary(), str(tmp_path / "redis.conf")], stdout=subprocess.DEVNULL
    )
    try:
        url = values["redis-url"].replace("hone-redis:6379", f"127.0.0.1:{port}")
        with connect(url) as client:
            wait_for(client)
            assert client.config_get("appendfsync") == {"appendfsync": "always"}
        with connect(f"redis://127.0.0.1:{port}") as stranger:
            try:
                stranger.ping()
            except redis.AuthenticationError:
                return
            raise AssertionError("it answers who has no password")
    finally:
        server.terminate()
        server.wait(30)


def test_passwords_and_tokens_that_are_not_given_are_made(chart: Chart) -> None:
    values = secret(chart)
    assert len(values["engine-token"]) == len(values["redis-password"]) == 48
    # With the user's name: redis-cli takes a password alone for one of a user named "".
    url = f"redis://default:{values['redis-password']}@hone-redis:6379/0"
    assert values["redis-url"] == url


def test_what_is_given_is_taken(chart: Chart) -> None:
    token = "a-token-of-sixteen"
    assert secret(chart, engineToken={"value": token})["engine-token"] == token


def test_an_address_of_the_operator_s_comes_from_their_secret(chart: Chart) -> None:
    found = chart.render({"redis": {"existingSecret": "mine", "existingSecretKey": "url"}}, way="")
    for component in ("gateway", "control", "train", "beat"):
        assert found.env(component)["HONE_FEEDBACK_REDIS_URL"] == {
            "secretKeyRef": {"name": "mine", "key": "url"}
        }
    assert not found.has("StatefulSet", "redis")
    (made,) = found.all("Secret")
    assert set(made["data"]) == {"engine-token"}


def test_with_both_secrets_given_none_is_made(chart: Chart) -> None:
    found = chart.render(way="gpu")
    assert found.all("Secret") == []
    token = found.env("engine")["HONE_SERVING_ENGINE_TOKEN"]
    assert token == {"secretKeyRef": {"name": "hone-engine-token", "key": "engine-token"}}


def test_a_private_ca_is_mounted_and_put_behind_the_address(chart: Chart) -> None:
    found = chart.render(way="gpu")
    env = found.env("gateway")
    assert env["HONE_FEEDBACK_REDIS_URL"] == "$(REDIS_ADDRESS)" + TLS
    assert env["REDIS_ADDRESS"]["secretKeyRef"]["name"] == "hone-redis"
    (volume,) = [v for v in found.pod("gateway")["volumes"] if v["name"] == "redis-ca"]
    assert volume["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    assert found.env("moderation")["HONE_MODERATION_REDIS_URL"] == "$(REDIS_ADDRESS)" + TLS


def test_the_variable_that_is_referred_to_stands_before_the_one_that_refers(chart: Chart) -> None:
    names = [entry["name"] for entry in chart.render(way="gpu").container("control")["env"]]
    assert names.index("REDIS_ADDRESS") < names.index("HONE_FEEDBACK_REDIS_URL")


def test_a_client_certificate_follows_the_ca(chart: Chart) -> None:
    url = chart.render(way="s3").env("beat")["HONE_FEEDBACK_REDIS_URL"]
    assert url == (
        f"$(REDIS_ADDRESS){TLS}&ssl_certfile=/etc/hone/redis-client/tls.crt"
        "&ssl_keyfile=/etc/hone/redis-client/tls.key"
    )


def test_gateway_and_workers_speak_tls_with_such_an_address(tmp_path: Path) -> None:
    """A real server that asks for a client certificate, and every client of Redis that hone has."""
    with over_tls(tmp_path, asks_for_a_certificate=True) as address:
        url = (
            f"{address}?ssl_ca_certs={tmp_path}/ca.crt"
            f"&ssl_certfile={tmp_path}/tls.crt&ssl_keyfile={tmp_path}/tls.key"
        )
        with connect(url) as client:
            wait_for(client)

        async def ping() -> None:
            async with connect_async(url) as there:
                assert await there.ping()

        asyncio.run(ping())
        with Celery(broker=url).connection_for_write() as broker:
            broker.ensure_connection(max_retries=1)


def test_keys_of_a_bucket_go_to_those_that_read_the_archive(chart: Chart) -> None:
    found = chart.render(way="gateway-api")
    holders = {
        name
        for name, pod in found.pods()
        for entry in pod["containers"][0]["env"]
        if entry["name"] == "AWS_SECRET_ACCESS_KEY"
    }
    assert holders == {"gateway", "control", "train"}
    assert found.env("control")["HONE_FEEDBACK_ARCHIVE_URL"] == "s3://company-hone/archive"


def test_a_password_that_changes_restarts_those_that_use_it(chart: Chart) -> None:
    def checksum(password: str) -> str:
        found = chart.render({"redis": {"bundled": {"password": password}}})
        workload = found.one("Deployment", "control")["spec"]["template"]["metadata"]
        return str(workload["annotations"]["checksum/secrets"])

    assert checksum("one") != checksum("two")


def test_artifacts_stay_when_the_release_goes(chart: Chart) -> None:
    claim = chart.render().one("PersistentVolumeClaim", "artifacts")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert chart.render(way="s3").all("PersistentVolumeClaim") == []
