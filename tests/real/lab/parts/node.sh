# shellcheck shell=bash
# What every node of the lab has: its folder, its namespaces, and its end. Sourced after cgroups.sh and services.sh.

node_folder() { # with the configuration of its programs
  local file
  rm -rf "$STATE/log"
  mkdir -p "$STATE"/{pids,log,keys,cni,config/cni} "$STATE"/lib/{containerd,kubelet,etcd,cni,pv}
  rm -f "$STATE/config/cni/00-multus.conf"
  ln -sf /usr/lib/cni/* "$STATE/cni/" # a folder of the lab, for plug-ins that Debian does not have
  for file in containerd.toml cni/10-lab.conflist kubelet.yaml proxy.yaml Corefile resolv.conf; do
    sed -e "s#@NAME@#$NAME#g" -e "s#@NODE_IP@#$NODE_IP#g" -e "s#@FIRST_IP@#$FIRST_IP#g" -e "s#@HOST_IP@#$HOST_IP#g" \
      -e "s#@POD_RANGE@#$POD_RANGE#g" "config/$file" >"$STATE/config/$file"
  done
}

node_root() { # its namespaces
  setsid unshare --mount --net --pid --fork --kill-child --mount-proc \
    parts/root "$STATE" "$BIN/pause" >"$STATE/log/root.log" 2>&1 </dev/null &
  local pid=$!
  wait_for 5 "start of the root process of $NAME" test -n "$(started $pid)"
  echo "$pid $(started $pid)" >"$STATE/lab.pid"
  wait_for 10 "the mounts and settings of $NAME" inside pgrep -x pause
}

node_routes() { # of its own programs, after those to other nodes
  inside ip route add unreachable default # only the host's address is reachable; anything else fails at once
  # The node's own programs need Services, too: the API server calls webhooks. kube-proxy redirects them.
  inside ip route add "$SERVICE_CIDR" dev eth0
}

node_ready() { kubectl get node "$NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -q True; }

list_programs() {
  local file name
  printf '\n%-24s %6s  %s\n' program MiB "log ($STATE/log)"
  for file in "$STATE"/pids/*; do
    name=$(basename "$file")
    if running "$name"; then
      printf '%-24s %6s  %s\n' "$name" "$(megabytes "$name")" "$name.log"
    else
      printf '%-24s %6s  %s\n' "$name" - "$name.log, not running"
    fi
  done
}

# --- its end

node_stop() { # ends its processes; its store of images stays
  local pid
  pid=$(root_pid) || return 0
  (forget_pods) >"$STATE/log/down.log" 2>&1 &
  wait $! || warn "containerd did not release its pods, so the next start loads the images again: $STATE/log/down.log"
  kill -KILL "$pid"
  wait_for 20 "end of the processes of $NAME" no_root
}

node_clear() { # removes what it created on this host, also after a crash
  wait_for 20 "end of the volumes' loop devices" no_loops
  wait_for 20 "end of the control groups" no_cgroups
  ! grep -F " $STATE/" /proc/self/mountinfo || die "$STATE has mounts; unmount them, then run this again"
  [[ -e $STATE/lib/containerd/clean ]] || rm -rf "$STATE/lib/containerd"
  rm -f "$STATE/lib/containerd/clean"
  rm -rf "$STATE"/{lab.pid,up,pids,keys,config,kubectl,argo.namespace} "$STATE"/lib/{etcd,kubelet,cni,pv}
}

forget_pods() { # so that containerd's store keeps only images
  set -e
  stop kubelet KILL # it would create them again
  inside "$BIN/kube" clear-pods unix:///run/containerd/containerd.sock
  stop containerd
  touch "$STATE/lib/containerd/clean"
}

own_loops() { # the loop devices of our volumes
  local image
  for image in "$STATE"/lib/pv/*.img; do
    [[ ! -e $image ]] || losetup --noheadings --output NAME --associated "$image"
  done
}

loops_over() { # the kubelet adds its own loop device over that of each Block volume
  local inode
  inode=$(stat -c %i "$1")
  losetup --list --noheadings --output NAME,BACK-INO,BACK-MAJ:MIN |
    awk -v inode="$inode" -v dev="$(mountpoint -d /dev)" '$2 == inode && $3 == dev { print $1 }'
}

no_loops() { # detaches them; true if none is left
  local own over
  while read -r own; do
    while read -r over; do losetup --detach "$over" || true; done < <(loops_over "$own")
    losetup --detach "$own" || true
  done < <(own_loops)
  [[ -z $(own_loops) ]]
}

no_root() { ! root_pid; }
