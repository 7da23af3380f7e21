# shellcheck shell=bash
# shellcheck disable=SC2154 # set by `host`
# Making the test host: outer packages, cached archives, the unpacked and
# configured root directory. Sourced by `host`, which sets the variables used.

readonly SUITE=trixie
readonly BASE_IMAGE=localhost/debian:$SUITE

# What the outer machine must have: a command to look for, and its package.
readonly OUTER_TOOLS=(
    systemd-nspawn:systemd-container
    mmdebstrap:mmdebstrap
    newuidmap:uidmap
    nsenter:util-linux
    pgrep:procps
)

# What is in the host beside Debian's minbase.
readonly HOST_PACKAGES=(
    aardvark-dns bsdextrautils bsdutils ca-certificates catatonit crun curl dbus
    dbus-user-session fuse-overlayfs git iproute2 jq less libpam-systemd make
    ncurses-base netavark netcat-openbsd nftables openssh-client passt podman
    procps python3 socat systemd systemd-sysv tmux uidmap
)

# Manuals and translations are dead weight in the host and in the base image.
readonly DPKG_OPTIONS=(
    'path-exclude=/usr/share/man/*'
    'path-exclude=/usr/share/doc/*'
    'path-exclude=/usr/share/locale/*'
)

# Units that would reach the outer machine's kernel, network or files through
# the shared network namespace and the writable /proc/sys, or just cost time.
readonly MASKED_UNITS=(
    apt-daily.timer apt-daily-upgrade.timer console-getty.service
    dev-hugepages.mount dpkg-db-backup.timer fstrim.timer nftables.service
    podman-auto-update.timer podman-clean-transient.service
    podman-restart.service podman.socket proc-sys-fs-binfmt_misc.automount
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount
    systemd-binfmt.service systemd-firstboot.service
    systemd-modules-load.service systemd-network-generator.service
    systemd-sysctl.service systemd-tmpfiles-clean.timer tmp.mount
)

# hash_of WORD…: a short key of a list of words.
hash_of() { printf '%s\n' "$@" | sha256sum | cut -c1-16; }

# host_key, base_key: the names of the two archives in the cache.
host_key() { hash_of "$SUITE" "${TESTHOST_MIRROR:-}" "${HOST_PACKAGES[@]}" "${DPKG_OPTIONS[@]}"; }
base_key() { hash_of "$SUITE" "${TESTHOST_MIRROR:-}" minbase "${DPKG_OPTIONS[@]}"; }

# install_outer: the outer machine's missing packages.
install_outer() {
    local entry missing=()
    for entry in "${OUTER_TOOLS[@]}"; do
        command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
    done
    # Without this key mmdebstrap cannot check the suite's signatures.
    [[ -e /usr/share/keyrings/debian-archive-$SUITE-stable.gpg || -e /usr/share/keyrings/debian-archive-keyring.gpg ]] ||
        missing+=(debian-archive-keyring)
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "missing on this machine: ${missing[*]}" "install them with the system's package manager, then try again"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    if ! apt-get install -qq -y --no-install-recommends "${missing[@]}" >"$cache/apt.log" 2>&1; then
        say "reading the package lists"
        apt-get update -qq >>"$cache/apt.log" 2>&1 ||
            say "apt-get update complained (see $cache/apt.log), going on"
        apt-get install -qq -y --no-install-recommends "${missing[@]}" >>"$cache/apt.log" 2>&1 ||
            die "cannot install ${missing[*]}" "$(tail -n 5 "$cache/apt.log")"
    fi
}

# make_archive FILE WHAT ARGUMENT…: one mmdebstrap archive in the cache.
make_archive() {
    local file=$1 what=$2
    shift 2
    [[ ! -e $file ]] || return 0
    install_outer
    local part=$file.part log=${file%.tar}.log started=$SECONDS option options=()
    for option in "${DPKG_OPTIONS[@]}"; do options+=(--dpkgopt="$option"); done
    say "making $what with mmdebstrap (about a minute, then cached)"
    rm -f -- "$part"
    # Without the locks: it opens more files, and its shell knows none above 9.
    if ! mmdebstrap --variant=minbase --format=tar "${options[@]}" "$@" \
        "$SUITE" "$part" ${TESTHOST_MIRROR:+"$TESTHOST_MIRROR"} \
        >"$log" 2>&1 </dev/null 8>&- 9>&-; then
        rm -f -- "$part"
        die "mmdebstrap failed; its log is $log" "$(tail -n 5 "$log")"
    fi
    mv -- "$part" "$file"
    say "made $what in $((SECONDS - started)) s"
}

