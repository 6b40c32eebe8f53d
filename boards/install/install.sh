#!/usr/bin/env bash
# Puts edge-wm on a booted board, from a clone or an offline bundle: docs/install.md.  Run it again after a change, or when it
# was interrupted: what is in order already stays as it is.
set -euo pipefail

usage() {
  cat <<'END'
usage: sudo boards/install/install.sh [options]

It asks three questions; these answer them beforehand:
  --robot FILE|sim      the robot file; sim: the simulated robot
  --updates FILE|none   update.toml of the robot; the files that it names lie beside it
  --start yes|no        whether the robot is ready to drive whenever the board has booted
  --model DIR           a bundle of your own, to drive by in place of the shipped one; with updates it is update.toml that names it
  --yes                 the usual answer to what is not answered: what /etc/edge-wm has, and start as before; at first sim, none, yes

  --board NAME          not the board that is recognised
  --governor NAME       set the processor's frequency at boot, such as: performance
  --root DIR            into the tree of an image, not into this system; needs --board
  --dry-run             say what would be done
  --uninstall           take it away; /etc/edge-wm and /var/lib/edge-wm stay
  --purge               with --uninstall: these, and the user, too
END
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

say() { printf '%s\n' "$*"; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null # beside this file
source "$here/toml.sh"
top=$(cd "$here/../.." && pwd)
opt=/opt/edge-wm
watchdog=/etc/systemd/system.conf.d/edge-wm.conf
etc=/etc/edge-wm
state=/var/lib/edge-wm
models=$state/installed
packaged_root=root.json
user=edge-wm
extras=serial,i2c,update,fleet
robot='' camera='' updates='' start='' model='' assume_yes='' board='' governor='' root='' dry='' uninstall='' purge=''
changed=''

while (($# > 0)); do
  case $1 in
  --robot | --updates | --start | --model | --board | --governor | --root)
    (($# >= 2)) || fail "$1 needs a value (see --help)"
    printf -v "${1#--}" '%s' "$2"
    shift
    ;;
  --yes) assume_yes=1 ;;
  --dry-run) dry=1 ;;
  --uninstall) uninstall=1 ;;
  --purge) purge=1 ;;
  -h | --help)
    usage
    exit 0
    ;;
  *) fail "no option $1 (see --help)" ;;
  esac
  shift
done
root=${root%/}

# --- doing, or saying what would be done -------------------------------------------------------------------------------

# In the tree that is installed into.  Programs there find /proc, which ONNX Runtime for Python 3.10 cannot do without; nobody else
# sees it mounted, and it goes with them.  A container that may not mount does without.
inside() {
  local words=(env LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive)
  [[ -z $root ]] || words+=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root)
  if [[ -z $root ]]; then
    "${words[@]}" "$@"
  elif unshare --mount true 2>/dev/null; then
    # shellcheck disable=SC2016 # of the inner shell
    unshare --mount sh -c 'mount --bind /proc "$0/proc" 2>/dev/null; exec chroot "$0" "$@"' "$root" "${words[@]}" "$@"
  else
    chroot "$root" "${words[@]}" "$@"
  fi
}

# Inside, unless this is a dry run.
act() {
  if [[ -n $dry ]]; then
    say "would run: $*"
  else
    inside "$@"
  fi
}

# Standard input becomes a file, if it is not that already.
put() { # path, mode
  local wanted
  wanted=$(mktemp)
  cat >"$wanted"
  if ! cmp -s "$wanted" "$root$1"; then
    changed=1
    if [[ -n $dry ]]; then
      say "would write: $1"
    else
      install -D -m "$2" "$wanted" "$root$1.unfinished"
      mv -T "$root$1.unfinished" "$root$1"
      say "wrote $1"
    fi
  fi
  rm -f "$wanted"
}

take_away() { # paths
  local path
  for path in "$@"; do
    [[ -e $root$path || -L $root$path ]] || continue
    if [[ -n $dry ]]; then
      say "would remove: $path"
    else
      rm -rf "$root$path" # all of them are ours, and none is a parameter
      say "removed $path"
    fi
  done
}
# --- what must hold before anything changes -----------------------------------------------------------------------------

