# The owner's shutdown scripts, for what runit's stage 3 runs first: sourced from /etc/runit/rc.shutdown, or as
# /etc/runit/shutdown.d/05-google-shutdown-scripts.sh. At that time the machine goes down for certain.
gce-guest scripts shutdown --force --console
