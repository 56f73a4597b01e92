#!/usr/bin/env bash
# A real Slurm on this machine: one controller and four nodes, each a slurmd of its own, in a folder
# of their own (root; see install.sh). Jobs are queued, started, limited and killed as on a cluster.
#
# The GPUs are FAKE: device files with the numbers of /dev/null, which Slurm counts, grants and
# withholds like GPUs, and which no program can compute on. Jobs that get one train on the CPU.
# Accounting is off, as on many small clusters: states come from the controller alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cluster.conf"

fail() { echo "error: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "user $(id -un): slurmd starts jobs as their owner; allowed: root"
for program in munged slurmctld slurmd sinfo; do
  command -v "$program" >/dev/null || fail "$program is not installed; run $here/install.sh"
done
# The plugin drops SLURM_CONF from the environment of job steps: they look here and nowhere else.
if [ -e /etc/slurm/slurm.conf ] && [ "$(readlink /etc/slurm/slurm.conf)" != "$ROOT/slurm.conf" ]; then
  fail "/etc/slurm/slurm.conf is of another Slurm; allowed: a machine without one"
fi
if scontrol ping >/dev/null 2>&1; then fail "the cluster already runs; end it with $here/stop.sh"; fi

rm -rf "$ROOT"
install -d -m 755 "$ROOT" "$ROOT/controller" "$ROOT/gpus" /etc/slurm
install -d -m 755 -o munge -g munge "$ROOT/munge"
ln -sfn "$ROOT/slurm.conf" /etc/slurm/slurm.conf
ln -sfn "$ROOT/gres.conf" /etc/slurm/gres.conf

# A munged with a key and socket of its own: an installed one is left alone.
dd if=/dev/urandom of="$ROOT/munge/key" bs=1024 count=1 status=none
chown munge:munge "$ROOT/munge/key"
chmod 400 "$ROOT/munge/key"
runuser -u munge -- munged --key-file="$ROOT/munge/key" --socket="$ROOT/munge/socket" \
  --pid-file="$ROOT/munge/munged.pid" --log-file="$ROOT/munge/munged.log" \
  --seed-file="$ROOT/munge/seed"

port=17817 gpu=0 nodes="" all="" with_gpus="" gres=""
for node in $NODES; do
  IFS=: read -r name processors memory gpus <<<"$node"
  port=$((port + 1))
  nodes+="NodeName=$name NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$port"
  nodes+=" CPUs=$processors RealMemory=$memory"
  if [ "$gpus" -gt 0 ]; then
    for ((i = gpu; i < gpu + gpus; i++)); do mknod -m 666 "$ROOT/gpus/gpu$i" c 1 3; done
    gres+="NodeName=$name Name=gpu File=$ROOT/gpus/gpu[$gpu-$((gpu + gpus - 1))]"$'\n'
    gpu=$((gpu + gpus))
    nodes+=" Gres=gpu:$gpus"
    with_gpus+=",$name"
  fi
  nodes+=$'\n'
  all+=",$name"
  install -d "$ROOT/spool/$name"
done
printf '%s' "$gres" >"$ROOT/gres.conf"
# SlurmdTimeout, cred_expire and KillWait are short, so that faults are noticed in seconds.
# Memory is polled, not walled in: a job above its request is killed at the next look.
cat >"$ROOT/slurm.conf" <<CONF
ClusterName=$NAME
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=17817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket,cred_expire=5
StateSaveLocation=$ROOT/controller
SlurmdSpoolDir=$ROOT/spool/%n
SlurmctldPidFile=$ROOT/slurmctld.pid
SlurmdPidFile=$ROOT/slurmd-%n.pid
SlurmctldLogFile=$ROOT/slurmctld.log
SlurmdLogFile=$ROOT/slurmd-%n.log
SlurmdParameters=config_overrides
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=5
KillWait=3
MinJobAge=600
GresTypes=gpu
${nodes}PartitionName=batch Nodes=${all#,} Default=YES DefaultTime=5 MaxTime=UNLIMITED DefMemPerCPU=500
PartitionName=gpu Nodes=${with_gpus#,} DefaultTime=5 MaxTime=UNLIMITED DefMemPerCPU=500
CONF

export SLURM_CONF=$ROOT/slurm.conf
slurmctld
for node in $NODES; do slurmd -N "${node%%:*}"; done
for _ in $(seq 100); do
  if [ "$(sinfo -h -N -p batch -o %T 2>/dev/null | grep -c '^idle$')" = "$(wc -w <<<"$NODES")" ]; then
    sinfo -N -o '%N %P %T %c %m %G'
    exit 0
  fi
  sleep 0.1
done
sinfo -N || true
fail "not every node is idle after 10 s; see $ROOT/*.log"
