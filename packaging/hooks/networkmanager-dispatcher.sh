#!/bin/sh
# /etc/NetworkManager/dispatcher.d/google_hostname.sh: called with the interface and what happened to it
# (NetworkManager-dispatcher(8)).
case "$2" in
    up | dhcp4-change | dhcp6-change)
        exec /usr/bin/google_set_hostname
        ;;
esac
