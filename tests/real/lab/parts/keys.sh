# shellcheck shell=bash
# Keys, tokens and kubeconfigs, created at each start of a node.

make_keys() { # make_keys FOLDER: of the cluster, and of the first node
  (
    umask 077
    mkdir -p "$1"
    cd "$1"
    key ca && openssl req -x509 -new -key ca.key -subj "/CN=$NAME" -days 3650 -out ca.crt
    certificate apiserver /CN=kube-apiserver \
      "subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,$(
      )DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$NODE_IP,IP:$API_IP"
    certificate kubelet-client /O=system:masters/CN=kube-apiserver extendedKeyUsage=clientAuth
    certificate front-proxy /CN=front-proxy extendedKeyUsage=clientAuth
    key accounts && openssl pkey -in accounts.key -pubout -out accounts.pub
    tokens >tokens.csv
    kubeconfig system:kube-controller-manager https://127.0.0.1:6443 lab >kube-controller-manager.kubeconfig
    kubeconfig system:kube-scheduler https://127.0.0.1:6443 lab >kube-scheduler.kubeconfig
    node_kubeconfigs https://127.0.0.1:6443
    kubeconfig admin "https://$NODE_IP:6443" lab >"$KUBECONFIG_FILE"
  ) 2>"$STATE/log/keys.log" || die "cannot create the keys; check $STATE/log/keys.log"
}

second_keys() { # second_keys FOLDER: what the second node needs of them
  (
    umask 077
    mkdir -p "$1"
    cd "$1"
    cp "$FIRST_STATE"/keys/{ca.crt,tokens.csv} .
    node_kubeconfigs "https://$FIRST_IP:6443"
  )
}

node_kubeconfigs() { # node_kubeconfigs SERVER: of the programs that every node has
  kubeconfig admin "$1" admin >admin.kubeconfig
  kubeconfig system:kube-proxy "$1" lab >kube-proxy.kubeconfig
  kubeconfig "system:node:$NAME" "$1" lab >kubelet.kubeconfig
}

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

certificate() { # certificate NAME SUBJECT EXTENSION
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile <(echo "$3") -out "$1.crt"
}

tokens() { # token, user, uid, groups: the API server's static token file, which it reads only once
  local line
  for line in 'admin,admin,"system:masters"' 'system:kube-controller-manager,kcm,' 'system:kube-scheduler,scheduler,' \
    'system:kube-proxy,proxy,"system:node-proxier"' "system:node:$NAME,kubelet,\"system:nodes\"" "system:node:$NAME-2,kubelet-2,\"system:nodes\""; do
    echo "$(openssl rand -hex 16),$line"
  done
}

kubeconfig() { # kubeconfig USER SERVER NAME [TOKEN]
  local token=${4:-}
  [[ -n $token ]] || token=$(grep -F ",$1," tokens.csv | cut -d, -f1)
  cat <<END
apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: lab, cluster: {server: "$2", certificate-authority-data: "$(base64 -w0 ca.crt)"}}]
users: [{name: lab, user: {token: "$token"}}]
contexts: [{name: lab, context: {cluster: lab, user: lab, namespace: default}}]
END
}
