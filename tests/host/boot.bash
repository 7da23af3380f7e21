# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154 # for a shell in the host; set by `host`
# Booting, entering and stopping the test host. Sourced by `host`.

# Seconds that the host may take to come up, and to go down before it is killed.
readonly BOOT_LIMIT=120 STOP_LIMIT=30

# The variables of the caller that `run` hands on, as shell patterns.
readonly PASSED_ON=(
    'CARGO_BIN_EXE_*' 'CARGO_MANIFEST_*' 'CARGO_PKG_*' 'CI' 'COLORTERM'
    'INSTA_*' 'NEXTEST' 'NEXTEST_*' 'NO_COLOR' 'PROPTEST_*' 'RUST_BACKTRACE'
    'RUST_LOG' 'RUST_TEST_*' 'TASKSPACE_*' 'TERM' '__RUST_*'
)

# running: is it? Sets `supervisor` (systemd-nspawn) and `init` (its systemd).
running() {
    local started key child
    supervisor='' init=''
    read -r key started 2>/dev/null <"$instance/pid" || return 1
    [[ $(start_time "$key") == "$started" ]] || return 1
    supervisor=$key
    for child in $(pgrep -P "$supervisor"); do
        # Process number 1 of a namespace of its own.
        if [[ $(awk '/^NSpid:/ { print $NF }' "/proc/$child/status" 2>/dev/null) == 1 ]]; then
            init=$child
        fi
    done
}

stopped() { ! running; }
has_init() { running && [[ -n $init ]]; }
user_is_up() { has_init && inside user systemctl --user show-environment >/dev/null 2>&1 </dev/null; }
launched_or_failed() { [[ -e $instance/pid ]] || ! start_time "$launched" >/dev/null; }
user_is_up_or_stopped() { stopped || user_is_up; }

# bound_paths: what is bound into the host, one path a line.
bound_paths() {
    local target
    printf '%s\n' "$repository"
    [[ -n ${CARGO_TARGET_DIR:-} ]] || return 0
    mkdir -p "$CARGO_TARGET_DIR"
    target=$(realpath "$CARGO_TARGET_DIR")
    [[ $target/ == "$repository"/* ]] || printf '%s\n' "$target"
}

# make_mount_point DIR: a place for it in the host that the user can reach.
make_mount_point() {
    local at=$root part
    local IFS=/
    for part in $1; do
        [[ -n $part ]] || continue
        at+=/$part
        [[ -d $at ]] || mkdir -m 0755 "$at"
        chmod a+rx "$at"
    done
}

# boot: starts it in a mount namespace of its own and a cgroup of its own.
boot() {
    local path binds=()
    while read -r path; do
        [[ $path != *:* ]] || die "cannot bind $path: it has a colon in its name"
        make_mount_point "$path"
        binds+=("--bind=$path")
    done <<<"$bound"
    say "booting $name with $(tr '\n' ' ' <<<"$bound")"
    mkdir -p "$instance/dev"
    # The outer machine may lack these modules or have them built in.
    modprobe -aq fuse tun 2>/dev/null || true
    rm -f -- "$instance/pid"
    write "$instance/bound" 0644 "$bound"
    setsid unshare --mount --propagation private \
        bash "$here/nspawn" "$name" "$root" "$instance" "${binds[@]}" \
        >"$instance/console.log" 2>&1 </dev/null 9>&- &
    launched=$!
    disown "$launched"
    wait_for "$BOOT_LIMIT" launched_or_failed || true
    if ! wait_for "$BOOT_LIMIT" user_is_up_or_stopped || stopped; then
        die "the host did not come up (limit $BOOT_LIMIT s); its console is $instance/console.log" \
            "$(tail -n 20 "$instance/console.log")"
    fi
}

# is_bound: whether the host has the very directories that are wanted. One
# that was removed and made again is another, though it has the same name.
is_bound() {
    local path
    while read -r path; do
        [[ $path -ef /proc/$init/root$path ]] || return 1
    done <<<"$bound"
}

# check_readable: the user must be able to read what is bound.
check_readable() {
    local path
    while read -r path; do
        inside user test -r "$path" -a -x "$path" </dev/null ||
            die "$USER_NAME cannot read $path in the host" "give others access to it: chmod o+rx '$path'"
    done <<<"$bound"
}

# stop: asks its systemd to power off, and kills it when that takes too long.
stop() {
    running || return 0
    say "stopping $name"
    if [[ -n $init ]]; then kill -s RTMIN+4 "$init"; else kill "$supervisor"; fi
    if ! wait_for "$STOP_LIMIT" stopped; then
        say "$name did not stop in $STOP_LIMIT s: killing it"
        kill_host
    fi
    clear_away
}

# cut_power: what ran is gone in one instant. What was written and not synced
# is there all the same, unlike after a real power cut: the outer kernel has it.
cut_power() {
    running || return 0
    say "cutting the power of $name"
    kill_host
    clear_away
}

# kill_host: with the first process of its namespace the kernel kills all others.
kill_host() {
    [[ -z $init ]] || kill -KILL "$init" 2>/dev/null || true
    if ! wait_for 5 stopped; then
        kill -KILL "$supervisor" 2>/dev/null || true
        wait_for 5 stopped || die "process $supervisor cannot be killed"
    fi
}

# clear_away: what a host that has stopped leaves outside of its directory.
clear_away() {
    rm -f -- "$instance/pid" "$instance/bound"
    remove_group
}

# remove_group: the empty control groups that it leaves in the unified tree.
remove_group() {
    local tree
    tree=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    [[ -n $tree && -d $tree/testhost-$name ]] || return 0
    find "$tree/testhost-$name" -depth -type d -exec rmdir -- {} + 2>/dev/null || true
}

# inside user|root COMMAND…: runs it in the running host, in the directory
# $directory where the host has it. `enter` replaces this process instead.
inside() { (enter "$@"); }

enter() {
    local who=$1 id=0 home=/root variable pattern
    local -a environment
    shift
    [[ $who == root ]] || { id=$USER_ID home=/home/$USER_NAME; }
    environment=(
        "HOME=$home" "USER=$who" "LOGNAME=$who" SHELL=/bin/bash LANG=C.UTF-8
        "PATH=$home/.local/bin:/usr/local/bin:/usr/bin:/bin"
    )
    if [[ $who == root ]]; then
        environment+=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    else
        environment+=(
            "USER=$USER_NAME" "LOGNAME=$USER_NAME"
            "XDG_RUNTIME_DIR=/run/user/$id"
            "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$id/bus"
        )
    fi
    for variable in $(compgen -e); do
        for pattern in "${PASSED_ON[@]}"; do
            # shellcheck disable=SC2053 # a pattern is meant
            if [[ $variable == $pattern ]]; then environment+=("$variable=${!variable}"); fi
        done
    done
    # First into a control group such as a login has, and then, as the user,
    # to the command. nsenter hands no signals on: its death is the signal.
    exec nsenter --target "$init" --mount --uts --ipc --pid --net --cgroup --root --wd -- \
        sh -c 'mkdir -p "$0" && echo 0 >"$0/cgroup.procs" && exec "$@"' \
        "/sys/fs/cgroup/user.slice/user-$id.slice/session-host.scope" \
        env -i "${environment[@]}" \
        setpriv --reuid "$id" --regid "$id" --init-groups --pdeathsig TERM -- \
        sh -c 'cd -- "$1" 2>/dev/null || cd; shift; exec "$@"' host "${directory:-/}" "$@" 9>&-
}
