"""Check an event, its media and its proof with nothing but Python's standard library.

python check_proof.py event.json proof.json [media file]
"""

import hashlib
import json
import sys
from pathlib import Path


def sha256(content):
    return hashlib.sha256(content).digest()


def root_from_path(event_hash, index, size, path):  # RFC 9162, section 2.1.3.2
    node, last, digest = index, size - 1, sha256(b"\x00" + event_hash)
    for sibling in path:
        if node % 2 == 1 or node == last:
            digest = sha256(b"\x01" + sibling + digest)
            while node % 2 == 0 and node > 0:
                node, last = node // 2, last // 2
        else:
            digest = sha256(b"\x01" + digest + sibling)
        if last == 0:
            return None
        node, last = node // 2, last // 2
    return digest if last == 0 else None


def check(event, proof, media=None):
    if proof["format"] != "eventserver-proof/1":
        return "unsupported: this checks eventserver-proof/1"
    if sha256(event).hex() != proof["hash"]:
        return "invalid: the event was changed, or the proof is another event's"
    statement = json.loads(event)
    if statement["id"].lower() != proof["eventId"].lower():
        return "invalid: the proof names another event"
    about_media = statement.get("media")
    if about_media and media is None:
        return "incomplete: the media file is not there"
    if media is not None and (not about_media or sha256(media).hex() != about_media["sha256"]):
        return "invalid: the media file is not the event's"
    tree, anchor = proof.get("merkle"), proof.get("anchor")
    if proof.get("status") in ("stored", "batched") and not tree and not anchor:
        return "pending: the event waited to be anchored"
    if not tree or not anchor:
        return "incomplete: the Merkle path or the anchor is not there"
    if tree["algorithm"] != "RFC9162-SHA256" or anchor["chain"] not in ("ledger", "evm"):
        return "unsupported: another kind of tree or chain"
    index, size, path = tree["leafIndex"], tree["treeSize"], tree["path"]
    if not 0 <= index < size or not isinstance(path, list) or len(path) > 64:
        return "invalid: no tree has such a leaf"
    event_hash, siblings = bytes.fromhex(proof["hash"]), [bytes.fromhex(one) for one in path]
    if root_from_path(event_hash, index, size, siblings) != bytes.fromhex(tree["root"]):
        return "invalid: the path does not lead from the event to the root"
    if anchor["chain"] == "evm":
        return "incomplete: now look for the root in transaction " + anchor["transactionHash"]
    entry = {name: anchor[name] for name in ("blockNumber", "parentHash", "timestamp")}
    entry["root"] = tree["root"]
    line = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    if not anchor["blockHash"] == anchor["transactionHash"] == "0x" + sha256(line.encode()).hex():
        return "invalid: the ledger's entry is of another root"
    return "valid: so says the ledger of the server that made the proof"


if __name__ == "__main__":
    event, proof, *media = [Path(name).read_bytes() for name in sys.argv[1:]]
    result = check(event, json.loads(proof), *media)
    print(result)
    sys.exit(not result.startswith("valid"))
