# In the root file system, as the first process or as a service of systemd: settings, the command, its files, the
# result, power-off.
# The result goes to the second disk, so no output of the command can be taken for it.
bb() { /run/lab/busybox "$@"; }
fail() {
	echo "lab: error: $*"
	bb poweroff -f
}
. /run/lab/settings

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
bb hostname lab
bb ip link set lo up
if [ -n "$LAB_MITIGATE" ]; then
	echo "$LAB_MITIGATE" > /proc/sys/kernel/split_lock_mitigate || fail "this kernel has no split_lock_mitigate"
fi

# No khugepaged: on this slow CPU it runs for 16 ms at a time. A signal that ends a penalty sleep wakes the thread,
# but it then waits for the CPU until the sleep would have ended, as if it had slept to the end.
echo 4294967295 > /sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs 2>/dev/null

bb stty -F /dev/ttyS1 raw || fail "no second serial port"
bb mkfifo /run/lab/output
bb cat /run/lab/output > /dev/ttyS1 &
reader=$!
read -r uptime _ < /proc/uptime
echo "lab: command starts at $uptime"

bb sh /run/lab/run < /dev/null > /run/lab/output 2>&1
status=$?

# A process that outlives the command may hold the pipe. Do not wait for it.
tries=0
while [ -d /proc/$reader ] && ! bb grep -q '^State:.Z' /proc/$reader/status && [ $tries -lt 50 ]; do
	tries=$((tries + 1))
	bb sleep 0.02
done
bb kill $reader 2>/dev/null
wait $reader 2>/dev/null
read -r uptime _ < /proc/uptime
echo "lab: command ended at $uptime"

cd /sldtrace || fail "/sldtrace does not exist"
{
	echo "sldtrace-lab 1"
	echo "status $status"
} > /run/lab/header
set --
while read -r path; do
	if [ -e "$path" ]; then
		set -- "$@" "$path"
		echo "found $path" >> /run/lab/header
	else
		echo "missing $path" >> /run/lab/header
	fi
done < /run/lab/fetch
if [ $# -gt 0 ]; then
	bb tar -c -h -f - "$@" 2>/run/lab/tar.log | bb dd of="$LAB_RESULT" bs=64k seek=1 conv=notrunc 2>/run/lab/dd.log
	bb grep -q 'No space left' /run/lab/dd.log && echo "full" >> /run/lab/header
fi
echo "end" >> /run/lab/header
bb dd if=/run/lab/header of="$LAB_RESULT" bs=64k conv=notrunc,fsync 2>/dev/null || fail "the result cannot be written"
bb poweroff -f
