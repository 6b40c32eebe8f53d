# shellcheck shell=bash
# What install.sh and to-board.sh, which have `fail`, read of a robot's files before there is an edge-wm that could.

# The value of a key, one of a pattern, whichever table it stands in, in double or single quotes; nothing if there is none.
value() { # file, key, extended regular expression
  sed -nE "s/#.*//; s/^(.*[[:blank:]{,.])?[\"']?$2[\"']?[[:blank:]]*=[[:blank:]]*[\"']($3)[\"'].*/\2/p" "$1"
}

# The files that a key names, which must lie beside the one that names them, one a line; not those of the board by their whole path.
beside() { # file, key, extended regular expression
  local name
  while read -r name; do
    [[ $name != /* ]] || continue
    name=${name#./}
    [[ $name != */* ]] || fail "$1: $2: $name must lie beside the file"
    [[ -r $(dirname "$1")/$name ]] || fail "$1: $2: there is no $name beside it"
    printf '%s\n' "$name"
  done < <(value "$1" "$2" "$3")
}

# The board file of one's own that a robot file names.
board_beside() { # robot file
  beside "$1" board "[^\"']+[.][a-z]+"
}

# What update.toml names: whom to believe …
public_beside() { # update.toml
  each_beside "$1" trusted_root ca
}

# … and what tells a broker and a rollout server who this robot is; a certificate may have its key with it.
secret_beside() { # update.toml
  each_beside "$1" certificate key password_file token_file
}

each_beside() { # file, keys
  local key
  for key in "${@:2}"; do
    beside "$1" "$key" "[^\"']+"
  done
}
