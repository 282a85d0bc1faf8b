"""Evidence: an event, its media, its signature and its proof, checked together and offline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eventserver_core.domain.canonical import canonicalize, parse_ijson
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.proof import (
    FORMAT,
    Outcome,
    Step,
    Verdict,
    check_proof,
    verdict,
)
from eventserver_core.errors import InvalidPackageError

EVENT_FILE = "event.json"
PROOF_FILE = "proof.json"
SIGNED_PACKAGE_FILE = "signed-package.jws"
PUBLIC_KEY_FILE = "public-key.json"
MEDIA_STEM = "media"

ChainCheck = Callable[[Mapping[str, Any]], Step]
"""Asks a chain about a proof whose path and anchor have passed."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The parts of an evidence package; None is a part that isn't there.

    Attributes:
        event: the statement, or the package with its media inside.
        media: the media's bytes, in chunks.
        signed_package: the JWS, byte for byte.
        public_key: the JWK of whoever signed, as JSON.
        proof: the proof, as JSON.
    """

    event: bytes | None
    media: Iterable[bytes] | None
    signed_package: bytes | None
    public_key: bytes | None
    proof: bytes | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a check of evidence found."""

    verdict: Verdict
    steps: list[Step]


def check_evidence(evidence: Evidence, ask_chain: ChainCheck | None = None) -> Report:
    """Check every part of an evidence package against the others.

    Args:
        evidence: what there is.
        ask_chain: asks the chain; without it an EVM anchor stays unconfirmed and is "incomplete".
    """
    steps = list(_steps(evidence, ask_chain))
    return Report(verdict(steps), steps)


def check_signature(statement: Mapping[str, Any], jws: bytes, public_key: bytes) -> Step:
    """Check who signed an event: the statement, the signed package, and the JWK as JSON."""
    evidence = Evidence(None, None, jws, public_key, None)
    return _signature_step(evidence, sha256_hex(canonicalize(statement)))


def _steps(evidence: Evidence, ask_chain: ChainCheck | None) -> Iterator[Step]:
    if evidence.event is None:
        yield Step("statement", Outcome.MISSING, f"there is no {EVENT_FILE}")
        return
    try:
        event = parse_ijson(evidence.event)
        statement, inline = _split(event)
    except (InvalidPackageError, ValueError) as ex:
        yield Step("statement", Outcome.FAILED, f"{EVENT_FILE} cannot be read: {ex}")
        return
    digest_hex = sha256_hex(canonicalize(statement))
    proof = None
    if evidence.proof is None:
        yield Step("statement", Outcome.MISSING, f"there is no {PROOF_FILE} to compare with")
    else:
        try:
            proof = parse_ijson(evidence.proof)
        except InvalidPackageError as ex:
            yield Step("proof", Outcome.FAILED, f"{PROOF_FILE} cannot be read: {ex}")
        else:
            yield _statement_step(statement, digest_hex, proof)
    if inline is not None:
        yield _media_step(statement, [inline])
    if inline is None or evidence.media is not None:
        yield _media_step(statement, evidence.media)
    yield _signature_step(evidence, digest_hex)
    if proof is not None:
        proof_steps = check_proof(proof)
        yield from proof_steps
        if verdict(proof_steps) is Verdict.VALID:
            yield _chain_step(proof, ask_chain)


def _split(event: Any) -> tuple[Mapping[str, Any], bytes | None]:
    """Return the statement, and the media's bytes where the event still carries them."""
    if not isinstance(event, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the content is wrong, not a caller
    media = event.get("media")
    if not isinstance(media, dict) or "data" not in media:
        return event, None
    from eventserver_core.domain.package import decode_media_data, make_statement

    if not isinstance(media["data"], str):
        raise ValueError("media.data is not text")  # noqa: TRY004
    content = decode_media_data(media["data"])
    return make_statement(event, sha256_hex(content)).document, content


def _statement_step(statement: Mapping[str, Any], digest_hex: str, proof: Any) -> Step:
    name = "statement"
    if not isinstance(proof, dict) or proof.get("hash") is None:
        return Step(name, Outcome.MISSING, "the proof has no hash to compare with")
    if proof.get("format") not in (None, FORMAT):
        # a later format may hash otherwise: that makes it unsupported, not invalid
        return Step(name, Outcome.SKIPPED, "not compared: the proof has another format")
    if proof["hash"] != digest_hex:
        detail = f"{EVENT_FILE} was changed, or the proof is another event's: its hash is "
        return Step(name, Outcome.FAILED, detail + digest_hex)
    event_id = proof.get("eventId")
    if event_id is not None and str(event_id).lower() != str(statement.get("id")).lower():
        return Step(name, Outcome.FAILED, "the proof names another event id")
    return Step(name, Outcome.PASSED, f"{EVENT_FILE} has hash {digest_hex}")


def _media_step(statement: Mapping[str, Any], content: Iterable[bytes] | None) -> Step:
    name = "media"
    media = statement.get("media")
    if media is None:
        if content is not None:
            return Step(name, Outcome.FAILED, "there is a media file that the event knows not of")
        return Step(name, Outcome.SKIPPED, "the event has no media")
    if not isinstance(media, dict) or media.get("sha256") is None:
        return Step(name, Outcome.MISSING, "the statement has no digest of its media")
    if content is None:
        return Step(name, Outcome.MISSING, "the media file is not there")
    declared = media.get("size")
    if not isinstance(declared, int):
        return Step(name, Outcome.FAILED, "the statement has no size of its media")
    hasher, size = hashlib.sha256(), 0
    for chunk in content:
        hasher.update(chunk)
        size += len(chunk)
        if size > declared:
            break  # enough to know, and an archive may unpack to any size
    if hasher.hexdigest() != media["sha256"] or size != declared:
        return Step(name, Outcome.FAILED, "the media file was changed: its digest is another")
    return Step(name, Outcome.PASSED, f"{size} bytes with digest {media['sha256']}")


def _signature_step(evidence: Evidence, digest_hex: str) -> Step:
    name = "signature"
    if evidence.signed_package is None:
        if evidence.public_key is not None:
            return Step(name, Outcome.MISSING, f"there is no {SIGNED_PACKAGE_FILE}")
        return Step(name, Outcome.SKIPPED, "the package was not signed by its author")
    if evidence.public_key is None:
        return Step(name, Outcome.MISSING, f"there is no {PUBLIC_KEY_FILE}")
    from eventserver_core.domain.signature import signed_payload

    try:
        public_key = parse_ijson(evidence.public_key)
        claims = signed_payload(evidence.signed_package, public_key)
        statement, _ = _split(claims["payload"])
    except (InvalidPackageError, ValueError, KeyError, TypeError) as ex:
        return Step(name, Outcome.FAILED, f"the signed package does not hold: {ex}")
    if sha256_hex(canonicalize(statement)) != digest_hex:
        return Step(name, Outcome.FAILED, "what was signed is not this event")
    return Step(name, Outcome.PASSED, f"signed by the key in {PUBLIC_KEY_FILE}")


def _chain_step(proof: Mapping[str, Any], ask_chain: ChainCheck | None) -> Step:
    if ask_chain is not None:
        return ask_chain(proof)
    if proof["anchor"]["chain"] == "ledger":
        detail = "not asked: the embedded ledger shows what its server said, and nothing more"
        return Step("chain", Outcome.SKIPPED, detail)
    return Step(
        "chain",
        Outcome.MISSING,
        "the chain was not asked: that needs a node's address, --rpc-url URL",
    )
