# shellcheck shell=bash
# shellcheck disable=SC2034 # used by who sources it
# What the scripts of the test host and of the virtual machine have in common.

readonly USER_NAME=dev USER_ID=1000

# say MESSAGE
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die MESSAGE [DETAIL]
die() {
    say "$1"
    [[ -z ${2:-} ]] || printf '%s\n' "$2" >&2
    exit 1
}

# write FILE MODE TEXT: a whole file or none.
write() {
    install -d "$(dirname "$1")"
    rm -f -- "$1.part"
    printf '%s\n' "$3" >"$1.part"
    chmod "$2" "$1.part"
    mv -f -- "$1.part" "$1"
}

# remove_tree DIR: without ever crossing into something mounted.
remove_tree() { rm -rf --one-file-system -- "$1"; }

# lock FD WHAT: waits its turn, and says so.
lock() {
    flock --nonblock "$1" && return
    say "waiting for another process that is at work on $2"
    flock "$1"
}

# start_time PID: when it started, in ticks; nothing when it is gone or a zombie.
start_time() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    # The command name, in parentheses, may contain anything.
    read -r -a stat <<<"${stat##*) }"
    [[ ${stat[0]} != Z ]] || return 1
    printf '%s\n' "${stat[19]}"
}

# wait_for SECONDS COMMAND…: polls until the command succeeds.
wait_for() {
    local limit=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < limit)) || return 1
        sleep 0.1
    done
}
