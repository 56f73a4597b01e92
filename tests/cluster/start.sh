#!/usr/bin/env bash
# A real Slurm on this machine: one controller and four nodes, each a slurmd of its own, in a folder
# of their own (root; see install.sh). Jobs are queued, started, limited and killed as on a cluster.
#
# The GPUs are FAKE: device files with the numbers of /dev/null, which Slurm counts, grants and
# withholds like GPUs, and which no program can compute on. Jobs that get one train on the CPU.
# Accounting is off, as on many small clusters: states come from the controller alone. With
# --accounting a slurmdbd keeps them too, in a MariaDB of its own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cluster.conf"

accounting=${1:-}
fail() { echo "error: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "user $(id -un): slurmd starts jobs as their owner; allowed: root"
case "$accounting" in "" | --accounting) ;; *) fail "argument $accounting; allowed: --accounting" ;; esac
needed="munged slurmctld slurmd sinfo"
[ -z "$accounting" ] || needed+=" slurmdbd mariadbd mariadb-install-db mariadb"
for program in $needed; do
  command -v "$program" >/dev/null || fail "$program is not installed; run $here/install.sh"
done
# The plugin drops SLURM_CONF from the environment of job steps: they look here and nowhere else.
if [ -e /etc/slurm/slurm.conf ] && [ "$(readlink /etc/slurm/slurm.conf)" != "$ROOT/slurm.conf" ]; then
  fail "/etc/slurm/slurm.conf is of another Slurm; allowed: a machine without one"
fi
if timeout 60 scontrol ping >/dev/null 2>&1; then
  fail "the cluster already runs; end it with $here/stop.sh"
fi
# The folder of a killed session leads to the daemons that it left: without it nobody finds them.
if [ -e "$ROOT" ]; then "$here/stop.sh"; fi

# A start that fails shows why and leaves nothing behind.
database=""
undo() {
  local status=$?
  [ "$status" = 0 ] && return
  tail -n 20 "$ROOT"/*.log >&2 || true
  # Its pid file may not be written yet.
  if [ -n "$database" ] && kill "$database" 2>/dev/null; then wait "$database" || true; fi
  "$here/stop.sh" >&2
  exit "$status"
}
trap undo EXIT
trap 'exit 130' INT TERM

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

storage="AccountingStorageType=accounting_storage/none"
if [ -n "$accounting" ]; then
  storage="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=17816
AccountingStoragePass=$ROOT/munge/socket"
fi
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
# SlurmdTimeout, cred_expire and KillWait are short, so that faults are noticed in seconds, and long
# enough for daemons that share their processors with other tests.
# Memory is polled, not walled in: a job above its request is killed at the next look.
cat >"$ROOT/slurm.conf" <<CONF
ClusterName=$NAME
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=17817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket,cred_expire=15
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
$storage
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=15
KillWait=10
MinJobAge=600
GresTypes=gpu
${nodes}PartitionName=batch Nodes=${all#,} Default=YES DefaultTime=5 MaxTime=UNLIMITED DefMemPerCPU=500
PartitionName=gpu Nodes=${with_gpus#,} DefaultTime=5 MaxTime=UNLIMITED DefMemPerCPU=500
CONF

export SLURM_CONF=$ROOT/slurm.conf
if [ -n "$accounting" ]; then
  install -d -m 700 "$ROOT/mysql"
  # Readable by its owner alone, as slurmdbd wants it; the database listens on this machine alone.
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  mariadb-install-db --no-defaults --user=root --datadir="$ROOT/mysql" --skip-test-db \
    --auth-root-authentication-method=socket --auth-root-socket-user=root >/dev/null
  mariadbd --no-defaults --user=root --datadir="$ROOT/mysql" --socket="$ROOT/mysql/socket" \
    --bind-address=127.0.0.1 --port=17815 --skip-name-resolve --pid-file="$ROOT/mariadbd.pid" \
    --innodb-lock-wait-timeout=900 >"$ROOT/mariadbd.log" 2>&1 </dev/null &
  database=$!
  sql() { mariadb --no-defaults --socket="$ROOT/mysql/socket" --execute "$1" 2>/dev/null; }
  for _ in $(seq 600); do sql "select 1" >/dev/null && break || sleep 0.1; done
  sql "create database accounting;
    create user slurm@127.0.0.1 identified by '$password';
    grant all on accounting.* to slurm@127.0.0.1" || fail "no MariaDB answers; its log is shown below"
  (
    umask 077
    cat >"$ROOT/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket
DbdHost=$(hostname -s)
DbdAddr=127.0.0.1
DbdPort=17816
SlurmUser=root
LogFile=$ROOT/slurmdbd.log
PidFile=$ROOT/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=17815
StorageUser=slurm
StoragePass=$password
StorageLoc=accounting
CONF
  )
  slurmdbd
  for _ in $(seq 600); do timeout 5 sacctmgr -n list cluster >/dev/null 2>&1 && break || sleep 0.1; done
  # Before slurmctld starts: it looks its cluster up once.
  timeout 60 sacctmgr --immediate --quiet add cluster "$NAME" >/dev/null
  timeout 60 sacctmgr --immediate --quiet add account "$ACCOUNT" >/dev/null
  timeout 60 sacctmgr --immediate --quiet add user root account="$ACCOUNT" >/dev/null
fi
slurmctld
for node in $NODES; do slurmd -N "${node%%:*}"; done
for _ in $(seq 600); do
  if [ "$(sinfo -h -N -p batch -o %T 2>/dev/null | grep -c '^idle$')" = "$(wc -w <<<"$NODES")" ]; then
    sinfo -N -o '%N %P %T %c %m %G'
    exit 0
  fi
  sleep 0.1
done
sinfo -N || true
fail "not every node is idle after a minute; the ends of the logs follow"
