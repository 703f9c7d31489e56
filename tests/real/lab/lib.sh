# shellcheck shell=bash
# Shared by the lab's commands; sourced after settings.sh.

say() { printf '\033[2m%s\033[0m\n' "lab: $*"; }
warn() { printf '\033[33m%s\033[0m\n' "lab: $*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# locked ARGUMENT...: restarts the calling command with the lab's lock; its child processes do not inherit the lock
locked() {
  [[ ${LAB_LOCKED:-} != "$CACHE" ]] || return 0
  mkdir -p "$CACHE"
  LAB_LOCKED=$CACHE exec flock --close "$CACHE/lock" "$LAB/${0##*/}" "$@"
}

since() { # since MICROSECONDS: the seconds since then, such as 1.2
  local tenths=$(((${EPOCHREALTIME/./} - $1) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# step TITLE COMMAND...: quiet, prints the duration; shows the output if it fails
step() {
  local title=$1 began=${EPOCHREALTIME/./} log status=0
  shift
  mkdir -p "$CACHE"
  log=$(mktemp "$CACHE/log.XXXXXX")
  say "$title ..."
  # not `if command`: that would disable set -e inside it
  set +e
  (set -e; "$@") >"$log" 2>&1
  status=$?
  set -e
  if ((status != 0)); then
    tail -n 30 "$log" >&2
    die "$title failed; the whole output is in $log"
  fi
  rm -f "$log"
  say "$title: $(since "$began") s"
}

# make_file FILE HASH TITLE COMMAND...: a step; skipped if it made that file from the same inputs
make_file() {
  local file=$1 stamp=$CACHE/done/${1##*/} hash=$2
  shift 2
  [[ ! -e $file || $(cat "$stamp" 2>/dev/null) != "$hash" ]] || return 0
  mkdir -p "${stamp%/*}" "${file%/*}"
  step "$@"
  printf %s "$hash" >"$stamp"
}

missing() { # missing FILE: the Debian packages of this list that are not installed
  local name
  while read -r name; do
    dpkg-query -W -f='${Status}\n' "$name" 2>/dev/null | grep -q 'install ok installed' || echo "$name"
  done < <(grep -v '^#' "$1")
}

install_packages() { # keeps Debian packages from starting services
  local guard=/usr/sbin/policy-rc.d made='' status=0
  [[ -e $guard ]] || { printf '#!/bin/sh\nexit 101\n' >"$guard" && chmod +x "$guard" && made=yes; }
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } || status=$?
  [[ -z $made ]] || rm -f "$guard"
  return $status
}

packages() { # packages FILE: installs what is missing of this list
  local names
  mapfile -t names < <(missing "$1")
  ((${#names[@]} > 0)) || return 0
  [[ $(id -u) == 0 ]] || die "Debian packages are missing; as root, run: apt-get install -y ${names[*]}"
  step "installing ${names[*]}" install_packages "${names[@]}"
}

hash_of() { # hash_of FILE...: of names and contents
  (cd "$LAB" && sha256sum "$@") | sha256sum | cut -d' ' -f1
}

# wait_for SECONDS WHAT COMMAND...: checks ten times a second
wait_for() {
  local limit=$1 what=$2 deadline=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS <= deadline)) || die "$what: not ready within $limit s; check the logs in $STATE/log"
    sleep 0.1
  done
}

# The lab is one process tree, rooted in `unshare`. $STATE/lab.pid holds its process id and start time, because the id
# may have been reused. When the root dies, the kernel ends all processes of the lab.
started() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }

root_pid() { # prints the process id while the lab runs
  local pid when
  read -r pid when 2>/dev/null <"$STATE/lab.pid" || return 1
  [[ -n $when && $(started "$pid") == "$when" ]] && readlink "/proc/$pid/exe" >/dev/null && echo "$pid"
}

inside() { # inside COMMAND...: runs it in the lab's namespaces
  local pid
  pid=$(root_pid) || die "the lab is not up; start it with tests/real/lab/up"
  nsenter --mount="/proc/$pid/ns/mnt" --net="/proc/$pid/ns/net" --pid="/proc/$pid/ns/pid_for_children" -- "$@"
}

host_has() { # host_has ADDRESS: whether the host itself has it
  ip -o -4 address show | grep -qF " $1/"
}

load_image() { # load_image ARCHIVE: into each running node of the lab, unless the node already has it
  local node STATE=$STATE
  for node in "$STATE" "$STATE/second"; do
    STATE=$node
    ! root_pid >/dev/null || load_here "$1"
  done
}

load_here() { # load_here ARCHIVE: into the node of $STATE
  local stamp
  stamp=$STATE/lib/containerd/loaded.$(basename "$1")
  [[ ! $stamp -nt $1 ]] || ! node_has_image "$1" || return 0
  # If an image replaces another one, containerd's garbage collector may delete a layer of the old one that is just in
  # use for unpacking ("parent snapshot … does not exist", seen). A second import creates it again.
  inside ctr -n k8s.io images import - <"$1" >/dev/null || inside ctr -n k8s.io images import - <"$1" >/dev/null
  touch "$stamp"
}

node_has_image() { # node_has_image ARCHIVE: in $STATE. If the disk is full, the kubelet deletes images, also that of pods
  local name names
  name=$(tar -xOf "$1" manifest.json | sed 's/.*"RepoTags":\["\([^"]*\)".*/\1/')
  names=$(inside ctr -n k8s.io images ls -q)
  [[ $'\n'$names$'\n' == *$'\n'$name$'\n'* ]]
}
