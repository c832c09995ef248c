"""Mints tokens.json with PyJWT, a library that is not ours: `pip install pyjwt cryptography`, then run it in this folder.

It also writes the public keys of RFC 7515 appendix A and RFC 8037 appendix A, whose keys are JWKs, as PEM.
The other keys were made by openssl for these tests alone; they are no secrets.
"""

import base64
import json
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NEVER = 4102444800  # 2100-01-01
CLAIMS = {"iss": "https://issuer.example", "sub": "Zoë", "aud": ["api", "web"], "exp": NEVER, "scope": "read write"}


def minted():
    keys = {alg: "rsa.key.pem" for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")}
    keys |= {"HS256": "secret.txt", "HS384": "secret-64.txt", "HS512": "secret-64.txt"}
    keys |= {"ES256": "p256.key.pem", "ES384": "p384.key.pem", "EdDSA": "ed25519.key.pem"}
    return {
        alg: jwt.encode(CLAIMS, Path(file).read_bytes(), algorithm=alg, headers={"kid": "one"})
        for alg, file in keys.items()
    }


def number(text):
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def pem(key):
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


RFC7515_A2_N = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs"
    "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV"
    "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
)
RFC7515_A3 = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
RFC8037_A2_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"

if __name__ == "__main__":
    Path("tokens.json").write_text(json.dumps(minted(), indent=2) + "\n")
    Path("rfc7515-a2.pub.pem").write_bytes(pem(rsa.RSAPublicNumbers(65537, number(RFC7515_A2_N)).public_key()))
    x, y = map(number, RFC7515_A3)
    Path("rfc7515-a3.pub.pem").write_bytes(pem(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()))
    raw = number(RFC8037_A2_X).to_bytes(32, "big")
    Path("rfc8037-a2.pub.pem").write_bytes(pem(ed25519.Ed25519PublicKey.from_public_bytes(raw)))
