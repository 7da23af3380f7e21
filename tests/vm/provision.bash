# shellcheck shell=bash
# shellcheck disable=SC2154 # set by `vm`
# Making the virtual machine: cached archives, Podman's storage, disks. Sourced
# by `vm`, after the test host's own provision.bash, which it builds on.

# What is in the machine beside what is in the test host.
readonly VM_PACKAGES=(
    e2fsprogs initramfs-tools linux-image-cloud-amd64 openssh-server sudo xfsprogs
)

# What makes and runs it, in a directory of its own: the outer machine's QEMU may
# be too old (the guest's kernel crashes in version 7.2), or missing.
readonly TOOLS=(e2fsprogs qemu-system-x86 xfsprogs)

# XFS cannot be smaller than 300 MB.
readonly ROOT_SIZE=5G DATA_SIZE=800M

vm_key() { hash_of "$(host_key)" "${VM_PACKAGES[@]}"; }
tools_key() { hash_of "$SUITE" "${TESTHOST_MIRROR:-}" "${TOOLS[@]}"; }

make_vm_archives() {
    local IFS=,
    local packages="${HOST_PACKAGES[*]},${VM_PACKAGES[*]}" tools="${TOOLS[*]}"
    unset IFS
    (
        lock 8 "the cache"
        install_outer
        make_archive "$tools_tar" "QEMU and what makes disks" --include="$tools"
        make_archive "$vm_tar" "the machine's system" --include="$packages"
    ) 8>"$cache/.lock"
    unpack_into "$instance/tools" "$tools_tar"
}

# unpack_into DIR TAR: unless it is there, of this very archive.
unpack_into() {
    [[ $(cat "$1.key" 2>/dev/null) != "$2" || ! -d $1 ]] || return 0
    say "unpacking $1"
    remove_tree "$1"
    mkdir -p "$1"
    touch "$2"
    tar -C "$1" --numeric-owner -p --xattrs --xattrs-include='*' -xf "$2"
    write "$1.key" 0644 "$2"
}

# with_tools COMMAND…: runs one of the tools; the instance's directory is at /vm.
with_tools() {
    mkdir -p "$instance/tools/vm"
    # shellcheck disable=SC2016 # for the other shell
    unshare --mount --propagation private bash -euc '
        mount --rbind "$0" "$0/tools/vm"
        mount --rbind /dev "$0/tools/dev"
        mount -t proc proc "$0/tools/proc"
        exec chroot "$0/tools" "$@"' "$instance" "$@"
}

# prepare_storage PROGRAM: has the fast test host build the images, in an instance
# of its own, and use them once, for Podman keeps a copy with other owners.
prepare_storage() {
    local storage=$state/instances/vm/root/home/$USER_NAME/.local/share/containers
    local key
    # What images are made of: the machine itself could not make them, it reaches nothing.
    key=$(hash_of "$base_key" "$(cat "$repository"/{policies/images.yaml,templates/{images,container}/*} | sha256sum)" \
        "$(sha256sum </etc/ssl/certs/ca-certificates.crt 2>/dev/null || true)")
    [[ $(cat "$instance/storage.key" 2>/dev/null) != "$key" || ! -d $storage ]] || return 0
    say "building the images in the test host"
    TESTHOST_NAME=vm "$host" up
    TESTHOST_NAME=vm "$host" run -C /home/dev -- bash -euo pipefail -s -- "$1" "$BASE_IMAGE" <<'END'
mkdir -p .config/symposium .local/bin
echo "base: $2" >.config/symposium/images.yaml
echo 'ports: {dev: 32000-32499, agent: 32500-32999}' >.config/symposium/settings.yaml
install "$1" .local/bin/taskspace
[[ -d app ]] || git init --quiet app
git -C app commit --quiet --allow-empty --message first
taskspace images build agent dev-generic
taskspace create --quiet --project app --type generic warm
taskspace delete --quiet --force --purge warm
rm -rf app .symposium .config/symposium .local/state/symposium .cache/symposium
podman volume rm --all --force >/dev/null
END
    TESTHOST_NAME=vm "$host" down
    write "$instance/storage.key" 0644 "$key"
    rm -f "$instance/root.img"
}

