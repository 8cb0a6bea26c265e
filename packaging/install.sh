#!/bin/sh
# Installs what lies beside it. By itself the command line for you alone, below ~/.local, without root.
set -eu
# Whatever shell this comes from: readable by all, written by its owner alone.
umask 022

usage() {
  cat <<'END'
usage: ./install.sh [--prefix FOLDER]    keyman for you: FOLDER/lib/keyman, FOLDER/bin/keyman (by itself ~/.local)
       ./install.sh --system             as root: keyman, keyman-agent and keyman-server in /usr/local,
                                         on Linux with units of systemd; nothing is started
       ./install.sh --uninstall [--prefix FOLDER | --system]
Again over an older version: an upgrade.
END
}

fail() {
  echo "install.sh: error: $1" >&2
  [ $# -lt 2 ] || echo "install.sh: hint: $2" >&2
  exit 1
}

here=$(cd "$(dirname "$0")" && pwd -P)
action=install
system=no
prefix=
while [ $# -gt 0 ]; do
  case $1 in
    --prefix)
      [ $# -gt 1 ] || fail '--prefix wants a folder'
      prefix=$2
      shift
      ;;
    --system) system=yes ;;
    --uninstall) action=uninstall ;;
    --help | -h)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done

if [ $system = yes ]; then
  [ -z "$prefix" ] || fail '--system goes to /usr/local: it takes no --prefix'
  [ "$(id -u)" = 0 ] || fail '--system wants root' "sudo $0 --system, or without --system for you alone"
  [ ! -e /usr/lib/keyman ] || fail 'KeyMan is installed from a Debian package here' 'upgrade or remove that: apt-get remove keyman-runtime'
  prefix=/usr/local
  programs='keyman keyman-agent keyman-server'
else
  if [ -z "$prefix" ]; then
    [ -n "${HOME:-}" ] || fail 'HOME is not set' 'say where: --prefix FOLDER'
    # With sudo -E root would leave files in somebody's home that they can't change.
    # shellcheck disable=SC2012
    [ "$(ls -ldn "$HOME" | awk '{ print $3 }')" = "$(id -u)" ] ||
      fail "$HOME belongs to somebody else" 'run it as who will use it, without sudo; for everybody on this machine: --system'
    prefix=$HOME/.local
  fi
  case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
  programs=keyman
fi
lib=$prefix/lib/keyman

# Only what an install.sh of ours left is replaced or removed.
[ ! -e "$lib" ] || [ -f "$lib/RELEASE" ] || fail "$lib is not KeyMan's" 'move it away, or choose another --prefix'
for program in $programs; do
  link=$prefix/bin/$program
  if [ -e "$link" ] || [ -L "$link" ]; then
    [ "$(readlink "$link" || true)" = "../lib/keyman/bin/$program" ] ||
      fail "$link is there, and not from here" 'move it away, or choose another --prefix'
  fi
done

uninstall() {
  [ -e "$lib" ] || fail "there is no KeyMan in $lib"
  if [ $system = yes ]; then
    for state in /var/lib/keyman-agent/agent.json /var/lib/keyman-agent.leaving; do
      [ ! -e $state ] || fail "this host has joined, and sshd reads the agent's files" 'first: keyman-agent leave'
    done
    if [ -d /run/systemd/system ]; then
      for unit in keyman-agent keyman-server; do
        [ ! -e /etc/systemd/system/$unit.service ] || systemctl disable --now $unit.service
      done
    fi
    rm -f /etc/systemd/system/keyman-agent.service /etc/systemd/system/keyman-server.service
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
    for left in /etc/keyman /var/lib/keyman; do
      [ ! -e $left ] || echo "$left stays: it is for you to say whether anybody still needs it"
    done
  elif grep -qs 'keyman/ssh_config' "${HOME:-/nonexistent}/.ssh/config"; then
    fail 'plain ssh still asks keyman for your hosts' 'first: keyman logout; keyman ssh config --remove'
  fi
  for program in $programs; do rm -f "$prefix/bin/$program"; done
  rm -rf "$lib"
  echo "KeyMan is gone from $prefix."
}

install_programs() {
  read -r _ platform <"$here/RELEASE"
  case $(uname -s)-$(uname -m) in
    Linux-x86_64) machine=linux-x64 ;;
    Linux-aarch64 | Linux-arm64) machine=linux-arm64 ;;
    Darwin-arm64) machine=darwin-arm64 ;;
    Darwin-x86_64) machine=darwin-x64 ;;
    *) machine=$(uname -s)-$(uname -m) ;;
  esac
  [ "$machine" = "$platform" ] || fail "this is for $platform, and the machine is $machine"
  [ "$here" != "$lib" ] || fail 'this is what is installed already' 'unpack the tarball of another version, and run its install.sh'
  if ! said=$("$here/dist/node" --version 2>&1); then
    fail "the packaged Node does not start: $said" \
      'it wants glibc 2.28 or newer and libatomic (Debian, Ubuntu: apt-get install libatomic1; Fedora and its kin: dnf install libatomic)'
  fi
  mkdir -p "$prefix/lib" "$prefix/bin" || fail "$prefix can not be written to" 'choose another --prefix'
  # Beside its place first, so that what runs meanwhile finds the old folder or the new one, whole.
  rm -rf "$lib.new" "$lib.old"
  cp -R "$here" "$lib.new" || fail "there is no room for $lib, or it can not be written to"
  [ $system = no ] || chown -R 0:0 "$lib.new"
  chmod -R u+rwX,go+rX,go-w "$lib.new"
  [ ! -e "$lib" ] || mv "$lib" "$lib.old"
  mv "$lib.new" "$lib"
  rm -rf "$lib.old"
  for program in $programs; do ln -sf "../lib/keyman/bin/$program" "$prefix/bin/$program"; done
}

install_units() {
  if ! id keyman-server >/dev/null 2>&1; then
    useradd --system --user-group --home-dir /var/lib/keyman --no-create-home --shell /usr/sbin/nologin \
      --comment 'KeyMan server' keyman-server
  fi
  [ -e /var/lib/keyman ] || install -d -m 0700 -o keyman-server -g keyman-server /var/lib/keyman
  mkdir -p /etc/keyman
  [ -e /etc/keyman/server.toml ] || cp "$lib/packaging/server.toml" /etc/keyman/server.toml
  if [ -d /etc/systemd/system ]; then
    for unit in keyman-agent keyman-server; do
      sed -e 's|/usr/bin/keyman|/usr/local/bin/keyman|' -e 's|/usr/lib/keyman|/usr/local/lib/keyman|' \
        "$lib/packaging/systemd/$unit.service" >/etc/systemd/system/$unit.service
    done
  fi
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl try-restart keyman-agent.service keyman-server.service
  fi
}

if [ $action = uninstall ]; then
  uninstall
  exit 0
fi
install_programs
if [ $system = yes ] && [ "$(uname -s)" = Linux ]; then install_units; fi
for program in $programs; do "$prefix/bin/$program" --version; done
case :$PATH: in
  *:"$prefix/bin":*) ;;
  *) echo "$prefix/bin is not in your PATH. For this shell:  PATH=\"$prefix/bin:\$PATH\"" ;;
esac
where=
[ $system = no ] || where=' --system'
[ $system = yes ] || [ "$prefix" = "${HOME:-}/.local" ] || where=" --prefix $prefix"
echo "To undo: $lib/install.sh --uninstall$where"
