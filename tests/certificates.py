"""An authority of the tests' own, and what it signed."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def make_certificates(folder: Path) -> dict[str, Path]:
    """An authority, and certificates that it signed for the server on 127.0.0.1 and for a client."""

    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], check=True, capture_output=True, cwd=folder)

    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 2")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost")
    for name in ("server", "client"):
        openssl(f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}")
        signed = "x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names"
        openssl(f"{signed} -in {name}.csr -out {name}.pem")
    return {path.name: path for path in folder.iterdir()}


def tls(certificates: dict[str, Path]) -> ssl.SSLContext:
    """What a client needs that has a certificate of its own."""
    context = ssl.create_default_context(cafile=str(certificates["ca.pem"]))
    context.load_cert_chain(certificates["client.pem"], certificates["client.key"])
    return context
