#!/usr/bin/env bash
# Install Slurm from Debian's packages (root; bookworm has 22.05). Nothing else in this folder installs
# anything. Where a real Slurm is configured already this refuses to touch it.
set -euo pipefail
# The -core packages of MariaDB bring its programs and no service.
packages=(munge slurmctld slurmd slurm-client slurmdbd mariadb-server-core mariadb-client-core)

[ "$(id -u)" = 0 ] || { echo "error: packages are installed by root; allowed: root" >&2; exit 1; }
if [ -e /etc/slurm/slurm.conf ] && [ ! -L /etc/slurm/slurm.conf ]; then
  echo "error: /etc/slurm/slurm.conf exists; the test cluster needs a machine without Slurm" >&2
  exit 1
fi
# Debian starts a package's services when it is installed; the tests start daemons of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
sinfo --version 2>/dev/null || dpkg-query -W -f '${Package} ${Version}\n' slurmctld
