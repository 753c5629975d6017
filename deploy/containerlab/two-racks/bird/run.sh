#!/bin/sh
# -R: a BIRD that is started again keeps the kernel's routes until its peers have confirmed them.
set -eu
mkdir -p /run/bird
recover=
if [ -e /run/bird/started ]; then recover=-R; fi
: >/run/bird/started
exec bird -f $recover -c /etc/bird/bird.conf
