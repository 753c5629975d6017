#!/bin/sh
# Runs zebra and bgpd as one group of processes, so that they are killed together. A zebra that is
# started again keeps (-K, seconds) the routes that it finds in the kernel until bgpd confirms them.
set -eu
mkdir -p /run/frr /var/log/frr /var/tmp/frr
chown frr:frr /run/frr /var/log/frr /var/tmp/frr
rm -f /run/frr/zserv.api
/usr/lib/frr/zebra -K 60 -f /dev/null &
until [ -S /run/frr/zserv.api ]; do sleep 0.05; done
exec /usr/lib/frr/bgpd -f /etc/frr/frr.conf
