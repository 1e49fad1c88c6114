#!/usr/bin/env bash
# Set up what `make e2e` needs on a Debian machine: Docker's engine, and python:3.11-slim where no
# image registry is reachable. Where both exist, nothing is changed.
set -euo pipefail

require_root() {
    if [ "$(id -u)" != 0 ]; then
        echo "make e2e needs $1; run as root, it sets this up itself" >&2
        exit 1
    fi
}

install() {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" >/dev/null
}

if ! docker info >/dev/null 2>&1; then
    require_root "Docker's engine, running and open to this user"
    if ! command -v dockerd >/dev/null; then
        echo "Installing Docker's engine"
        # `docker top` runs ps. From Debian 13 on, the client is a package of its own.
        install docker.io iptables procps
        command -v docker >/dev/null || install docker-cli docker-buildx
    fi
    echo "Starting Docker's engine"
    # An engine that was killed leaves these files, and their PIDs may belong to other programs now.
    pidof dockerd >/dev/null || rm -f /run/docker.pid /run/docker/containerd/containerd.pid
    setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &
    for _ in $(seq 300); do
        docker info >/dev/null 2>&1 && break
        sleep 0.2
    done
    docker info >/dev/null || { tail /var/log/dockerd.log >&2; exit 1; }
fi

base=python:3.11-slim
docker image inspect "$base" >/dev/null 2>&1 && exit 0
timeout 120 docker pull --quiet "$base" 2>/dev/null && exit 0

require_root "the image $base, which no registry provides here"
echo "No image registry is reachable: making $base from Debian's packages, which takes a minute."
echo "Once a registry is reachable, remove it with: docker rmi $base"
command -v debootstrap >/dev/null || install debootstrap ca-certificates
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mirror=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -1)
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
    bookworm "$root" ${mirror:+"$mirror"} >/var/log/debootstrap.log
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
    "$root"/usr/share/{doc,man,locale}/*
# The package registries may be behind a proxy whose certificate only this machine trusts.
certificates=/etc/ssl/certs/ca-certificates.crt
cp "$certificates" "$root$certificates"
ln -sf python3 "$root/usr/bin/python"
tar -C "$root" -c . | docker import -c "ENV PIP_CERT=$certificates SSL_CERT_FILE=$certificates" \
    -c 'CMD ["python3"]' - "$base" >/dev/null
