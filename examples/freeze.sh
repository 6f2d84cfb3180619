#!/bin/sh
# Freezes the bundled guest with a 1 ms timer while `sldtrace record` watches. Run it as root on a host with
# split-lock detection, or in the lab:
#   python3 -m lab run --fetch /tmp/a.sld --out . -- sh examples/freeze.sh /tmp/a.sld
set -eu
file=$1

show() {
	echo "\$ $*" | sed 's/python3 -m //'
	"$@"
}

echo "host: Linux $(uname -r), kernel.split_lock_mitigate=$(cat /proc/sys/kernel/split_lock_mitigate)"
echo "\$ sldtrace record --output $file &"
python3 -m sldtrace record --output "$file" 2> "$file.log" &
recorder=$!
trap 'kill $recorder 2>/dev/null' EXIT
until grep -q 'recording to' "$file.log"; do
	kill -0 $recorder 2>/dev/null || { cat "$file.log"; exit 1; }
	sleep 0.1
done
cat "$file.log"

show python3 -m sldtrace guest run --timeout 1ms --duration 2s

trap - EXIT
kill -INT $recorder
status=0
wait $recorder || status=$?
tail -n +3 "$file.log"
exit $status