# make_archives: both archives, side by side when both are missing.
make_archives() {
    local IFS=,
    local packages="${HOST_PACKAGES[*]}"
    unset IFS
    [[ ! -e $host_tar || ! -e $base_tar ]] || return 0
    (
        lock 8 "the cache"
        install_outer
        make_archive "$base_tar" "the base image" &
        local base=$!
        make_archive "$host_tar" "the host's system" --include="$packages"
        wait "$base"
        # Archives of older package lists that nothing has used for a month.
        find "$cache" -maxdepth 1 -name '*.tar' -mtime +30 -delete
    ) 8>"$cache/.lock"
}

# unpack: the root directory, when there is none or its packages are outdated.
unpack() {
    if [[ -e $root && $(cat "$instance/key" 2>/dev/null) == "$host_key" ]]; then return 0; fi
    [[ ! -e $root ]] || say "its package list has changed: unpacking it anew"
    say "unpacking $root"
    remove_tree "$root.part"
    remove_tree "$root"
    mkdir -p "$root.part"
    touch "$host_tar"
    tar -C "$root.part" --numeric-owner -p --xattrs --xattrs-include='*' -xf "$host_tar"
    make_user "$root.part"
    mv "$root.part" "$root"
    write "$instance/key" 0644 "$host_key"
}

# make_user ROOT: the lingering ordinary user.
make_user() {
    local in=$1
    chroot "$in" /usr/sbin/useradd --create-home --uid "$USER_ID" --shell /bin/bash "$USER_NAME"
    chroot "$in" /usr/sbin/usermod --append --groups systemd-journal "$USER_NAME"
    write "$in/etc/subuid" 0644 "$USER_NAME:100000:65536"
    write "$in/etc/subgid" 0644 "$USER_NAME:100000:65536"
    install -d "$in/var/lib/systemd/linger"
    : >"$in/var/lib/systemd/linger/$USER_NAME"
    # No uninitialized identity: systemd would ask first-boot questions.
    write "$in/etc/machine-id" 0444 "$(tr -d - </proc/sys/kernel/random/uuid)"
}

# configure: everything else in the root directory; cheap, done at every boot.
configure() {
    local unit
    write "$root/etc/hostname" 0644 "$name"
    write "$root/etc/hosts" 0644 "127.0.0.1 localhost
::1 localhost ip6-localhost
127.0.1.1 $name"
    write "$root/etc/resolv.conf" 0644 "$(cat /etc/resolv.conf)"
    # Companies' proxies: the host trusts what the outer machine trusts.
    if [[ -s /etc/ssl/certs/ca-certificates.crt ]]; then
        install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt.part"
        mv "$root/etc/ssl/certs/ca-certificates.crt.part" "$root/etc/ssl/certs/ca-certificates.crt"
    fi
    # The bound work tree belongs to root.
    write "$root/etc/gitconfig" 0644 "[safe]
	directory = *
[user]
	name = $USER_NAME
	email = $USER_NAME@$name.invalid
[init]
	defaultBranch = main"
    # There is no pids controller here, and crun insists on one for a limit.
    write "$root/etc/containers/containers.conf.d/50-testhost.conf" 0644 "[containers]
pids_limit = 0"
    write "$root/etc/systemd/system.conf.d/50-testhost.conf" 0644 "[Manager]
DefaultTimeoutStopSec=10s"
    write "$root/etc/systemd/user.conf.d/50-testhost.conf" 0644 "[Manager]
DefaultTimeoutStopSec=10s"
    write "$root/etc/systemd/journald.conf.d/50-testhost.conf" 0644 "[Journal]
Storage=persistent
SystemMaxUse=64M
RateLimitBurst=0"
    # A filesystem that is soon full.
    install -d "$root/srv/small"
    write "$root/etc/fstab" 0644 "tmpfs /srv/small tmpfs size=24m,mode=1777 0 0"
    for unit in "${MASKED_UNITS[@]}"; do
        ln -sfn /dev/null "$root/etc/systemd/system/$unit"
    done
    ln -sfn /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    install -d "$root/etc/systemd/user/sockets.target.wants"
    ln -sfn /usr/lib/systemd/user/podman.socket "$root/etc/systemd/user/sockets.target.wants/podman.socket"
}

# import_base: the base image in the user's own podman storage.
import_base() {
    local label=io.symposium.testhost.key
    local have
    have=$(inside user podman image inspect --format "{{index .Labels \"$label\"}}" "$BASE_IMAGE" 2>/dev/null </dev/null) || have=
    [[ $have != "$base_key" ]] || return 0
    say "importing $BASE_IMAGE"
    touch "$base_tar"
    inside user podman import --quiet \
        --change 'CMD ["bash"]' \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change "LABEL $label=$base_key" \
        - "$BASE_IMAGE" <"$base_tar" >/dev/null
}
