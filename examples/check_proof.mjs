// Check an event, its media and its proof with nothing but Node.
// node check_proof.mjs event.json proof.json [media file]
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();

// RFC 8785; JSON.parse and JSON.stringify do the numbers and the strings.
export function canonicalize(value) {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalize).join(",")}]`;
  const member = (name) => `${JSON.stringify(name)}:${canonicalize(value[name])}`;
  return `{${Object.keys(value).sort().map(member).join(",")}}`;
}

function rootFromPath(eventHash, index, size, path) { // RFC 9162, section 2.1.3.2
  let [node, last, digest] = [index, size - 1, sha256(Buffer.from([0]), eventHash)];
  const up = () => ([node, last] = [Math.floor(node / 2), Math.floor(last / 2)]);
  for (const sibling of path) {
    if (last === 0) return null;
    if (node % 2 === 1 || node === last) {
      digest = sha256(Buffer.from([1]), sibling, digest);
      while (node % 2 === 0 && node > 0) up();
    } else digest = sha256(Buffer.from([1]), digest, sibling);
    up();
  }
  return last === 0 ? digest : null;
}

export function check(event, proof, media = null) {
  if (proof.format !== "eventserver-proof/1") return "unsupported: this checks eventserver-proof/1";
  const statement = JSON.parse(event.toString("utf8"));
  if (sha256(Buffer.from(canonicalize(statement))).toString("hex") !== proof.hash)
    return "invalid: the event was changed, or the proof is another event's";
  if (statement.id.toLowerCase() !== proof.eventId.toLowerCase())
    return "invalid: the proof names another event";
  if (statement.media && !media) return "incomplete: the media file is not there";
  if (media && sha256(media).toString("hex") !== statement.media?.sha256)
    return "invalid: the media file is not the event's";
  const { merkle, anchor } = proof;
  if (["stored", "batched"].includes(proof.status) && !merkle && !anchor)
    return "pending: the event waited to be anchored";
  if (!merkle || !anchor) return "incomplete: the Merkle path or the anchor is not there";
  if (merkle.algorithm !== "RFC9162-SHA256" || !["ledger", "evm"].includes(anchor.chain))
    return "unsupported: another kind of tree or chain";
  const { leafIndex, treeSize, path, root } = merkle;
  if (!(0 <= leafIndex && leafIndex < treeSize) || !Array.isArray(path) || path.length > 64)
    return "invalid: no tree has such a leaf";
  const [eventHash, ...siblings] = [proof.hash, ...path].map((hex) => Buffer.from(hex, "hex"));
  if (rootFromPath(eventHash, leafIndex, treeSize, siblings)?.toString("hex") !== root)
    return "invalid: the path does not lead from the event to the root";
  if (anchor.chain === "evm")
    return `incomplete: now look for the root in transaction ${anchor.transactionHash}`;
  const { blockNumber, parentHash, timestamp, blockHash, transactionHash } = anchor;
  const entry = Buffer.from(canonicalize({ blockNumber, parentHash, root, timestamp }));
  const expected = `0x${sha256(entry).toString("hex")}`;
  if (blockHash !== expected || transactionHash !== expected)
    return "invalid: the ledger's entry is of another root";
  return "valid: so says the ledger of the server that made the proof";
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [event, proof, media] = process.argv.slice(2).map((name) => readFileSync(name));
  const result = check(event, JSON.parse(proof), media);
  console.log(result);
  process.exitCode = result.startsWith("valid") ? 0 : 1;
}
