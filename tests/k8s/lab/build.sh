#!/bin/bash
# Real Kubernetes v1.20.2 from Debian bookworm's own source package. Needs: golang-go(1.19) rsync jq make etcd-server containerd runc containernetworking-plugins conntrack iptables ipset socat
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
OUT=$(realpath -m "${1:?usage: build.sh BINDIR WORKDIR}"); W=$(realpath -m "${2:?usage: build.sh BINDIR WORKDIR}")
mkdir -p $W/lists/partial $W/cache/archives/partial $OUT; cd $W
# the machine's own Debian sources, with source packages switched on
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | sed -nE 's/^deb( |\[)/deb-src\1/p' > sources.list
cp /etc/apt/sources.list.d/*.sources . 2>/dev/null && sed -i 's/^Types:.*/Types: deb-src/' *.sources || true
A="-o Dir::Etc::sourcelist=$W/sources.list -o Dir::Etc::sourceparts=$W -o Dir::State::lists=$W/lists -o Dir::Cache=$W/cache"
apt-get $A update -qq; apt-get $A source --download-only -qq kubernetes=1.20.5+really1.20.2-1.1+deb12u1
tar xzf kubernetes_1.20.5+really1.20.2.orig.tar.gz; cd kubernetes-1.20.2
python3 $HERE/reflect2.py vendor/github.com/modern-go/reflect2
printf "KUBE_GIT_COMMIT='debian'\nKUBE_GIT_TREE_STATE='clean'\nKUBE_GIT_VERSION='v1.20.2'\nKUBE_GIT_MAJOR='1'\nKUBE_GIT_MINOR='20'\n" > ../kver
export GOPATH=$PWD/.go GO111MODULE=off GOPROXY=off CGO_ENABLED=0 HOME=$W GOCACHE=$W/gocache KUBE_GIT_VERSION_FILE=$W/kver
mkdir -p .go/src/k8s.io; ln -sfn ../../.. .go/src/k8s.io/kubernetes
make WHAT="cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kubelet cmd/kube-proxy"
cp _output/local/bin/linux/amd64/kube* $OUT/