check_machine() {
  local version bits
  [[ -n $dry || $EUID -eq 0 ]] || fail "this changes the system: run it with sudo"
  if [[ -n $root ]]; then
    [[ -x $root/bin/sh ]] || fail "$root: holds no Linux: name the mounted tree of an image"
    inside true 2>/dev/null || fail "$root: its programs do not run here: for another processor install qemu-user-static"
    [[ -n $board || -n $uninstall ]] || fail "--root: name the board with --board: this machine is another one"
  fi
  inside sh -c 'command -v systemctl' >/dev/null || fail "there is no systemd here: docs/install.md says how to do without"
  [[ -n $root || -n $dry || -d /run/systemd/system ]] || fail "systemd does not run here: boot the board first, or name its tree with --root"
  [[ -z $uninstall ]] || return 0
  inside sh -c 'command -v apt-get' >/dev/null || fail "there is no apt-get here: Debian, Raspberry Pi OS, Ubuntu or JetPack is needed"
  bits=$(inside getconf LONG_BIT)
  [[ $bits == 64 ]] || fail "the system is $bits-bit and a 64-bit one is needed: on a Raspberry Pi install the 64-bit Raspberry Pi OS"
  version=$(inside python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || fail "there is no python3 here: run  apt-get install python3"
  case $version in
  3.10 | 3.11 | 3.12 | 3.13) ;;
  *) fail "Python 3.10 to 3.13 is needed and python3 is $version: install another release of the system" ;;
  esac
  [[ -n $dry || -w $root/etc ]] || fail "$root/etc cannot be written: is the disk read-only?"
}

# By the board's file, or that of any computer of its kind while nobody has said which it is.
check_space() {
  local needed free files=("$top/boards/${board:-generic-$(uname -m | tr _ -)}.toml")
  [[ ! -e $root$venv/complete ]] || return 0
  [[ -r ${files[0]} ]] || fail "there is no board file for a computer of this kind, $(uname -m): x86_64 or aarch64 is needed"
  [[ $robot != sim ]] || files+=("$top/boards/sim.toml")
  needed=$(sed -n 's/^disk_mb *= *\([0-9]*\).*/\1/p' "${files[@]}" | sort -n | tail -n 1)
  free=$(df -Pk "$root/opt" 2>/dev/null || df -Pk "$root/")
  free=$(($(printf '%s\n' "$free" | awk 'END { print $4 }') / 1024))
  ((free >= needed)) || fail "$free MB are free in $root/opt and $needed MB are needed: make room first"
}

# What the robot's camera and bridge need of edge-wm.
check_files() {
  if [[ $robot != sim ]]; then
    [[ -r $robot ]] || fail "$robot: there is no such robot file"
    camera=$(value "$robot" kind 'picamera2|v4l2|gstreamer|files')
    [[ -n $camera || -z $(value "$robot" kind real) ]] ||
      fail "$robot: sensors.camera.kind: is none of picamera2, v4l2, gstreamer and files"
    [[ -z $(value "$robot" kind mavlink) ]] || extras+=,mavlink
    board_beside "$robot" >/dev/null
  else
    camera=sim
  fi
  case $camera in
  sim) extras+=,sim ;;
  v4l2) extras+=,jpeg ;;
  files)
    extras+=,camera
    [[ ! -d $top/wheels ]] || compgen -G "$top/wheels/imageio_ffmpeg-*" >/dev/null ||
      fail "$robot: pictures in place of a camera need ffmpeg, which is not in this bundle: make it with  make offline-bundle BOARD=… ARGS=--sim"
    ;;
  esac
  if [[ -n $model ]]; then
    [[ -r $model/manifest.json ]] || fail "$model: there is no bundle"
    [[ $updates == none ]] || fail "--model: updates choose the model: name yours in update.toml, factory = \"DIR\""
  fi
  if [[ $updates != none ]]; then
    [[ -r $updates ]] || fail "$updates: there is no such update.toml"
    public_beside "$updates" >/dev/null
    secret_beside "$updates" >/dev/null
    [[ -n $(value "$updates" trusted_root "[^\"']+") || -r $top/$packaged_root || -r $root$etc/$packaged_root ]] ||
      fail "$updates: trusted_root: is missing, and this package brings none: put the repository's metadata/1.root.json beside the file, and name it"
    named=$(value "$updates" robot "[^\"']+")
    [[ -z $named || $robot != sim && ${named#"$etc/"} == robot.toml ]] ||
      fail "$updates: robot: leave it out: models are proven for the robot that drives, which is $etc/robot.toml"
  fi
  [[ $start == yes || $start == no ]] || fail "--start: $start is neither yes nor no"
  [[ -z $board || -r $top/boards/$board.toml ]] || fail "--board: there is no $board in $top/boards"
  case $governor in
  '' | performance | schedutil | ondemand | powersave) ;;
  *) fail "--governor: no governor $governor: performance, schedutil, ondemand or powersave" ;;
  esac
}

