#!/bin/sh
# Debian packages, installed if this is root's shell; otherwise named, so that the user can install them.
if ! command -v dpkg-query >/dev/null; then
    echo "This system has no Debian packages; the counterparts of these are needed: $*" >&2
    exit 0
fi
present=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package} ${Provides}\n' | sed -n 's/^[ih]i //p' | tr -s ', ' '\n')
missing=""
for package in "$@"; do
    echo "$present" | grep -qx -- "$package" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "These packages are needed. Install them, then run make again:" >&2
    echo "    sudo apt-get install$missing" >&2
    exit 1
fi
echo "Installing Debian packages:$missing" >&2
apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
