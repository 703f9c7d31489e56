# shellcheck shell=bash
# The pods' own branch of the host's control groups, for v1 and v2; v2 has not been tested.

make_cgroups() {
  local folder
  if [[ -e $CGROUPS/cgroup.controllers ]]; then
    mkdir -p "$CGROUPS/$NAME"
    for folder in "$CGROUPS" "$CGROUPS/$NAME"; do
      echo '+cpu +cpuset +memory +pids +io' >"$folder/cgroup.subtree_control"
    done
    weigh "$CGROUPS/$NAME/cpu.weight" 800
    return
  fi
  for folder in "$CGROUPS"/{cpu,cpuacct,cpuset,memory,devices,freezer,blkio,pids,systemd}; do
    [[ -d $folder ]] || continue
    mkdir -p "$folder/$NAME"
    [[ ! -e $folder/cpuset.cpus ]] || copy_cpuset "$folder"
  done
  weigh "$CGROUPS/cpu/$NAME/cpu.shares" 8192
}

weigh() { # weigh FILE WEIGHT: all pods share one group, and would only get the share of one program on a busy host
  [[ ! -w $1 ]] || echo "$2" >"$1"
}

copy_cpuset() { # v1 starts with an empty one
  cat "$1/cpuset.cpus" >"$1/$NAME/cpuset.cpus"
  cat "$1/cpuset.mems" >"$1/$NAME/cpuset.mems"
}

cgroups() { find "$CGROUPS" -mindepth 1 -maxdepth 2 -type d -name "$NAME"; }

no_cgroups() { # removes them; true if none is left
  local folder
  while read -r folder; do
    find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done < <(cgroups)
  [[ -z $(cgroups) ]]
}
