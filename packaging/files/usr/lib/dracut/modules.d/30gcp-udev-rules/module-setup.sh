#!/bin/bash
# Puts the names of disks into the initramfs, so that root= may be one. Read by dracut (dracut.modules(7)).

check() {
    return 0
}

depends() {
    echo udev-rules
}

install() {
    inst_multiple /usr/bin/gce-guest
    inst_rules 65-gce-disk-naming.rules
}
