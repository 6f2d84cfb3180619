#!/bin/busybox sh
# First process of the machine: loads modules, mounts the root file system, copies the job into it, runs it there.
# lab/machine.py reads lines "lab: ..." on the console.
/bin/busybox mkdir -p /proc /sys /dev /new
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
bb() { /bin/busybox "$@"; }

while read -r module; do
	bb insmod "/modules/$module.ko" || echo "lab: error: module $module does not load"
done < /modules/order

# Disks get their names in the order in which they are found; their place on the bus is fixed.
disk() { for path in /sys/bus/scsi/devices/*:0:"$1":0/block/*; do [ -b "/dev/${path##*/}" ] && echo "/dev/${path##*/}"; done; }
tries=0
until root=$(disk 0) && result=$(disk 1) && [ -n "$root" ] && [ -n "$result" ]; do
	tries=$((tries + 1))
	[ $tries -gt 500 ] && { echo "lab: error: the disks did not appear"; bb poweroff -f; }
	bb sleep 0.02
done
bb mount -t ext4 -o noatime "$root" /new || { echo "lab: error: no root file system"; bb poweroff -f; }

bb mount -t proc proc /new/proc
bb mount -t sysfs sys /new/sys
bb mount -t devtmpfs dev /new/dev
bb mkdir -p /new/dev/pts /new/dev/shm
bb mount -t devpts devpts /new/dev/pts
bb mount -t tmpfs shm /new/dev/shm
bb mount -t tmpfs tmp /new/tmp
bb chmod 1777 /new/tmp /new/dev/shm
bb mount -t tmpfs run /new/run
bb mount -t debugfs debugfs /new/sys/kernel/debug
bb mount -t tracefs tracefs /new/sys/kernel/tracing
bb mount -t bpf bpf /new/sys/fs/bpf
bb mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
bb mount --bind /job/tree /new/sldtrace
bb cp -a /job/put/. /new/
bb mkdir /new/run/lab
bb cp /bin/busybox /job/second.sh /job/run /job/fetch /job/settings /new/run/lab/
echo "LAB_RESULT=$result" >> /new/run/lab/settings
bb umount /dev /sys /proc 2>/dev/null

. /job/settings
if [ "$LAB_SYSTEMD" = 1 ]; then
	bb mkdir -p /new/run/systemd/system
	bb cp /job/lab.service /new/run/systemd/system/
	# A fixed machine ID: without one systemd takes this for the first boot and asks questions.
	echo 51d7ace051d7ace051d7ace051d7ace0 > /new/etc/machine-id
	# Marks /etc and /var as up to date. No timers: idle time is skipped, so each would soon expire.
	bb touch -r /new/usr /new/etc/.updated /new/var/.updated
	bb ln -s /dev/null /new/run/systemd/system/timers.target
fi

cd /new || bb poweroff -f
bb mount --move . /
[ "$LAB_SYSTEMD" = 1 ] && exec /bin/busybox chroot . /usr/lib/systemd/systemd --unit=lab.service
exec /bin/busybox chroot . /run/lab/busybox sh /run/lab/second.sh
