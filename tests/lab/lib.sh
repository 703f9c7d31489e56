# shellcheck shell=bash
# What the lab's commands share; sourced after settings.sh.

say() { printf '\033[2m%s\033[0m\n' "lab: $*"; }
warn() { printf '\033[33m%s\033[0m\n' "lab: $*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# locked ARGUMENT...: starts the calling command again with the lab's lock held; what it starts does not inherit that
locked() {
  [[ ${LAB_LOCKED:-} != "$CACHE" ]] || return 0
  mkdir -p "$CACHE"
  LAB_LOCKED=$CACHE exec flock --close "$CACHE/lock" "$LAB/${0##*/}" "$@"
}

since() { # since MICROSECONDS: the seconds from then to now, as 1.2
  local tenths=$(((${EPOCHREALTIME/./} - $1) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# step TITLE COMMAND...: quiet, with the time it took; its output is shown when it fails
step() {
  local title=$1 began=${EPOCHREALTIME/./} log status=0
  shift
  mkdir -p "$CACHE"
  log=$(mktemp "$CACHE/log.XXXXXX")
  say "$title ..."
  # not `if command`: that would switch set -e off inside it
  set +e
  (set -e; "$@") >"$log" 2>&1
  status=$?
  set -e
  if ((status != 0)); then
    tail -n 30 "$log" >&2
    die "$title failed; its whole output is in $log"
  fi
  rm -f "$log"
  say "$title: $(since "$began") s"
}

# make_file FILE HASH TITLE COMMAND...: a step, left out when it made that file from the same inputs
make_file() {
  local file=$1 stamp=$CACHE/done/${1##*/} hash=$2
  shift 2
  [[ ! -e $file || $(cat "$stamp" 2>/dev/null) != "$hash" ]] || return 0
  mkdir -p "${stamp%/*}" "${file%/*}"
  step "$@"
  printf %s "$hash" >"$stamp"
}

hash_of() { # hash_of FILE...: of names and contents
  (cd "$LAB" && sha256sum "$@") | sha256sum | cut -d' ' -f1
}

# wait_for SECONDS WHAT COMMAND...: looks ten times a second
wait_for() {
  local limit=$1 what=$2 deadline=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS <= deadline)) || die "$what: not in $limit s; see the logs in $STATE/log"
    sleep 0.1
  done
}

# The lab is one process tree, rooted in `unshare`; $STATE/lab.pid holds its number and when it started, as the
# machine may have given the number to another since. When the root dies, the kernel ends all that is in the lab.
started() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }

root_pid() { # prints the number while the lab lives
  local pid when
  read -r pid when 2>/dev/null <"$STATE/lab.pid" || return 1
  [[ -n $when && $(started "$pid") == "$when" ]] && readlink "/proc/$pid/exe" >/dev/null && echo "$pid"
}

inside() { # inside COMMAND...: runs it in the lab's processes, mounts and network
  local pid
  pid=$(root_pid) || die "the lab is not up; start it with tests/lab/up"
  nsenter --mount="/proc/$pid/ns/mnt" --net="/proc/$pid/ns/net" --pid="/proc/$pid/ns/pid_for_children" -- "$@"
}

host_has() { # host_has ADDRESS: whether the host itself bears it
  ip -o -4 address show | grep -qF " $1/"
}

load_image() { # load_image ARCHIVE: into the running lab, unless it holds these bytes
  local stamp
  stamp=$STATE/lib/containerd/loaded.$(basename "$1")
  [[ ! $stamp -nt $1 ]] || return 0
  # An image that replaces one leaves that one's layers to containerd's garbage collector, which may take one that is
  # just being unpacked upon ("parent snapshot … does not exist", seen): once more, and it is made anew.
  inside ctr -n k8s.io images import - <"$1" >/dev/null || inside ctr -n k8s.io images import - <"$1" >/dev/null
  touch "$stamp"
}
