"""
An own certificate authority and leaf certificates, strict enough for every client that is pointed here.

OpenSSL's strict checks and newer Pythons want keyCertSign and a subject key id on the authority and an authority key
id on the leaf; EC P-256 works everywhere.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from localazure.home import Home, write_private

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=800)
CLOCK_SKEW = timedelta(days=1)


def ensure_authority(home: Home) -> None:
    """Make the certificate authority once, and the bundle of public authorities plus it each time."""
    key_file = home.tls / "ca.key"
    if not home.ca_file.exists() or not key_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"localazure {home.config.address_prefix}")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_key(key_file, key)
        write_private(home.ca_file, certificate.public_bytes(serialization.Encoding.PEM).decode())
    write_private(home.ca_bundle, _public_authorities(home) + "\n" + home.ca_file.read_text("utf-8"))


def ensure_leaf(home: Home, name: str, dns: list[str], addresses: list[str]) -> tuple[Path, Path]:
    """
    Make a server certificate once.

    Args:
        home: its authority signs.
        name: file name and common name.
        dns: DNS names the certificate is valid for.
        addresses: IP addresses the certificate is valid for.

    Returns:
        Certificate file (leaf and authority) and key file.
    """
    certificate_file, key_file = home.tls / f"{name}.pem", home.tls / f"{name}.key"
    if certificate_file.exists() and key_file.exists():
        return certificate_file, key_file
    ca = x509.load_pem_x509_certificate(home.ca_file.read_bytes())
    ca_key = serialization.load_pem_private_key((home.tls / "ca.key").read_bytes(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(entry) for entry in dns]
    alternatives += [x509.IPAddress(ipaddress.ip_address(entry)) for entry in addresses]
    ca_key_id = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (dns or addresses)[0])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LEAF_LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        # clientAuth too: a geo-secondary presents the same certificate when it connects to its primary.
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_key_id),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    _write_key(key_file, key)
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    write_private(certificate_file, pem + home.ca_file.read_text("utf-8"))
    return certificate_file, key_file


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    write_private(path, pem)


def _public_authorities(home: Home) -> str:
    # A machine behind an inspecting proxy names its own bundle in the environment: package installs must go on working.
    candidates = [os.environ.get("SSL_CERT_FILE"), os.environ.get("REQUESTS_CA_BUNDLE")]
    candidates += [ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt", certifi.where()]
    for candidate in candidates:
        if candidate and Path(candidate) != home.ca_bundle and Path(candidate).name != home.ca_bundle.name:
            try:
                return Path(candidate).read_text("utf-8")
            except OSError:
                continue
    return ""
