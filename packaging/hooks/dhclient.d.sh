# /etc/dhcp/dhclient.d/google_hostname.sh (Enterprise Linux 7 and later): dhclient-script reads this file into itself and
# calls the two functions, which bear the file's name.
google_hostname_config() {
    /usr/bin/google_set_hostname || true
}

google_hostname_restore() {
    :
}
