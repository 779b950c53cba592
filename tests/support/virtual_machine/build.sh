# Makes the image of the virtual machine in DIRECTORY, out of Debian's packages and without starting anything:
# kernel, initrd, and disk (a root file system). Run by tests/support/virtual_machine.rs, in a mount namespace of its own.
# usage: build DIRECTORY SUITE PACKAGES UNPACKED MODULES
set -eu
directory=$1 suite=$2 packages=$3 unpacked=$4 modules=$5
root=$directory/root

mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" \
  --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$root"

# The kernel, and what would not be installed side by side.
mkdir "$directory/packages"
cd "$directory/packages"
kernel() { apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }'; }
[ -n "$(kernel)" ] || apt-get --quiet --quiet update
download() { apt-get --quiet --quiet -o APT::Sandbox::User=root download "$(kernel)" $unpacked; }
download || { apt-get --quiet --quiet update; download; }
for package in *.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar --extract --directory="$root" --keep-directory-symlink
done
version=$(ls "$root/lib/modules")
cp "$root/boot/vmlinuz-$version" "$directory/kernel"
rm -r "$root/boot"
chroot "$root" depmod "$version"
chroot "$root" useradd --system --home-dir /var/lib/chrony --no-create-home _chrony
chroot "$root" useradd --system --home-dir /var/lib/ntpsec --no-create-home ntpsec
mkdir -p "$root/var/lib/chrony" "$root/var/log/chrony" "$root/var/lib/ntpsec" "$root/var/log/ntpsec"
chroot "$root" chown _chrony:_chrony /var/lib/chrony /var/log/chrony
chroot "$root" chown ntpsec:ntpsec /var/lib/ntpsec /var/log/ntpsec

# The first stage of the boot.
stage=$directory/stage
mkdir -p "$stage/modules" "$stage/proc" "$stage/sys" "$stage/dev" "$stage/root" "$stage/payload"
cp "$root/bin/busybox" "$stage/busybox"
cp "$directory/init" "$stage/init"
chmod 755 "$stage/init"
for module in $modules; do
  chroot "$root" modprobe --set-version "$version" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' | while read -r file; do
  cp "$root$file" "$stage/modules/"
  basename "$file" >> "$stage/modules/order"
done
(cd "$stage" && find . | cpio --quiet --create --format=newc) > "$directory/initrd"

# The root file system.
install -m 755 "$directory/shell" "$root/usr/local/sbin/test-shell"
echo debian > "$root/etc/hostname"
printf '127.0.0.1 localhost debian\n169.254.169.254 metadata.google.internal\n' > "$root/etc/hosts"
: > "$root/etc/fstab"
: > "$root/etc/machine-id"
cat > "$root/etc/systemd/system/test-shell.service" <<'UNIT'
[Unit]
DefaultDependencies=no
After=local-fs.target
[Service]
ExecStart=/usr/local/sbin/test-shell
Restart=always
UNIT
cat > "$root/etc/systemd/system/test-network.service" <<'UNIT'
[Unit]
DefaultDependencies=no
Before=network.target
Wants=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/ip link set lo up
ExecStart=/bin/ip link set eth0 up
ExecStart=/bin/ip address add 10.0.2.15/24 dev eth0
ExecStart=/bin/ip route add default via 10.0.2.2
UNIT
units=$root/etc/systemd/system
mkdir -p "$units/sysinit.target.wants"
for unit in test-shell test-network; do
  ln -s "../$unit.service" "$units/sysinit.target.wants/$unit.service"
done
rm -f "$units"/*.wants/systemd-timesyncd.service "$units/dbus-org.freedesktop.timesync1.service"
# The keys that an image brings, but for the kind that takes longest to make; and sshd where a test starts it.
rm -f "$root/etc/ssh/ssh_host_rsa_key" "$root/etc/ssh/ssh_host_rsa_key.pub" "$units"/*.wants/ssh.service "$units/sshd.service"
cat "$root"/etc/ssh/ssh_host_*_key.pub > "$root/etc/of-the-image"
# What costs time under emulation and is of no use here.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer systemd-pstore.service getty@tty1.service serial-getty@ttyS0.service console-getty.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service dev-hugepages.mount dev-mqueue.mount \
  sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount \
  modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service \
  modprobe@fuse.service modprobe@loop.service systemd-binfmt.service kmod-static-nodes.service \
  systemd-tmpfiles-clean.timer; do
  ln -sf /dev/null "$units/$unit"
done
# udev would load these by the names of the hardware.
for module in kvm_amd kvm_intel kvm aesni_intel ghash_clmulni_intel sha512_ssse3 sha256_ssse3 crc32_pclmul \
  crct10dif_pclmul polyval_clmulni powernow_k8 acpi_cpufreq i2c_i801 lpc_ich iTCO_wdt iTCO_vendor_support pcspkr psmouse \
  serio_raw parport_pc qemu_fw_cfg rapl joydev sg ahci libahci libata; do
  echo "blacklist $module"
done > "$root/etc/modprobe.d/test.conf"
mkdir -p "$root/etc/systemd/journald.conf.d" "$root/etc/systemd/system.conf.d"
printf '[Journal]\nStorage=volatile\n' > "$root/etc/systemd/journald.conf.d/test.conf"
printf '[Manager]\nDefaultTimeoutStopSec=10s\n' > "$root/etc/systemd/system.conf.d/test.conf"
truncate --size=2G "$directory/disk"
mkfs.ext4 -q -F -O ^has_journal,^metadata_csum,uninit_bg -E lazy_itable_init=1,nodiscard -d "$root" "$directory/disk"
cd /
rm -r "$root" "$stage" "$directory/packages"
