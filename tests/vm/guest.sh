#!/bin/sh
# The first process of the virtual machine: sets the machine up, runs the tests, hands the report over, powers off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
ip link set lo up
dmesg -n 1 # the console is for the tests
hostname wherry-vm
for module in overlay loop veth br_netfilter; do
    modprobe "$module"
done

tar -x -f /dev/vdb -O .vm-settings >/run/settings
. /run/settings
mkdir -p "$REPOSITORY"
tar -x -f /dev/vdb -C "$REPOSITORY"
cd "$REPOSITORY"
echo "kernel $(uname -r), cgroup controllers: $(cat /sys/fs/cgroup/cgroup.controllers), $(nproc) processors"
setsid -c sh -c "$COMMAND" </dev/console
echo $? >/job/status
tar -c -f /dev/vdc -C /job .
sync
poweroff -f