# make_root_disk: system, user and images; anew when one of them is another.
make_root_disk() {
    local key
    key=$(hash_of "$vm_tar" "$(cat "$instance/storage.key")" "$(cat "$here/provision.bash")")
    [[ $(cat "$instance/root.key" 2>/dev/null) != "$key" || ! -e $instance/root.img ]] || return 0
    local root=$instance/root
    rm -f "$instance/root.key" "$instance/root.img"
    remove_tree "$root" && rm -f "$root.key"
    unpack_into "$root" "$vm_tar"
    make_user "$root"
    configure_vm "$root"
    say "making the machine's disk"
    local storage=home/$USER_NAME/.local/share/containers
    install -d -o "$USER_ID" -g "$USER_ID" "$root/home/$USER_NAME"/.local{,/share}
    cp -a --reflink=auto "$state/instances/vm/root/$storage" "$root/home/$USER_NAME/.local/share/"
    cp "$root"/boot/vmlinuz-* "$instance/vmlinuz"
    cp "$root"/boot/initrd.img-* "$instance/initrd"
    truncate -s "$ROOT_SIZE" "$instance/root.img.part"
    with_tools mkfs.ext4 -q -F -d /vm/root /vm/root.img.part
    mv "$instance/root.img.part" "$instance/root.img"
    remove_tree "$root" && rm -f "$root.key"
    write "$instance/root.key" 0644 "$key"
}

# configure_vm ROOT
configure_vm() {
    local root=$1 unit
    write "$root/etc/hostname" 0644 vm
    write "$root/etc/hosts" 0644 "127.0.0.1 localhost vm"
    write "$root/etc/fstab" 0644 "/dev/vda / ext4 defaults 0 1"
    write "$root/etc/sudoers.d/$USER_NAME" 0440 "$USER_NAME ALL=(ALL) NOPASSWD: ALL"
    # What images are made of includes whom they trust: with others they would be built anew here.
    if [[ -s /etc/ssl/certs/ca-certificates.crt ]]; then
        install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    fi
    write "$root/etc/gitconfig" 0644 "[user]
	name = $USER_NAME
	email = $USER_NAME@vm.invalid
[init]
	defaultBranch = main"
    # Emulated, all is slow: nothing may take that for a failure.
    write "$root/etc/systemd/system.conf.d/50-vm.conf" 0644 "[Manager]
DefaultTimeoutStartSec=10min"
    write "$root/etc/systemd/user.conf.d/50-vm.conf" 0644 "[Manager]
DefaultTimeoutStartSec=10min"
    write "$root/etc/systemd/network/50-vm.network" 0644 "[Match]
Name=en*
[Network]
DHCP=ipv4
LinkLocalAddressing=no"
    install -d "$root/etc/systemd/system/multi-user.target.wants"
    ln -sfn /usr/lib/systemd/system/systemd-networkd.service \
        "$root/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
        e2scrub_all.timer podman-auto-update.timer systemd-networkd-wait-online.service; do
        ln -sfn /dev/null "$root/etc/systemd/system/$unit"
    done
    ln -sfn /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    install -d "$root/etc/systemd/user/sockets.target.wants"
    ln -sfn /usr/lib/systemd/user/podman.socket "$root/etc/systemd/user/sockets.target.wants/podman.socket"
    make_keys "$root"
}

# make_keys ROOT: the machine is entered with a key that only this directory has.
make_keys() {
    [[ -e $instance/key ]] || ssh-keygen -q -t ed25519 -N '' -C taskspace-vm -f "$instance/key"
    install -d -m 0700 "$1/root/.ssh"
    install -d -m 0700 -o "$USER_ID" -g "$USER_ID" "$1/home/$USER_NAME/.ssh"
    install -m 0600 "$instance/key.pub" "$1/root/.ssh/authorized_keys"
    install -m 0600 -o "$USER_ID" -g "$USER_ID" "$instance/key.pub" "$1/home/$USER_NAME/.ssh/authorized_keys"
}

# make_data_disks: empty ones with project quotas, each time anew.
make_data_disks() {
    rm -f "$instance"/{ext4,xfs}.img
    truncate -s "$DATA_SIZE" "$instance/ext4.img" "$instance/xfs.img"
    with_tools mkfs.ext4 -q -F -O quota,project -E quotatype=prjquota /vm/ext4.img
    with_tools mkfs.xfs -q -f /vm/xfs.img
}

# make_program_disk PROGRAM: the machine has it at /srv/program.
make_program_disk() {
    remove_tree "$instance/program"
    mkdir "$instance/program"
    chmod 0755 "$instance/program"
    install -m 0755 "$1" "$instance/program/taskspace"
    strip "$instance/program/taskspace"
    rm -f "$instance/program.img"
    truncate -s 200M "$instance/program.img"
    with_tools mkfs.ext4 -q -F -d /vm/program /vm/program.img
}
