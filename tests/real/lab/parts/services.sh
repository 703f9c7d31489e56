# shellcheck shell=bash
# The programs of a node: their command lines, start and stop. Paths are those inside the lab.

command_of() { # command_of NAME: sets `argv`
  case $1 in
  containerd) argv=(containerd --config /run/lab/config/containerd.toml) ;;
  etcd) argv=("$BIN/kube" etcd /var/lib/etcd) ;;
  kube-apiserver)
    # Harvester's and KubeVirt's CRDs need a heap of 1 GB; Go's default garbage collection would use a tenth of the CPU.
    argv=(env GOGC=400 GOMEMLIMIT=3GiB "$BIN/kube" kube-apiserver --etcd-servers=http://127.0.0.1:2379
      --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$NODE_IP"
      --tls-cert-file=/run/lab/keys/apiserver.crt --tls-private-key-file=/run/lab/keys/apiserver.key
      --token-auth-file=/run/lab/keys/tokens.csv --authorization-mode="Node,RBAC"
      --enable-admission-plugins=NodeRestriction --allow-privileged=true
      --service-cluster-ip-range="$SERVICE_CIDR"
      --service-account-issuer=https://kubernetes.default.svc.cluster.local
      --service-account-key-file=/run/lab/keys/accounts.pub --service-account-signing-key-file=/run/lab/keys/accounts.key
      --kubelet-client-certificate=/run/lab/keys/kubelet-client.crt --kubelet-client-key=/run/lab/keys/kubelet-client.key
      --kubelet-preferred-address-types=InternalIP
      # For aggregated APIs, such as the one of KubeVirt: the API server calls them with this certificate.
      --requestheader-client-ca-file=/run/lab/keys/ca.crt --requestheader-allowed-names=front-proxy
      --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
      --requestheader-extra-headers-prefix=X-Remote-Extra-
      --proxy-client-cert-file=/run/lab/keys/front-proxy.crt --proxy-client-key-file=/run/lab/keys/front-proxy.key
      --enable-priority-and-fairness=false --profiling=false)
    ;;
  kube-controller-manager)
    argv=("$BIN/kube" kube-controller-manager --kubeconfig="/run/lab/keys/$1.kubeconfig"
      --authentication-skip-lookup=true --secure-port=0 --leader-elect=false --profiling=false
      --use-service-account-credentials=true --service-account-private-key-file=/run/lab/keys/accounts.key
      --root-ca-file=/run/lab/keys/ca.crt --flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins
      --controllers='*,-nodeipam,-cloud-node-lifecycle,-node-route-controller,-service-lb-controller'
      --pvclaimbinder-sync-period=5s
      --kube-api-qps=200 --kube-api-burst=400) # deleting a namespace takes two requests for each of some 150 kinds
    ;;
  kube-scheduler)
    argv=("$BIN/kube" kube-scheduler --kubeconfig="/run/lab/keys/$1.kubeconfig"
      --authentication-skip-lookup=true --secure-port=0 --leader-elect=false --profiling=false)
    ;;
  kubelet)
    argv=("$BIN/kube" kubelet --config=/run/lab/config/kubelet.yaml --kubeconfig="/run/lab/keys/$1.kubeconfig"
      --hostname-override="$NAME" --node-ip="$NODE_IP")
    ;;
  kube-proxy) argv=("$BIN/kube" kube-proxy --config=/run/lab/config/proxy.yaml) ;;
  coredns) argv=("$BIN/coredns" -conf /run/lab/config/Corefile) ;;
  policies) argv=("$BIN/policies" /run/lab/keys/admin.kubeconfig "$NAME" "$SERVICE_CIDR") ;;
  provisioner) argv=("$BIN/kube" provisioner /run/lab/keys/admin.kubeconfig /var/lib/pv "$BACKING" "$NAME" "$FIRST") ;;
  argo-controller)
    argv=(env ARGO_PROGRESS_PATCH_TICK_DURATION=10s DEFAULT_REQUEUE_TIME=2s LEADER_ELECTION_DISABLE=true
      "$ARGO/workflow-controller" --kubeconfig=/run/lab/keys/argo.kubeconfig --namespace=argo
      --executor-image="lab.local/argoexec:1" --executor-image-pull-policy=IfNotPresent
      --namespaced --managed-namespace="$(cat "$STATE/argo.namespace")")
    ;;
  argo-server)
    argv=("$ARGO/argo" server --kubeconfig=/run/lab/keys/argo.kubeconfig --namespace=argo --auth-mode=client --secure=false
      --port="$ARGO_PORT" --namespaced --managed-namespace="$(cat "$STATE/argo.namespace")")
    ;;
  *) die "unknown program: $1" ;;
  esac
}

start() { # in the background; its process id, as seen inside, is in $STATE/pids
  local argv
  command_of "$1"
  # shellcheck disable=SC2016  # expanded inside
  inside setsid --fork bash -c 'name=$1; shift; echo $$ >"/run/lab/pids/$name"; exec "$@" >>"/var/log/$name.log" 2>&1' \
    - "$1" "${argv[@]}" </dev/null
}

running() { # running NAME
  local pid
  pid=$(cat "$STATE/pids/$1" 2>/dev/null) && inside kill -0 "$pid" 2>/dev/null
}
gone() { ! running "$1"; }

stop() { # stop NAME [SIGNAL]: kills it if it has not ended after a while (an API server waits a minute for its watchers)
  local pid left=50
  running "$1" || return 0
  pid=$(cat "$STATE/pids/$1")
  inside kill -s "${2:-TERM}" "$pid"
  while running "$1" && ((left-- > 0)); do sleep 0.1; done
  ! running "$1" || inside kill -s KILL "$pid"
  wait_for 20 "end of $1" gone "$1"
}

megabytes() { # megabytes NAME: resident memory
  inside sed -n 's/^VmRSS:\s*\([0-9]*\) kB/\1/p' "/proc/$(cat "$STATE/pids/$1")/status" | awk '{print int($1 / 1024)}'
}
