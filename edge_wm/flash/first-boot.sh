#!/bin/sh
# Runs on the board, once: what edge-wm flash put on the card becomes an installation that is ready to drive.  The unit that
# runs it tries again until it ends well, also after a power cut.
set -eu
card=$1
folder=$card/edge-wm
state=/var/lib/edge-wm-first-boot
mkdir -p "$state"
cd "$state"
[ ! -e finished ] || exit 0

# Who has no screen and no network finds here what went wrong.
trap 'journalctl --unit edge-wm-first-boot --boot --no-pager >"$folder/first-boot.log" 2>/dev/null || true; sync' EXIT

(cd "$folder" && sha256sum --quiet --check payload.sha256) || {
  echo "error: the payload on the card is damaged: flash it again" >&2
  exit 1
}
rm -rf payload
mkdir payload
tar -xzf "$folder/payload.tar.gz" -C payload --no-same-owner
cd payload

if [ -s wifi ]; then # Raspberry Pi OS keeps the radio off until somebody says in which country it is
  rfkill unblock wifi 2>/dev/null || true
  nmcli radio wifi on 2>/dev/null || true
fi
if [ -s user ]; then
  systemctl enable --now ssh 2>/dev/null || true
fi
if [ ! -e /etc/modules-load.d/edge-wm.conf ]; then
  echo i2c-dev >/etc/modules-load.d/edge-wm.conf
  modprobe i2c-dev 2>/dev/null || true
fi

set -- --yes --start no --board "$(cat board)"
[ ! -e robot.toml ] || set -- "$@" --robot "$PWD/robot.toml"
[ ! -e model ] || set -- "$@" --model "$PWD/model"
[ ! -e updates ] || set -- "$@" --updates "$PWD/updates/update.toml"
bash project/boards/install/install.sh "$@"

if [ -s user ] && getent passwd "$(cat user)" >/dev/null; then
  usermod -aG edge-wm "$(cat user)"
fi
systemctl --quiet enable edge-wm.service

# Passwords do not stay where every computer can read them; cloud-init has done its work, and wants to find some file.
cp after-first-boot "$card/user-data.next"
sync
mv "$card/user-data.next" "$card/user-data"
if [ -s wifi ]; then
  rm -f "$card/network-config"
fi
sync

# Only now may the payload go: a power cut from here on finds an installation that is whole, and one before it finds the payload.
cd "$state"
touch finished
sync
rm -f "$folder/payload.tar.gz" "$folder/payload.sha256"
rm -rf payload
echo "edge-wm is installed"
systemctl start edge-wm.service || echo "it does not start: run  systemctl status edge-wm" >&2
