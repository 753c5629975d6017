#!/bin/sh
# Runs bgpd, and zebra once: a bgpd that is started again finds the zebra, and the routes, of before.
set -eu
mkdir -p /run/frr /var/log/frr /var/tmp/frr
chown frr:frr /run/frr /var/log/frr /var/tmp/frr
if ! [ -s /run/frr/zebra.pid ] || ! kill -0 "$(cat /run/frr/zebra.pid)" 2>/dev/null; then
	/usr/lib/frr/zebra -d -K 60 -f /etc/frr/frr.conf
fi
exec /usr/lib/frr/bgpd -f /etc/frr/frr.conf
