"""With certificates, whoever cannot prove to be of this shop gets no connection at all."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc_health.v1 import health_pb2, health_pb2_grpc
from urllib3.exceptions import HTTPError, NewConnectionError

from severable.config import tls
from severable.config.tls import Certificates, TlsError
from severable.rpc.client import stubs
from severable.rpc.client.balance import Peer
from severable.topology import Deployment
from tests.addresses import free_addresses
from tests.processes import ROOT
from tools import supervisor

pytestmark = [pytest.mark.xdist_group("running"), pytest.mark.timeout(120)]

KEY_FORMAT = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Authority:
    """A CA for one test, and the certificates that it signs."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._own = self._signed(name, self._key, ca=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._own.public_bytes(Encoding.PEM))

    def certificates(self, deployment: str, ca: Path | None = None) -> Certificates:
        """Files of a new certificate that names a deployment."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._folder / f"{self._name}-{deployment}.pem"
        cert.write_bytes(self._signed(deployment, key).public_bytes(Encoding.PEM))
        cert.with_suffix(".key").write_bytes(key.private_bytes(*KEY_FORMAT))
        return Certificates(str(cert), str(cert.with_suffix(".key")), str(ca or self.file))

    def _signed(self, name: str, key: Any, ca: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self._name)])
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signer = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(own)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), False
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=ca,
                    crl_sign=ca,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    found: Path = tmp_path_factory.mktemp("tls")
    return found


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def users(folder: Path, authority: Authority) -> Iterator[Deployment]:
    """A web process of the users, as the supervisor starts it."""
    http, own = free_addresses(2)
    deployment = Deployment("users", ("users",), (http,), (own,), database="")
    files = authority.certificates("users")
    given = {"TLS_CERT": files.cert, "TLS_KEY": files.key, "TLS_CA": files.ca}
    placed = {"SHOP_PLACEMENT": "split", "SHOP_DEPLOYMENT": "users", "VAR_DIR": str(folder)}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (given | placed).items():
            patched.setenv(name, value)
        [web] = supervisor.children(deployment)
    process = subprocess.Popen(web.command, cwd=ROOT, env=web.environment, start_new_session=True)
    try:
        wait_until_live(http, authority.certificates("orders"))
        yield deployment
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_live(address: str, certificates: Certificates) -> None:
    deadline = time.monotonic() + 60
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("django.conf.settings.TLS", certificates)
        while True:
            with suppress(NewConnectionError):
                assert over_http(address) == 200
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)


def over_http(address: str, name: str = "users") -> int:
    peer = Peer((address,), 1, name)
    with peer.request("GET", "/health/live", repeatable=True, timeout=20.0) as answer:
        return answer.status


def over_grpc(address: str, name: str = "users") -> int:
    with stubs.grpc_channel(address, address.replace("127.0.0.1", "127.0.0.2"), name=name) as c:
        stub = health_pb2_grpc.HealthStub(c)
        request = health_pb2.HealthCheckRequest()
        return int(stub.Check(request, timeout=20, wait_for_ready=True).status)


def refused(deployment: Deployment, name: str = "users") -> None:
    """Neither way leads in."""
    with pytest.raises(HTTPError):
        over_http(deployment.http[0], name)
    with stubs.grpc_channel(deployment.grpc[0], name=name) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_deployments_of_the_shop_reach_each_other(
    users: Deployment, authority: Authority, settings: Any
) -> None:
    settings.TLS = authority.certificates("orders")
    assert over_http(users.http[0]) == 200
    assert over_grpc(users.grpc[0]) == health_pb2.HealthCheckResponse.SERVING


def test_nobody_gets_in_without_a_certificate(
    users: Deployment, authority: Authority, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ssl

    settings.TLS = authority.certificates("orders")
    without = ssl.create_default_context(cafile=authority.file)
    monkeypatch.setattr(Certificates, "context", lambda self: without)
    monkeypatch.setattr(Certificates, "pem", lambda self: (None, None, authority.file.read_bytes()))
    refused(users)


def test_nobody_gets_in_with_a_certificate_of_others(
    users: Deployment, authority: Authority, folder: Path, settings: Any
) -> None:
    settings.TLS = Authority(folder, "others").certificates("orders", ca=authority.file)
    refused(users)


def test_nobody_gets_in_in_plain_text(users: Deployment, settings: Any) -> None:
    settings.TLS = None
    refused(users)


def test_whoever_is_not_the_one_that_was_meant_is_told_nothing(
    users: Deployment, authority: Authority, settings: Any
) -> None:
    """A certificate of the shop is not enough: payments must not pass for users."""
    settings.TLS = authority.certificates("orders")
    refused(users, name="payments")


def test_what_is_missing_is_named(authority: Authority, tmp_path: Path) -> None:
    files = authority.certificates("users")
    given = {"TLS_CERT": files.cert, "TLS_KEY": files.key}
    with pytest.raises(TlsError, match="TLS_CA must be set too"):
        tls.certificates(given)
    with pytest.raises(TlsError, match="TLS_CA: there is no file '/nowhere'"):
        tls.certificates(given | {"TLS_CA": "/nowhere"})
    with pytest.raises(TlsError, match="TLS_CERT, TLS_KEY, TLS_CA do not fit together"):
        tls.certificates(given | {"TLS_CA": files.ca, "TLS_KEY": authority.certificates("x").key})
    assert tls.certificates({}) is None