# --- three questions ---------------------------------------------------------------------------------------------------

ask() { # question, usual answer
  local answer
  if [[ -n $assume_yes ]]; then
    answer=$2
  elif [[ -t 0 ]]; then
    read -r -p "$1 [$2] " answer
  elif [[ -n $dry ]]; then
    answer=$2
  else
    fail "nobody is there to ask: say --yes, or --robot, --updates and --start"
  fi
  printf '%s' "${answer:-$2}"
}

ask_questions() {
  local usual_robot=sim usual_updates=none usual_start=yes
  [[ ! -e $root$etc/robot.toml ]] || usual_robot=$root$etc/robot.toml
  [[ ! -e $root$etc/update.toml ]] || usual_updates=$root$etc/update.toml
  [[ ! -e $root$etc/drive.toml || $(is_enabled edge-wm.service) != disabled ]] || usual_start=no
  [[ -n $robot ]] || robot=$(ask 'Robot file, or sim for the simulated robot?' "$usual_robot")
  [[ -n $updates ]] || updates=$(ask 'update.toml for models over the air, or none?' "$usual_updates")
  [[ -n $start ]] || start=$(ask 'Ready to drive whenever the board has booted, yes or no?' "$usual_start")
}

# --- the steps ---------------------------------------------------------------------------------------------------------

