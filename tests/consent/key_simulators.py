"""Vault's transit engine and AWS KMS in small, on 127.0.0.1: they wrap for real, and refuse as the services do.

Vault: developer.hashicorp.com/vault/api-docs/secret/transit; KMS: docs.aws.amazon.com/kms/latest/APIReference (read
2026-11). Only Encrypt and Decrypt are played, which is all that is asked.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "simulated-token"


@dataclass
class KeyServer:
    """One key of each service, by version; `down` answers nothing but an error."""

    keys: list[bytes] = field(default_factory=lambda: [AESGCM.generate_key(256)])
    down: bool = False
    port: int = 0
    seen: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def rotate(self) -> None:
        """Give the key a new version, as an administrator would."""
        self.keys.append(AESGCM.generate_key(256))

    def seal(self, plain: bytes, bound: bytes) -> str:
        nonce = os.urandom(12)
        sealed = nonce + AESGCM(self.keys[-1]).encrypt(nonce, plain, bound)
        return f"vault:v{len(self.keys)}:{base64.b64encode(sealed).decode()}"

    def open(self, sealed: str, bound: bytes) -> bytes:
        _, version, text = sealed.split(":")
        raw = base64.b64decode(text)
        return AESGCM(self.keys[int(version[1:]) - 1]).decrypt(raw[:12], raw[12:], bound)


class _Handler(BaseHTTPRequestHandler):
    served: KeyServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.served.seen.append(self.headers.get("X-Amz-Target") or self.path)
        if self.served.down:
            return self._answer(503, {"errors": ["sealed"]})
        try:
            if target := self.headers.get("X-Amz-Target"):
                return self._kms(target.removeprefix("TrentService."), body)
            return self._vault(body)
        except (InvalidTag, ValueError, IndexError):
            return self._answer(400, {"__type": "InvalidCiphertextException", "errors": ["cipher: message failed"]})

    do_PUT = do_POST

    def _vault(self, body: dict[str, Any]) -> None:
        if self.headers.get("X-Vault-Token") != TOKEN:
            return self._answer(403, {"errors": ["permission denied"]})
        bound = base64.b64decode(body.get("associated_data", ""))
        match self.path.split("/")[1:]:
            case ["v1", "transit", "encrypt", "consentry"]:
                sealed = self.served.seal(base64.b64decode(body["plaintext"]), bound)
                return self._answer(200, {"data": {"ciphertext": sealed}})
            case ["v1", "transit", "decrypt", "consentry"]:
                plain = self.served.open(body["ciphertext"], bound)
                return self._answer(200, {"data": {"plaintext": base64.b64encode(plain).decode()}})
        return self._answer(404, {"errors": ["no handler for route"]})

    def _kms(self, operation: str, body: dict[str, Any]) -> None:
        bound = json.dumps(body.get("EncryptionContext", {}), sort_keys=True).encode()
        if body["KeyId"] != "alias/consentry":
            return self._answer(400, {"__type": "NotFoundException", "message": "Alias is not found."})
        if operation == "Encrypt":
            blob = self.served.seal(base64.b64decode(body["Plaintext"]), bound).encode()
            return self._answer(200, {"KeyId": body["KeyId"], "CiphertextBlob": base64.b64encode(blob).decode()})
        plain = self.served.open(base64.b64decode(body["CiphertextBlob"]).decode(), bound)
        return self._answer(200, {"KeyId": body["KeyId"], "Plaintext": base64.b64encode(plain).decode()})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def key_server() -> Iterator[KeyServer]:
    """Play both services on a free port of 127.0.0.1."""
    served = KeyServer()
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
