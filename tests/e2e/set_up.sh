#!/usr/bin/env bash
# Set up what `make e2e` needs on a Debian machine: Docker's engine, and python:3.11-slim where no
# image registry is reachable. Nothing is done where both are there.
set -euo pipefail

if ! docker info >/dev/null 2>&1; then
    if [ "$(id -u)" != 0 ]; then
        echo "make e2e needs Docker's engine: start it, or run as root, which installs it" >&2
        exit 1
    fi
    if ! command -v dockerd >/dev/null; then
        echo "Installing Docker's engine"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
            docker.io iptables >/dev/null
    fi
    echo "Starting Docker's engine"
    # Of an engine that was killed; its PIDs may be those of other programs by now.
    pidof dockerd >/dev/null || rm -f /run/docker.pid /run/docker/containerd/containerd.pid
    setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &
    for _ in $(seq 300); do
        docker info >/dev/null 2>&1 && break
        sleep 0.2
    done
    docker info >/dev/null || { tail /var/log/dockerd.log >&2; exit 1; }
fi

if docker image inspect python:3.11-slim >/dev/null 2>&1 || docker pull -q python:3.11-slim 2>/dev/null
then
    exit 0
fi
echo "No image registry is reachable: making python:3.11-slim of Debian's packages (about a minute)"
command -v debootstrap >/dev/null || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends debootstrap >/dev/null
}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mirror=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -1)
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
    bookworm "$root" ${mirror:+"$mirror"} >/var/log/debootstrap.log
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
    "$root"/usr/share/{doc,man,locale}/*
# The registries may be behind a proxy that only this machine's certificates know.
certificates=/etc/ssl/certs/ca-certificates.crt
cp "$certificates" "$root$certificates"
ln -sf python3 "$root/usr/bin/python"
tar -C "$root" -c . | docker import -c "ENV PIP_CERT=$certificates SSL_CERT_FILE=$certificates" \
    -c 'CMD ["python3"]' - python:3.11-slim >/dev/null
