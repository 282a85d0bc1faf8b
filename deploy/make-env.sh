#!/bin/sh
# Makes the secrets that compose.yaml asks for, in .env beside it. What is there already stays.
set -eu
umask 077
cd "$(dirname "$0")"
if [ -e .env ]; then
    echo "deploy/.env is there already; remove it to have new secrets made" >&2
    exit 1
fi
openssl rand -hex 1 > /dev/null  # a shell goes on where this fails further below
secret() { openssl rand -hex 32; }
cat > .env.new <<EOF
# Keep this file secret, and keep a copy of it: without JWT_SECRET every certificate ends, and
# without CA_PASSPHRASE nobody can use the certificate authority's keys.
POSTGRES_PASSWORD=$(secret)
VALKEY_PASSWORD=$(secret)
S3_ACCESS_KEY=$(openssl rand -hex 10)
S3_SECRET_KEY=$(secret)
JWT_SECRET=$(secret)
CA_PASSPHRASE=$(secret)

# Where callers reach the proxy, as https://events.example.org: relays' certificates name it, and
# relays that are launched enrol there. And the networks that relays are in besides the Internet.
PUBLIC_URL=
RELAY_NETWORKS=

# The account that pays for anchors, in hex. Only the workers get it.
BLOCKCHAIN_ACCOUNT_KEY=$(secret)

# Anvil is a chain to try things out on. For a real one: empty COMPOSE_PROFILES, and set the rest.
COMPOSE_PROFILES=anvil
BLOCKCHAIN_RPC_URL=http://anvil:8545
BLOCKCHAIN_NETWORK=anvil
BLOCKCHAIN_CHAIN_ID=31337
BLOCKCHAIN_CONTRACT=
EOF
mv .env.new .env
echo "made deploy/.env"
