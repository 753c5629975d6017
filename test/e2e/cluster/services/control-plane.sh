# The control plane's machine: services under runit.
exec runsvdir -P /etc/service
