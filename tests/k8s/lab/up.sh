#!/bin/bash
# usage: up.sh RUNDIR BINDIR IMAGES.tar   -> whole single-node cluster in its own netns + mount ns; prints when Ready
set -eu
export DNS=$(cd "$(dirname "$0")" && pwd)/dns.py
R=$(realpath -m "$1"); export B=$2; IMG=$3; NS=${NS:-k8slab}
mkdir -p $R/{pki,etcd,logs,ctrd,cni,kubelet,fake}; cd $R
ca(){ openssl genrsa -out pki/ca.key 2048; openssl req -x509 -new -nodes -key pki/ca.key -subj /CN=lab-ca -days 3 -out pki/ca.crt; openssl genrsa -out pki/sa.key 2048; }
mk(){ openssl genrsa -out pki/$1.key 2048; openssl req -new -key pki/$1.key -subj "$2" -out pki/$1.csr; printf "subjectAltName=$3\nextendedKeyUsage=serverAuth,clientAuth\n" > pki/$1.ext; openssl x509 -req -in pki/$1.csr -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 3 -extfile pki/$1.ext -out pki/$1.crt; }
{ ca; mk apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:192.0.2.10"
mk admin /O=system:masters/CN=admin DNS:admin; mk kcm /CN=system:kube-controller-manager DNS:kcm; mk sched /CN=system:kube-scheduler DNS:s; mk proxy /CN=system:kube-proxy DNS:p; mk kubelet /O=system:nodes/CN=system:node:vm DNS:vm,IP:127.0.0.1,IP:192.0.2.10; } >/dev/null 2>&1
for u in admin kcm sched proxy kubelet; do printf 'apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: "https://127.0.0.1:6443", certificate-authority: %s/pki/ca.crt}}]\nusers: [{name: u, user: {client-certificate: %s/pki/%s.crt, client-key: %s/pki/%s.key}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n' $R $R $u $R $u > $u.kubeconfig; done
cat > cni/10-bridge.conflist <<J
{"cniVersion":"0.4.0","name":"lab","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,"ipam":{"type":"host-local","dataDir":"$R/ipam","ranges":[[{"subnet":"10.244.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},{"type":"portmap","capabilities":{"portMappings":true}}]}
J
cat > ctrd.toml <<J
version = 2
root = "$R/ctrd/root"
state = "$R/ctrd/state"
[grpc]
  address = "$R/ctrd/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:lab"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$R/cni"
J
cat > kubelet.yaml <<J
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $R/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $R/pki/kubelet.crt
tlsPrivateKeyFile: $R/pki/kubelet.key
cgroupDriver: cgroupfs
failSwapOn: false
oomScoreAdj: 0
clusterDomain: cluster.local
clusterDNS: ["10.244.0.1"]
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
maxPods: 30
J
ip netns add $NS; ip -n $NS link set lo up; ip -n $NS link add node0 type veth peer name node1; ip -n $NS addr add 192.0.2.10/24 dev node0; ip -n $NS link set node0 up; ip -n $NS link set node1 up; ip -n $NS route add default via 192.0.2.1
cat > inner.sh <<'J'
cd $1; mount --make-rprivate /
# kubelet insists on writing kernel sysctls: give it files of its own instead, so the machine's stay as they are
for f in vm/overcommit_memory:1 vm/panic_on_oom:0 kernel/panic:10 kernel/panic_on_oops:1 kernel/keys/root_maxkeys:1000000 kernel/keys/root_maxbytes:25000000; do p=${f%%:*}; n=fake/${p//\//_}; echo ${f##*:} > $n; mount --bind $n /proc/sys/$p; done
mkdir -p /var/lib/cni; mount -t tmpfs tmpfs /var/lib/cni; mount --bind kubelet kubelet; mount --make-rshared kubelet
mkdir -p $1/run-netns; 
echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
st(){ n=$1; shift; nohup "$@" > logs/$n.log 2>&1 & echo $! > $n.pid; }
E=http://127.0.0.1:2379
st etcd etcd --data-dir etcd --unsafe-no-fsync
st ctrd containerd -c ctrd.toml
# Started again where it breaks: one API server of 1.20 built by Go 1.18 or later may (see reflect2.py).
api(){ trap 'kill $P; exit' TERM; while :; do $B/kube-apiserver --etcd-servers=$E --secure-port=6443 --insecure-port=0 --advertise-address=192.0.2.10 --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt --service-account-key-file=pki/sa.key --service-account-signing-key-file=pki/sa.key --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC --allow-privileged=true --kubelet-client-certificate=pki/admin.crt --kubelet-client-key=pki/admin.key --enable-admission-plugins=NodeRestriction --kubelet-preferred-address-types=InternalIP --requestheader-client-ca-file=pki/ca.crt --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- --proxy-client-cert-file=pki/admin.crt --proxy-client-key-file=pki/admin.key & P=$!; wait $P; sleep 1; done; }
api > logs/api.log 2>&1 & echo $! > api.pid
for i in $(seq 240); do curl -s --cacert pki/ca.crt --cert pki/admin.crt --key pki/admin.key https://127.0.0.1:6443/readyz 2>/dev/null | grep -q ^ok && break; sleep .25; done
C="--use-service-account-credentials=true --leader-elect=false --bind-address=127.0.0.1 --port=0"
st kcm $B/kube-controller-manager --kubeconfig=kcm.kubeconfig --service-account-private-key-file=pki/sa.key --root-ca-file=pki/ca.crt --cluster-signing-cert-file=pki/ca.crt --cluster-signing-key-file=pki/ca.key $C --allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16 --service-cluster-ip-range=10.96.0.0/16 --horizontal-pod-autoscaler-sync-period=5s --horizontal-pod-autoscaler-downscale-stabilization=20s
st sched $B/kube-scheduler --kubeconfig=sched.kubeconfig --leader-elect=false --bind-address=127.0.0.1 --port=0
st kubelet $B/kubelet --config=kubelet.yaml --kubeconfig=kubelet.kubeconfig --hostname-override=vm --node-ip=192.0.2.10 --root-dir=$1/kubelet --cert-dir=$1/pki/kl --container-runtime=remote --container-runtime-endpoint=unix://$1/ctrd/c.sock --image-service-endpoint=unix://$1/ctrd/c.sock
st proxy $B/kube-proxy --kubeconfig=proxy.kubeconfig --hostname-override=vm --cluster-cidr=10.244.0.0/16 --proxy-mode=iptables --metrics-bind-address=127.0.0.1:10249 --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
st dns python3 $DNS $1
echo up > upok; sleep infinity
J
nohup nsenter --net=/run/netns/$NS unshare -m bash inner.sh $R > logs/inner.log 2>&1 & echo $! > inner.pid
for i in $(seq 100); do [ -S ctrd/c.sock ] && break; sleep .1; done
ctr -a ctrd/c.sock -n k8s.io images import $IMG >/dev/null
k(){ nsenter --net=/run/netns/$NS kubectl --kubeconfig $R/admin.kubeconfig "$@"; }
for i in $(seq 300); do k get nodes 2>/dev/null | grep -qw Ready && break; sleep .3; done; k get nodes
