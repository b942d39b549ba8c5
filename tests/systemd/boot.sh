#!/usr/bin/env bash
# tests/systemd/boot.sh ROOT: boots the system in ROOT with a systemd of its own that runs /test.sh and ends. To be
# called as the first process of new mount, process, cgroup, host name and IPC namespaces; the network is the machine's.
set -euo pipefail
cd "$1"

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
# Devices that cannot harm the machine.
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do cp -a "/dev/$name" dev/; done
mkdir dev/shm dev/pts dev/mqueue dev/hugepages
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console

cat >etc/systemd/system/hutong-test.service <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
TimeoutStartSec=300
ExecStart=/bin/bash /test.sh
StandardOutput=append:/test.log
StandardError=append:/test.log
ExecStopPost=/bin/systemctl --no-block exit 0
UNIT
echo 0123456789abcdef0123456789abcdef >etc/machine-id

mkdir machine
pivot_root . machine
exec env container=hutong-test chroot . /bin/sh -c 'umount -l /machine
    exec /lib/systemd/systemd --system --unit=hutong-test.service --show-status=no' >test.console 2>&1 </dev/null
