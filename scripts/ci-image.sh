#!/usr/bin/env bash
# Builds Dockerfile.arm64 for this machine's own architecture and runs it until its health check is good.
# No registry is asked for images: the base is made here, with debootstrap and this machine's own Node.
set -euo pipefail
cd "$(dirname "$0")/.."

base=mergetown-ci-base:local image=mergetown-ci:local name=mergetown-ci-$$
folder=$(mktemp -d)
cleanup() {
  docker rm -f "$name" >/dev/null 2>&1 || true
  docker volume rm "$name" >/dev/null 2>&1 || true
  docker rmi -f "$image" >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap cleanup EXIT

# A Debian of the same release with what the native parts compile with, and Node with npm and its headers.
make_base() {
  docker image inspect "$base" >/dev/null 2>&1 && return
  local release mirror prefix
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
    grep -E '^(URIs:|deb )' | grep -oE 'https?://[^ ]+' | grep -v security | head -n 1 || true)
  debootstrap --variant=minbase --include=make,g++,python3,ca-certificates \
    "$release" "$folder/rootfs" "${mirror:-http://deb.debian.org/debian}" >"$folder/debootstrap.log" 2>&1 ||
    { tail -n 20 "$folder/debootstrap.log"; return 1; }
  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  mkdir -p "$folder/rootfs/usr/local/bin" "$folder/rootfs/usr/local/lib/node_modules" "$folder/rootfs/usr/local/include"
  cp -L "$(command -v node)" "$folder/rootfs/usr/local/bin/node"
  cp -aL "$(npm root --global 2>/dev/null)/npm" "$folder/rootfs/usr/local/lib/node_modules/"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$folder/rootfs/usr/local/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$folder/rootfs/usr/local/bin/npx"
  if [ -d "$prefix/include/node" ]; then cp -a "$prefix/include/node" "$folder/rootfs/usr/local/include/"; fi
  # What a Node of this system links to and the small Debian lacks.
  ldd "$(command -v node)" | awk '$3 ~ /^\// { print $3 }' | while read -r library; do
    [ -e "$folder/rootfs$library" ] || cp -L --parents "$library" "$folder/rootfs/"
  done
  # The build asks the same registry as this machine, which may need a certificate and headers of its own.
  local changes=()
  if [ -n "${NODE_EXTRA_CA_CERTS:-}" ]; then
    cp -L "$NODE_EXTRA_CA_CERTS" "$folder/rootfs/etc/ssl/extra.crt"
    changes+=(--change 'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/extra.crt')
  fi
  if [ -d "$folder/rootfs/usr/local/include/node" ]; then
    changes+=(--change 'ENV npm_config_nodedir=/usr/local')
  fi
  tar -C "$folder/rootfs" -c . | docker import "${changes[@]}" - "$base" >/dev/null
  rm -rf "$folder/rootfs"
}

make_base
docker build --quiet --network host --file Dockerfile.arm64 --tag "$image" \
  --build-arg BASE="$base" --build-arg RUNTIME="$base" \
  --build-arg NPM_REGISTRY="$(npm config get registry 2>/dev/null)" .
docker run --detach --name "$name" --volume "$name:/data" --publish 127.0.0.1::4870 "$image" >/dev/null
for _ in $(seq 60); do
  case $(docker inspect --format '{{.State.Running}} {{.State.Health.Status}}' "$name") in
    'true healthy') echo "the image is healthy: $(docker inspect --format '{{.Size}}' "$image") bytes"; exit 0 ;;
    'false'*) break ;;
  esac
  sleep 2
done
docker logs "$name" 2>&1 | tail -n 40
echo 'the container did not become healthy'
exit 1
