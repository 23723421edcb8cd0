#!/bin/bash
# usage: down.sh RUNDIR ; stops only what up.sh started, by pid
R=$1; NS=${NS:-k8slab}; cd $R || exit 0
nsenter --net=/run/netns/$NS kubectl --kubeconfig $R/admin.kubeconfig delete pods -A --all --grace-period=1 --timeout=40s >/dev/null 2>&1
for p in dns proxy kubelet sched kcm api etcd; do [ -f $p.pid ] && kill $(cat $p.pid) 2>/dev/null; done
for t in $(ctr -a ctrd/c.sock -n k8s.io tasks ls -q 2>/dev/null); do ctr -a ctrd/c.sock -n k8s.io tasks kill -s SIGKILL $t >/dev/null 2>&1; ctr -a ctrd/c.sock -n k8s.io tasks rm -f $t >/dev/null 2>&1; done
[ -f ctrd.pid ] && kill $(cat ctrd.pid) 2>/dev/null; sleep 1
for d in /proc/[0-9]*; do c=$(tr '\0' ' ' 2>/dev/null < $d/cmdline) || continue; case "$c" in *containerd-shim*"-address $R/ctrd/c.sock"*) kill ${d#/proc/};; esac; done 2>/dev/null
M=$(cat inner.pid); for c in $(ps -o pid= --ppid $M); do kill $c; done 2>/dev/null; kill $M 2>/dev/null; sleep 1
ip netns del $NS
for f in /run/netns/cni-*; do [ -e "$f" ] && ! mountpoint -q $f && rm -f $f; done
for h in cpu cpuacct cpuset memory devices freezer blkio pids systemd unified; do for g in kubepods k8s.io; do [ -d /sys/fs/cgroup/$h/$g ] && find /sys/fs/cgroup/$h/$g -depth -type d -exec rmdir {} + 2>/dev/null; done; done
rm -rf $R
