# shellcheck shell=bash
# Sourced by the proofs, after the lab's settings.sh and lib.sh.

# see TITLE COMMAND...: checks that it succeeds, prints the duration
see() {
  local title=$1 began=${EPOCHREALTIME/./} out
  shift
  out=$("$@" 2>&1) || die "NOT $title: $* printed: $out"
  out=${out##*$'\n'}
  printf '%6s s  %s%s\n' "$(since "$began")" "$title" "${out:+ [${out:0:100}]}"
}

# refused WORDS COMMAND...: checks that it fails and prints those words
refused() {
  local words=$1 out
  shift
  ! out=$("$@" 2>&1) || { echo "it succeeded: $out"; return 1; }
  grep -F -- "$words" <<<"$out"
}

k() { kubectl --namespace "$NAMESPACE" "$@"; }

new_namespace() { # it enforces Pod Security `restricted` and is deleted at the end
  NAMESPACE=proof-$RANDOM
  kubectl create namespace "$NAMESPACE" >/dev/null
  trap 'kubectl delete namespace "$NAMESPACE" --wait=false >/dev/null' EXIT
  kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted >/dev/null
  wait_for 20 account k get serviceaccount default
}
