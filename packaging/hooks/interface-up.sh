#!/bin/sh
# /etc/networkd-dispatcher/routable.d/google_hostname.sh (networkd-dispatcher(8)) and
# /etc/sysconfig/network/scripts/google_up.sh (wicked): called when an interface is up.
exec /usr/bin/google_set_hostname
