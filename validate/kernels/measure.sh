#!/usr/bin/env bash
# Measures this machine's GPU in calls of at most ten minutes each: measure.sh OUT [check|measure|replay|all] …
# Needs the CUDA Toolkit and CMake alone; `measure.sh --help` says more.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: validate/kernels/measure.sh OUT [CALL] [RECORDING.npy…]

Builds moesim-bench for this machine's GPU and writes what it measures to the folder OUT. CALL is one of

  check    build, check every kernel on small shapes, then measure the ceilings and the launch overhead
  measure  as many cases as fit into ten minutes, the most valuable first
  replay   the recordings (or drawn routing), rank by rank
  all      the three, one after the other (default)

Environment: BUDGET (seconds of one call, 570), COMMIT (noted in the files; default: what git says), BUILD (the build
folder; default: build/kernels). Only new files are written: a second `measure` into the same OUT goes on where the
first ended; `check` and `replay` refuse an OUT that holds theirs already.
TEXT
}

say() { printf 'measure.sh: %s\n' "$*" >&2; }

[[ $# -gt 0 && $1 != -h && $1 != --help ]] || {
  usage
  exit 0
}
out=$1
call=${2:-all}
shift $(($# < 2 ? $# : 2))
recordings=("$@")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${BUILD:-$root/build/kernels}
budget=${BUDGET:-570}
began=$SECONDS
commit=${COMMIT:-$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)}

case $call in check | measure | replay | all) ;; *)
  usage >&2
  say "unknown call \"$call\""
  exit 2
  ;;
esac
for recording in "${recordings[@]}"; do
  [[ -f $recording ]] || {
    say "$recording: expected a file, found none"
    exit 2
  }
done
mkdir -p "$out"

# 80, 90, 100 …; what nvidia-smi says, else the H100's and H200's.
architecture() {
  local found
  found=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ') || true
  [[ $found =~ ^[0-9]+$ ]] || found=90
  printf '%s' "$found"
}

# Folders of NVIDIA's Python packages, which carry cuBLAS and NCCL where the toolkit does not.
package_folders() {
  python3 - 2>/dev/null <<'PYTHON' || true
import glob, os, sysconfig
folders = glob.glob(os.path.join(sysconfig.get_paths()["purelib"], "nvidia", "*"))
print(";".join(sorted(f for f in folders if os.path.isdir(os.path.join(f, "lib")))), end="")
PYTHON
}

build_program() {
  command -v nvcc >/dev/null || PATH=/usr/local/cuda/bin:$PATH
  local generator=()
  if command -v ninja >/dev/null && [[ ! -e $build/CMakeCache.txt ]]; then
    generator=(-G Ninja)
  fi
  if ! { cmake -S "$here" -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DMOESIM_CUDA_ARCHITECTURES="$(architecture)" \
    -DMOESIM_CUDA_HINTS="$(package_folders)" && cmake --build "$build" -j "$(nproc)"; } >"$out/build.log" 2>&1; then
    tail -n 40 "$out/build.log" >&2
    say "the build failed; all of it is in $out/build.log"
    exit 3
  fi
  say "built in $((SECONDS - began)) s for sm_$(architecture)"
}

# bench NAME ARGUMENT…: one run of the program, its log beside its measurements. Wrong results and skipped cases stand in
# the file; they do not end the call.
bench() {
  local name=$1 status=0
  shift
  say "$name"
  "$build/moesim-bench" --commit "$commit" --out "$out/$name.json" "$@" 2>&1 | tee "$out/$name.log" >&2 || status=$?
  [[ $status -le 1 ]] || {
    say "$name ended with code $status"
    return "$status"
  }
  worst=$((status > worst ? status : worst))
}

# What is left of the call's budget, at least five seconds.
left() {
  local seconds=$((budget - (SECONDS - began)))
  printf '%d' $((seconds > 5 ? seconds : 5))
}

worst=0
build_program
if [[ $call == check || $call == all ]]; then
  bench check --check
  bench ceilings --only hbm --only launch --only 'gemm/bfloat16/m8192_n8192' --only 'gemm/fp8/m8192_n8192' \
    --budget "$(left)"
fi
if [[ $call == measure || $call == all ]]; then
  [[ $call == measure ]] || began=$SECONDS
  # Goes on where earlier calls ended. A fault inside a kernel ends the program: begin again without that case.
  part=1
  without=()
  while true; do
    while [[ -e $out/kernels-$part.json ]]; do
      without+=(--without "$out/kernels-$part.json")
      part=$((part + 1))
    done
    status=0
    bench "kernels-$part" --budget "$(left)" "${without[@]}" || status=$?
    [[ $status == 3 && $(left) -gt 30 && $part -lt 6 ]] || break
  done
  [[ $status == 0 ]] || exit "$status"
fi
if [[ $call == replay || $call == all ]]; then
  [[ $call == replay ]] || began=$SECONDS
  if [[ ${#recordings[@]} == 0 ]]; then
    bench replay --only replay --budget "$(left)"
  else
    share=$(($(left) / ${#recordings[@]}))
    for recording in "${recordings[@]}"; do
      name=$(basename "$recording" .npy)
      bench "replay-$name" --only replay --routing "$recording" --budget "$share"
    done
  fi
fi
say "done in $((SECONDS - began)) s; exit code $worst"
exit "$worst"
