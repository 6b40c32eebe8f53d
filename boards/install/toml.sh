# shellcheck shell=bash
# What install.sh and to-board.sh, which have `fail`, read of a robot's files before there is an edge-wm that could.

# The value of a key, one of a pattern, whichever table it stands in, in double or single quotes; nothing if there is none.
value() { # file, key, extended regular expression
  sed -nE "s/#.*//; s/^(.*[[:blank:]{,.])?[\"']?$2[\"']?[[:blank:]]*=[[:blank:]]*[\"']($3)[\"'].*/\2/p" "$1"
}

# The name of the file that a key names, which must lie beside the one that names it; nothing if it names none, or one of the
# board by its whole path.
beside() { # file, key
  local name
  name=$(value "$1" "$2" "[^\"']+[.][a-z]+")
  [[ $name != /* ]] || return 0
  name=${name#./}
  [[ $name != */* ]] || fail "$1: $2: $name must lie beside the file"
  [[ -z $name || -r $(dirname "$1")/$name ]] || fail "$1: $2: there is no $name beside it"
  printf '%s' "$name"
}
