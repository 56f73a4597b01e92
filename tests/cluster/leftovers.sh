#!/usr/bin/env bash
# Name the processes of the test cluster that still run: those that carry its folder in their command
# line, in their environment or among their open files, whatever their name. Another Slurm's, or a
# developer's own database, are none of them. Exit status: 0 none, 1 some, 2 cannot tell.
#
#   leftovers.sh [FOLDER]    instead of the ROOT of cluster.conf
set -uo pipefail
. "$(dirname "$0")/cluster.conf"
folder=${1:-$ROOT}

# A process of this kind, which has to be found: whether /proc shows what is asked for.
OF_THE_CLUSTER=$folder sleep 60 &
probe=$!
trap 'kill "$probe"' EXIT
for _ in $(seq 50); do
  [ "$(cat "/proc/$probe/comm" 2>/dev/null)" = sleep ] && break
  sleep 0.1
done

seen=no left=0
for process in /proc/[0-9]*; do
  pid=${process#/proc/}
  [ "$pid" = $$ ] && continue
  # What has ended and waits for its parent to notice shows neither, and is none.
  if grep -qsF -- "$folder" "$process/cmdline" "$process/environ" ||
    ls -l "$process/fd" 2>/dev/null | grep -qF -- " $folder/"; then
    if [ "$pid" = "$probe" ]; then
      seen=yes
    else
      echo "$pid $(tr '\0' ' ' 2>/dev/null <"$process/cmdline")"
      left=1
    fi
  fi
done
if [ "$seen" = no ]; then
  echo "error: /proc does not show the environments of processes; cannot tell what still runs" >&2
  exit 2
fi
exit "$left"
