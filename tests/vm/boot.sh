#!/bin/busybox sh
# /init of the initramfs: finds the root disk and goes there.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
for module in $(cat /modules/order); do
    insmod "/modules/$module"
done
waited=0
until [ -b /dev/vda ] || [ $waited -ge 600 ]; do
    usleep 100000
    waited=$((waited + 1))
done
mount -t ext4 -o noatime /dev/vda /root || { echo "no root disk"; poweroff -f; }
umount /proc
exec switch_root /root /guest.sh
