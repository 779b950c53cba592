#!/bin/sh
# Runs what the test sends through the virtio port: lines of `ID SCRIPT`, answered by `ID STATUS .STDOUT .STDERR`, all but
# the first two in base64. The dots keep an empty field a field.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
until name=$(grep -lx shell /sys/class/virtio-ports/*/name); do sleep 0.1; done
port=/dev/$(basename "$(dirname "$name")")
files=/run/test-shell
mkdir -p "$files"
exec 3<> "$port"
echo ready >&3
while read -r id script <&3; do
  printf %s "$script" | base64 --decode > "$files/script"
  status=0
  (cd /root && exec sh "$files/script") < /dev/null > "$files/stdout" 2> "$files/stderr" 3>&- || status=$?
  {
    printf '%s %s .' "$id" "$status"
    base64 --wrap=0 "$files/stdout"
    printf ' .'
    base64 --wrap=0 "$files/stderr"
    printf '\n'
  } >&3
done
