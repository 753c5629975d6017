# A node's machine, before its services: what a container runtime and a kubelet expect of a machine, and
# what keeps them off the host. Runs inside the namespaces that the lab has made.
set -eu
name={{.Lab}}.$(hostname)

mkdir -p /run/static-pods

# Pods' mounts are seen by whoever asks for propagation.
mount --make-rshared /

# The kubelet sets these for the whole machine; here it finds them set, in files of the node's own.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
	kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
	file=/run/sysctl/${setting%=*}
	mkdir -p "$(dirname "$file")"
	echo "${setting#*=}" >"$file"
	mount --bind "$file" "/proc/sys/${setting%=*}"
done

# A control group of the node's own, and a view of the hierarchy that begins there.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
	group=/sys/fs/cgroup/$name
	mkdir -p "$group/services"
	cat /sys/fs/cgroup/cgroup.controllers >/run/controllers
	for controller in $(cat /run/controllers); do
		echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
	done
	echo $$ >"$group/cgroup.procs"
	exec unshare --cgroup sh -euc '
		umount -R /sys/fs/cgroup
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
		# A group that passes controllers on may hold no process itself.
		echo $$ >/sys/fs/cgroup/services/cgroup.procs
		for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
			echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
		done
		exec runsvdir -P /etc/service'
fi
: >/run/hierarchies
for hierarchy in cpu cpuacct cpuset memory devices freezer blkio pids systemd; do
	[ -d /sys/fs/cgroup/$hierarchy ] || continue
	group=/sys/fs/cgroup/$hierarchy/$name
	mkdir -p "$group"
	if [ $hierarchy = cpuset ]; then # a new group has no processors and no memory
		cat /sys/fs/cgroup/cpuset/cpuset.cpus >"$group/cpuset.cpus"
		cat /sys/fs/cgroup/cpuset/cpuset.mems >"$group/cpuset.mems"
	fi
	echo $$ >"$group/cgroup.procs"
	echo $hierarchy >>/run/hierarchies
done
exec unshare --cgroup sh -euc '
	mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
	for hierarchy in $(cat /run/hierarchies); do
		mkdir /sys/fs/cgroup/$hierarchy
		case $hierarchy in
		systemd) mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd ;;
		*) mount -t cgroup -o $hierarchy cgroup /sys/fs/cgroup/$hierarchy ;;
		esac
	done
	exec runsvdir -P /etc/service'