install_packages() { # packages
  local package missing=()
  for package in "$@"; do
    # shellcheck disable=SC2016 # dpkg's own
    inside dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  ((${#missing[@]} > 0)) || return 0
  [[ ! -d $top/wheels ]] || say "the bundle holds no Debian packages: these come from the network or a local mirror"
  act apt-get --quiet=2 update || fail "no package lists: is there a network?  Missing: ${missing[*]}"
  act apt-get --quiet=2 --yes --no-install-recommends install "${missing[@]}" || fail "cannot be installed: ${missing[*]}"
}

# Of what is installed: a change of it is another environment.
fingerprint() {
  local what=(pyproject.toml requirements/test.txt edge_wm firmware_bridge export boards models)
  [[ ! -d $top/wheels ]] || what=(wheels requirements/test.txt)
  {
    (cd "$top" && find "${what[@]}" -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    printf '%s %s %s\n' "$extras" "$board" "$(inside python3 --version)"
  } | sha256sum | cut -c-12
}

# Packages, extras, groups and whether the system's Python packages are wanted, from the board's file: one line each.
board_facts() { # Python of the environment
  inside "$1" -I -B -m edge_wm.install_facts "$board" "$camera"
}

# A whole environment under a name of its own, beside the one that is used.
install_environment() {
  local pip source facts parts more
  if [[ -e $root$venv/complete ]]; then
    facts=$(board_facts "$venv/bin/python")
  elif [[ -n $dry ]]; then
    say "would make: $venv with edge-wm[$extras], and install what the board's file names"
    facts=$'?\n\n\n\n\n'
  else
    say "installing edge-wm[$extras] into $venv"
    rm -rf "$root$venv"
    mkdir -p "$root$opt"
    inside python3 -m venv "$venv"
    pip=("$venv/bin/python" -m pip --quiet --disable-pip-version-check --no-cache-dir install)
    source=$top
    if [[ -n $root ]]; then # what is outside cannot be seen from within
      source=$opt/source
      rm -rf "$root$source"
      mkdir -p "$root$source"
      parts=(pyproject.toml README.md LICENSE NOTICE requirements edge_wm firmware_bridge export boards models)
      [[ ! -d $top/wheels ]] || parts=(requirements wheels)
      tar -C "$top" --exclude=__pycache__ -cf - "${parts[@]}" | tar -C "$root$source" -xf -
    fi
    pip+=(--constraint "$source/requirements/test.txt")
    if [[ -d $top/wheels ]]; then
      pip+=(--no-index --find-links "$source/wheels")
      source=edge-wm
    fi
    inside "${pip[@]}" "${source}[$extras]"
    facts=$(board_facts "$venv/bin/python")
    more=$(sed -n 3p <<<"$facts")
    [[ -z $more ]] || inside "${pip[@]}" "edge-wm[$more]"
    rm -rf "$root$opt/source"
  fi
  board_name=$(sed -n 1p <<<"$facts")
  groups=$(sed -n 4p <<<"$facts")
  cores=$(sed -n 6p <<<"$facts")
  # shellcheck disable=SC2046 # words
  install_packages $(sed -n 2p <<<"$facts")
  [[ -z $dry && ! -e $root$venv/complete ]] || return 0
  if [[ -n $(sed -n 5p <<<"$facts") ]]; then # picamera2 and its like come from Debian
    sed -i 's/^include-system-site-packages = .*/include-system-site-packages = true/' "$root$venv/pyvenv.cfg"
  fi
  touch "$root$venv/complete"
  changed=1
}

# One link says which of several is used, and is another one in one step: an interruption leaves the old one.
lead() { # link, name of what lies beside it
  [[ $(readlink "$root$1" 2>/dev/null) != "$2" ]] || return 0
  changed=1
  if [[ -n $dry ]]; then
    say "would link: $1 to $2"
  else
    ln -sfn "$2" "$root$1.next"
    mv -T "$root$1.next" "$root$1"
  fi
}

make_user() {
  put /etc/sysusers.d/edge-wm.conf 644 <"$here/sysusers.conf"
  if ! inside getent passwd "$user" >/dev/null || ! inside getent group i2c gpio >/dev/null; then
    act systemd-sysusers edge-wm.conf
  fi
  [[ -d $root$state ]] || act install -d -o "$user" -g "$user" "$state"
}

# A bundle of the person's, under the name of what is in it; only one that fits the robot, and that this machine computes as it
# should, is used.
install_model() {
  local name said drives=$etc/robot.toml
  [[ $robot != sim ]] || drives=sim
  [[ -n $model ]] || return 0
  name=$(cd "$model" && find -L . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c-12)
  if [[ ! -d $root$models/$name ]]; then
    if [[ -n $dry ]]; then
      say "would verify $model, and copy it to $models/$name"
    else
      rm -rf "$root$models/unfinished"
      mkdir -p "$root$models/unfinished"
      cp -RL "$model/." "$root$models/unfinished"
      chmod -R u=rwX,go=rX "$root$models"
      said=$(inside "$venv/bin/python" -I -B -m edge_wm.install_model "$models/unfinished" "$drives") || {
        rm -rf "$root$models/unfinished"
        said=${said:-its check crashed, for the reason above}
        fail "$model: ${said//$models\/unfinished/$model}; it is not used, and what drove before drives on"
      }
      mv -T "$root$models/unfinished" "$root$models/$name"
      say "wrote $models/$name"
    fi
  fi
  lead "$models/model" "$name"
}

# Not before what used them has been started anew.
remove_old() {
  local old
  for old in "$root$opt"/venv-*; do
    [[ ! -d $old || $old == "$root$venv" ]] || act rm -rf "${old#"$root"}"
  done
  for old in "$root$models"/*; do
    [[ ! -d $old || $old -ef $root$models/model ]] || act rm -rf "${old#"$root"}"
  done
}

install_configuration() {
  local lines=$'# What edge-wm serve drives: every key is explained in edge_wm/drive/service_file.py.\n'
  # shellcheck disable=SC2086 # words
  join_groups "$user" dialout video render i2c gpio $groups
  [[ -z ${SUDO_USER:-} || -n $root ]] || join_groups "$SUDO_USER" "$user"

  if [[ $robot != sim ]]; then
    copy_once "$robot" robot.toml 644
    copy_named "$robot" < <(board_beside "$robot")
    lines+=$'robot = "robot.toml"\n'
  fi
  if [[ $updates != none ]]; then
    copy_once "$updates" update.toml 644
    copy_named "$updates" < <(public_beside "$updates")
    [[ -n $(value "$updates" trusted_root "[^\"']+") || ! -r $top/$packaged_root ]] || copy_once "$top/$packaged_root" $packaged_root 644
    copy_named "$updates" secret < <(secret_beside "$updates")
    lines+=$'updates = "update.toml"\n'
  fi
  install_model
  [[ -z $model ]] || lines+="model = \"$models/model\""$'\n'
  if [[ $robot == sim ]]; then
    lines+=$'\n[mission] # of the simulated robot: generated worlds, driven through once\nworlds = [0, 1, 2, 3, 4]\n'
  else
    lines+=$'\n# [mission]\n# goals = [[1.0, 0.0], [0.0, 0.0]] # metres from where it stood when it was started, x ahead\n# repeat = true\n'
  fi
  lines+=$'\n# [realtime] # docs/install.md\n# fifo = 40\n# lock_memory = true\n'"# cores = [${cores:-3}]"
  if [[ -e $root$etc/drive.toml ]]; then
    say "$etc/drive.toml stays as it is"
    [[ -z $model ]] || grep -q "^ *model *= *\"$models/model\"" "$root$etc/drive.toml" ||
      say "note: it does not name your model yet: write into it  model = \"$models/model\""
  else
    put "$etc/drive.toml" 644 <<<"$lines"
  fi
}

join_groups() { # user, groups
  local who=$1 group
  shift
  for group in "$@"; do
    inside getent group "$group" >/dev/null || continue
    inside id -nG "$who" 2>/dev/null | tr ' ' '\n' | grep -qx "$group" || act usermod -aG "$group" "$who"
  done
}

# A file of the person's, which may have been changed on the robot since, for instance by calibration.
copy_once() { # file, name, mode
  [[ -r $1 ]] || fail "$1: there is no such file"
  if [[ ! -e $root$etc/$2 ]]; then
    put "$etc/$2" "$3" <"$1"
  elif ! cmp -s "$1" "$root$etc/$2"; then
    say "note: $etc/$2 stays as it is, and differs from $1"
  fi
}

# The files beside another one whose names are read; what is secret is for the service alone.
copy_named() { # file, nothing or secret
  local name
  while read -r name; do
    copy_once "$(dirname "$1")/$name" "$name" "$([[ -z ${2:-} ]] && echo 644 || echo 640)"
    [[ -z ${2:-} || $(inside stat -c %G "$etc/$name" 2>/dev/null) == "$user" ]] || act chgrp "$user" "$etc/$name"
  done
}

install_units() {
  local unit
  for unit in edge-wm.service edge-wm-update.service; do
    put "/etc/systemd/system/$unit" 644 <"$here/$unit"
  done
  put /etc/systemd/system/edge-wm-update.timer 644 < <(update_timer)
  put /etc/udev/rules.d/60-edge-wm.rules 644 <"$here/60-edge-wm.rules"
  if [[ -n $governor ]]; then
    put /etc/tmpfiles.d/edge-wm.conf 644 <<<"w /sys/devices/system/cpu/cpufreq/policy*/scaling_governor - - - - $governor"
    [[ -n $root ]] || act systemd-tmpfiles --create edge-wm.conf
  fi
  [[ -L $root/usr/local/bin/edge-wm ]] || act ln -sf "$opt/venv/bin/edge-wm" /usr/local/bin/edge-wm
  enable edge-wm.service "$start"
  enable edge-wm-update.timer "$([[ $updates == none ]] && echo no || echo yes)"
}

# The timer looks as often as update.toml says.
update_timer() {
  local file=$root$etc/update.toml every_s=''
  [[ -e $file ]] || file=$updates
  [[ $file == none ]] || every_s=$(sed -n 's/^ *every_h *= *\([0-9][0-9.]*\).*/\1/p' "$file" | awk '{ s = $1 * 3600; printf "%d", s < 60 ? 60 : s }')
  if [[ -n $every_s ]]; then # robots of a fleet spread over a sixth of it, as in the unit
    sed "s/^OnUnitInactiveSec=.*/OnUnitInactiveSec=${every_s}s/; s/^RandomizedDelaySec=.*/RandomizedDelaySec=$((every_s / 6))s/" "$here/edge-wm-update.timer"
  else
    cat "$here/edge-wm-update.timer"
  fi
}

# A kernel that hangs feeds nothing, and the hardware resets the board.  Nobody is hurt by a simulated robot; and a watchdog that
# somebody feeds already is in order.
set_watchdog() {
  local before=$changed
  [[ $robot != sim && -e $root/dev/watchdog ]] || return 0
  [[ -e $root$watchdog ]] || ! grep -qsx active "$root"/sys/class/watchdog/watchdog*/state || return 0
  changed=''
  put "$watchdog" 644 <"$here/watchdog.conf"
  [[ -z $changed || -n $root ]] || act systemctl daemon-reexec
  changed=$changed$before
}

is_enabled() { # unit
  inside systemctl is-enabled "$1" 2>/dev/null || true
}

enable() { # unit, yes or no
  local is
  is=$(is_enabled "$1")
  if [[ $2 == yes && $is != enabled ]]; then
    act systemctl --quiet enable "$1"
  elif [[ $2 == no && $is == enabled ]]; then
    act systemctl --quiet disable "$1"
  fi
}

start_now() {
  local verb=start
  # Not only after a change: perhaps it was interrupted right here.
  if [[ -n $changed || $(cat "$opt/started" 2>/dev/null) != "$venv" ]]; then
    verb=restart # it brakes first
    act systemctl daemon-reload
    act udevadm control --reload
    act udevadm trigger --subsystem-match=i2c-dev --subsystem-match=gpio
    # Whoever started them: what they run from is removed next.  The timer looks for a model again.
    act systemctl stop edge-wm-update.service
    [[ $start == yes ]] || act systemctl try-restart edge-wm.service || fail "it does not start: run  systemctl status edge-wm"
  fi
  [[ $updates == none ]] || act systemctl "$verb" edge-wm-update.timer
  if [[ $start == yes ]]; then
    act systemctl "$verb" edge-wm.service || fail "it does not start: run  systemctl status edge-wm"
  fi
  [[ $verb == start ]] || put "$opt/started" 644 <<<"$venv"
}

has_mission() {
  if [[ -e $root$etc/drive.toml ]]; then
    grep -q '^ *\[mission\]' "$root$etc/drive.toml"
  else
    [[ $robot == sim ]]
  fi
}

# A command that works now.  Whoever was put into the group is in it from the next login on, and "go" is refused while a mission
# is under way.
what_next() {
  if [[ $start != yes ]]; then
    say "sudo systemctl start edge-wm"
  elif has_mission; then
    say "systemctl status edge-wm says how its mission goes"
  else
    say "it is ready: sudo edge-wm go 1,0 --from-here"
  fi
}

remove_everything() {
  local unit
  for unit in edge-wm-update.timer edge-wm-update.service edge-wm.service; do
    [[ -e $root/etc/systemd/system/$unit ]] || continue
    [[ -n $root ]] || act systemctl --quiet stop "$unit"
    act systemctl --quiet disable "$unit"
  done
  take_away /etc/systemd/system/edge-wm{.service,-update.service,-update.timer} \
    /etc/udev/rules.d/60-edge-wm.rules /etc/sysusers.d/edge-wm.conf /etc/tmpfiles.d/edge-wm.conf \
    /etc/modules-load.d/edge-wm.conf "$watchdog" /usr/local/bin/edge-wm "$opt"
  [[ -n $root ]] || act systemctl daemon-reload
  if [[ -n $purge ]]; then
    take_away "$etc" "$state" /etc/systemd/system/edge-wm{,-update}.service.d
    ! inside getent passwd "$user" >/dev/null || act userdel "$user"
    ! inside getent group "$user" >/dev/null || act groupdel "$user"
  else
    say "$etc, $state and what systemctl edit made stay: --purge removes them, too"
  fi
  say "edge-wm is removed; Debian packages stay"
}

# --- from here on --------------------------------------------------------------------------------------------------------

check_machine
if [[ -n $uninstall ]]; then
  remove_everything
  exit 0
fi
[[ -z $purge ]] || fail "--purge goes with --uninstall"
if [[ -d $top/wheels ]]; then
  (cd "$top" && sha256sum --quiet --check SHA256SUMS) || fail "$top: the bundle is damaged: copy it again"
fi
ask_questions
check_files
venv=$opt/venv-$(fingerprint)
check_space

board_name='' groups='' cores=''
install_packages python3-venv
install_environment
make_user
install_configuration
lead "$opt/venv" "$(basename "$venv")"
install_units
set_watchdog
[[ -n $root ]] || start_now
remove_old

next=$(what_next)
if [[ -n $dry ]]; then
  say "and then: $next"
elif [[ -z $changed ]]; then
  say "edge-wm was installed already ($board_name): nothing changed"
elif [[ -n $root ]]; then
  say "edge-wm is installed in $root ($board_name); when it has booted: $next"
else
  say "edge-wm is installed ($board_name): $next"
fi
