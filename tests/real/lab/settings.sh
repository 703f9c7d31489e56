# shellcheck shell=bash disable=SC2034  # sourced; used where it is
# Names, addresses and folders of the lab. Set the LAB_ variables to run a second lab in parallel.
LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=$(cd "$LAB/../../.." && pwd)/.cache/lab

NAME=${LAB_NAME:-lab}                     # of the node, the control group and the host's network device
NET=${LAB_NET:-10.199.0}                  # network of the host and the node
POD_CIDR=${LAB_POD_CIDR:-10.244.0.0/16}   # a /16; each node has a half of it
SERVICE_CIDR=${LAB_SERVICE_CIDR:-10.96.0.0/16}
HOST_IP=$NET.1                            # stand-ins on the host listen here; pods reach no other host address
FIRST=$NAME                               # the node with the API server and the name server
FIRST_IP=$NET.2
NODE_IP=$FIRST_IP
POD_RANGE=${POD_CIDR%.*.*}.0.0/17         # of the node's own pods
API_IP=${SERVICE_CIDR%.*}.1               # the Service `kubernetes`
DEVICE=$NAME-host

KUBERNETES=1.34.4
RELEASE_NAMESPACE=${LAB_RELEASE_NAMESPACE:-vmferry}
ARGO=${LAB_ARGO:-${XDG_CACHE_HOME:-$HOME/.cache}/vmferry/argo}
ARGO_PORT=2746
# Programs of the real KubeVirt, which kubevirt/build makes, and of the real CDI and Multus, which you provide.
KUBEVIRT_VERSION=1.8.4
KUBEVIRT=${LAB_KUBEVIRT:-${XDG_CACHE_HOME:-$HOME/.cache}/vmferry/kubevirt}
CDI=${LAB_CDI:-${XDG_CACHE_HOME:-$HOME/.cache}/vmferry/cdi}
MULTUS=${LAB_MULTUS:-${XDG_CACHE_HOME:-$HOME/.cache}/vmferry/multus}

BIN=$CACHE/bin
ARCHIVES=${LAB_ARCHIVES:-$CACHE/images}   # image archives; `up` loads them all
BACKING=$CACHE/backing                    # raw files that classes of driver.longhorn.io name as backingImage
[[ $NAME == lab ]] && SUFFIX='' || SUFFIX=-$NAME
STATE=$CACHE/state$SUFFIX                 # of the running cluster: /run/lab inside; its lib and log are /var/lib, /var/log
KUBECONFIG_FILE=$CACHE/kubeconfig$SUFFIX
FIRST_STATE=$STATE
CGROUPS=/sys/fs/cgroup

export PATH=$BIN:$PATH:/usr/sbin:/sbin
export KUBECONFIG=$KUBECONFIG_FILE
export KUBECACHEDIR=$STATE/kubectl        # not in the home folder
unset KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT

second_node() { # from here on the settings are those of the second node, which `node up` adds
  NAME=$FIRST-2
  NODE_IP=$NET.3
  POD_RANGE=${POD_CIDR%.*.*}.128.0/17
  STATE=$FIRST_STATE/second
}
