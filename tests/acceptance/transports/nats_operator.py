"""An operator of NATS with one account and one user, as ``nsc`` makes them, who connects with a file of credentials."""

import json
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from os import urandom
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]

_LIMITS = "subs data payload imports exports conn leaf mem_storage disk_storage streams consumer"
_UNLIMITED = dict.fromkeys(_LIMITS.split(), -1) | {"wildcards": True}


@dataclass(frozen=True)
class Operator:
    """`settings` are for the server that trusts it, `credentials` is the user's file."""

    settings: dict[str, Any]
    credentials: Path


def make_operator(folder: Path) -> Operator:
    """Make all the keys anew."""
    operator, account, system, user = (
        nkeys.from_seed(nkeys.encode_seed(urandom(32), kind))
        for kind in (
            nkeys.PREFIX_BYTE_OPERATOR,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_USER,
        )
    )
    credentials = folder / "user.creds"
    credentials.write_text(
        f"-----BEGIN NATS USER JWT-----\n{_token(account, user, 'user', subs=-1, data=-1, payload=-1)}\n"
        "------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    settings = {
        "operator": _token(operator, operator, "operator", system_account=system.public_key.decode()),
        "system_account": system.public_key.decode(),
        "resolver": "MEMORY",
        "resolver_preload": {
            account.public_key.decode(): _token(operator, account, "account", limits=_UNLIMITED),
            system.public_key.decode(): _token(operator, system, "account"),
        },
    }
    return Operator(settings, credentials)


def _token(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, kind: str, **more: Any) -> str:
    """What the issuer says of the subject, signed."""
    claims = {
        "jti": urandom(16).hex(),
        "iat": int(time.time()),
        "iss": issuer.public_key.decode(),
        "sub": subject.public_key.decode(),
        "name": kind,
        "nats": {**more, "type": kind, "version": 2},
    }
    said = f"{_part(json.dumps({'typ': 'JWT', 'alg': 'ed25519-nkey'}).encode())}.{_part(json.dumps(claims).encode())}"
    return f"{said}.{_part(issuer.sign(said.encode()))}"


def _part(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
