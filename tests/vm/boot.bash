# shellcheck shell=bash
# shellcheck disable=SC2154 # set by `vm`
# Booting, entering and stopping the virtual machine. Sourced by `vm`.

# Seconds that it may take to come up, and to go down before it is killed.
readonly VM_BOOT_LIMIT=600 VM_STOP_LIMIT=120

# running: whether the very process runs that was started.
running() {
    local pid started
    read -r pid started 2>/dev/null <"$instance/pid" || return 1
    [[ $(start_time "$pid") == "$started" ]]
}

stopped() { ! running; }
answers() { into root true >/dev/null 2>&1 </dev/null; }

# into USER COMMAND: a shell's command line.
into() {
    ssh -i "$instance/key" -p "$port" -o BatchMode=yes -o ConnectTimeout=30 \
        -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR \
        -o ServerAliveInterval=60 "$1@127.0.0.1" "$2"
}

boot() {
    local console=/vm/console.log pid
    say "booting the machine; emulated, that takes a minute or more"
    # The kernel's own names of disks: vda the system, vdb ext4, vdc XFS, vdd the program.
    with_tools setsid qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu Haswell-v4 \
        -smp 2 -m 3072 -display none -monitor none -serial "file:$console" \
        -kernel /vm/vmlinuz -initrd /vm/initrd \
        -append "root=/dev/vda rw console=ttyS0 panic=1 mitigations=off" \
        -drive file=/vm/root.img,format=raw,if=virtio,snapshot=on \
        -drive file=/vm/ext4.img,format=raw,if=virtio,cache=unsafe \
        -drive file=/vm/xfs.img,format=raw,if=virtio,cache=unsafe \
        -drive file=/vm/program.img,format=raw,if=virtio,readonly=on \
        -nic "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:$port-:22" \
        >"$instance/qemu.log" 2>&1 </dev/null &
    pid=$!
    disown "$pid"
    write "$instance/pid" 0644 "$pid $(start_time "$pid")"
    if ! wait_for "$VM_BOOT_LIMIT" answers_or_stopped || stopped; then
        die "the machine did not come up (limit $VM_BOOT_LIMIT s)" \
            "$(cat "$instance/qemu.log"; tail -n 20 "$instance/console.log")"
    fi
    into root 'mkdir -p /srv/program && mount -o ro /dev/vdd /srv/program &&
        ln -s /srv/program/taskspace /usr/local/bin/taskspace'
}

answers_or_stopped() { stopped || answers; }

# down: asks it to power off, and kills it when that takes too long.
down() {
    running || return 0
    say "stopping the machine"
    into root 'systemctl poweroff' >/dev/null 2>&1 || true
    if ! wait_for "$VM_STOP_LIMIT" stopped; then
        say "it did not stop in $VM_STOP_LIMIT s: killing it"
        kill -KILL "$(cut -d ' ' -f 1 "$instance/pid")"
    fi
    rm -f "$instance/pid"
}
