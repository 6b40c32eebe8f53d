#!/usr/bin/env bash
# Brings edge-wm and what belongs to one robot to a board that has booted, over SSH, and runs install.sh there: for a Jetson, whose
# image can be given nothing, and for any other board with a login.
set -euo pipefail

usage() {
  cat <<'END'
usage: boards/install/to-board.sh [USER@]HOST [options]

  --robot FILE      the robot file; default: the simulated robot
  --updates FILE    update.toml of the robot, with its trusted_root beside it; default: no updates
  --model DIR       a bundle to drive by; default: the shipped one
  --bundle DIR      of make offline-bundle; default: what this lies in; of a clone the board fetches its packages
END
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
there=edge-wm-install # in the home of whoever logs in
host='' robot='' updates='' model='' bundle=''

while (($# > 0)); do
  case $1 in
  --robot | --updates | --model | --bundle)
    (($# >= 2)) || fail "$1 needs a value (see --help)"
    printf -v "${1#--}" '%s' "$2"
    shift
    ;;
  -h | --help)
    usage
    exit 0
    ;;
  -*) fail "no option $1 (see --help)" ;;
  *)
    [[ -z $host ]] || fail "one board at a time: $host, and not $1, too"
    host=$1
    ;;
  esac
  shift
done

# shellcheck source=/dev/null # beside this file
source "$(dirname "${BASH_SOURCE[0]}")/toml.sh"

bring() { # file, folder, name
  [[ -r $1 ]] || fail "$1: there is no such file"
  mkdir -p "$2"
  cp "$1" "$2/$3"
}

# With the files beside it that it names.
bring_named() { # file, folder; their names on standard input
  local named
  while read -r named; do
    cp "$(dirname "$1")/$named" "$2/$named"
  done
}

[[ ! -d $top/wheels ]] || bundle=${bundle:-$top} # this lies in one
[[ -n $host ]] || fail "which board? name it as for ssh, such as rover@192.168.1.7 (see --help)"
[[ -n $bundle || -r $top/pyproject.toml ]] || fail "this is no clone: name an offline bundle with  --bundle DIR"
[[ -z $bundle || -r $bundle/SHA256SUMS && -x $bundle/boards/install/install.sh ]] ||
  fail "$bundle: is no offline bundle: make one with  make offline-bundle BOARD=jetson-orin-nano"
[[ -z $model || -r $model/manifest.json ]] || fail "$model: there is no bundle"
[[ -z $model || -z $updates ]] || fail "--model: updates choose the model: name one of the two"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
words=(--yes)
if [[ -n $robot ]]; then
  bring "$robot" "$stage/robot" robot.toml
  board_beside "$robot" | bring_named "$robot" "$stage/robot"
  words+=(--robot "$there/robot/robot.toml")
else
  words+=(--robot sim)
fi
if [[ -n $updates ]]; then
  bring "$updates" "$stage/updates" update.toml
  { public_beside "$updates" && secret_beside "$updates"; } | bring_named "$updates" "$stage/updates"
  words+=(--updates "$there/updates/update.toml")
fi
if [[ -n $model ]]; then
  ln -s "$(realpath "$model")" "$stage/model"
  words+=(--model "$there/model")
fi
if [[ -n $bundle ]]; then
  ln -s "$(realpath "$bundle")" "$stage/project"
else
  mkdir "$stage/project"
  for part in pyproject.toml README.md LICENSE NOTICE requirements edge_wm firmware_bridge export boards models; do
    ln -s "$top/$part" "$stage/project/$part"
  done
fi

ssh -o ConnectTimeout=20 "$host" true || fail "$host: no login there: try  ssh $host"
echo "bringing it to $host"
# shellcheck disable=SC2029 # the folder's name is ours
tar -C "$stage" --dereference --exclude=__pycache__ -czf - . |
  ssh "$host" "rm -rf $there && mkdir $there && tar -C $there -xzf -" ||
  fail "$host: it did not arrive whole: is there room?  Run this again"
# With a terminal: sudo may ask for the password.
# shellcheck disable=SC2029 # all of them are ours
ssh -t "$host" "sudo $there/project/boards/install/install.sh ${words[*]}"
