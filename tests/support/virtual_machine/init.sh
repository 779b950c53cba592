#!/busybox sh
# The first stage of the boot: loads what the disk needs, mounts it, and lays the test's files over it.
busybox=/busybox
$busybox mount -t devtmpfs dev /dev
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
while read -r module; do
  $busybox insmod "/modules/$module"
done < /modules/order
waited=0
while [ ! -b /dev/vda ] && [ $waited -lt 3000 ]; do
  $busybox usleep 20000
  waited=$((waited + 1))
done
$busybox mount -t ext4 -o rw,noatime /dev/vda /root || { echo "the first stage cannot mount its disk"; $busybox ls /dev; }
$busybox cp -a /payload/. /root/
for directory in dev proc sys; do
  $busybox mount --move /$directory /root/$directory
done
exec $busybox switch_root /root /lib/systemd/systemd
