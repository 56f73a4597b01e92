#!/usr/bin/env bash
# End the cluster that start.sh started: its jobs, then its daemons, then its folder. Processes are
# found by the pid files in that folder, and ended only if they still have the daemon's name.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cluster.conf"
export SLURM_CONF=$ROOT/slurm.conf # never those of another cluster

running() { # name, pid; a process that has ended but was not collected does not count
  [ "$(cat "/proc/$2/comm" 2>/dev/null)" = "$1" ] && ! grep -q '^State:.Z' "/proc/$2/status"
}
end() { # name, pid file
  local pid
  pid=$(cat "$2" 2>/dev/null) || return 0
  running "$1" "$pid" || return 0
  kill "$pid"
  for _ in $(seq 100); do
    running "$1" "$pid" || return 0
    sleep 0.1
  done
  kill -9 "$pid"
}

[ -d "$ROOT" ] || { echo "no cluster runs"; exit 0; }
if timeout 10 scontrol ping >/dev/null 2>&1; then
  timeout 10 scancel --quiet --user root
  for _ in $(seq 100); do
    [ -z "$(timeout 10 squeue -h -o %i 2>/dev/null)" ] && break
    sleep 0.1
  done
fi
for node in $NODES; do end slurmd "$ROOT/slurmd-${node%%:*}.pid"; done
end slurmctld "$ROOT/slurmctld.pid"
end slurmdbd "$ROOT/slurmdbd.pid"
end mariadbd "$ROOT/mariadbd.pid"
end munged "$ROOT/munge/munged.pid"
# Steps outlive a slurmd that was killed, and a Snakemake inside a job may outlive its step, whose
# processes are tracked by their parents. All of them carry the cluster's name.
for process in /proc/[0-9]*; do
  name=$(cat "$process/comm" 2>/dev/null)
  if tr '\0' '\n' 2>/dev/null <"$process/environ" | grep -qx "SLURM_CLUSTER_NAME=$NAME" ||
    { [ "$name" = slurmstepd ] && ls -l "$process/fd" 2>/dev/null | grep -q "$ROOT/"; }; then
    kill -9 "${process#/proc/}" 2>/dev/null
  fi
done
for link in /etc/slurm/slurm.conf /etc/slurm/gres.conf; do
  case "$(readlink "$link")" in "$ROOT"/*) rm -f "$link" ;; esac
done
rm -rf "$ROOT"
echo "the cluster is stopped"
