# /etc/dhcp/dhclient-exit-hooks.d/google_set_hostname (Debian) or /etc/dhcp/dhclient-exit-hooks: dhclient-script(8) reads
# this file into itself after each event. What the DHCP server said is not used: the program asks the metadata server.
case "$reason" in
    BOUND | RENEW | REBIND | REBOOT | BOUND6 | RENEW6 | REBIND6)
        /usr/bin/google_set_hostname || true
        ;;
esac
