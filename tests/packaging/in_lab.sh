#!/bin/sh
# Runs in the lab's machine: the package from its installation to its removal, with a recording of a frozen guest.
# usage: in_lab.sh PACKAGE FOLDER; judged outside, by what is in FOLDER.
set -eu
unset PYTHONPATH
package=$1 out=$2
mkdir -p "$out"
cd /

files() {
	find / -xdev \( -path /tmp -o -path /var/log -o -path /var/lib/dpkg -o -path /sldtrace \) -prune -o -print | sort
}

files >"$out/before"
# The machine's root file system does not have zstandard, without which chunks are compressed by zlib.
/usr/bin/dpkg --ignore-depends=python3-zstandard --install "$package"
cp /usr/lib/systemd/system/sldtrace.service "$out"
sldtrace record --output "$out/incident.sld" -- \
	sldtrace guest run split-bts --duration 2s --timeout 1ms
sldtrace report --brief "$out/incident.sld" >"$out/report"
/usr/bin/dpkg --purge sldtrace
files >"$out/after"
